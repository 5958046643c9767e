//! A password from a file or from systemd's credentials: read when it is needed, wiped when it is not.
//!
//! It is never printed, never in an error and never taken from the environment or a command line.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use nix::fcntl::OFlag;
use nix::unistd::geteuid;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::durable::{self, FileError};

/// A password is shorter; a larger file is a mistake.
const MOST_BYTES: u64 = 64 * 1024;

/// What is wrong with the file of a secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Nobody said where it is.
    #[error(
        "find the password: name its file in password_file, or give the systemd credential {name}"
    )]
    Nowhere {
        /// The credential.
        name: String,
    },
    /// The file does not open.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file does not open or is not read.
    #[error("read the password in {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is no good.
    #[error("take the password from {}: {problem}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// What it is, and what to do.
        problem: String,
    },
}

/// Where a secret is.
#[derive(Clone, Debug)]
pub struct Source {
    path: PathBuf,
    /// systemd made the folder for our eyes alone, and sets access lists that look like group rights.
    credential: bool,
}

/// A secret.
pub struct Secret {
    text: Zeroizing<String>,
    fingerprint: Fingerprint,
}

/// Tells one state of a secret's file from another. It is kept in memory only.
#[derive(Clone, PartialEq, Eq)]
pub struct Fingerprint {
    hash: [u8; 32],
    modified: (i64, i64),
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Fingerprint")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret")
    }
}

impl Secret {
    /// Where the secret is: in `file` or, where that is empty, the credential `name` in systemd's folder.
    ///
    /// # Errors
    /// There is neither.
    pub fn source(
        file: &Path,
        name: &str,
        credentials: Option<&Path>,
    ) -> Result<Source, SecretError> {
        if file.as_os_str().is_empty() {
            let folder = credentials.ok_or_else(|| SecretError::Nowhere { name: name.into() })?;
            return Ok(Source {
                path: folder.join(name),
                credential: true,
            });
        }
        let climbs = file.components().any(|part| part == Component::ParentDir);
        let within = credentials.is_some_and(|folder| file.starts_with(folder));
        Ok(Source {
            path: file.to_path_buf(),
            credential: within && !climbs,
        })
    }

    /// The secret itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// What tells this state of its file from another.
    #[must_use]
    pub const fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }
}

impl Source {
    /// Reads the secret. One newline at its end is not part of it.
    ///
    /// # Errors
    /// A file that is missing, that others may read, that is somebody else's, or that holds no password.
    pub fn read(&self) -> Result<Secret, SecretError> {
        let file = self.open()?;
        let about = file.metadata().map_err(|source| self.unread(source))?;
        if !about.is_file() {
            return Err(self.refused("it is not a plain file"));
        }
        if !self.credential {
            self.guarded(about.uid(), about.mode())?;
        }
        // A buffer that grows would leave copies of its content behind.
        let room = usize::try_from(about.len().min(MOST_BYTES)).unwrap_or_default() + 2;
        let mut bytes = Zeroizing::new(Vec::with_capacity(room));
        file.take(MOST_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(|source| self.unread(source))?;
        if bytes.len() as u64 > MOST_BYTES {
            return Err(self.refused("it is larger than 64 KiB"));
        }
        let hash = Sha256::digest(&*bytes).into();
        let text = str::from_utf8(&bytes).map_err(|_| self.refused("it is not UTF-8"))?;
        let text = text.strip_suffix('\n').unwrap_or(text);
        if text.is_empty() {
            return Err(self.refused("it is empty"));
        }
        Ok(Secret {
            text: Zeroizing::new(text.to_owned()),
            fingerprint: Fingerprint {
                hash,
                modified: (about.mtime(), about.mtime_nsec()),
            },
        })
    }

    fn open(&self) -> Result<File, SecretError> {
        if !self.credential {
            return Ok(durable::open_plain(&self.path)?);
        }
        OpenOptions::new()
            .read(true)
            .custom_flags((OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).bits())
            .open(&self.path)
            .map_err(|source| self.unread(source))
    }

    fn guarded(&self, owner: u32, mode: u32) -> Result<(), SecretError> {
        if mode & 0o077 != 0 {
            return Err(self.refused("others may use it; run chmod 600 on it"));
        }
        let ours = geteuid().as_raw();
        if owner != 0 && owner != ours {
            let problem =
                format!("it belongs to user {owner}; it is to be root's or that of user {ours}");
            return Err(self.refused(&problem));
        }
        Ok(())
    }

    fn unread(&self, source: io::Error) -> SecretError {
        SecretError::Read {
            path: self.path.clone(),
            source,
        }
    }

    fn refused(&self, problem: &str) -> SecretError {
        SecretError::Refused {
            path: self.path.clone(),
            problem: problem.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use tempfile::TempDir;

    fn file(folder: &TempDir, text: &[u8], mode: u32) -> PathBuf {
        let path = folder.path().join("password");
        durable::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn read(path: &Path, credentials: Option<&Path>) -> Result<Secret, SecretError> {
        Secret::source(path, "a-password", credentials)?.read()
    }

    #[test]
    fn one_newline_at_the_end_is_not_part_of_it() {
        let folder = TempDir::new().unwrap();
        for (text, secret) in [("a b", "a b"), ("a b\n", "a b"), ("a b\n\n", "a b\n")] {
            let path = file(&folder, text.as_bytes(), 0o600);
            assert_eq!(read(&path, None).unwrap().reveal(), secret);
        }
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let folder = TempDir::new().unwrap();
        for mode in [0o640, 0o604, 0o622] {
            let path = file(&folder, b"secret", mode);
            let error = read(&path, None).unwrap_err();
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
    }

    #[test]
    fn a_link_is_followed_among_credentials_only() {
        let folder = TempDir::new().unwrap();
        let path = file(&folder, b"secret\n", 0o600);
        let link = folder.path().join("a-password");
        symlink(&path, &link).unwrap();
        assert!(read(&link, None).is_err());
        for named in [link.as_path(), Path::new("")] {
            let secret = read(named, Some(folder.path())).unwrap();
            assert_eq!(secret.reveal(), "secret");
        }
    }

    #[test]
    fn what_is_no_password_is_refused() {
        let folder = TempDir::new().unwrap();
        for text in [&b""[..], b"\n", b"\xff\xfe", &[b'x'; 65_537]] {
            assert!(read(&file(&folder, text, 0o600), None).is_err());
        }
        assert!(read(Path::new("/dev/zero"), None).is_err());
        assert!(read(Path::new(""), None).is_err());
        assert_eq!(
            read(&file(&folder, &[b'x'; 65_536], 0o600), None)
                .unwrap()
                .reveal()
                .len(),
            65_536
        );
    }

    #[test]
    fn neither_errors_nor_debug_hold_the_secret() {
        let folder = TempDir::new().unwrap();
        let path = file(&folder, b"canary-4711", 0o600);
        let secret = read(&path, None).unwrap();
        assert!(!format!("{secret:?}{:?}", secret.fingerprint()).contains("canary"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = read(&path, None).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("canary"));
    }

    #[test]
    fn another_secret_has_another_fingerprint() {
        let folder = TempDir::new().unwrap();
        let of = |text: &[u8]| {
            let path = file(&folder, text, 0o600);
            File::open(&path)
                .unwrap()
                .set_modified(std::time::UNIX_EPOCH)
                .unwrap();
            read(&path, None).unwrap().fingerprint().clone()
        };
        assert!(of(b"one") == of(b"one"));
        assert!(of(b"one") != of(b"two"));
    }
}
