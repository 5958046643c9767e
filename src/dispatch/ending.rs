//! How an attempt at a job ends, and what that makes of the job.

use super::job::State;
use crate::plaso::verdict::Level;

/// How an attempt at a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There is a manifest, and nothing is to be delivered.
    Done(Level),
    /// There is a manifest, and everything is handed over to delivery.
    Extracted(Level),
    /// It was asked to stop.
    Stopped,
    /// The volume went away.
    Gone,
    /// It waits for something that may come by itself: a sentence.
    Waits(String),
    /// Only a person can help.
    NeedsOperator {
        /// What is wrong.
        why: String,
        /// The command that helps.
        help: String,
    },
}

/// Why an attempt is being stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    Cancelled,
    Released,
    Shutdown,
    Held,
    Gone,
}

/// The state after an attempt, and what is written down about it.
pub(super) fn after(outcome: Outcome, stopping: Option<Why>) -> (State, String) {
    match (outcome, stopping) {
        (Outcome::Done(verdict), _) => (State::Done { verdict }, format!("done: {verdict}")),
        (_, Some(Why::Cancelled)) => (State::Cancelled, "cancelled".to_owned()),
        (Outcome::Extracted(verdict), _) => (
            State::Delivering { verdict },
            format!("extracted: {verdict}; it is being delivered"),
        ),
        (Outcome::Stopped | Outcome::Waits(_), Some(Why::Released)) => {
            (State::Released, "released".to_owned())
        }
        (Outcome::Gone, _) | (_, Some(Why::Gone)) => {
            let why = "the volume was detached while it was read".to_owned();
            (State::Interrupted { why: why.clone() }, why)
        }
        (Outcome::Stopped, Some(Why::Held)) => (State::Queued, "held, so stopped".to_owned()),
        (Outcome::Stopped, _) => {
            let why = "the agent was stopped".to_owned();
            (State::Interrupted { why: why.clone() }, why)
        }
        (Outcome::Waits(why), _) => (State::Waiting { why: why.clone() }, why),
        (Outcome::NeedsOperator { why, help }, _) => {
            let what = why.clone();
            (State::NeedsOperator { why, help }, what)
        }
    }
}
