//! Proof that a source is the one it was: hashes of sampled sectors, a write counter, the whole hash.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::durable;

/// Bytes of a sampled sector: the larger of the two sector sizes in use.
const SECTOR: u64 = 4096;

/// Sectors sampled between the first and the last.
const SAMPLES: u64 = 64;

/// What a source looked like at one moment.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
pub struct Fingerprint {
    /// Bytes.
    pub size: u64,
    /// SHA-256 over the first, the last and 64 sampled sectors of 4096 bytes, with their offsets.
    pub sampled_sha256: String,
    /// SHA-256 of each of them, in order of offset.
    pub sectors: Vec<SectorHash>,
    /// SHA-256 of the whole source, if it was asked for.
    pub full_sha256: Option<String>,
    /// Writes that the kernel counted on the device since it appeared; none for files.
    pub writes: Option<WriteCounter>,
    /// For image files: modification time in nanoseconds since 1970 and inode.
    pub file: Option<FileStamp>,
}

/// The hash of one sampled sector.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
pub struct SectorHash {
    /// First byte.
    pub offset: u64,
    /// SHA-256 of the sector.
    pub sha256: String,
}

/// A block device's counters of writes (`/sys/dev/block/*/stat`, fields 5 and 7).
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
pub struct WriteCounter {
    /// Write requests completed.
    pub requests: u64,
    /// Sectors of 512 bytes written.
    pub sectors: u64,
}

/// What identifies the content of an image file from outside.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
pub struct FileStamp {
    /// Modification time, seconds since 1970.
    pub modified: i64,
    /// And its nanoseconds.
    pub modified_nanoseconds: i64,
    /// Inode number.
    pub inode: u64,
}

/// Offsets of the sampled sectors: first, last and evenly spread ones between.
fn offsets(size: u64) -> Vec<u64> {
    let last = size.saturating_sub(SECTOR);
    let mut all: Vec<u64> = (0..=SAMPLES + 1)
        .map(|index| {
            let spot = u128::from(last) * u128::from(index) / u128::from(SAMPLES + 1);
            u64::try_from(spot).unwrap_or(last) / 512 * 512
        })
        .collect();
    all.push(last);
    all.sort_unstable();
    all.dedup();
    all
}

/// Takes the fingerprint of a source of `size` bytes that is open for reading.
///
/// # Errors
/// Read errors of the source.
pub fn take(source: &File, size: u64, full: bool) -> io::Result<Fingerprint> {
    take_watched(source, size, full, &Watch::default())
}

/// What somebody who waits for a fingerprint sees and says: hashing all of a source may take hours.
#[derive(Debug, Default)]
pub struct Watch {
    read: AtomicU64,
    left: AtomicBool,
}

impl Watch {
    /// Bytes that were hashed so far.
    #[must_use]
    pub fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Says that nobody waits for it any more.
    pub fn leave(&self) {
        self.left.store(true, Ordering::Relaxed);
    }
}

/// The same; hashing the whole source ends in an error once nobody waits for it any more.
///
/// # Errors
/// Read errors of the source, and that it was stopped.
pub fn take_watched(
    source: &File,
    size: u64,
    full: bool,
    watch: &Watch,
) -> io::Result<Fingerprint> {
    forget_cached(source);
    let mut all = Sha256::new();
    let mut sectors = Vec::new();
    let mut buffer = vec![0; SECTOR.min(size).try_into().unwrap_or(4096)];
    for offset in offsets(size) {
        source.read_exact_at(&mut buffer, offset)?;
        all.update(offset.to_le_bytes());
        all.update(&buffer);
        sectors.push(SectorHash {
            offset,
            sha256: durable::hex(&Sha256::digest(&buffer)),
        });
    }
    let full_sha256 = full.then(|| hash_whole(source, watch)).transpose()?;
    let about = source.metadata()?;
    let file = about.is_file().then(|| FileStamp {
        modified: about.mtime(),
        modified_nanoseconds: about.mtime_nsec(),
        inode: about.ino(),
    });
    let writes = if file.is_none() {
        write_counter(about.rdev())
    } else {
        None
    };
    let sampled_sha256 = durable::hex(&all.finalize());
    Ok(Fingerprint {
        size,
        sampled_sha256,
        sectors,
        full_sha256,
        writes,
        file,
    })
}

