//! Probing a source, in the cage: the partition table by a library, each region by libblkid and by its
//! own superblock.
//!
//! Superblock layouts: Documentation/filesystems/ext4/super.rst, `fs/xfs/libxfs/xfs_format.h`,
//! `include/uapi/linux/btrfs_tree.h` of Linux 6.1.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::evidence::probe::{Content, ProbeReport, Region, Superblock, Table};

/// More partitions than any honest disk has; the rest is a note in the report.
const MOST_REGIONS: usize = 128;

/// GPT type of the partition that holds GRUB's core image (UEFI specification, table 5.7, and GRUB manual).
const BIOS_BOOT: [u8; 16] = [
    0x48, 0x61, 0x68, 0x21, 0x49, 0x64, 0x6f, 0x6e, 0x74, 0x4e, 0x65, 0x65, 0x64, 0x45, 0x46, 0x49,
];

/// Formats of images that hold a disk but are not one.
const IMAGE_FORMATS: [(&[u8], &str); 5] = [
    (b"QFI\xfb", "qcow2"),
    (b"EVF\x09\x0d\x0a\xff\x00", "ewf"),
    (b"KDMV", "vmdk"),
    (b"vhdxfile", "vhdx"),
    (b"conectix", "vhd"),
];

/// Probes the device or file at `path`.
///
/// # Errors
/// It cannot be opened or measured.
pub fn run(path: &Path) -> io::Result<ProbeReport> {
    let mut source = File::open(path)?;
    let size = source.seek(SeekFrom::End(0))?;
    let whole = blkid(path, 0, size);
    let mut notes = Vec::new();
    let (table, mut regions) = match whole.get("PTTYPE").map(String::as_str) {
        Some("gpt") => (Table::Gpt, gpt_regions(&mut source, size, &mut notes)),
        Some("dos") if !whole.contains_key("TYPE") => {
            (Table::Mbr, mbr_regions(&mut source, size, &mut notes))
        }
        _ => (Table::None, Vec::new()),
    };
    if regions.is_empty() {
        let region = Region {
            number: None,
            offset: 0,
            length: size,
            type_name: None,
            content: Content::Unknown,
        };
        regions.push(region);
    }
    regions.truncate(MOST_REGIONS);
    for region in &mut regions {
        if region.content == Content::Unknown {
            region.content = content(&source, path, region.offset, region.length);
        }
    }
    Ok(ProbeReport {
        table,
        regions,
        notes,
    })
}

fn gpt_regions(source: &mut File, size: u64, notes: &mut Vec<String>) -> Vec<Region> {
    let gpt = match gptman::GPT::find_from(source) {
        Ok(gpt) => gpt,
        Err(error) => {
            notes.push(format!("the GUID partition table cannot be read: {error}"));
            return Vec::new();
        }
    };
    if gpt.header.primary_lba != 1 {
        notes.push("the primary GUID partition table is damaged; its backup was used".to_owned());
    }
    let sector = gpt.sector_size;
    let used = gpt.iter().filter(|(_, entry)| entry.is_used());
    let regions = used.filter_map(|(number, entry)| {
        let offset = entry.starting_lba.checked_mul(sector)?;
        let end = entry.ending_lba.checked_add(1)?.checked_mul(sector)?;
        let mut region = region(number, offset, end.checked_sub(offset)?, size, notes)?;
        if entry.partition_type_guid == BIOS_BOOT {
            region.content = Content::BootLoader;
        }
        let name = entry.partition_name.as_str();
        region.type_name = (!name.is_empty()).then(|| crate::printable::line(name, 72));
        Some(region)
    });
    regions.collect()
}

fn mbr_regions(source: &mut File, size: u64, notes: &mut Vec<String>) -> Vec<Region> {
    let mbr = match mbrman::MBR::read_from(source, 512) {
        Ok(mbr) => mbr,
        Err(error) => {
            notes.push(format!("the DOS partition table cannot be read: {error}"));
            return Vec::new();
        }
    };
    let regions = mbr
        .iter()
        .filter(|(_, entry)| entry.is_used() && !entry.is_extended());
    let regions = regions.filter_map(|(number, entry)| {
        let number = u32::try_from(number).ok()?;
        let (offset, length) = (
            u64::from(entry.starting_lba) * 512,
            u64::from(entry.sectors) * 512,
        );
        let mut region = region(number, offset, length, size, notes)?;
        region.type_name = Some(format!("type 0x{:02x}", entry.sys));
        Some(region)
    });
    regions.collect()
}

