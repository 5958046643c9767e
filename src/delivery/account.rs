//! The account of delivery: who may read what is handed over, and becoming it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Gid, Uid, User, setgroups, setresgid, setresuid};

use crate::durable::FileError;

/// Where the account is not known, its folders belong to this number, which nobody has.
const FALLBACK: u32 = 60907;

/// The user and group of delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Account {
    /// The account by its name, or an unused number where there is no such account.
    #[must_use]
    pub fn named(user: &str) -> Self {
        let known = User::from_name(user).ok().flatten();
        known.map_or(
            Self {
                uid: FALLBACK,
                gid: FALLBACK,
            },
            |user| Self {
                uid: user.uid.as_raw(),
                gid: user.gid.as_raw(),
            },
        )
    }

    /// Gives a folder to it alone.
    ///
    /// # Errors
    /// The system's refusal.
    pub fn own(self, path: &Path) -> Result<(), FileError> {
        let given = chown(path, Some(self.uid), Some(self.gid))
            .and_then(|()| fs::set_permissions(path, PermissionsExt::from_mode(0o700)));
        given.map_err(|source| FileError::System {
            operation: "give to delivery",
            path: path.to_owned(),
            source,
        })
    }

    /// Becomes it for good: no other group, no capability, no way back.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn become_it(self) -> nix::Result<()> {
        let (user, group) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        setgroups(&[])?;
        setresgid(group, group, group)?;
        setresuid(user, user, user)?;
        prctl::set_no_new_privs()
    }
}

/// This process holds secrets: no core is written of it, and no process of the same account looks into it.
///
/// # Errors
/// The kernel's refusal.
pub fn keep_memory_private() -> nix::Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    prctl::set_dumpable(false)
}
