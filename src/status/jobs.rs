//! Jobs as `status` shows them, whether the agent says it or its ledger: their order, and what the manifests of those
//! that are done say.

use std::cmp::Reverse;
use std::path::Path;

use super::{JobResultStatus, JobStatus};
use crate::dispatch::job::{Job, State};
use crate::durable;
use crate::manifest::Manifest;
use crate::printable;

/// Reasons of a verdict that `status` shows; the rest is in the report.
const MOST_REASONS: usize = 20;

/// The largest manifest that is read for `status`.
const MOST_MANIFEST: u64 = 256 * 1024 * 1024;

/// Puts jobs in order: running ones first, then those on their way to the server, then those that wait, then the ended
/// ones, newest first.
pub fn sort(jobs: &mut [JobStatus]) {
    jobs.sort_by(|one, other| place(&one.job).cmp(&place(&other.job)));
}

fn place(job: &Job) -> (u8, Reverse<&str>, &str) {
    let group = match job.state {
        State::Running => 0,
        State::Delivering { .. } => 1,
        State::Queued | State::Waiting { .. } => 2,
        State::NeedsOperator { .. } | State::Parked | State::Interrupted { .. } => 3,
        State::Released | State::Cancelled | State::Done { .. } => 4,
    };
    let changed = if group == 4 { job.changed.as_str() } else { "" };
    (group, Reverse(changed), &job.id)
}

/// What the manifest of a job that is extracted says; none if it cannot be read.
#[must_use]
pub fn recall(job: &Job) -> Option<JobResultStatus> {
    let is_extracted = matches!(job.state, State::Done { .. } | State::Delivering { .. });
    let path = job.folder.join("manifest.json");
    let manifest: Option<Manifest> = is_extracted
        .then(|| durable::read_json(&path, MOST_MANIFEST).ok())
        .flatten()?;
    Some(result(&job.folder, &manifest?))
}

/// What `status` says about a job with this manifest.
#[must_use]
pub fn result(folder: &Path, manifest: &Manifest) -> JobResultStatus {
    let reasons = manifest.verdict.reasons.iter().take(MOST_REASONS);
    let timeline = manifest.timeline.as_ref();
    JobResultStatus {
        reasons: reasons
            .map(|reason| printable::line(&reason.text, 300))
            .collect(),
        documents: timeline.map_or(0, |timeline| timeline.documents),
        timeline: timeline.map(|timeline| folder.join(&timeline.file.path).display().to_string()),
    }
}
