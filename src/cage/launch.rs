//! The step between the agent and bubblewrap: a process that limits itself and then becomes it.
//!
//! A hidden subcommand of our own binary, so that nothing unsafe has to run between fork and exec.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, execv, getppid};

/// What the launcher is told.
#[derive(Debug)]
pub struct Launch {
    /// The cgroup folder to join.
    pub cgroup: Option<PathBuf>,
    /// The process that must still be the parent.
    pub parent: i32,
    /// `RLIMIT_DATA`, bytes.
    pub data: u64,
    /// `RLIMIT_NPROC`.
    pub processes: u64,
    /// `RLIMIT_FSIZE`, bytes.
    pub file_size: u64,
    /// The command, with an absolute path.
    pub command: Vec<std::ffi::OsString>,
}

impl Launch {
    /// Never returns on success: the process is the command from here on.
    ///
    /// # Errors
    /// A limit, the cgroup or the command itself was refused, or the agent is already gone.
    pub fn exec(self) -> io::Result<std::convert::Infallible> {
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
        if getppid() != Pid::from_raw(self.parent) {
            return Err(io::Error::other(
                "the agent ended while the cage was starting",
            ));
        }
        if let Some(folder) = &self.cgroup {
            let procs = fs::OpenOptions::new()
                .write(true)
                .open(folder.join("cgroup.procs"));
            io::Write::write_all(&mut procs?, b"0")?;
        }
        for (resource, limit) in [
            (Resource::RLIMIT_CORE, 0),
            (Resource::RLIMIT_NOFILE, 4096),
            (Resource::RLIMIT_NPROC, self.processes),
            (Resource::RLIMIT_FSIZE, self.file_size),
            (Resource::RLIMIT_DATA, self.data),
            (Resource::RLIMIT_MEMLOCK, 0),
            (Resource::RLIMIT_MSGQUEUE, 0),
            (Resource::RLIMIT_SIGPENDING, 1024),
        ] {
            setrlimit(resource, limit, limit)?;
        }
        let words: Result<Vec<CString>, _> = self
            .command
            .iter()
            .map(|word| CString::new(word.as_bytes()))
            .collect();
        let words = words.map_err(io::Error::other)?;
        let program = words
            .first()
            .ok_or_else(|| io::Error::other("no command given"))?;
        execv(program, &words).map_err(io::Error::from)
    }
}
