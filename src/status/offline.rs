//! How things stand when nobody answers: what the ledger says. Reads only, and never starts anything.

use crate::clock;
use crate::config::Settings;
use crate::durable::free_bytes;
use crate::ledger::{self, LedgerError};

use super::{AgentStatus, JobStatus, SCHEMA, Status, Totals, attention};

/// The status as the ledger keeps it; `agent.running` is false.
///
/// # Errors
/// There is no ledger, or it cannot be read.
pub fn from_ledger(settings: &Settings) -> Result<Status, LedgerError> {
    let jobs = ledger::read_only(&settings.agent.ledger())?;
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
        jobs: jobs
            .into_iter()
            .map(|job| JobStatus {
                job,
                attached: false,
                progress: None,
                waits: None,
                delivery: None,
                result: None,
            })
            .collect(),
        ignored: Vec::new(),
        needs_operator: Vec::new(),
    };
    status.needs_operator = attention::tasks(&status);
    Ok(status)
}
