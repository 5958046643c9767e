//! A job's folder: the names in it, who may use it, and what is known from an earlier run.
//!
//! ```text
//! DIR/NAME-KEY/
//!   job.json             what was asked for, and the source's fingerprint before anything was read
//!   plan.json            filesystems and slices; there once the census is complete
//!   plan/LABEL/          the census's answer: the whole filter, patterns and entries of each slice
//!   slices/NN-NAME/      a finished slice: storage.plaso, documents.jsonl until they are joined, slice.json
//!   slices/NN-NAME.run/  a slice at work; never looked at again after a break
//!   timeline.jsonl  manifest.json  report.txt
//! ```
//! Folders of finished things appear by rename, so what is there is whole.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::durable::{self, FileError};
use crate::evidence::fingerprint::Fingerprint;
use crate::evidence::probe::Table;
use crate::manifest::{FilesystemRecord, Manifest, SliceRecord};

/// The documents of a finished slice, until they are joined.
pub const DOCUMENTS: &str = "documents.jsonl";

/// Sizes beyond which a file of ours is not ours.
const MOST_JSON: u64 = 256 * 1024 * 1024;

/// What was asked for; on going on it must be the same.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct JobRecord {
    /// The case.
    pub case: Option<String>,
    /// When the job was started first.
    pub started: String,
    /// How often it was gone on with.
    pub resumed: u32,
    /// What the timeline depends on besides the source.
    pub terms: Terms,
    /// The source before anything was read.
    pub before: Option<Fingerprint>,
}

/// What the timeline depends on besides the source.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// Plaso's release.
    pub plaso: u32,
    /// What is looked for, and by what; the same for most jobs, so they share it.
    pub selection: Arc<Selection>,
}

/// What is looked for, and by what.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    /// Filter files, name and text.
    pub filters: Vec<(String, String)>,
    /// Parsers and plugins.
    pub parsers: Vec<String>,
}

impl Selection {
    /// SHA-256 over the names and texts of the filter files.
    #[must_use]
    pub fn filter_sha256(&self) -> String {
        let mut hasher = Sha256::new();
        for (name, text) in &self.filters {
            hasher.update(name);
            hasher.update([0]);
            hasher.update(text);
            hasher.update([0]);
        }
        durable::hex(&hasher.finalize())
    }
}

/// The plan, once the census is complete.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PlanRecord {
    /// Kind of partition table.
    pub table: Table,
    /// Notes about it.
    pub table_notes: Vec<String>,
    /// Every region, read or not.
    pub filesystems: Vec<FilesystemRecord>,
    /// Hashes over folders' listings, in the order of the filesystems that are read.
    pub listings: Vec<String>,
    /// The slices in order.
    pub slices: Vec<PlannedSlice>,
}

/// A slice of the plan.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedSlice {
    /// Its folder's name: `01-triage`.
    pub name: String,
    /// The label of its filesystem.
    pub filesystem: String,
    /// The number of its filter file: 0 is what is to be there first.
    pub category: usize,
    /// Entries.
    pub entries: u64,
    /// Bytes.
    pub bytes: u64,
    /// What its filter file is made of, from the plan's folder.
    pub patterns: PathBuf,
    /// Its list of entries, from the plan's folder.
    pub listing: PathBuf,
}

/// A folder that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// A file in it.
    #[error(transparent)]
    File(#[from] FileError),
    /// Somebody else is at it.
    #[error("work in {}: another dfagent is at it", folder.display())]
    Taken {
        /// The folder.
        folder: PathBuf,
    },
}

/// The folder of a job, held by a lock.
#[derive(Debug)]
pub struct JobFolder {
    path: PathBuf,
    mounts: PathBuf,
    _lock: Flock<File>,
}

impl JobFolder {
    /// Makes or opens the folder and locks it; filesystems are mounted below `mounts`, or in the folder.
    ///
    /// # Errors
    /// It cannot be made, or another process holds it.
    pub fn open(path: PathBuf, mounts: Option<PathBuf>) -> Result<Self, JobError> {
        let mounts = mounts.unwrap_or_else(|| path.join("mount"));
        durable::make_folder(&path.join("slices"))?;
        let lock = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path.join(".lock"));
        let lock = lock.map_err(|source| FileError::System {
            operation: "open the lock in",
            path: path.clone(),
            source,
        })?;
        match Flock::lock(lock, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Self {
                path,
                mounts,
                _lock: lock,
            }),
            Err(_) => Err(JobError::Taken { folder: path }),
        }
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A place in it.
    #[must_use]
    pub fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Where filesystems are mounted, in this program's own namespace.
    #[must_use]
    pub fn mount_point(&self, label: &str) -> PathBuf {
        self.mounts.join(label)
    }

    /// Removes the folders that filesystems were mounted at; they must be empty.
    pub fn remove_mount_points(&self) {
        let labels = std::fs::read_dir(&self.mounts).into_iter().flatten();
        for label in labels.flatten() {
            drop(std::fs::remove_dir(label.path()));
        }
        drop(std::fs::remove_dir(&self.mounts));
    }

    /// A finished slice's folder.
    #[must_use]
    pub fn slice(&self, name: &str) -> PathBuf {
        self.path.join("slices").join(name)
    }

    /// The folder of a slice at work.
    #[must_use]
    pub fn running_slice(&self, name: &str) -> PathBuf {
        self.path.join("slices").join(format!("{name}.run"))
    }

    /// What was asked for in an earlier run.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn record(&self) -> Result<Option<JobRecord>, FileError> {
        durable::read_json(&self.at("job.json"), MOST_JSON)
    }

    /// Keeps what was asked for.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn keep_record(&self, record: &JobRecord) -> Result<(), FileError> {
        durable::write_json(&self.at("job.json"), record)
    }

    /// Whether an earlier run came to a plan.
    #[must_use]
    pub fn has_plan(&self) -> bool {
        self.at("plan.json").exists()
    }

    /// The plan of an earlier run, if its census was complete.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn plan(&self) -> Result<Option<PlanRecord>, FileError> {
        durable::read_json(&self.at("plan.json"), MOST_JSON)
    }

    /// Keeps the plan.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn keep_plan(&self, plan: &PlanRecord) -> Result<(), FileError> {
        durable::write_json(&self.at("plan.json"), plan)
    }

    /// The record of a finished slice.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn slice_record(&self, name: &str) -> Result<Option<SliceRecord>, FileError> {
        durable::read_json(&self.slice(name).join("slice.json"), MOST_JSON)
    }

    /// The manifest of a finished job.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn manifest(&self) -> Result<Option<Manifest>, FileError> {
        durable::read_json(&self.at("manifest.json"), MOST_JSON)
    }
}