fn hash_whole(source: &File, watch: &Watch) -> io::Result<String> {
    struct FromStart<'a>(&'a File, &'a Watch);
    impl io::Read for FromStart<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Self(source, watch) = self;
            if watch.left.load(Ordering::Relaxed) {
                return Err(io::Error::other("nobody waits for the hash any more"));
            }
            let count = source.read_at(buffer, watch.read())?;
            watch.read.fetch_add(count as u64, Ordering::Relaxed);
            Ok(count)
        }
    }
    durable::hash_reader(FromStart(source, watch)).map(|(hash, _)| hash)
}

/// Asks the kernel to drop what it has cached, so that the device is read and not memory.
fn forget_cached(source: &File) {
    posix_fadvise(source, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).unwrap_or_default();
}

fn write_counter(device: u64) -> Option<WriteCounter> {
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let text = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).ok()?;
    parse_write_counter(&text)
}

fn parse_write_counter(text: &str) -> Option<WriteCounter> {
    let field = |index| text.split_whitespace().nth(index)?.parse().ok();
    Some(WriteCounter {
        requests: field(4)?,
        sectors: field(6)?,
    })
}

/// What changed between two fingerprints of one source, in words; empty when nothing did.
#[must_use]
pub fn differences(before: &Fingerprint, after: &Fingerprint) -> Vec<String> {
    let mut found = Vec::new();
    if before.size != after.size {
        found.push(format!(
            "the size went from {} to {} bytes",
            before.size, after.size
        ));
    }
    for (old, new) in before.sectors.iter().zip(&after.sectors) {
        if old != new {
            found.push(format!(
                "the sector at byte {} is not what it was",
                old.offset
            ));
        }
    }
    if let (Some(old), Some(new)) = (&before.full_sha256, &after.full_sha256)
        && old != new
    {
        found.push("the SHA-256 of the whole source is not what it was".to_owned());
    }
    if let (Some(old), Some(new)) = (before.writes, after.writes)
        && old != new
    {
        found.push(format!(
            "the device counted {} more write requests",
            new.requests.saturating_sub(old.requests)
        ));
    }
    if before.file != after.file {
        found.push("the image file was replaced or written to".to_owned());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn a_changed_sampled_sector_is_seen() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&vec![7; 1 << 20]).unwrap();
        let open = File::open(file.path()).unwrap();
        let before = take(&open, 1 << 20, true).unwrap();
        assert_eq!(before.sectors.len(), 66);
        assert!(differences(&before, &take(&open, 1 << 20, true).unwrap()).is_empty());
        file.as_file().write_at(b"x", (1 << 20) - 1).unwrap();
        let after = take(&open, 1 << 20, true).unwrap();
        let found = differences(&before, &after).join("; ");
        assert!(found.contains("sector at byte 1044480"), "{found}");
        assert!(found.contains("whole source"), "{found}");
    }

    #[test]
    fn the_hash_of_a_whole_source_ends_when_nobody_waits_for_it() {
        // Endless, so that this would never end by itself.
        let open = File::open("/dev/zero").unwrap();
        let watch = Watch::default();
        std::thread::scope(|scope| {
            let hashing = scope.spawn(|| hash_whole(&open, &watch));
            assert!(!hashing.is_finished());
            watch.leave();
            assert!(hashing.join().unwrap().is_err());
        });
    }

    #[test]
    fn a_source_of_one_sector_and_less_can_be_sampled() {
        for size in [512, 4096, 4097, 5000] {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(&vec![1; size]).unwrap();
            let open = File::open(file.path()).unwrap();
            assert!(take(&open, size as u64, false).is_ok(), "{size}");
        }
    }

    #[test]
    fn the_write_counter_is_read_from_the_right_fields() {
        let text = " 1 2 3 4 55 6 777 8 0 1 2 3 4 5 6 7 8\n";
        assert_eq!(
            parse_write_counter(text),
            Some(WriteCounter {
                requests: 55,
                sectors: 777
            })
        );
    }
}
