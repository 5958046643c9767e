//! The step between the agent and bubblewrap: a process that joins the control group, limits itself, starts
//! bubblewrap, and ends the whole group when the agent is gone.
//!
//! A hidden subcommand of our own binary, so that nothing unsafe has to run between fork and exec. It stays as
//! bubblewrap's parent, because bubblewrap's own way to die with its parent has a hole while it starts: killed
//! in that moment, an agent would leave a bubblewrap behind that holds the evidence's mount for ever.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use nix::poll::PollFlags;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, raise};
use nix::unistd::{Pid, getppid};

use super::supervise::{AGENT_GONE, supervise};

/// What the launcher is told.
#[derive(Debug)]
pub struct Launch {
    /// The cgroup folder to join.
    pub cgroup: Option<PathBuf>,
    /// The process that must still be the parent.
    pub parent: i32,
    /// `RLIMIT_DATA`, bytes.
    pub data: u64,
    /// `RLIMIT_NPROC`, where no cgroup limits them. It counts over all cages, and what one takes another has not.
    pub processes: Option<u64>,
    /// `RLIMIT_FSIZE`, bytes.
    pub file_size: u64,
    /// The command, with an absolute path.
    pub command: Vec<OsString>,
}

impl Launch {
    /// Runs the command to its end and returns its exit code; dies of the signal that it died of.
    ///
    /// # Errors
    /// A limit, the cgroup or the command itself was refused, or the agent is already gone.
    pub fn run(self) -> io::Result<u8> {
        if getppid() != Pid::from_raw(self.parent) {
            return Err(io::Error::other(
                "the agent ended while the cage was starting",
            ));
        }
        if let Some(folder) = &self.cgroup {
            write(&folder.join("cgroup.procs"), b"0")?;
        }
        // Of all on this machine a cage is what is ended first when memory runs out. Raising this takes no right.
        write(Path::new("/proc/self/oom_score_adj"), b"500")?;
        self.limit()?;
        let (program, arguments) = self
            .command
            .split_first()
            .ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::inherit());
        // The pipe is the guard's to read; here only its closing counts.
        let (mut child, ended) = supervise(&mut command, &io::stdin(), PollFlags::empty(), |_| {
            Ok(false)
        })?;
        if let Some(status) = ended {
            return Ok(pass_on(status));
        }
        if let Some(folder) = &self.cgroup {
            // Ends this process, too.
            write(&folder.join("cgroup.kill"), b"1")?;
        }
        child.kill()?;
        Ok(AGENT_GONE)
    }

    fn limit(&self) -> nix::Result<()> {
        let processes = self.processes.map(|limit| (Resource::RLIMIT_NPROC, limit));
        for (resource, limit) in [
            (Resource::RLIMIT_CORE, 0),
            (Resource::RLIMIT_NOFILE, 4096),
            (Resource::RLIMIT_FSIZE, self.file_size),
            (Resource::RLIMIT_DATA, self.data),
            (Resource::RLIMIT_MEMLOCK, 0),
            (Resource::RLIMIT_MSGQUEUE, 0),
            (Resource::RLIMIT_SIGPENDING, 1024),
        ]
        .into_iter()
        .chain(processes)
        {
            setrlimit(resource, limit, limit)?;
        }
        Ok(())
    }
}

fn pass_on(status: ExitStatus) -> u8 {
    if let Some(signal) = status
        .signal()
        .and_then(|number| Signal::try_from(number).ok())
    {
        raise(signal).unwrap_or_default();
    }
    status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(u8::MAX)
}

fn write(file: &Path, value: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).open(file)?.write_all(value)
}
