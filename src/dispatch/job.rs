//! A job of the worker: one volume on its way from attached to released, as the ledger keeps it.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::delivery::receipt::Link;
use crate::plaso::verdict::Level;
use crate::policy::Volume;

/// A job as the ledger keeps it.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// The volume's identity; one job for each.
    pub id: String,
    /// The volume as it was attached last.
    pub volume: Volume,
    /// The case.
    pub case: Option<String>,
    /// Higher is earlier.
    pub priority: i64,
    /// The folder of its results.
    pub folder: PathBuf,
    /// Where its filesystems are mounted; none: in its folder.
    pub mountpoint: Option<PathBuf>,
    /// Where it stands.
    pub state: State,
    /// How often it was started.
    pub starts: u32,
    /// How often the agent went down while it ran, since it last got on.
    pub crashes: u32,
    /// When it was seen first, RFC 3339, UTC.
    pub created: String,
    /// When its state changed last.
    pub changed: String,
    /// Hooks that are still to be run after it has ended.
    pub hooks_due: Vec<String>,
    /// Hooks that were run: name and how it went.
    pub hooks_done: Vec<HookRecord>,
    /// What a person asked for and is not carried out yet.
    pub wish: Option<Wish>,
    /// Its delivery; none before it is extracted, and where its events stay in its folder.
    pub delivery: Option<DeliveryRecord>,
}

/// What a person asked for that takes a moment: kept first, so that it holds even if the agent goes down meanwhile.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// It is being stopped for good.
    Cancel,
    /// It is being stopped, so that its volume can be detached.
    Release,
    /// Its earlier result is being set aside, to begin it anew.
    Anew,
}

/// The delivery of a job's events to the server.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeliveryRecord {
    /// The verdict over the extraction alone.
    pub extracted: Level,
    /// How often a person asked to try once more what was not proven.
    pub again: u32,
    /// How it ended: complete, every slice is proven; partial, some are; failed, none is. None while it goes on.
    pub level: Option<Level>,
    /// What is missing, a sentence each, printable.
    pub reasons: Vec<String>,
    /// Events that are proven to be found on the server.
    pub documents: u64,
    /// Where they are found.
    pub sketch: Option<Link>,
}

impl DeliveryRecord {
    /// A delivery that begins.
    #[must_use]
    pub const fn new(extracted: Level) -> Self {
        Self {
            extracted,
            again: 0,
            level: None,
            reasons: Vec::new(),
            documents: 0,
            sketch: None,
        }
    }
}

/// How a hook went.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HookRecord {
    /// Its name in the configuration.
    pub name: String,
    /// Whether it ended with exit code 0 in time.
    pub ok: bool,
    /// How it ended, printable.
    pub outcome: String,
}

/// Where a job stands.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "name", deny_unknown_fields)]
pub enum State {
    /// Its volume is here; it waits for its turn.
    Queued,
    /// It is at work.
    Running,
    /// It waits by itself for something, such as free space.
    Waiting {
        /// For what, in a sentence.
        why: String,
    },
    /// Its volume went away or the agent was stopped; it goes on when the volume is here.
    Interrupted {
        /// Why, in a sentence.
        why: String,
    },
    /// A person has to do something.
    NeedsOperator {
        /// What is wrong, in a sentence.
        why: String,
        /// The command that helps.
        help: String,
    },
    /// It brought the agent down too often.
    Parked,
    /// It is extracted and its volume is let go of; the events are on their way to the server.
    Delivering {
        /// The verdict over the extraction.
        verdict: Level,
    },
    /// Somebody took the volume back; it goes on at the next attachment.
    Released,
    /// Somebody ended it.
    Cancelled,
    /// It came to its end.
    Done {
        /// Its verdict.
        verdict: Level,
    },
}

impl State {
    /// The name in `status`, metrics and logs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Waiting { .. } => "waiting",
            Self::Interrupted { .. } => "interrupted",
            Self::NeedsOperator { .. } => "needs_operator",
            Self::Parked => "parked",
            Self::Delivering { .. } => "delivering",
            Self::Released => "released",
            Self::Cancelled => "cancelled",
            Self::Done { .. } => "done",
        }
    }

    /// All names, in the order of a job's life.
    pub const NAMES: [&'static str; 10] = [
        "queued",
        "running",
        "waiting",
        "interrupted",
        "needs_operator",
        "parked",
        "delivering",
        "released",
        "cancelled",
        "done",
    ];
}
