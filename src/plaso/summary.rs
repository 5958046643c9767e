//! What a storage file says about the run that wrote it: plain data from the cage.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::printable::EvidencePath;

/// How many of each kind are kept by name.
pub const NAMED: usize = 100;

/// The summary of one storage file.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct StoreSummary {
    /// The storage format.
    pub format_version: String,
    /// Whether every session in it has an end.
    pub completed: bool,
    /// Whether a session says that it was broken off.
    pub aborted: bool,
    /// Rows of events.
    pub events: u64,
    /// Events by parser chain.
    pub parsers: BTreeMap<String, u64>,
    /// Entries of the slice that Plaso never took up.
    pub missing: u64,
    /// The first of them.
    pub missing_named: Vec<EvidencePath>,
    /// Files that gave nothing but their own times, though their names promise more.
    pub silent: u64,
    /// The first of them.
    pub silent_named: Vec<Silent>,
    /// Warnings while extracting: something was not read.
    pub warnings: Warnings,
    /// Warnings about lines that hold no events; see [`is_harmless`].
    pub harmless_warnings: u64,
    /// Warnings while recovering deleted data: nothing that a plain reading would have.
    pub recovery_warnings: Warnings,
    /// Warnings while making dates, most of them assumptions about years.
    pub timelining_warnings: Warnings,
}

/// Warnings of one kind.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
pub struct Warnings {
    /// How many.
    pub count: u64,
    /// The first of them.
    pub first: Vec<Warning>,
}

/// One warning.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
pub struct Warning {
    /// Plaso's words.
    pub message: String,
    /// The parser chain.
    pub parser: String,
    /// The file.
    pub path: Option<EvidencePath>,
}

/// Whether an extraction warning tells of nothing lost: every viminfo file has lines that are no entries
/// (headings, `|` registers), and Plaso 20260720 warns of each.
#[must_use]
pub fn is_harmless(parser: &str, message: &str) -> bool {
    parser.ends_with("text/viminfo") && message.starts_with("unable to parse log line")
}

/// A file that gave nothing.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
pub struct Silent {
    /// The file.
    pub path: EvidencePath,
    /// The parser that should have found something.
    pub expected: String,
}

/// What an export reports of its work.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
pub struct ExportReceipt {
    /// Documents written.
    pub documents: u64,
    /// Events that psort takes for doubles and leaves out.
    #[serde(default)]
    pub duplicates: u64,
    /// Event rows in the storage file.
    #[serde(default)]
    pub events: u64,
    /// Documents with text that is not Unicode, written with escapes.
    #[serde(default)]
    pub escaped_surrogates: u64,
    /// Numbers that JSON does not have, written as text.
    #[serde(default)]
    pub replaced_numbers: u64,
    /// Documents that Plaso's own code made, because ours does not know how.
    #[serde(default)]
    pub by_plaso: u64,
    /// Date and time of the first document.
    #[serde(default)]
    pub first: Option<String>,
    /// Date and time of the last document.
    #[serde(default)]
    pub last: Option<String>,
}
