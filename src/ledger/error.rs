//! Why the ledger cannot be used, and what counts as damage.

use std::path::{Path, PathBuf};

use crate::durable::FileError;
use crate::printable;

/// Why the ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// SQLite or the system refuses, and the file is not damaged.
    #[error("{operation} the ledger {}", path.display())]
    Database {
        /// What was tried, as a verb.
        operation: &'static str,
        /// The ledger.
        path: PathBuf,
        /// Why not.
        source: rusqlite::Error,
    },
    /// It comes from a later version of this program.
    #[error(
        "open the ledger {}: it was made by a newer dfagent (version {version}); install that or move the file away",
        path.display()
    )]
    Newer {
        /// The ledger.
        path: PathBuf,
        /// Its version.
        version: i64,
    },
    /// Another agent holds it.
    #[error("open the ledger {}: another dfagent agent is at it; stop that one first", path.display())]
    Taken {
        /// The ledger.
        path: PathBuf,
    },
    /// An agent holds it that could have been asked; only for those that read without one.
    #[error("read the ledger {}: an agent is at it and does not answer; see `systemctl status dfagent`", path.display())]
    Busy {
        /// The ledger.
        path: PathBuf,
    },
    /// There is none; only for those that read without an agent.
    #[error("read the ledger {}: there is none, so the agent has never run here; start it", path.display())]
    Missing {
        /// The ledger.
        path: PathBuf,
    },
    /// It holds half of a change; only for those that read without an agent.
    #[error("read the ledger {}: the agent was cut off in a change; start it, it puts that right", path.display())]
    Unfinished {
        /// The ledger.
        path: PathBuf,
    },
    /// It is damaged; only for those that read without an agent.
    #[error("read the ledger {}: it is damaged ({what}); start the agent, it makes a new one from the jobs' folders", path.display())]
    Damaged {
        /// The ledger.
        path: PathBuf,
        /// In what way.
        what: String,
    },
    /// A job cannot be put into words.
    #[error("put the job {job} into the ledger")]
    Words {
        /// Which.
        job: String,
        /// Why not.
        source: serde_json::Error,
    },
    /// A file or folder beside it.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Why a file is not taken as the ledger.
pub(super) enum Refusal {
    /// It is not what was written. What it is, in words.
    Damaged(String),
    /// A newer version of the program made it.
    Newer(i64),
    /// Somebody else uses it.
    Taken,
    /// The system or the disk refuses.
    Database(rusqlite::Error),
}

impl Refusal {
    pub(super) fn damaged(what: impl std::fmt::Display) -> Self {
        Self::Damaged(printable::line(&what.to_string(), 300))
    }

    pub(super) fn into_error(self, path: &Path) -> LedgerError {
        let path = path.to_path_buf();
        match self {
            Self::Damaged(what) => LedgerError::Damaged { path, what },
            Self::Newer(version) => LedgerError::Newer { path, version },
            Self::Taken => LedgerError::Taken { path },
            Self::Database(source) => LedgerError::Database {
                operation: "open",
                path,
                source,
            },
        }
    }
}

impl From<rusqlite::Error> for Refusal {
    /// What a sound disk and a sound file never give is damage. A full, broken or read-only disk is not: then
    /// the file may be whole, and setting it aside would lose what only it knows.
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode as Code;
        match error.sqlite_error_code() {
            Some(Code::DatabaseBusy | Code::DatabaseLocked) => Self::Taken,
            Some(
                Code::NotADatabase
                | Code::DatabaseCorrupt
                | Code::Unknown
                | Code::ConstraintViolation
                | Code::TypeMismatch
                | Code::TooBig,
            )
            | None => Self::damaged(error),
            Some(_) => Self::Database(error),
        }
    }
}