/// A region cut to what the source has; none if nothing of it is there.
fn region(
    number: u32,
    offset: u64,
    length: u64,
    size: u64,
    notes: &mut Vec<String>,
) -> Option<Region> {
    let there = size.saturating_sub(offset).min(length);
    if there < length {
        notes.push(format!(
            "partition {number} reaches {} bytes past the end of the source",
            length - there
        ));
    }
    let content = Content::Unknown;
    (there > 0).then_some(Region {
        number: Some(number),
        offset,
        length: there,
        type_name: None,
        content,
    })
}

/// libblkid's findings for a stretch of the source; empty when it finds nothing.
fn blkid(path: &Path, offset: u64, length: u64) -> BTreeMap<String, String> {
    let output = Command::new("/usr/sbin/blkid")
        .args([
            "-p",
            "-o",
            "export",
            "-O",
            &offset.to_string(),
            "-S",
            &length.to_string(),
        ])
        .arg(path)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let mut found = BTreeMap::new();
    let Ok(output) = output else { return found };
    if output.status.code() == Some(8) {
        found.insert("AMBIVALENT".to_owned(), String::new());
    }
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        if let Some((key, value)) = line.split_once('=') {
            found.insert(key.to_owned(), crate::printable::line(value, 80));
        }
    }
    found
}

fn content(source: &File, path: &Path, offset: u64, length: u64) -> Content {
    let mut head = vec![0; usize::try_from(length.min(128 * 1024)).unwrap_or(0)];
    if let Err(error) = source.read_exact_at(&mut head, offset) {
        return Content::Unreadable {
            reason: error.to_string(),
        };
    }
    let format = IMAGE_FORMATS
        .iter()
        .find(|(magic, _)| head.starts_with(magic));
    if let Some((_, kind)) = format {
        return Content::Container {
            kind: (*kind).to_owned(),
        };
    }
    let found = blkid(path, offset, length);
    if found.contains_key("AMBIVALENT") {
        return Content::Ambiguous;
    }
    match found.get("TYPE") {
        Some(kind) => known_type(&head, kind, &found, length),
        None => match traces(source, &head, offset, length) {
            Some(seen) => Content::Damaged { seen },
            None if is_blank(source, &head, offset, length) => Content::Empty,
            None => Content::Unknown,
        },
    }
}

fn known_type(head: &[u8], kind: &str, found: &BTreeMap<String, String>, length: u64) -> Content {
    if found.get("USAGE").map(String::as_str) != Some("filesystem") || kind == "ntfs" {
        return Content::Container {
            kind: kind.to_owned(),
        };
    }
    let facts = superblock_facts(head, kind);
    if let Some(expected) = facts.size.filter(|size| *size > length) {
        return Content::Truncated {
            kind: kind.to_owned(),
            expected,
            found: length,
        };
    }
    Content::Filesystem(Superblock {
        kind: kind.to_owned(),
        uuid: found.get("UUID").cloned(),
        label: found.get("LABEL").cloned(),
        journal_dirty: facts.journal_dirty,
        errors: facts.errors,
        mount_only: facts.mount_only,
    })
}

#[derive(Default)]
struct Facts {
    size: Option<u64>,
    journal_dirty: Option<bool>,
    errors: bool,
    mount_only: bool,
}

