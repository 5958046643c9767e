//! The custody record of a job: what was read, by what, with which result, and the proof that nothing was
//! written. Its JSON schema is checked in at `docs/schema/manifest-1.json`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cage::Ended;
use crate::cage::run::CageFacts;
use crate::census::report::{Counts, Identity, LinkNote, Unreadable};
use crate::durable::{self, FileError};
use crate::ec2::cloud::{Cloud, Instance, Tagged, Volume};
use crate::evidence::fingerprint::Fingerprint;
use crate::evidence::outcome::Unread;
use crate::evidence::plan::Reading;
use crate::evidence::probe::Table;
use crate::evidence::source::SourceFacts;
use crate::plaso::summary::Warnings;
use crate::plaso::verdict::Verdict;
use crate::printable::EvidencePath;

/// The version of the layout.
pub const SCHEMA: &str = "dfagent-manifest-1";

/// A job's manifest.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// `dfagent-manifest-1`.
    pub schema: String,
    /// The job: name of the source and its key; also the name of the folder.
    pub job: String,
    /// The case it was given, if any.
    pub case: Option<String>,
    /// What EC2 said about instance and volume by the end of the job; none where it said nothing.
    pub cloud: Option<CloudRecord>,
    /// Version of this program.
    pub dfagent: String,
    /// When the job was started first, RFC 3339, UTC.
    pub started: String,
    /// When it was finished.
    pub finished: String,
    /// How often it was gone on with after a break.
    pub resumed: u32,
    /// The whole job's verdict.
    pub verdict: Verdict,
    /// What was read.
    pub source: SourceFacts,
    /// The proof that it is as it was.
    pub custody: Custody,
    /// How the source is divided.
    pub table: Table,
    /// What an examiner should know about the partition table.
    pub table_notes: Vec<String>,
    /// Every region of the source, read or not.
    pub filesystems: Vec<FilesystemRecord>,
    /// What read it.
    pub plaso: PlasoRecord,
    /// The sandbox it was read in.
    pub cage: CageFacts,
    /// The slices, in order.
    pub slices: Vec<SliceRecord>,
    /// The timeline; none when no slice gave one.
    pub timeline: Option<TimelineRecord>,
}

/// What EC2 said, as delivery wrote it down. It is a claim, and no part of the proof; but who has AWS's certificate of
/// the region can check the signature over the document.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CloudRecord {
    /// The instance that the job ran on.
    pub instance: Option<Instance>,
    /// The volume; none where EC2 was not asked, or did not know it.
    pub volume: Option<Volume>,
    /// Which tag the case is from; none: it is from none.
    pub case_from: Option<Tagged>,
}

impl CloudRecord {
    /// What is said about a volume, and its case if a tag names one. Nothing is taken as it stands.
    #[must_use]
    pub fn of(cloud: &Cloud, volume: &str) -> (Option<Self>, Option<String>) {
        let (case, case_from) = cloud.case(volume).unzip();
        let record = Self {
            instance: cloud.instance.as_ref().and_then(|one| {
                let (document, signature) = (&one.document, &one.signature);
                Instance::of(document.as_bytes(), signature.as_bytes())
            }),
            volume: cloud.volume(volume).map(Volume::cleaned),
            case_from,
        };
        let says = record.instance.is_some() || record.volume.is_some() || case.is_some();
        (says.then_some(record), case)
    }
}

/// Before and after.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Custody {
    /// Before anything was read; none for a folder.
    pub before: Option<Fingerprint>,
    /// After everything was released.
    pub after: Option<Fingerprint>,
    /// For a folder: hashes over paths, sizes and times of the entries, before and after.
    pub listings: Vec<[String; 2]>,
    /// What is different; empty when nothing is.
    pub differences: Vec<String>,
    /// Whether the same disk was still attached at the end.
    pub still_present: bool,
}

/// One region.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FilesystemRecord {
    /// `disk`, `p2`, or `folder`.
    pub label: String,
    /// First byte in the source.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// What the partition table calls it.
    pub partition_name: Option<String>,
    /// libblkid's name of the filesystem.
    pub kind: Option<String>,
    /// UUID.
    pub uuid: Option<String>,
    /// Label.
    pub volume_label: Option<String>,
    /// Why it was not read; none if it was.
    pub unread: Option<Unread>,
    /// How it was read; none if it was not.
    pub view: Option<View>,
    /// What it says about its machine.
    pub identity: Option<Identity>,
    /// What the census counted.
    pub counts: Option<Counts>,
    /// Links that need a word.
    pub links: Vec<LinkNote>,
    /// What the census could not read.
    pub unreadable: Vec<Unreadable>,
    /// Names that are not UTF-8.
    pub undecodable: Vec<EvidencePath>,
}

