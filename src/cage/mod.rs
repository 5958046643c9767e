//! The cage: a child process that may read one piece of evidence and write one folder, nothing else.
//!
//! bubblewrap and setpriv build it, the same with and without systemd: own pid, network, ipc, uts and
//! mount namespaces, an unprivileged user with `CAP_DAC_READ_SEARCH` only, two seccomp filters, limits.
//! Inside, a guard (our own binary) is the parent of the work: it passes a graceful stop on and ends
//! everything when the pipe to the agent closes. A cgroup of its own, where there is cgroup v2, ends and
//! measures the cage as a whole.
//!
//! [`command`] says what the cage is (pure), [`run`] starts and watches it. What runs inside belongs to
//! [`crate::inside`] and [`crate::plaso`].

pub mod cgroup;
pub mod command;
pub mod launch;
pub mod run;
pub mod seccomp;
pub mod supervise;
pub mod task;

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use run::{Cage, CageError, Caged};

/// Limits of one cage.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
pub struct Limits {
    /// Memory of the whole cage where there is a memory controller, else of each process, in bytes.
    pub memory_bytes: u64,
    /// Processes; without a pids controller they count over all cages of the same user.
    pub processes: u64,
    /// The largest file, in bytes.
    pub file_bytes: u64,
}

/// The evidence that a cage sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CagedEvidence {
    /// The mounted folder or the read-only loop node, outside.
    pub outside: PathBuf,
    /// Its path inside.
    pub inside: String,
    /// Whether it is a device node.
    pub device: bool,
}

/// One run in the cage.
#[derive(Clone, Debug)]
pub struct CageRequest {
    /// For messages and the name of the cgroup: letters, digits and dashes.
    pub name: String,
    /// The program and its arguments, as paths inside.
    pub program: Vec<String>,
    /// The evidence, if it needs any.
    pub evidence: Option<CagedEvidence>,
    /// The folder that is `/attempt` inside, writable.
    pub attempt: PathBuf,
    /// More folders and files to be seen read-only: outside, inside.
    pub read_only: Vec<(PathBuf, String)>,
    /// Small files to be made inside: content, path.
    pub data: Vec<(&'static str, String)>,
    /// The longest it may take.
    pub time_limit: Duration,
}

/// How a run in the cage ended.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq, JsonSchema)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum Ended {
    /// By itself, with an exit code.
    Exited {
        /// The code.
        code: i32,
    },
    /// By a signal that was not ours.
    Signaled {
        /// The signal's number.
        signal: i32,
    },
    /// It took longer than it may.
    TimedOut,
    /// It took more memory than it may.
    OutOfMemory,
    /// We ended it, for a reason that the caller knows.
    Stopped,
    /// The cage itself could not be built.
    NotStarted {
        /// What bubblewrap or the launcher said.
        reason: String,
    },
}

impl Ended {
    /// Whether it ended by itself with code 0.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        matches!(self, Self::Exited { code: 0 })
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exited { code } => write!(out, "ended with exit code {code}"),
            Self::Signaled { signal } => write!(out, "was killed by signal {signal}"),
            Self::TimedOut => write!(out, "took longer than its time limit"),
            Self::OutOfMemory => write!(out, "ran out of memory"),
            Self::Stopped => write!(out, "was stopped"),
            Self::NotStarted { reason } => {
                write!(out, "could not be started in the cage: {reason}")
            }
        }
    }
}
