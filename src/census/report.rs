//! What the census tells the agent: plain data, written in the cage, read back with a size limit.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::evidence::plan::Reading;
use crate::printable::EvidencePath;

/// What the agent asks the census for.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CensusRequest {
    /// The filter files, name and text, in order.
    pub filters: Vec<(String, String)>,
    /// Where the evidence is inside the cage for Plaso.
    pub evidence: String,
    /// The reading to plan for if every name can be decoded, else the mount.
    pub preferred: Reading,
    /// How slices are cut.
    pub slicing: Slicing,
}

/// How slices are cut.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Slicing {
    /// How many slices run at once.
    pub at_once: usize,
    /// A slice is not cut below this weight in bytes.
    pub smallest: u64,
    /// A slice is not made heavier than this, but for a single larger file.
    pub largest: u64,
}

/// The answer.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CensusReport {
    /// Who the filesystem belongs to.
    pub identity: Identity,
    /// What was counted.
    pub counts: Counts,
    /// The reading that the slices are made for.
    pub reading: Reading,
    /// The slices, most telling first.
    pub slices: Vec<SliceReport>,
    /// Symbolic links that need a word, at most a hundred.
    pub links: Vec<LinkNote>,
    /// Files and folders that could not be read, at most a hundred.
    pub unreadable: Vec<Unreadable>,
    /// Names that are not UTF-8, at most a hundred: Plaso passes over such files.
    pub undecodable: Vec<EvidencePath>,
    /// SHA-256 over path, kind, size and times of every entry: the folder's own fingerprint.
    pub listing_sha256: String,
}

/// What the evidence says about the machine it came from; every text is printable.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
pub struct Identity {
    /// From `/etc/hostname`.
    pub hostname: Option<String>,
    /// `PRETTY_NAME` of os-release.
    pub distribution: Option<String>,
    /// From `/etc/localtime` or `/etc/timezone`.
    pub time_zone: Option<String>,
    /// From `/etc/machine-id`.
    pub machine_id: Option<String>,
    /// From cloud-init's data.
    pub cloud_instance_id: Option<String>,
}

/// What the census counted.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
pub struct Counts {
    /// Entries of any kind that the filter takes.
    pub entries: u64,
    /// Plain files among them.
    pub files: u64,
    /// Bytes in those files.
    pub bytes: u64,
    /// Links to files and folders that the filter did not take itself, followed inside the evidence.
    pub links_followed: u64,
    /// Links that lead out of the evidence or back to a folder above; never followed.
    pub links_out: u64,
    /// Links to the content of packages; not followed.
    pub links_to_packages: u64,
    /// Files and folders that could not be read.
    pub unreadable: u64,
    /// Names that are not UTF-8.
    pub undecodable: u64,
}

/// One slice.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SliceReport {
    /// Short and safe in paths: `triage`, `logs-2`.
    pub name: String,
    /// The number of its filter file: 0 is what is to be there first.
    pub category: usize,
    /// Entries.
    pub entries: u64,
    /// Bytes in its files.
    pub bytes: u64,
    /// The name of its patterns beside the report.
    pub patterns: String,
    /// The name of the list of its entries beside the report.
    pub listing: String,
}

/// What a slice's filter file is made of, for either reading.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SlicePatterns {
    /// To include.
    pub includes: Vec<String>,
    /// To exclude, without the evidence's own path in front.
    pub excludes: Vec<String>,
}

/// A line of a slice's list of entries.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ListedEntry {
    /// Where it is.
    pub path: EvidencePath,
    /// The parser that should find something in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<String>,
}

/// A symbolic link that needs a word.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct LinkNote {
    /// The link.
    pub path: EvidencePath,
    /// What is the matter: `leads out of the evidence`, `leads to a folder above itself`.
    pub note: String,
}

/// Something that could not be read.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct Unreadable {
    /// Where.
    pub path: EvidencePath,
    /// Why.
    pub reason: String,
}
