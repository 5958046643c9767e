//! `dfagent run`: the agent, until it is told to stop.

use std::path::Path;

use anyhow::Context as _;

use super::exit::Exit;
use crate::agent::{self, Origin};
use crate::config::Settings;
use crate::evidence::namespace;

pub(super) fn run(config: Option<&Path>) -> anyhow::Result<Exit> {
    crate::sys::share_heap();
    let settings = Settings::load(config)?;
    let only = config
        .map(std::fs::canonicalize)
        .transpose()
        .context("find the configuration file")?;
    let own_program = super::own_program()?;
    if let Err(refusal) = namespace::enter() {
        eprintln!(
            "dfagent: failed to make a mount namespace ({}): the agent runs as root",
            refusal.desc()
        );
        return Ok(Exit::NeedsOperator);
    }
    let runtime = super::runtime().context("start")?;
    let result = runtime.block_on(agent::run(Origin {
        settings,
        only,
        own_program,
    }));
    // A read of a device that hangs is no reason to stay.
    runtime.shutdown_background();
    result?;
    Ok(Exit::Complete)
}