fn superblock_facts(head: &[u8], kind: &str) -> Facts {
    match kind {
        "ext2" | "ext3" | "ext4" => ext_facts(head),
        "xfs" => xfs_facts(head),
        "btrfs" => btrfs_facts(head),
        _ => Facts::default(),
    }
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn le64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

const EXT_SUPERBLOCK: usize = 1024;

fn ext_facts(head: &[u8]) -> Facts {
    let field = |at| le32(head, EXT_SUPERBLOCK + at).unwrap_or(0);
    let incompatible = field(0x60);
    let (recover, wide) = (incompatible & 0x4 != 0, incompatible & 0x80 != 0);
    let blocks = u64::from(field(0x4))
        | if wide {
            u64::from(field(0x150)) << 32
        } else {
            0
        };
    let size = 1024_u64
        .checked_shl(field(0x18))
        .and_then(|block| blocks.checked_mul(block));
    let state = field(0x38) >> 16;
    let last_orphan = field(0xe8);
    let orphan_present = field(0x64) & 0x10000 != 0;
    let dirty = recover || last_orphan != 0 || orphan_present;
    Facts {
        size,
        journal_dirty: Some(dirty),
        errors: state & 0x2 != 0,
        mount_only: false,
    }
}

/// `XFS_SB_FEAT_INCOMPAT_META_UUID`.
const XFS_META_UUID: u32 = 0x4;

fn xfs_facts(head: &[u8]) -> Facts {
    let be32 = |at: usize| Some(u32::from_be_bytes(head.get(at..at + 4)?.try_into().ok()?));
    let be64 = |at: usize| Some(u64::from_be_bytes(head.get(at..at + 8)?.try_into().ok()?));
    let size = be32(4)
        .zip(be64(8))
        .and_then(|(block, blocks)| blocks.checked_mul(block.into()));
    // Incompatible features are a field of version 5. META_UUID is set by `xfs_admin -U`, as on copies of one
    // disk; libfsxfs 2026 refuses such a volume, and Plaso then reads nothing and says nothing.
    let version = head.get(101).map(|byte| byte & 0xf);
    let incompatible = be32(216).unwrap_or(0);
    Facts {
        size,
        mount_only: version == Some(5) && incompatible & XFS_META_UUID != 0,
        ..Facts::default()
    }
}

const BTRFS_SUPERBLOCK: usize = 0x10000;

fn btrfs_facts(head: &[u8]) -> Facts {
    let log_root = le64(head, BTRFS_SUPERBLOCK + 0x60);
    // dev_item starts at 0xc9; its total_bytes follows the 8-byte device id.
    let size = le64(head, BTRFS_SUPERBLOCK + 0xd1);
    Facts {
        size,
        journal_dirty: log_root.map(|root| root != 0),
        errors: false,
        mount_only: false,
    }
}

/// The traces of a filesystem that libblkid does not accept.
fn traces(source: &File, head: &[u8], offset: u64, length: u64) -> Option<String> {
    let is_ext = |bytes: &[u8]| bytes.get(0x38..0x3a) == Some(&[0x53, 0xef]);
    if head.get(EXT_SUPERBLOCK..).is_some_and(is_ext) {
        return Some("an ext superblock that is not sound".to_owned());
    }
    if head.starts_with(b"XFSB") {
        return Some("an XFS superblock that is not sound".to_owned());
    }
    if head.get(BTRFS_SUPERBLOCK + 0x40..BTRFS_SUPERBLOCK + 0x48) == Some(b"_BHRfS_M") {
        return Some("a btrfs superblock that is not sound".to_owned());
    }
    // Backup superblocks stand at the start of block group 1: 8193 blocks of 1 KiB, 32768 of 4 KiB.
    [8193_u64 * 1024, 16384 * 2048, 32768 * 4096]
        .into_iter()
        .find_map(|at| {
            let mut backup = [0; 1024];
            (at + 1024 <= length)
                .then(|| source.read_exact_at(&mut backup, offset + at))?
                .ok()?;
            is_ext(&backup)
                .then(|| format!("no superblock, but a backup of an ext one at byte {at}"))
        })
}

/// Whether the head, the tail and 64 places between hold only zeros.
fn is_blank(source: &File, head: &[u8], offset: u64, length: u64) -> bool {
    let mut sample = [0; 4096];
    let places = (0..=64).map(|index| length.saturating_sub(4096) / 64 * index);
    head.iter().all(|byte| *byte == 0)
        && places.into_iter().all(|place| {
            let count = source.read_at(&mut sample, offset + place).unwrap_or(0);
            sample[..count].iter().all(|byte| *byte == 0)
        })
}
