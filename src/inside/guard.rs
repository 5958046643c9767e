//! The parent of the work inside a cage.
//!
//! Its standard input is a pipe that the agent holds. A byte `i` on it becomes `SIGINT` for the work;
//! its end means that the agent is gone, and everything here ends too. The exit code of the work is
//! passed on, a signal as 128 plus its number.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

/// The exit code when the agent's end of the pipe closed.
pub const AGENT_GONE: u8 = 125;

/// Runs `command` under guard and returns the exit code to end with.
///
/// # Errors
/// The command cannot be started, or the kernel refuses signals or polls.
pub fn run(command: &[String]) -> io::Result<u8> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    signals.thread_block()?;
    let children = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let control = io::stdin();
    if is_closed(&control)? {
        return Ok(AGENT_GONE);
    }
    let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut child = match start(program, arguments) {
        Ok(child) => child,
        Err(error) => {
            eprintln!("start {program}: {error}");
            return Ok(127);
        }
    };
    loop {
        let mut watched = [
            PollFd::new(control.as_fd(), PollFlags::POLLIN),
            PollFd::new(children.as_fd(), PollFlags::POLLIN),
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
            while children.read_signal()?.is_some() {}
            if let Some(status) = child.try_wait()? {
                let code = status
                    .code()
                    .unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
                return Ok(u8::try_from(code).unwrap_or(u8::MAX));
            }
        }
        if asked && !pass_on(&control, &child)? {
            // Everything but ourselves and the init of the cage; that one ends with us.
            kill(Pid::from_raw(-1), Signal::SIGKILL).unwrap_or_default();
            return Ok(AGENT_GONE);
        }
    }
}

fn start(program: &str, arguments: &[String]) -> io::Result<Child> {
    // std::process::Command gives the child an empty signal mask, so SIGCHLD is not blocked there.
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .spawn()
}

fn is_closed(control: &io::Stdin) -> io::Result<bool> {
    let mut watched = [PollFd::new(control.as_fd(), PollFlags::POLLIN)];
    poll(&mut watched, PollTimeout::ZERO)?;
    Ok(watched[0]
        .revents()
        .is_some_and(|seen| seen.contains(PollFlags::POLLHUP)))
}

/// Handles one byte of the pipe; false when the pipe is closed.
fn pass_on(control: &io::Stdin, child: &Child) -> io::Result<bool> {
    let mut byte = [0];
    if control.lock().read(&mut byte)? == 0 {
        return Ok(false);
    }
    if byte[0] == b'i'
        && let Ok(pid) = i32::try_from(child.id())
    {
        kill(Pid::from_raw(pid), Signal::SIGINT).unwrap_or_default();
    }
    Ok(true)
}
