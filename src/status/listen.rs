//! A socket that is there for those who may connect, and for nobody a moment earlier.
//!
//! It is bound under another name, given its group and mode, and renamed. The process' umask is not touched,
//! because other threads make files. A socket that nobody listens on is replaced; nothing else is.

use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown,
};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use nix::unistd::Gid;

use super::access::{self, Access};

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody answers there.
    #[error(
        "listen on {}: another dfagent listens on it; stop that one or set another agent.socket",
        path.display()
    )]
    Taken {
        /// The socket.
        path: PathBuf,
    },
    /// Something is there that is no socket.
    #[error("listen on {}: something else is there; remove it or set another agent.socket", path.display())]
    InTheWay {
        /// The path.
        path: PathBuf,
    },
    /// The system refused an operation.
    #[error("{operation} {}", path.display())]
    System {
        /// What was tried, as a verb.
        operation: &'static str,
        /// The path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The thread could not be started.
    #[error("start the thread that answers status")]
    Thread(#[source] io::Error),
}

fn system(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SocketError {
    let path = path.to_path_buf();
    move |source| SocketError::System {
        operation,
        path,
        source,
    }
}

/// A socket of ours.
#[derive(Debug)]
pub(super) struct Bound {
    /// Where it is.
    pub(super) path: PathBuf,
    /// Device and inode: what is at the path later may be somebody else's.
    file: (u64, u64),
}

impl Bound {
    /// Removes it, if it is still ours.
    pub(super) fn remove(&self) {
        let now = fs::symlink_metadata(&self.path);
        if now.is_ok_and(|now| identity(&now) == self.file) {
            drop(fs::remove_file(&self.path));
        }
    }
}

fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// Listens on `path`, for root and for the group of readers where there is one.
pub(super) fn bind(path: &Path, access: &Access) -> Result<(UnixListener, Bound), SocketError> {
    let readers = access::group(&access.readers);
    make_folder(path, readers)?;
    refuse_others(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.new"));
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(system("remove", &temporary)(error));
        }
        _ => {}
    }
    let listener = UnixListener::bind(&temporary).map_err(system("bind", &temporary))?;
    let mode = |mode| {
        fs::set_permissions(&temporary, Permissions::from_mode(mode))
            .map_err(system("set the mode of", &temporary))
    };
    mode(0o600)?;
    if let Some(group) = readers {
        chown(&temporary, None, Some(group.as_raw()))
            .map_err(system("set the group of", &temporary))?;
        mode(0o660)?;
    }
    let about = fs::symlink_metadata(&temporary).map_err(system("look at", &temporary))?;
    let file = identity(&about);
    let path = path.to_path_buf();
    fs::rename(&temporary, &path).map_err(system("rename", &temporary))?;
    let bound = Bound { path, file };
    listener
        .set_nonblocking(true)
        .map_err(system("listen on", &bound.path))?;
    Ok((listener, bound))
}

/// A folder that is there is somebody's choice and stays as it is.
fn make_folder(path: &Path, readers: Option<Gid>) -> Result<(), SocketError> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    if folder.exists() {
        return Ok(());
    }
    let mut builder = DirBuilder::new();
    builder
        .recursive(true)
        .mode(0o750)
        .create(folder)
        .map_err(system("make the folder", folder))?;
    if let Some(group) = readers {
        chown(folder, None, Some(group.as_raw())).map_err(system("set the group of", folder))?;
    }
    Ok(())
}

/// Nothing, or a socket that nobody listens on, may be replaced.
fn refuse_others(path: &Path) -> Result<(), SocketError> {
    let about = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(system("look at", path))?,
    };
    let path = path.to_path_buf();
    if !about.file_type().is_socket() {
        return Err(SocketError::InTheWay { path });
    }
    match knock(&path) {
        Err(Errno::ECONNREFUSED | Errno::ENOENT) => Ok(()),
        // One whose row is full is alive as well.
        Ok(()) | Err(Errno::EAGAIN) => Err(SocketError::Taken { path }),
        Err(error) => Err(system("try", &path)(error.into())),
    }
}

/// Connects without waiting, and hangs up.
fn knock(path: &Path) -> nix::Result<()> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let knocking = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(knocking.as_raw_fd(), &UnixAddr::new(path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(readers: &str) -> Access {
        Access {
            readers: readers.to_owned(),
            operators: "root".to_owned(),
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn without_a_group_of_readers_the_socket_is_its_owner_s_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/dfagent.sock");
        let (_listener, bound) = bind(&path, &access("no-such-group")).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o750);
        bound.remove();
        assert!(!path.exists());
    }

    #[test]
    fn what_is_no_socket_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dfagent.sock");
        crate::durable::write(&path, b"kept").unwrap();
        let error = bind(&path, &access("no-such-group")).unwrap_err();
        assert!(matches!(error, SocketError::InTheWay { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"kept");
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dfagent.sock");
        let (stale, _) = bind(&path, &access("no-such-group")).unwrap();
        drop(stale);
        let (_live, _) = bind(&path, &access("no-such-group")).unwrap();
        let error = bind(&path, &access("no-such-group")).unwrap_err();
        assert!(error.to_string().contains("another dfagent listens on"));
    }

    #[test]
    fn only_the_own_socket_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dfagent.sock");
        let (first, bound) = bind(&path, &access("no-such-group")).unwrap();
        drop(first);
        let (_second, _) = bind(&path, &access("no-such-group")).unwrap();
        bound.remove();
        assert!(path.exists());
    }
}
