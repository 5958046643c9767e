//! A source of evidence: a block device, an image file or a folder, opened and held for reading only.
//!
//! A device that anything else uses is refused by the name of its user. A device gets its read-only flag,
//! with all its partitions, before anything reads it, and is held with `O_EXCL` until the job is over.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::libc;
use nix::sys::stat::{major, minor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::claims;
use super::fingerprint::{self, Fingerprint, Watch};
use crate::{durable, sys};

/// The major number of loop devices (Documentation/admin-guide/devices.txt).
const LOOP_MAJOR: u64 = 7;

/// The kinds of source.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// A block device: a disk or a partition.
    Device,
    /// A raw image in a file.
    Image,
    /// A folder that holds the files of one filesystem.
    Folder,
}

/// What is known about a source from outside.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
pub struct SourceFacts {
    /// What it is.
    pub kind: SourceKind,
    /// As it was given, made absolute.
    pub path: String,
    /// Bytes; none for a folder.
    pub size: Option<u64>,
    /// Stable for the same content at the same place: the job is found again by it.
    pub key: String,
    /// Device: serial number; on EBS the volume id.
    pub serial: Option<String>,
    /// Device: model.
    pub model: Option<String>,
    /// Device: the kernel's sequence number of this attachment.
    pub disk_sequence: Option<u64>,
    /// How writing is prevented, one line each.
    pub protection: Vec<String>,
}

impl SourceFacts {
    /// The volume id, the serial number, or the name of the file or folder.
    #[must_use]
    pub fn volume(&self) -> String {
        let name = || Path::new(&self.path).file_name().unwrap_or_default();
        let serial = self.serial.clone();
        serial.unwrap_or_else(|| name().to_string_lossy().into_owned())
    }
}

/// An open source.
#[derive(Debug)]
pub struct Source {
    /// What is known about it.
    pub facts: SourceFacts,
    path: PathBuf,
    file: Option<File>,
    device: Option<u64>,
}

/// Why a source cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It cannot be opened or asked.
    #[error("{operation} {}", path.display())]
    System {
        /// What was tried.
        operation: &'static str,
        /// The source.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is neither a device nor a file nor a folder.
    #[error("use {} as evidence: it is neither a block device nor an image file nor a folder", path.display())]
    Kind {
        /// The source.
        path: PathBuf,
    },
    /// An empty file.
    #[error("use {} as evidence: it is empty (0 bytes)", path.display())]
    Empty {
        /// The source.
        path: PathBuf,
    },
    /// Somebody uses it.
    #[error("hold {} as evidence: {user}", path.display())]
    InUse {
        /// The source.
        path: PathBuf,
        /// Who uses it and what to do.
        user: String,
    },
    /// The read-only flag did not take.
    #[error("set {} read-only: the kernel accepted the flag but does not show it", path.display())]
    NotReadOnly {
        /// The device.
        path: PathBuf,
    },
}

impl SourceError {
    /// Whether a person can remove the cause.
    #[must_use]
    pub const fn needs_operator(&self) -> bool {
        matches!(self, Self::InUse { .. } | Self::NotReadOnly { .. })
    }
}

