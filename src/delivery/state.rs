//! Delivery's own memory of a job: which upload of which slice is how far. It is on disk before each send, so that a
//! killed delivery goes on where it was and never sends a last chunk without looking first.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::order::{HandedSlice, How, Order, is_zero};
use super::receipt::{self, Link, Receipt, SliceReceipt, Stage, Streamed};
use crate::clock;
use crate::durable::{self, FileError};
use crate::opensearch::Position;

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
    /// By which way it goes.
    #[serde(default, skip_serializing_if = "is_upload")]
    pub how: How,
    /// Where its documents go, when it is streamed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamState>,
    /// What is left of streams that were given up, to be removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<Left>,
    /// How often it was given up, as far as is known: what was streamed before is among what is left, or removed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub given_up: u32,
    /// Whether all of it is removed, because it was cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<bool>,
    /// SHA-256 of the manifest, once the order has it.
    #[serde(skip)]
    manifest_sha256: Option<String>,
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
    /// How far its documents are, when it is streamed: what is before it, OpenSearch has or has refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// Documents a second.
    #[serde(skip)]
    pub pace: Option<f64>,
}

/// Where the documents of a job go.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct StreamState {
    /// How often it was begun anew under another name.
    pub generation: u32,
    /// How often it was begun since a person asked last.
    pub tries: u32,
    /// The index; empty before it has a name.
    pub index: String,
    /// Whether the index is made.
    pub made: bool,
    /// Timesketch's number for the index.
    pub known_as: Option<u64>,
    /// The timeline.
    pub timeline: Option<Link>,
    /// Whether it stands beside the timeline where it is from: not, while the job goes on, or also how it ended.
    pub described: Described,
    /// Whether a document was sent, so that the index has its fields.
    pub begun: bool,
}

/// What stands beside a timeline.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
pub enum Described {
    /// Nothing.
    #[default]
    Not,
    /// Where it is from.
    Begun,
    /// Also the hash of the manifest.
    Whole,
}

/// What is left of a stream.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Left {
    /// The sketch of the timeline.
    pub sketch: Option<u64>,
    /// The timeline.
    pub timeline: Option<u64>,
    /// The index.
    pub index: String,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_upload(how: &How) -> bool {
    *how == How::Upload
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
        let same_place = self.job == order.job && self.server == server;
        let same = same_place && self.run == order.run && self.how == order.way.how;
        if !same {
            if same_place && order.remove.contains(&self.run) {
                self.leave_stream();
            }
            let left = if same_place {
                std::mem::take(&mut self.left)
            } else {
                Vec::new()
            };
            *self = Self {
                schema: SCHEMA.to_owned(),
                job: order.job.clone(),
                run: order.run.clone(),
                server: server.to_owned(),
                again: order.again,
                how: order.way.how,
                given_up: order.given_up,
                left,
                ..Self::default()
            };
        }
        if self.given_up != order.given_up {
            self.given_up = order.given_up;
            self.leave_stream();
            self.slices.clear();
        }
        if !order.cancelled {
            self.removed = None;
        }
        let closed = order.closed.as_ref();
        self.manifest_sha256 = closed.map(|closed| closed.manifest_sha256.clone());
        if self.again != order.again {
            self.again = order.again;
            let open = self.slices.values_mut();
            for slice in open.filter(|slice| slice.stage != Stage::Proven) {
                (slice.stage, slice.tries, slice.upload) = (Stage::Waiting, 0, None);
                slice.position = None;
            }
            if let Some(stream) = &mut self.stream {
                stream.tries = 0;
            }
        }
    }

    /// Gives the stream up: what is left of it is to be removed, and the next one has another name.
    pub fn leave_stream(&mut self) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        let next = StreamState {
            generation: stream.generation + 1,
            tries: stream.tries,
            ..StreamState::default()
        };
        let before = std::mem::replace(stream, next);
        if !before.index.is_empty() {
            self.left.push(Left {
                sketch: self.sketch.as_ref().map(|sketch| sketch.id),
                timeline: before.timeline.map(|timeline| timeline.id),
                index: before.index,
            });
        }
        for slice in self
            .slices
            .values_mut()
            .filter(|slice| slice.position.is_some())
        {
            (slice.stage, slice.position, slice.found) = (Stage::Waiting, None, None);
            slice.timeline = None;
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
            let uploaded = state.upload.as_ref().map(|upload| upload.sent);
            let streamed = state.position.map(|position| position.offset);
            let under_way = uploaded.or(streamed).unwrap_or_default();
            let bytes = handed.bytes_to_send();
            let all = state.stage > Stage::Uploading;
            SliceReceipt {
                name: handed.name.clone(),
                sha256: handed.sha256.clone(),
                stage: state.stage,
                bytes,
                sent: if all { bytes } else { under_way },
                expected: handed.documents,
                found: state.found,
                timeline: state.timeline,
                tries: state.tries,
                error: state.error,
                streamed: handed.lines.as_ref().map(|_| {
                    let position = state.position.unwrap_or_default();
                    Streamed {
                        documents: position.documents,
                        refused: position.refused,
                        mended: position.mended,
                        per_second: state.pace,
                    }
                }),
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
            removed: self.removed,
            manifest_sha256: self.manifest_sha256.clone().filter(|_| self.is_described()),
        }
    }

    /// Whether nothing is left to be written beside the timeline.
    fn is_described(&self) -> bool {
        let stream = self.stream.as_ref();
        stream.is_none_or(|stream| stream.described != Described::Begun)
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

    /// A state with one slice that was streamed to its end.
    fn streamed() -> JobState {
        let mut state = JobState::default();
        state.take_order(&order("1", 0), "https://t");
        state.stream = Some(StreamState {
            index: "df0".into(),
            timeline: Some(Link::default()),
            ..StreamState::default()
        });
        let slice = SliceState {
            stage: Stage::Proven,
            position: Some(Position::default()),
            ..SliceState::default()
        };
        state.slices.insert("a".into(), slice);
        state
    }

    #[test]
    fn a_stream_that_was_given_up_is_left_once_also_when_it_is_gone_on_with() {
        let mut state = streamed();
        let cancelled = Order {
            cancelled: true,
            given_up: 1,
            ..order("1", 0)
        };
        let on = Order {
            cancelled: false,
            ..cancelled.clone()
        };
        for order in [&cancelled, &cancelled, &on] {
            state.take_order(order, "https://t");
            assert_eq!(state.left.len(), 1);
            assert!(state.slices.is_empty());
            assert_eq!(state.stream.as_ref().unwrap().generation, 1);
        }
        assert_eq!(state.left[0].index, "df0");
        // The same, when the cancelled order was never seen.
        let mut state = streamed();
        state.take_order(&on, "https://t");
        assert_eq!((state.left.len(), state.slices.len()), (1, 0));
    }

    #[test]
    fn a_run_that_was_given_up_is_left_by_the_next_one_and_another_is_nobodys_to_remove() {
        let next = |remove: &[&str]| {
            let mut state = streamed();
            let order = Order {
                remove: remove.iter().map(|&run| run.into()).collect(),
                ..order("2", 0)
            };
            state.take_order(&order, "https://t");
            state.left.len()
        };
        assert_eq!((next(&["1"]), next(&[]), next(&["0"])), (1, 0, 0));
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
