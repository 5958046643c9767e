//! A read-only loop device that vanishes by itself.
//!
//! The loop is the wall that cannot be talked around: writes to it fail whatever flags the disk below has.
//! It clears itself when the last user closes it, so a killed process leaves none behind.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use crate::sys;

/// A loop device, alive as long as this value or a mount of it.
#[derive(Debug)]
pub struct LoopDevice {
    path: PathBuf,
    _open: File,
}

/// A loop device that could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("{operation} for a read-only loop")]
pub struct LoopError {
    operation: &'static str,
    source: io::Error,
}

/// Others may take the free loop between the question and the answer; this many times it is asked again.
const RACES: usize = 64;

impl LoopDevice {
    /// Covers `size` bytes of `backing` from `offset`.
    ///
    /// # Errors
    /// `/dev/loop-control` or the loop node cannot be opened, or the kernel refuses the set-up.
    pub fn attach(backing: &File, offset: u64, size: u64) -> Result<Self, LoopError> {
        let fail = |operation| move |source| LoopError { operation, source };
        let control = OpenOptions::new()
            .read(true)
            .open("/dev/loop-control")
            .map_err(fail("open /dev/loop-control"))?;
        let mut races = 0;
        loop {
            let number = sys::free_loop_number(&control)
                .map_err(|errno| fail("find a free loop")(errno.into()))?;
            let path = PathBuf::from(format!("/dev/loop{number}"));
            let node = File::open(&path).map_err(fail("open the loop device"))?;
            match sys::configure_read_only_loop(&node, backing, offset, size) {
                Ok(()) => return Ok(Self { path, _open: node }),
                Err(nix::Error::EBUSY) if races < RACES => races += 1,
                Err(errno) => return Err(fail("configure the loop")(errno.into())),
            }
        }
    }

    /// The device node.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}