fn system(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SourceError {
    let path = path.to_path_buf();
    move |source| SourceError::System {
        operation,
        path,
        source,
    }
}

impl Source {
    /// Opens, protects and holds a source.
    ///
    /// # Errors
    /// It cannot be read, is of no usable kind, or somebody else uses it.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let path = fs::canonicalize(path).map_err(system("open", path))?;
        let about = fs::metadata(&path).map_err(system("open", &path))?;
        let kind = about.file_type();
        if kind.is_dir() {
            Ok(Self::folder(path, &about))
        } else if kind.is_block_device() {
            Self::device(path, about.rdev())
        } else if kind.is_file() {
            Self::image(path)
        } else {
            Err(SourceError::Kind { path })
        }
    }

    fn folder(path: PathBuf, about: &fs::Metadata) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(path.as_os_str().as_encoded_bytes());
        hasher.update(about.dev().to_le_bytes());
        hasher.update(about.ino().to_le_bytes());
        let protection =
            vec!["bound read-only, without access times, in an own mount namespace".into()];
        let facts = SourceFacts {
            kind: SourceKind::Folder,
            path: path.display().to_string(),
            size: None,
            key: short_key(&hasher.finalize()),
            serial: None,
            model: None,
            disk_sequence: None,
            protection,
        };
        Self {
            facts,
            path,
            file: None,
            device: None,
        }
    }

    fn image(path: PathBuf) -> Result<Self, SourceError> {
        if let Some(user) = claims::writable_loop_over(&path) {
            return Err(SourceError::InUse { path, user });
        }
        let file = File::open(&path).map_err(system("open", &path))?;
        let size = file.metadata().map_err(system("look at", &path))?.len();
        if size == 0 {
            return Err(SourceError::Empty { path });
        }
        let protection = vec![
            "opened for reading only".into(),
            "read-only loop device".into(),
        ];
        let facts = SourceFacts {
            kind: SourceKind::Image,
            path: path.display().to_string(),
            size: Some(size),
            key: content_key(&file, size).map_err(system("read", &path))?,
            serial: None,
            model: None,
            disk_sequence: None,
            protection,
        };
        Ok(Self {
            facts,
            path,
            file: Some(file),
            device: None,
        })
    }

    fn device(path: PathBuf, number: u64) -> Result<Self, SourceError> {
        let sysfs = PathBuf::from(format!(
            "/sys/dev/block/{}:{}",
            major(number),
            minor(number)
        ));
        if let Some(user) = claims::user_of(&sysfs) {
            return Err(SourceError::InUse { path, user });
        }
        // Held first: a disk that is somebody else's keeps its flags.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_EXCL | libc::O_CLOEXEC)
            .open(&path)
            .map_err(|error| busy_or(error, &path))?;
        let mut protection = vec![
            "read-only loop device".to_owned(),
            "held with O_EXCL".into(),
        ];
        if major(number) == LOOP_MAJOR {
            protection.push(
                "read-only flag not set: on a loop device it would outlive the evidence".into(),
            );
        } else {
            for node in claims::family(&sysfs) {
                set_read_only(&Path::new("/dev").join(&node))?;
                protection.push(format!("read-only flag set on {node}"));
            }
        }
        let size = sys::block_size_bytes(&file).map_err(|e| system("measure", &path)(e.into()))?;
        if size == 0 {
            return Err(SourceError::Empty { path });
        }
        let text = |name: &str| sysfs_text(&sysfs.join(name));
        let facts = SourceFacts {
            kind: SourceKind::Device,
            path: path.display().to_string(),
            size: Some(size),
            key: content_key(&file, size).map_err(system("read", &path))?,
            serial: text("device/serial")
                .or_else(|| text("serial"))
                .map(|serial| ebs_volume_id(&serial).unwrap_or(serial)),
            model: text("device/model"),
            disk_sequence: text("diskseq").and_then(|text| text.parse().ok()),
            protection,
        };
        Ok(Self {
            facts,
            path,
            file: Some(file),
            device: Some(number),
        })
    }

    /// The open file of a device or image, to put loops over; none for a folder.
    #[must_use]
    pub fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }

    /// Whether it is a device, which can be pulled.
    #[must_use]
    pub const fn is_device(&self) -> bool {
        self.device.is_some()
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name for people and folders: the volume id, the serial number or the file's name.
    #[must_use]
    pub fn name(&self) -> String {
        let name = self.facts.serial.clone().unwrap_or_else(|| {
            self.path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned()
        });
        let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let name: String = name
            .chars()
            .take(60)
            .map(|c| if safe(c) { c } else { '_' })
            .collect();
        let name = name.trim_start_matches('.').to_owned();
        if name.is_empty() {
            "evidence".to_owned()
        } else {
            name
        }
    }

    /// Takes the fingerprint; none for a folder. Hashing all of it ends in an error once nobody waits for it.
    ///
    /// # Errors
    /// Read errors of the source.
    pub fn fingerprint(&self, full: bool, watch: &Watch) -> io::Result<Option<Fingerprint>> {
        let (Some(file), Some(size)) = (&self.file, self.facts.size) else {
            return Ok(None);
        };
        fingerprint::take_watched(file, size, full, watch).map(Some)
    }

    /// Whether the attachment is still the one that was opened: same device, same sequence number. The kernel takes
    /// the size from a device that was pulled before it takes the device away.
    #[must_use]
    pub fn still_present(&self) -> bool {
        let Some(number) = self.device else {
            return self.path.exists();
        };
        let sysfs = PathBuf::from(format!(
            "/sys/dev/block/{}:{}",
            major(number),
            minor(number)
        ));
        let sequence = sysfs_text(&sysfs.join("diskseq")).and_then(|text| text.parse().ok());
        let has_size = |file| sys::block_size_bytes(file).is_ok_and(|size| size > 0);
        sysfs.exists()
            && sequence == self.facts.disk_sequence
            && self.file.as_ref().is_none_or(has_size)
    }
}

