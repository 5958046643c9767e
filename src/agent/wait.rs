//! What the agent waits for.

use std::io;
use std::path::PathBuf;
use std::time::Instant;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch::error::RecvError;
use tokio::task::{Id, JoinError};

use super::Told;
use super::configuration::Reloaded;
use super::power::Tried;
use crate::dispatch::job::HookRecord;
use crate::engine::EngineError;
use crate::engine::job::JobResult;
use crate::status::server::ActionRequest;

/// How a job's task ended.
pub(super) type TaskResult = Result<Result<JobResult, EngineError>, JoinError>;

/// What happened.
pub(super) enum Happening {
    /// There is a new list of devices.
    Devices,
    /// There will be no more lists of devices.
    Blind,
    /// A job tells of its progress.
    Told(Told),
    /// A job's task ended.
    Ended(Id, Box<TaskResult>),
    /// A hook ended.
    Hook(String, HookRecord),
    /// The command that switches the machine off ended.
    PowerTried(Tried),
    /// Somebody asks for something.
    Asked(ActionRequest),
    /// The agent is to end.
    Terminate,
    /// The configuration is to be read again: files that changed, if that is why.
    Reload(Vec<PathBuf>),
    /// It was read.
    Reloaded(Reloaded),
    /// Something changed among the receipts.
    Receipts,
    /// A time was reached.
    Time,
}

impl Happening {
    pub(super) fn devices(changed: Result<(), RecvError>) -> Self {
        changed.map_or(Self::Blind, |()| Self::Devices)
    }

    pub(super) fn ended(ended: Result<(Id, Result<JobResult, EngineError>), JoinError>) -> Self {
        match ended {
            Ok((id, result)) => Self::Ended(id, Box::new(Ok(result))),
            Err(error) => Self::Ended(error.id(), Box::new(Err(error))),
        }
    }
}

/// Signals that mean something to the agent.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// The next one. Cancel-safe: a signal that is not taken stays pending.
    pub(super) async fn next(&mut self) -> Happening {
        tokio::select! {
            _ = self.terminate.recv() => Happening::Terminate,
            _ = self.interrupt.recv() => Happening::Terminate,
            _ = self.hang_up.recv() => Happening::Reload(Vec::new()),
        }
    }
}

/// Waits until a time; for ever without one.
pub(super) async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
