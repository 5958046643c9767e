//! Files that must survive a crash, and files that somebody hostile may have written.
//!
//! State is written beside its place, flushed and renamed, so that a reader sees the old or the new
//! file and never half of one. What the cage left behind is opened without following links, must be a
//! regular file with one name, and is read up to a limit.

use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::libc;
use nix::sys::statvfs::statvfs;
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

/// What can go wrong with a file of ours.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused an operation.
    #[error("{operation} {}", path.display())]
    System {
        /// What was tried, as a verb: `read`, `write`, `rename`.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is not the JSON that it should be.
    #[error("understand {}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Where it goes wrong.
        source: serde_json::Error,
    },
    /// Somebody left something that is not a plain file of a sane size, or not of this release.
    #[error("accept {}: {reason}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// Why it is not accepted.
        reason: &'static str,
    },
}

fn system(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_path_buf();
    move |source| FileError::System {
        operation,
        path,
        source,
    }
}

/// Writes `bytes` to `path` by way of a flushed temporary file and a rename.
///
/// # Errors
/// Any of the system calls.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let temporary = temporary(path);
    let file = File::create(&temporary).map_err(system("create", &temporary))?;
    fill(file, &temporary, bytes)?;
    rename(&temporary, path)
}

/// Writes a file that everybody may read, in a folder that may belong to somebody else: what stands at the
/// temporary name is removed, never followed.
///
/// # Errors
/// Any of the system calls.
pub fn write_public(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let temporary = temporary(path);
    remove_file(&temporary)?;
    let file = File::create_new(&temporary).map_err(system("create", &temporary))?;
    file.set_permissions(PermissionsExt::from_mode(0o644))
        .map_err(system("open to all", &temporary))?;
    fill(file, &temporary, bytes)?;
    rename(&temporary, path)
}

/// The name beside a file's own under which it is written.
fn temporary(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

fn fill(mut file: File, path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    file.write_all(bytes).map_err(system("write", path))?;
    file.sync_all().map_err(system("flush", path))
}

/// Writes `value` as indented JSON; see [`write`].
///
/// # Errors
/// See [`write`].
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), FileError> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|source| FileError::Content {
        path: path.to_path_buf(),
        source,
    })?;
    text.push(b'\n');
    write(path, &text)
}

/// Renames and makes the new name durable.
///
/// # Errors
/// The rename or the flush of the folder.
pub fn rename(from: &Path, to: &Path) -> Result<(), FileError> {
    fs::rename(from, to).map_err(system("rename", from))?;
    sync_folder(to.parent().unwrap_or(Path::new("/")))
}

/// Flushes a folder, so that names made or renamed in it survive a power cut.
///
/// # Errors
/// Opening or flushing the folder.
pub fn sync_folder(path: &Path) -> Result<(), FileError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(system("flush", path))
}

/// Bytes that can still be written on the file system of a folder; 0 where no file can be made any more.
#[must_use]
pub fn free_bytes(folder: &Path) -> Option<u64> {
    let about = statvfs(folder).ok()?;
    // Some file systems do not count files.
    if about.files() > 0 && about.files_available() == 0 {
        return Some(0);
    }
    about.blocks_available().checked_mul(about.fragment_size())
}

