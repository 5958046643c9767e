//! Pure: what a person has to do, all of it. The agent names tasks; a job that stands still for a person's
//! sake and is not among them is added, so that none is forgotten.

use super::{JobResultStatus, OperatorTask, Status};
use crate::dispatch::job::{Job, State};
use crate::plaso::verdict::Level;
use crate::printable;

/// What a person has to do.
#[must_use]
pub fn tasks(status: &Status) -> Vec<OperatorTask> {
    let mut tasks = status.needs_operator.clone();
    for job in &status.jobs {
        let Some(task) = task(&job.job) else {
            continue;
        };
        let known = |one: &OperatorTask| *one == task || is_about(one, &job.job.id);
        if !status.needs_operator.iter().any(known) {
            tasks.push(task);
        }
    }
    tasks
}

/// What a person has to do about a job that stands still, or whose events did not arrive.
#[must_use]
pub fn task(job: &Job) -> Option<OperatorTask> {
    match &job.state {
        State::NeedsOperator { why, help } => Some(OperatorTask {
            why: format!("{}: {why}", job.id),
            command: help.clone(),
        }),
        State::Parked => Some(OperatorTask {
            why: format!(
                "{}: the agent went down {} times while this job ran, so it is left alone.",
                job.id, job.crashes
            ),
            command: format!("dfagent retry {}", job.id),
        }),
        _ => delivery(job),
    }
}

/// What a person has to do about events that did not arrive.
#[must_use]
fn delivery(job: &Job) -> Option<OperatorTask> {
    let delivery = job.delivery.as_ref()?;
    let is_short = delivery.level.is_some_and(|level| level > Level::Complete);
    if !is_short || !matches!(job.state, State::Done { .. }) {
        return None;
    }
    let first = delivery.reasons.first().map_or("", String::as_str);
    let more = match delivery.reasons.len().saturating_sub(1) {
        0 => String::new(),
        more => format!(
            " ({} like this)",
            printable::count(more as u64, "more", "more")
        ),
    };
    Some(OperatorTask {
        why: format!("{}: not all events are delivered. {first}{more}", job.id),
        command: format!("dfagent retry {}", job.id),
    })
}

/// What a person should look at after a job: no timeline, or a hook that failed.
#[must_use]
pub fn after(job: &Job, result: Option<&JobResultStatus>) -> Vec<OperatorTask> {
    let mut tasks = Vec::new();
    let failed = State::Done {
        verdict: Level::Failed,
    };
    let delivery = delivery(job);
    let extracted = job.delivery.as_ref().map(|delivery| delivery.extracted);
    if job.state == failed && extracted.is_none_or(|level| level == Level::Failed) {
        let reason = result.and_then(|result| result.reasons.first());
        let reason = reason.map_or("there is no usable timeline", String::as_str);
        tasks.push(OperatorTask {
            why: format!("{}: {reason}", job.id),
            command: format!("cat {}", job.folder.join("report.txt").display()),
        });
    }
    tasks.extend(delivery);
    for hook in job.hooks_done.iter().filter(|hook| !hook.ok) {
        tasks.push(OperatorTask {
            why: format!(
                "{}: the hook {} failed: {}",
                job.id, hook.name, hook.outcome
            ),
            command: format!("journalctl -u dfagent DFAGENT_JOB={}", job.id),
        });
    }
    tasks
}

/// Leaves only what has to do with one job.
pub fn only(status: &mut Status, id: &str) {
    status.jobs.retain(|job| job.job.id == id);
    status.ignored.clear();
    status.needs_operator.retain(|task| is_about(task, id));
}

/// Whether a task names a job; `vol-1` is not named by `vol-10`.
fn is_about(task: &OperatorTask, id: &str) -> bool {
    let between = |c: char| c.is_whitespace() || ":,;'\"`()".contains(c);
    let mut words = task.why.split(between).chain(task.command.split(between));
    words.any(|word| word.trim_end_matches('.') == id)
}

#[cfg(test)]
mod tests {
    use super::super::render::example;
    use super::*;

    #[test]
    fn a_job_that_needs_somebody_is_named_once() {
        let mut status = example::status();
        for id in ["vol-1", "vol-10"] {
            let mut job = example::job(id, State::Parked);
            job.job.crashes = 3;
            status.jobs.push(job);
        }
        status.needs_operator = vec![task(&status.jobs[1].job).unwrap()];
        let found = tasks(&status);
        let commands: Vec<&str> = found.iter().map(|one| one.command.as_str()).collect();
        assert_eq!(commands, ["dfagent retry vol-10", "dfagent retry vol-1"]);
        status.needs_operator = found;
        assert_eq!(tasks(&status).len(), 2);
    }

    #[test]
    fn a_filter_leaves_what_has_to_do_with_the_job() {
        let mut status = example::status();
        for id in ["vol-1", "vol-2"] {
            let why = "It is locked.".to_owned();
            let help = format!("unlock {id}");
            status
                .jobs
                .push(example::job(id, State::NeedsOperator { why, help }));
        }
        status.needs_operator = tasks(&status);
        only(&mut status, "vol-2");
        assert_eq!(status.jobs.len(), 1);
        assert_eq!(status.needs_operator[0].command, "unlock vol-2");
    }
}
