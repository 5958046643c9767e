//! The parent of the work inside a cage.
//!
//! Its standard input is a pipe that the agent holds. A byte `i` on it becomes `SIGINT` for the work;
//! its end means that the agent is gone, and everything here ends too. The exit code of the work is
//! passed on, a signal as 128 plus its number.

use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};

use nix::poll::PollFlags;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cage::supervise::{AGENT_GONE, is_closed, supervise};

/// Runs `command` under guard and returns the exit code to end with.
///
/// # Errors
/// The kernel refuses signals or polls.
pub fn run(command: &[String]) -> io::Result<u8> {
    let control = io::stdin();
    if is_closed(&control)? {
        return Ok(AGENT_GONE);
    }
    let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut work = Command::new(program);
    work.args(arguments).stdin(Stdio::null());
    let ended = match supervise(&mut work, &control, PollFlags::POLLIN, |child| {
        pass_on(&control, child)
    }) {
        Ok((_, ended)) => ended,
        Err(error) => {
            eprintln!("start {program}: {error}");
            return Ok(127);
        }
    };
    let Some(status) = ended else {
        // Everything but ourselves and the init of the cage; that one ends with us.
        kill(Pid::from_raw(-1), Signal::SIGKILL).unwrap_or_default();
        return Ok(AGENT_GONE);
    };
    let code = status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Ok(u8::try_from(code).unwrap_or(u8::MAX))
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
