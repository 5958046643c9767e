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

use super::fingerprint::{self, Fingerprint};
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
        if let Some(user) = loops::writable_loop_over(&path) {
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
        let mut protection = vec!["read-only loop device".to_owned()];
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
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_EXCL | libc::O_CLOEXEC)
            .open(&path)
            .map_err(|error| busy_or(error, &path))?;
        protection.push("held with O_EXCL".into());
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
                .map(|s| ebs_volume_id(&s)),
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

    /// Takes the fingerprint; none for a folder.
    ///
    /// # Errors
    /// Read errors of the source.
    pub fn fingerprint(&self, full: bool) -> io::Result<Option<Fingerprint>> {
        let (Some(file), Some(size)) = (&self.file, self.facts.size) else {
            return Ok(None);
        };
        fingerprint::take(file, size, full).map(Some)
    }

    /// Whether the attachment is still the one that was opened: same device, same sequence number.
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
        sysfs.exists() && sequence == self.facts.disk_sequence
    }
}

fn set_read_only(node: &Path) -> Result<(), SourceError> {
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

/// EBS writes the volume id into the serial number without its dash.
fn ebs_volume_id(serial: &str) -> String {
    match serial.strip_prefix("vol") {
        Some(id) if id.len() >= 8 && id.bytes().all(|b| b.is_ascii_hexdigit()) => {
            format!("vol-{id}")
        }
        _ => serial.to_owned(),
    }
}

/// Who else uses a block device.
mod claims {
    use super::{File, MetadataExt, Path, PathBuf, fs, major, minor};

    /// Kernel names of the device and its partitions.
    pub(super) fn family(sysfs: &Path) -> Vec<String> {
        let Ok(real) = fs::canonicalize(sysfs) else {
            return Vec::new();
        };
        let mut names: Vec<String> = children(&real)
            .into_iter()
            .filter(|child| child.join("partition").exists())
            .filter_map(|child| Some(child.file_name()?.to_str()?.to_owned()))
            .collect();
        names.extend(
            real.file_name()
                .and_then(|name| name.to_str())
                .map(str::to_owned),
        );
        names
    }

    /// A sentence about the user of the device, its partitions or its whole disk; none if it is free.
    pub(super) fn user_of(sysfs: &Path) -> Option<String> {
        let real = fs::canonicalize(sysfs).ok()?;
        let mut nodes = vec![real.clone()];
        nodes.extend(
            children(&real)
                .into_iter()
                .filter(|child| child.join("partition").exists()),
        );
        if real.join("partition").exists() {
            nodes.extend(real.parent().map(Path::to_path_buf));
        }
        nodes.iter().find_map(|node| user_of_node(node))
    }

    fn user_of_node(node: &Path) -> Option<String> {
        let name = node.file_name()?.to_str()?;
        if let Some(holder) = children(&node.join("holders")).first() {
            let holder = holder.file_name()?.to_string_lossy();
            return Some(format!(
                "/dev/{name} is part of /dev/{holder}; deactivate that first"
            ));
        }
        let number = fs::read_to_string(node.join("dev")).ok()?;
        let number = number.trim();
        if let Some(place) = mounted_at(number, &fs::read_to_string("/proc/self/mountinfo").ok()?) {
            return Some(format!(
                "/dev/{name} is mounted at {place}; unmount it first"
            ));
        }
        let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
        swaps
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .any(|path| device_number(path).as_deref() == Some(number))
            .then(|| format!("/dev/{name} is in use as swap; switch it off first"))
    }

    /// The mount point of a device in the text of mountinfo (proc(5)): by number, or by the node of
    /// filesystems with numbers of their own, such as btrfs.
    pub(super) fn mounted_at(number: &str, mountinfo: &str) -> Option<String> {
        mountinfo.lines().find_map(|line| {
            let (place, origin) = line.split_once(" - ")?;
            let mut fields = place.split(' ').skip(2);
            let device = fields.next()?;
            let point = fields.nth(1)?;
            let node = origin.split(' ').nth(1)?;
            (device == number || device_number(node).as_deref() == Some(number))
                .then(|| crate::printable::line(point, 120))
        })
    }

    fn device_number(node: &str) -> Option<String> {
        use std::os::unix::fs::FileTypeExt;
        let about = node
            .starts_with("/dev/")
            .then(|| fs::metadata(node))?
            .ok()?;
        let number = about.rdev();
        about
            .file_type()
            .is_block_device()
            .then(|| format!("{}:{}", major(number), minor(number)))
    }

    fn children(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).into_iter().flatten();
        entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect()
    }

    /// Whether a loop device can be written.
    pub(super) fn is_writable(node: &Path) -> bool {
        File::open(node).is_ok_and(|file| !crate::sys::block_is_read_only(&file).unwrap_or(false))
    }
}

/// Loop devices over image files.
mod loops {
    use super::{Path, claims, fs};

    /// A sentence about a writable loop device over the file; none if there is none.
    pub(super) fn writable_loop_over(image: &Path) -> Option<String> {
        let entries = fs::read_dir("/sys/block").ok()?;
        entries.filter_map(Result::ok).find_map(|entry| {
            let backing = fs::read_to_string(entry.path().join("loop/backing_file")).ok()?;
            let node = Path::new("/dev").join(entry.file_name());
            (Path::new(backing.trim_end()) == image && claims::is_writable(&node)).then(|| {
                format!(
                    "{} is a writable loop device over it; detach it first",
                    node.display()
                )
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ebs_serial_is_a_volume_id() {
        assert_eq!(
            ebs_volume_id("vol0123456789abcdef0"),
            "vol-0123456789abcdef0"
        );
        assert_eq!(ebs_volume_id("volume-of-tea"), "volume-of-tea");
        assert_eq!(ebs_volume_id("S4EV"), "S4EV");
    }

    #[test]
    fn a_mounted_device_is_found_by_its_number() {
        let info = "24 1 254:0 / / rw,relatime - ext4 /dev/root rw\n\
                    30 24 259:3 / /mnt/some\\040where rw shared:1 - xfs /dev/nope rw\n";
        assert_eq!(
            claims::mounted_at("259:3", info).as_deref(),
            Some("/mnt/some\\040where")
        );
        assert_eq!(claims::mounted_at("259:4", info), None);
    }
}
