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
}
