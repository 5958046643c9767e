//! How things stand when nobody answers: what the ledger and the manifests of its jobs say, in the agent's own words.
//! Reads only, and never starts anything.

use crate::clock;
use crate::config::Settings;
use crate::dispatch::job::Job;
use crate::durable::free_bytes;
use crate::ledger::{self, LedgerError};

use super::{AgentStatus, JobStatus, SCHEMA, Status, Totals, attention, jobs};

/// The status as the ledger keeps it; `agent.running` is false.
///
/// # Errors
/// There is no ledger, or it cannot be read.
pub fn from_ledger(settings: &Settings) -> Result<Status, LedgerError> {
    let known = ledger::read_only(&settings.agent.ledger())?;
    let mut shown: Vec<JobStatus> = known.into_iter().map(recalled).collect();
    jobs::sort(&mut shown);
    let after = |one: &JobStatus| attention::after(&one.job, one.result.as_ref());
    let needs_operator = shown.iter().flat_map(after).collect();
    let agent = AgentStatus {
        running: false,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: None,
        since: None,
        state: "not running".to_owned(),
        places: settings.at_once(),
        free_bytes: free_bytes(&settings.agent.jobs()),
        reserve_bytes: settings.reserve_bytes(),
        configured: None,
        refused_configuration: None,
        power_off_at: None,
        delivery: None,
        at: clock::now(),
        totals: Totals::default(),
    };
    let mut status = Status {
        schema: SCHEMA.to_owned(),
        agent,
        jobs: shown,
        ignored: Vec::new(),
        needs_operator,
    };
    status.needs_operator = attention::tasks(&status);
    Ok(status)
}

fn recalled(job: Job) -> JobStatus {
    JobStatus {
        attached: false,
        progress: None,
        waits: None,
        delivery: None,
        result: jobs::recall(&job),
        job,
    }
}