/// Sets the kernel's read-only flag of a disk or partition.
///
/// # Errors
/// It does not open, or the flag does not take.
pub fn set_read_only(node: &Path) -> Result<(), SourceError> {
    let device = File::open(node).map_err(|error| busy_or(error, node))?;
    let failed = |errno: nix::Error| system("set read-only", node)(errno.into());
    sys::set_block_read_only(&device).map_err(failed)?;
    if sys::block_is_read_only(&device).map_err(failed)? {
        Ok(())
    } else {
        Err(SourceError::NotReadOnly {
            path: node.to_path_buf(),
        })
    }
}

fn busy_or(error: io::Error, path: &Path) -> SourceError {
    if error.raw_os_error() == Some(libc::EBUSY) {
        let user =
            "somebody else holds it (mounted, activated by LVM or RAID, or open for writing); \
                    release it first"
                .to_owned();
        return SourceError::InUse {
            path: path.to_path_buf(),
            user,
        };
    }
    system("open", path)(error)
}

fn content_key(file: &File, size: u64) -> io::Result<String> {
    let print = fingerprint::take(file, size, false)?;
    Ok(short_key(&Sha256::digest(format!(
        "{size}:{}",
        print.sampled_sha256
    ))))
}

fn short_key(digest: &[u8]) -> String {
    durable::hex(&digest[..4])
}

fn sysfs_text(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| crate::printable::line(text, 80))
}

/// The volume id in a serial number of EBS, where it stands without its dash: `vol` and 17 hex digits (8 on
/// volumes from before 2016). None for any other serial number.
#[must_use]
pub fn ebs_volume_id(serial: &str) -> Option<String> {
    let rest = serial.strip_prefix("vol")?;
    let digits = rest.strip_prefix('-').unwrap_or(rest);
    let fits = (8..=17).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
    fits.then(|| format!("vol-{digits}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ebs_serial_is_a_volume_id() {
        let id = Some("vol-0123456789abcdef0".to_owned());
        assert_eq!(ebs_volume_id("vol0123456789abcdef0"), id);
        assert_eq!(ebs_volume_id("vol-0123456789abcdef0"), id);
        assert_eq!(
            ebs_volume_id("vol049df61146c4d7901").as_deref(),
            Some("vol-049df61146c4d7901")
        );
        for other in [
            "volume-of-tea",
            "S4EV",
            "vol",
            "vol--12345678",
            "vol0123456789abcdef012",
        ] {
            assert_eq!(ebs_volume_id(other), None, "{other}");
        }
    }
}
