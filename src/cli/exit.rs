//! How the program ends.

use std::process::ExitCode;

use crate::agent::AgentError;
use crate::config::ConfigError;
use crate::engine::{EngineError, SetupError};
use crate::plaso::verdict::Level;
use crate::printable;
use crate::status::client::ClientError;

/// The exit codes; `--help` and the README list them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: done and complete.
    Complete,
    /// 1: failed.
    Failed,
    /// 2: the command line is not understood.
    Usage,
    /// 3: something is missing, and it is named.
    Partial,
    /// 4: the agent cannot be reached.
    Unreachable,
    /// 5: a person has to do something first.
    NeedsOperator,
    /// 78: the configuration cannot be used (`EX_CONFIG` of sysexits.h).
    Config,
    /// Another code, passed on from a guarded program.
    Passed(u8),
}

impl Exit {
    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Complete => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Partial => 3,
            Self::Unreachable => 4,
            Self::NeedsOperator => 5,
            Self::Config => 78,
            Self::Passed(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl From<Level> for Exit {
    fn from(level: Level) -> Self {
        match level {
            Level::Complete => Self::Complete,
            Level::Partial => Self::Partial,
            Level::Failed => Self::Failed,
        }
    }
}

/// Which code an error stands for.
pub(super) fn for_error(error: &anyhow::Error) -> Exit {
    // What an error passes on as its own is not found by its type.
    let setup = match error.downcast_ref::<AgentError>() {
        Some(AgentError::Setup(setup)) => Some(setup),
        _ => error.downcast_ref::<SetupError>(),
    };
    match setup {
        Some(SetupError::Config(_) | SetupError::Filter(_)) => return Exit::Config,
        Some(SetupError::Plaso(_) | SetupError::Cage(_)) => return Exit::NeedsOperator,
        None if error.is::<ConfigError>() => return Exit::Config,
        None => {}
    }
    if let Some(error) = error.downcast_ref::<ClientError>() {
        return match error {
            ClientError::NotAllowed { .. } => Exit::NeedsOperator,
            error if error.is_unreachable() => Exit::Unreachable,
            _ => Exit::Failed,
        };
    }
    match error.downcast_ref::<EngineError>() {
        Some(error) if error.needs_operator() => Exit::NeedsOperator,
        _ => Exit::Failed,
    }
}

/// An error and its causes in one line.
pub(super) fn chain(error: &anyhow::Error) -> String {
    printable::causes(error.as_ref())
}
