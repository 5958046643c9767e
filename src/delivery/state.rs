//! Delivery's own memory of a job: which upload of which slice is how far. It is on disk before each send, so that a
//! killed delivery goes on where it was and never sends a last chunk without looking first.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::order::{HandedSlice, Order};
use super::receipt::{self, Link, Receipt, SliceReceipt, Stage};
use crate::clock;
use crate::durable::{self, FileError};

/// The version of [`JobState`].
const SCHEMA: &str = "dfagent-delivery-state-1";

const MOST: u64 = 16 * 1024 * 1024;

/// What is known about a job.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct JobState {
    schema: String,
    /// The job.
    pub job: String,
    /// The run of the order.
    pub run: String,
    /// The server that all of this is about.
    #[serde(default)]
    pub server: String,
    /// The number of the try by hand.
    pub again: u32,
    /// The sketch, once it is found or made: a job stays with it.
    pub sketch: Option<Link>,
    /// Its slices by name.
    pub slices: BTreeMap<String, SliceState>,
    /// What it waits for.
    #[serde(skip)]
    pub waits: Option<String>,
    /// What a person has to do.
    #[serde(skip)]
    pub needs: Option<String>,
}

/// What is known about a slice.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct SliceState {
    /// SHA-256 of its storage file.
    pub sha256: String,
    /// How far it is.
    pub stage: Stage,
    /// Uploads that were begun.
    pub tries: u32,
    /// The upload under way, or the last one.
    pub upload: Option<Upload>,
    /// The timeline that the server made; to be removed first when another upload begins.
    pub timeline: Option<Link>,
    /// Documents found last.
    pub found: Option<u64>,
    /// What went wrong last, printable.
    pub error: Option<String>,
}

/// An upload.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Upload {
    /// The server's name for it: 32 hexadecimal digits.
    pub id: String,
    /// Bytes of a chunk.
    pub chunk: u64,
    /// Bytes that the server has confirmed.
    pub sent: u64,
    /// Whether the last chunk was begun to be sent and its answer is not known.
    pub last_begun: bool,
    /// The server's number for its work on the file; none when the answer that named it was lost.
    #[serde(default)]
    pub task: Option<String>,
}

impl SliceState {
    /// The server's name for the upload under way, or the last one.
    #[must_use]
    pub fn upload_id(&self) -> String {
        let upload = self.upload.as_ref();
        upload.map(|upload| upload.id.clone()).unwrap_or_default()
    }
}

impl JobState {
    /// The state for an order and a server: a job that was begun anew and one that goes to another server begin with
    /// none. Another try by hand, or the same job handed over once more, begins anew with what is not proven.
    pub fn take_order(&mut self, order: &Order, server: &str) {
        let same = self.job == order.job && self.run == order.run && self.server == server;
        if !same {
            *self = Self {
                schema: SCHEMA.to_owned(),
                job: order.job.clone(),
                run: order.run.clone(),
                server: server.to_owned(),
                again: order.again,
                ..Self::default()
            };
        }
        if self.again != order.again {
            self.again = order.again;
            let open = self.slices.values_mut();
            for slice in open.filter(|slice| slice.stage != Stage::Proven) {
                (slice.stage, slice.tries, slice.upload) = (Stage::Waiting, 0, None);
            }
        }
    }

    /// The state of a slice; another storage file under its name begins with none.
    pub fn slice(&mut self, handed: &HandedSlice) -> &mut SliceState {
        let slice = self.slices.entry(handed.name.clone()).or_default();
        if slice.sha256 != handed.sha256 {
            *slice = SliceState {
                sha256: handed.sha256.clone(),
                ..SliceState::default()
            };
            if handed.documents == 0 {
                // There is nothing to be found, and Timesketch makes no index of nothing.
                (slice.stage, slice.found) = (Stage::Proven, Some(0));
            }
        }
        slice
    }

