//! Mounts that cannot write: one filesystem of a loop device, or a folder bound read-only.

use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, umount2};
use sys_mount::{Mount, MountFlags};

use super::plan::{Attempt, MountPlan};

/// `MS_NOSYMFOLLOW` of linux/mount.h, Linux 5.10 and later.
const NOSYMFOLLOW: u64 = 256;

/// A mounted tree, unmounted when dropped.
#[derive(Debug)]
pub struct Mounted {
    target: PathBuf,
    /// The driver's options, as given.
    pub options: String,
    /// What the mount told about the journal.
    pub journal_dirty: Option<bool>,
}

impl Mounted {
    /// Where it is, in this program's mount namespace.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.target
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = umount2(&self.target, MntFlags::empty()) {
            tracing::warn!(target = %self.target.display(), %error, "unmounting is left to the kernel");
            umount2(&self.target, MntFlags::MNT_DETACH).unwrap_or_default();
        }
    }
}

fn flags() -> MountFlags {
    MountFlags::RDONLY
        | MountFlags::NOSUID
        | MountFlags::NODEV
        | MountFlags::NOEXEC
        | MountFlags::NOATIME
        | MountFlags::from_bits_retain(NOSYMFOLLOW)
}

/// Mounts `device` at `target` by the plan.
///
/// # Errors
/// The kernel's last refusal.
pub fn mount_filesystem(device: &Path, target: &Path, plan: MountPlan) -> io::Result<Mounted> {
    let mut refusal = io::Error::from_raw_os_error(nix::libc::EINVAL);
    for attempt in plan.attempts {
        match try_mount(device, target, plan.driver, attempt) {
            Ok(()) => {
                return Ok(Mounted {
                    target: target.to_path_buf(),
                    options: attempt.options.to_owned(),
                    journal_dirty: attempt.journal_dirty,
                });
            }
            Err(error) => refusal = error,
        }
        if refusal.raw_os_error() != Some(nix::libc::EROFS) {
            break;
        }
    }
    Err(refusal)
}

fn try_mount(device: &Path, target: &Path, driver: &str, attempt: &Attempt) -> io::Result<()> {
    Mount::builder()
        .fstype(driver)
        .flags(flags())
        .data(attempt.options)
        .mount(device, target)
        .map(drop)
}

/// Binds a folder at `target`, read-only; access times of its files no longer change through it.
///
/// # Errors
/// The kernel's refusal.
pub fn bind_folder(folder: &Path, target: &Path) -> io::Result<Mounted> {
    let bind = MsFlags::MS_BIND;
    nix::mount::mount(Some(folder), target, None::<&str>, bind, None::<&str>)?;
    let mounted = Mounted {
        target: target.to_path_buf(),
        options: "bind".to_owned(),
        journal_dirty: None,
    };
    let locked = MsFlags::from_bits_retain(flags().bits()) | MsFlags::MS_REMOUNT | bind;
    nix::mount::mount(None::<&str>, target, None::<&str>, locked, None::<&str>)?;
    Ok(mounted)
}
