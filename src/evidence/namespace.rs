//! The program's own mount namespace: its mounts are seen by nobody else and die with it.

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Moves the calling thread, and all that it starts, into a mount namespace of its own.
///
/// To be called before any other thread exists. Mounts made by the host later still arrive (so that
/// what the host unmounts is not kept busy); nothing goes back.
///
/// # Errors
/// The kernel's refusal, `EPERM` without `CAP_SYS_ADMIN`.
pub fn enter() -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_SLAVE,
        None::<&str>,
    )
}