/// Whether a file system or a quota had no room, anywhere in an error's causes.
#[must_use]
pub fn is_full(error: &(dyn Error + 'static)) -> bool {
    let code = error.downcast_ref::<io::Error>();
    let code = code.and_then(io::Error::raw_os_error);
    matches!(code, Some(libc::ENOSPC | libc::EDQUOT)) || error.source().is_some_and(is_full)
}

/// Makes a folder and its parents.
///
/// # Errors
/// The system's refusal.
pub fn make_folder(path: &Path) -> Result<(), FileError> {
    fs::create_dir_all(path).map_err(system("make the folder", path))
}

/// Removes a folder with all that is in it; one that is not there is fine.
///
/// # Errors
/// The system's refusal.
pub fn remove_folder(path: &Path) -> Result<(), FileError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(system("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Removes a file; one that is not there is fine.
///
/// # Errors
/// The system's refusal.
pub fn remove_file(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(system("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Reads a JSON file of at most `limit` bytes; `None` when there is none.
///
/// # Errors
/// A file that is too large, unreadable, not plain, or not the JSON it should be.
pub fn read_json<T: DeserializeOwned>(path: &Path, limit: u64) -> Result<Option<T>, FileError> {
    let Some(bytes) = read(path, limit)? else {
        return Ok(None);
    };
    let value = serde_json::from_slice(&bytes).map_err(|source| FileError::Content {
        path: path.to_path_buf(),
        source,
    })?;
    Ok(Some(value))
}

/// Reads a plain file of at most `limit` bytes; `None` when there is none.
///
/// # Errors
/// See [`open_plain`], and a file over the limit.
pub fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, FileError> {
    let file = match open_plain(path) {
        Err(FileError::System { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        other => other?,
    };
    let mut bytes = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(system("read", path))?;
    if bytes.len() as u64 > limit {
        let reason = "it is larger than such a file can honestly be";
        return Err(FileError::Refused {
            path: path.to_path_buf(),
            reason,
        });
    }
    Ok(Some(bytes))
}

/// Opens a file for reading that a hostile process may have put there: no link is followed, no
/// pipe or device is waited for, and a second name of the same file is refused. One that lost its name since it was
/// opened was replaced or removed meanwhile, and is whole.
///
/// # Errors
/// The open, or anything but a plain file with one name.
pub fn open_plain(path: &Path) -> Result<File, FileError> {
    let file = open_own(path)?;
    let about = file.metadata().map_err(system("look at", path))?;
    if about.nlink() <= 1 {
        return Ok(file);
    }
    Err(FileError::Refused {
        path: path.to_path_buf(),
        reason: "it has more than one name",
    })
}

/// Opens a plain file of ours for reading; one that was handed over to delivery has a second name.
///
/// # Errors
/// The open, or anything but a plain file.
pub fn open_own(path: &Path) -> Result<File, FileError> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits())
        .open(path)
        .map_err(system("open", path))?;
    let about = file.metadata().map_err(system("look at", path))?;
    if about.is_file() {
        return Ok(file);
    }
    Err(FileError::Refused {
        path: path.to_path_buf(),
        reason: "it is not a plain file",
    })
}

/// The SHA-256 of a plain file of ours, as lower-case hex, and its size in bytes.
///
/// # Errors
/// See [`open_own`].
pub fn hash_file(path: &Path) -> Result<(String, u64), FileError> {
    hash_reader(open_own(path)?).map_err(system("read", path))
}

/// The SHA-256 of everything a reader gives, as lower-case hex, and how many bytes that were.
///
/// # Errors
/// The reader's.
pub fn hash_reader(mut reader: impl Read) -> io::Result<(String, u64)> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    let mut total = 0;
    loop {
        let count = reader.read(&mut buffer)?;
        if count == 0 {
            return Ok((hex(&hasher.finalize()), total));
        }
        total += count as u64;
        hasher.update(&buffer[..count]);
    }
}

/// Lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_a_pipe_and_a_second_name_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let plain = folder.path().join("plain");
        write(&plain, b"{}").unwrap();
        assert_eq!(read(&plain, 10).unwrap().unwrap(), b"{}");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&plain, &link).unwrap();
        assert!(read(&link, 10).is_err());
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(matches!(read(&pipe, 10), Err(FileError::Refused { .. })));
        fs::hard_link(&plain, folder.path().join("second")).unwrap();
        assert!(matches!(read(&plain, 10), Err(FileError::Refused { .. })));
    }

    #[test]
    fn a_file_is_read_while_it_is_replaced() {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let path = folder.path().join("file");
        write(&path, b"{}").unwrap();
        let writer = std::thread::spawn({
            let path = path.clone();
            move || (0..3000).for_each(|_| write(&path, b"{}").unwrap())
        });
        let mut reads = 0;
        while !writer.is_finished() || reads == 0 {
            assert_eq!(read(&path, 10).unwrap().unwrap(), b"{}");
            reads += 1;
        }
        writer.join().unwrap();
    }

    #[test]
    fn more_than_the_limit_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large");
        write(&path, &[0; 100]).unwrap();
        assert!(matches!(read(&path, 99), Err(FileError::Refused { .. })));
        assert_eq!(read(&path, 100).unwrap().unwrap().len(), 100);
    }
}
