//! What the agent says about itself: the words of the local socket. Its JSON schema is checked in at
//! `docs/schema/status-1.json`.
//!
//! A request and an answer are one frame each: four bytes of length, big-endian, then JSON. Answers come from
//! a snapshot, so asking costs the pipeline nothing.
//!
//! The agent's side is [`server`], that of the commands [`client`]; neither knows how the pipeline works.

pub mod access;
pub mod attention;
pub mod client;
pub mod delivery;
pub mod frame;
pub mod jobs;
mod listen;
pub mod offline;
pub mod render;
pub mod server;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::dispatch::Action;
use crate::dispatch::job::Job;
use crate::policy::Ignored;

pub use delivery::{DeliveryStatus, ServerStatus, StreamStatus};

/// The version of the layout of [`Status`].
pub const SCHEMA: &str = "dfagent-status-1";

/// The version of the protocol.
pub const VERSION: u32 = 1;

/// What is asked of the agent.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The version of the protocol: 1.
    pub version: u32,
    /// What is asked.
    pub ask: Ask,
}

/// What can be asked.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// How things stand.
    Status,
    /// Do something about a job.
    Act {
        /// What.
        action: Action,
        /// The job.
        job: String,
    },
}

/// What the agent answers.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Answer {
    /// How things stand.
    Status(Box<Status>),
    /// It was done: a sentence about what happens now.
    Done(String),
    /// It was not: a sentence that fits behind "failed to".
    Refused {
        /// Why, and what helps.
        why: String,
    },
}

/// How things stand.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// `dfagent-status-1`.
    pub schema: String,
    /// The agent.
    pub agent: AgentStatus,
    /// Jobs: running ones first, then those that wait, then the ended ones, newest first.
    pub jobs: Vec<JobStatus>,
    /// Devices that are not evidence.
    pub ignored: Vec<Ignored>,
    /// What a person has to do.
    pub needs_operator: Vec<OperatorTask>,
}

/// The agent.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentStatus {
    /// Whether it is running; if not, the rest is what its ledger says.
    pub running: bool,
    /// Version of this program.
    pub version: String,
    /// Process id.
    pub pid: Option<u32>,
    /// Since when it runs, RFC 3339, UTC.
    pub since: Option<String>,
    /// `running`, `stopping`.
    pub state: String,
    /// Slices that may run at once.
    pub places: usize,
    /// Bytes free for results.
    pub free_bytes: Option<u64>,
    /// Bytes that are kept free.
    pub reserve_bytes: u64,
    /// When the configuration in force was read.
    pub configured: Option<String>,
    /// Why a newer configuration was refused.
    pub refused_configuration: Option<String>,
    /// When the machine will be switched off, if nothing comes.
    pub power_off_at: Option<String>,
    /// When this was true.
    pub at: String,
    /// Delivery; none where events stay in the jobs' folders.
    pub delivery: Option<ServerStatus>,
    /// What was done since the agent was started.
    pub totals: Totals,
}

/// What was done since the agent was started, over all jobs.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Totals {
    /// Slices that were finished.
    pub slices: u64,
    /// Seconds from their beginning to their end, added up.
    pub slice_seconds: f64,
    /// Bytes in their files.
    pub bytes: u64,
    /// Events in them.
    pub events: u64,
    /// Files that Plaso hung on and that were left out.
    pub stalls: u64,
    /// Jobs that came to their end.
    pub jobs: u64,
    /// Seconds that those were at work, added up.
    pub job_seconds: f64,
    /// Slices whose events were proven to be on the server.
    pub slices_delivered: u64,
    /// Events in those.
    pub documents_delivered: u64,
    /// Bytes of storage files that the server took.
    pub bytes_sent: u64,
}

/// A job.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobStatus {
    /// What the ledger keeps.
    pub job: Job,
    /// Whether its volume is attached now.
    pub attached: bool,
    /// How far it is; none while it is not at work.
    pub progress: Option<JobProgress>,
    /// What it waits for, in a sentence, where it waits for its turn.
    pub waits: Option<String>,
    /// How far its delivery is; none once it has ended.
    pub delivery: Option<DeliveryStatus>,
    /// What its manifest says; none before it is extracted.
    pub result: Option<JobResultStatus>,
}

/// How far a job is.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobProgress {
    /// What is done at this moment, in words.
    pub stage: String,
    /// Slices in all; 0 before the plan is made.
    pub slices: u64,
    /// Slices that are finished.
    pub slices_done: u64,
    /// Bytes of files in all.
    pub bytes: u64,
    /// Bytes of files of finished slices.
    pub bytes_done: u64,
    /// Events of finished slices, as documents, and of the slices at work.
    pub events: u64,
    /// Events a second since it was started.
    pub events_per_second: f64,
    /// Seconds at work since it was started.
    pub seconds: f64,
    /// Seconds left, as far as can be told.
    pub seconds_left: Option<f64>,
    /// Slices at work: name, events, file.
    pub at_work: Vec<SliceAtWork>,
    /// Sentences about what could not be read.
    pub unread: Vec<String>,
}

/// A slice at work.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SliceAtWork {
    /// Its name.
    pub name: String,
    /// Events so far.
    pub events: u64,
    /// The file that is read, printable.
    pub file: String,
}

/// What a finished job's manifest says.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobResultStatus {
    /// The verdict's reasons, a sentence each.
    pub reasons: Vec<String>,
    /// Events in the timeline.
    pub documents: u64,
    /// The timeline, if there is one.
    pub timeline: Option<String>,
}

/// Something that a person has to do.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OperatorTask {
    /// What is wrong, in a sentence.
    pub why: String,
    /// The command that helps.
    pub command: String,
}