/// How a filesystem was read.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct View {
    /// `direct`: read-only device, journal not replayed.
    pub kind: String,
    /// By which way Plaso read it.
    pub reading: Reading,
    /// Its path inside the cage, as path specifications in the events show it.
    pub path: String,
    /// Options of the mount.
    pub mount_options: String,
    /// Whether the journal holds changes that were not replayed; none if that cannot be told.
    pub journal_dirty: Option<bool>,
    /// Whether the filesystem had recorded errors of its own.
    pub recorded_errors: bool,
    /// The zone given to Plaso for stamps without one.
    pub time_zone: String,
    /// Where it is from: `evidence`, or `default` with the reason.
    pub time_zone_source: String,
}

/// Plaso.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlasoRecord {
    /// Release.
    pub version: String,
    /// Python.
    pub python: String,
    /// Release of libfsxfs.
    pub libfsxfs: Option<u32>,
    /// `single_process`: how each slice is run.
    pub mode: String,
    /// Parsers and plugins.
    pub parsers: Vec<String>,
    /// SHA-256 over the names and texts of the filter files.
    pub filter_sha256: String,
    /// Names of the filter files.
    pub filters: Vec<String>,
}

/// One slice.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SliceRecord {
    /// Its folder below `slices/`.
    pub name: String,
    /// The label of its filesystem.
    pub filesystem: String,
    /// Its verdict.
    pub verdict: Verdict,
    /// Entries that it covers.
    pub entries: u64,
    /// Bytes in its files.
    pub bytes: u64,
    /// Rows of events in the storage file.
    pub events: u64,
    /// Documents: events without psort's doubles.
    pub documents: u64,
    /// Events by parser chain.
    pub parsers: std::collections::BTreeMap<String, u64>,
    /// How Plaso ended.
    pub ended: Ended,
    /// Runs it took.
    pub attempts: u32,
    /// When the last run was started.
    pub started: String,
    /// Seconds from there to the finished folder.
    pub seconds: f64,
    /// CPU seconds of the last run, where a cgroup counts them.
    pub cpu_seconds: Option<f64>,
    /// By which way Plaso read it in the end.
    pub reading: Reading,
    /// The command in the cage.
    pub command: Vec<String>,
    /// What Plaso could not read.
    pub warnings: Warnings,
    /// Warnings about lines that hold no events.
    pub harmless_warnings: u64,
    /// What it could not recover.
    pub recovery_warnings: Warnings,
    /// What it assumed about dates.
    pub timelining_warnings: Warnings,
    /// What made the documents.
    #[serde(default)]
    pub exporter: Exporter,
    /// Documents of the exporter's that Plaso's own code made, because only it knows how.
    #[serde(default)]
    pub by_plaso: u64,
    /// Documents with text that is not Unicode, and numbers that JSON does not have.
    pub rewritten_documents: [u64; 2],
    /// Files of the slice's folder.
    pub files: Vec<FileRecord>,
}

/// What made documents of a storage file.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Exporter {
    /// Plaso's psort, as a whole.
    #[default]
    Psort,
    /// Our own.
    Dfagent,
}

/// One file of the job's folder.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileRecord {
    /// Path from the job's folder.
    pub path: String,
    /// Bytes.
    pub bytes: u64,
    /// SHA-256.
    pub sha256: String,
}

impl FileRecord {
    /// Hashes a file, away from the thread that watches the cages; `path` is how the record shows it.
    ///
    /// # Errors
    /// It cannot be read or is not a plain file.
    pub async fn of(file: PathBuf, path: String) -> Result<Self, FileError> {
        let place = file.clone();
        let hashed = tokio::task::spawn_blocking(move || durable::hash_file(&file)).await;
        let (sha256, bytes) = hashed.map_err(|error| FileError::System {
            operation: "hash",
            path: place,
            source: std::io::Error::other(error),
        })??;
        Ok(Self {
            path,
            bytes,
            sha256,
        })
    }
}

/// The timeline.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimelineRecord {
    /// The file.
    pub file: FileRecord,
    /// Documents in it.
    pub documents: u64,
    /// Date and time of the first.
    pub first: Option<String>,
    /// Date and time of the last.
    pub last: Option<String>,
}
