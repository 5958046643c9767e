//! Watching a child and the agent's pipe at once: what the launcher outside and the guard inside have in common.

use std::io;
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitStatus};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// The exit code when the agent's end of the pipe closed.
pub const AGENT_GONE: u8 = 125;

/// Starts the command and waits for its end; the closing of the pipe, or what `on_control` makes of what is on
/// it, may come first: then there is no status.
///
/// With `interest` empty only the closing of the pipe is seen, and nothing is taken from it.
///
/// # Errors
/// The command cannot be started, or the kernel refuses signals or polls.
pub fn supervise(
    command: &mut Command,
    control: &impl AsFd,
    interest: PollFlags,
    mut on_control: impl FnMut(&Child) -> io::Result<bool>,
) -> io::Result<(Child, Option<ExitStatus>)> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    signals.thread_block()?;
    let deaths = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    // std::process::Command gives the child an empty signal mask, so SIGCHLD is not blocked there.
    let mut child = command.spawn()?;
    loop {
        let mut watched = [
            PollFd::new(control.as_fd(), interest),
            PollFd::new(deaths.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut watched, PollTimeout::NONE) {
            Err(nix::Error::EINTR) => continue,
            other => other?,
        };
        let (asked, died) = (
            watched[0].any() == Some(true),
            watched[1].any() == Some(true),
        );
        if died {
            while deaths.read_signal()?.is_some() {}
            if let Some(status) = child.try_wait()? {
                return Ok((child, Some(status)));
            }
        }
        if asked && !on_control(&child)? {
            return Ok((child, None));
        }
    }
}

/// Whether the other end of the pipe is closed already.
///
/// # Errors
/// The kernel refuses the poll.
pub fn is_closed(control: &impl AsFd) -> io::Result<bool> {
    let mut watched = [PollFd::new(control.as_fd(), PollFlags::empty())];
    poll(&mut watched, PollTimeout::ZERO)?;
    Ok(watched[0].any() == Some(true))
}