    /// What is told about it.
    #[must_use]
    pub fn receipt(&self, handed: &[HandedSlice]) -> Receipt {
        let slices = handed.iter().map(|handed| {
            let state = self.slices.get(&handed.name);
            let state = state.cloned().unwrap_or_default();
            let under_way = state.upload.as_ref().map_or(0, |upload| upload.sent);
            let all = state.stage > Stage::Uploading;
            SliceReceipt {
                name: handed.name.clone(),
                sha256: handed.sha256.clone(),
                stage: state.stage,
                bytes: handed.bytes,
                sent: if all { handed.bytes } else { under_way },
                expected: handed.documents,
                found: state.found,
                timeline: state.timeline,
                tries: state.tries,
                error: state.error,
            }
        });
        Receipt {
            schema: receipt::SCHEMA.to_owned(),
            job: self.job.clone(),
            run: self.run.clone(),
            again: self.again,
            at: clock::now(),
            sketch: self.sketch.clone(),
            waits: self.waits.clone(),
            needs: self.needs.clone(),
            slices: slices.collect(),
        }
    }
}

/// The folder of states.
#[derive(Clone, Debug)]
pub struct States {
    folder: PathBuf,
}

impl States {
    /// The states in this folder, which is made.
    ///
    /// # Errors
    /// The system's refusal.
    pub fn at(folder: &Path) -> Result<Self, FileError> {
        let folder = folder.join("state");
        durable::make_folder(&folder)?;
        Ok(Self { folder })
    }

    fn path(&self, job: &str) -> PathBuf {
        self.folder.join(format!("{job}.json"))
    }

    /// What is known about a job.
    ///
    /// # Errors
    /// It cannot be read, or is of another release.
    pub fn load(&self, job: &str) -> Result<JobState, FileError> {
        let path = self.path(job);
        let mut state: JobState = durable::read_json(&path, MOST)?.unwrap_or_default();
        if !state.schema.is_empty() && state.schema != SCHEMA {
            return Err(FileError::Refused {
                path,
                reason: "it is of a release that this one does not understand",
            });
        }
        // An order that cannot be read is told about under the job's name, too.
        job.clone_into(&mut state.job);
        Ok(state)
    }

    /// Keeps what is known about a job.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep(&self, state: &JobState) -> Result<(), FileError> {
        durable::write_json(&self.path(&state.job), state)
    }

    /// Forgets the jobs that there are no orders for any more.
    pub fn forget_others(&self, jobs: &[String]) {
        let files = std::fs::read_dir(&self.folder).into_iter().flatten();
        for path in files.flatten().map(|file| file.path()) {
            let job = path.file_stem().and_then(|name| name.to_str());
            let known = job.is_some_and(|job| jobs.iter().any(|one| one == job));
            if !known {
                drop(std::fs::remove_file(&path));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(run: &str, again: u32) -> Order {
        Order {
            job: "j".into(),
            run: run.into(),
            again,
            ..Order::default()
        }
    }

    #[test]
    fn a_new_try_begins_anew_with_what_is_not_proven_and_knows_what_to_remove() {
        let mut state = JobState::default();
        state.take_order(&order("1", 0), "https://t");
        let timeline = Some(Link::default());
        for (name, stage) in [("a", Stage::Proven), ("b", Stage::Short)] {
            let slice = SliceState {
                stage,
                tries: 3,
                timeline: timeline.clone(),
                ..SliceState::default()
            };
            state.slices.insert(name.into(), slice);
        }
        let before = state.clone();
        state.take_order(&order("1", 0), "https://t");
        assert_eq!(state, before);
        state.take_order(&order("1", 1), "https://t");
        assert_eq!(state.slices["a"], before.slices["a"]);
        let again = &state.slices["b"];
        assert_eq!((again.stage, again.tries), (Stage::Waiting, 0));
        assert_eq!(again.timeline, timeline);
        // A job that was taken back and handed over once more keeps what is proven.
        let mut anew = before.clone();
        anew.again = 5;
        anew.take_order(&order("1", 0), "https://t");
        assert_eq!((anew.again, &anew.slices), (0, &state.slices));
        for (order, server) in [
            (order("2", 1), "https://t"),
            (order("1", 1), "https://other"),
        ] {
            let mut other = state.clone();
            other.take_order(&order, server);
            assert!(other.slices.is_empty(), "{order:?} {server}");
        }
    }
}
