//! What is to be delivered: the words of the agent to delivery. They are read by the other side, which may be an
//! older or newer release, so a field that is not known is passed over, and another schema is named and left alone.

use serde::{Deserialize, Serialize};

/// The version of [`Order`] and [`HandedSlice`].
pub const SCHEMA: &str = "dfagent-order-1";

/// A job of which slices are delivered.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
pub struct Order {
    /// `dfagent-order-1`.
    pub schema: String,
    /// The job; also the name of its folder.
    pub job: String,
    /// When the job was started first, RFC 3339: a job that was begun anew is another run.
    pub run: String,
    /// The volume, or the name of another source.
    pub volume: String,
    /// The case.
    pub case: Option<String>,
    /// SHA-256 over the source, or over its sampled sectors, as the manifest has it.
    pub evidence_sha256: Option<String>,
    /// How often an operator asked to try what is not proven once more.
    pub again: u32,
    /// None while slices are still to come.
    pub closed: Option<Closed>,
    /// By which way it is delivered.
    #[serde(flatten)]
    pub way: Way,
    /// Whether the run was given up: nothing more of it is delivered, and what was streamed is to be removed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub cancelled: bool,
    /// How often it was given up: what was streamed before the last time is to be removed, also when it was gone on
    /// with meanwhile.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub given_up: u32,
    /// Earlier runs of the job that were streamed and given up: what is left of them is to be removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
}

/// By which way a job is delivered: what it was begun with, whatever the configuration says later.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(default)]
pub struct Way {
    /// How.
    pub how: How,
    /// Whether documents are labelled with where they are from.
    pub labels: bool,
}

impl Default for Way {
    fn default() -> Self {
        Self {
            how: How::Upload,
            labels: true,
        }
    }
}

/// How a job is delivered.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// Its storage files to Timesketch.
    #[default]
    Upload,
    /// Its documents into OpenSearch.
    Stream,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
pub(super) const fn is_zero(value: &u32) -> bool {
    *value == 0
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// The end of the extraction.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
pub struct Closed {
    /// The slices that were handed over, all of them.
    pub slices: Vec<String>,
    /// SHA-256 of the manifest.
    pub manifest_sha256: String,
}

/// A finished slice.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
pub struct HandedSlice {
    /// `dfagent-order-1`.
    pub schema: String,
    /// Its name; also that of its folder.
    pub name: String,
    /// The label of its filesystem.
    pub filesystem: String,
    /// The host's name as the filesystem has it, printable.
    pub host: Option<String>,
    /// The instance's id as the filesystem has it, printable.
    pub instance: Option<String>,
    /// Rows of events.
    pub events: u64,
    /// Documents: events without psort's doubles; so many have to be found.
    pub documents: u64,
    /// Bytes of the storage file.
    pub bytes: u64,
    /// SHA-256 of the storage file.
    pub sha256: String,
    /// Plaso's release.
    pub plaso: String,
    /// SHA-256 of the slice's record, which stands in the manifest later.
    pub record_sha256: String,
    /// Its documents, where these are handed over and not the storage file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<Lines>,
}

/// A file of documents, one a line.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
pub struct Lines {
    /// Bytes.
    pub bytes: u64,
    /// SHA-256.
    pub sha256: String,
    /// When it was handed over, RFC 3339, UTC.
    pub at: String,
}

impl HandedSlice {
    /// Bytes of what is sent.
    #[must_use]
    pub fn bytes_to_send(&self) -> u64 {
        self.lines.as_ref().map_or(self.bytes, |lines| lines.bytes)
    }
}
