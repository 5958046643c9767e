//! What the end of an attempt means for the job.

use std::io::ErrorKind;

use nix::libc;

use crate::dispatch::Outcome;
use crate::engine::EngineError;
use crate::engine::job::JobResult;
use crate::evidence::source::SourceError;
use crate::printable;

/// The outcome of an attempt that came to an end by itself.
pub(super) fn of(id: &str, result: &Result<JobResult, EngineError>, handed_over: bool) -> Outcome {
    match result {
        Ok(done) if handed_over => Outcome::Extracted(done.manifest.verdict.level),
        Ok(done) => Outcome::Done(done.manifest.verdict.level),
        Err(error) => of_error(id, error),
    }
}

fn of_error(id: &str, error: &EngineError) -> Outcome {
    match error {
        EngineError::Stopped => Outcome::Stopped,
        EngineError::Gone => Outcome::Gone,
        EngineError::Source(SourceError::System { source, .. }) if is_gone(source) => Outcome::Gone,
        EngineError::WorkFull {
            free_mib,
            reserve_mib,
        } => waits_for_room(*free_mib, *reserve_mib),
        EngineError::OtherTerms { .. } | EngineError::SourceChanged { .. } => {
            needs_operator(error, format!("dfagent retry --anew {id}"))
        }
        _ => needs_operator(error, format!("dfagent retry {id}")),
    }
}

/// There is too little room for results.
pub(super) fn waits_for_room(free_mib: u64, reserve_mib: u64) -> Outcome {
    Outcome::Waits(format!(
        "only {free_mib} MiB are free for results; it goes on by itself when {} MiB are",
        reserve_mib.saturating_add(super::effects::MARGIN >> 20)
    ))
}

/// The device was pulled between the moment it was seen and the moment it was opened.
fn is_gone(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::NotFound
        || matches!(
            error.raw_os_error(),
            Some(libc::ENXIO | libc::ENODEV | libc::ENOMEDIUM)
        )
}

fn needs_operator(error: &EngineError, help: String) -> Outcome {
    let why = format!("failed to {}", printable::causes(error));
    Outcome::NeedsOperator { why, help }
}

/// The outcome of an attempt whose task did not end by itself.
pub(super) fn of_broken(id: &str, error: &tokio::task::JoinError) -> Outcome {
    if error.is_cancelled() {
        return Outcome::Gone;
    }
    Outcome::NeedsOperator {
        why: "there is a mistake in dfagent, which is named in its log; please report it"
            .to_owned(),
        help: format!("dfagent retry {id}"),
    }
}
