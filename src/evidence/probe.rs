//! What a probe of a source found: the partition table and what stands in each region.
//!
//! Plain data. The cage writes it ([`crate::inside::probe`]), the agent reads it; every text in it comes
//! from evidence and goes through [`crate::printable`] before it is shown.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The report of one probe.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeReport {
    /// How the source is divided.
    pub table: Table,
    /// The regions, in the order of the table; one region for a source without a table.
    pub regions: Vec<Region>,
    /// Anything about the table that an examiner should know, such as a damaged primary header.
    pub notes: Vec<String>,
}

/// The kind of partition table.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Table {
    /// No partition table: one filesystem, or nothing, on the whole source.
    None,
    /// A GUID partition table.
    Gpt,
    /// A DOS (MBR) partition table.
    Mbr,
}

/// A stretch of the source that may hold a filesystem.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// Partition number, or none for a source without a table.
    pub number: Option<u32>,
    /// First byte, from the start of the source.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// What the partition table says about the region, if it says something.
    pub type_name: Option<String>,
    /// What stands there.
    pub content: Content,
}

impl Region {
    /// A short name that is safe in paths: `p2`, or `disk` for a source without a table.
    #[must_use]
    pub fn label(&self) -> String {
        self.number
            .map_or_else(|| "disk".to_owned(), |number| format!("p{number}"))
    }
}

/// What stands in a region.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Content {
    /// A filesystem of which Linux volumes are made.
    Filesystem(Superblock),
    /// Something that has to be opened or assembled first, or that is no evidence for a Linux timeline.
    Container {
        /// What it is, as libblkid names it: `crypto_LUKS`, `LVM2_member`, `ntfs`, `swap`.
        kind: String,
    },
    /// The start of a boot loader, by the partition table's word.
    BootLoader,
    /// Zeros wherever it was looked at.
    Empty,
    /// A filesystem that is larger than the region it stands in.
    Truncated {
        /// libblkid's name of the filesystem.
        kind: String,
        /// Bytes the filesystem says it has.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// The traces of a filesystem whose superblock is not sound.
    Damaged {
        /// What was seen, in a few words.
        seen: String,
    },
    /// Nothing that libblkid knows.
    Unknown,
    /// Signatures of several kinds at once.
    Ambiguous,
    /// The region could not be read.
    Unreadable {
        /// The system's reason.
        reason: String,
    },
}

/// What the superblock says.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
pub struct Superblock {
    /// libblkid's name: `ext4`, `xfs`, `btrfs`.
    pub kind: String,
    /// The filesystem's UUID.
    pub uuid: Option<String>,
    /// The filesystem's label.
    pub label: Option<String>,
    /// Whether the journal or log holds changes that were never replayed; none if it cannot be told
    /// from the superblock.
    pub journal_dirty: Option<bool>,
    /// Whether the filesystem recorded errors.
    pub errors: bool,
    /// Whether it has a feature that Plaso's own code refuses, so that only a mount can read it.
    pub mount_only: bool,
}
