//! `dfagent retry`, `cancel` and `release`: asks the agent, which does it; nothing is done here.

use std::path::Path;

use anyhow::Context as _;

use super::exit::Exit;
use super::process::print_line;
use super::status::{may, refused};
use crate::config::worker::AgentSettings;
use crate::dispatch::job::State;
use crate::printable;
use crate::status::client::Connection;
use crate::status::{Action, Answer, Ask, JobStatus};

pub(super) fn run(action: Action, job: &str, config: Option<&Path>) -> anyhow::Result<Exit> {
    let settings = super::settings_to_ask(config);
    let runtime = super::runtime().context("start")?;
    runtime.block_on(act(&settings.agent, action, job))
}

async fn act(agent: &AgentSettings, action: Action, job: &str) -> anyhow::Result<Exit> {
    let mut connection = Connection::open(agent).await?;
    // Who names a job that is not there is told which ones there are.
    let status = match connection.ask(Ask::Status).await? {
        Answer::Status(status) => status,
        other => return Ok(refused(&other, Exit::NeedsOperator)),
    };
    let Some(found) = status.jobs.iter().find(|one| one.job.id == job) else {
        let verb = action.name();
        eprintln!("dfagent: failed to {verb} {}", unknown(job, &status.jobs));
        return Ok(Exit::Failed);
    };
    let job = job.to_owned();
    match connection.ask(Ask::Act { action, job }).await? {
        Answer::Done(said) => {
            print_line(&printable::line(&said, 2000))?;
            Ok(Exit::Complete)
        }
        other => {
            let stuck = matches!(found.job.state, State::NeedsOperator { .. });
            let exit = match stuck || !may(agent).act {
                true => Exit::NeedsOperator,
                false => Exit::Failed,
            };
            Ok(refused(&other, exit))
        }
    }
}

/// The rest of a sentence about a job that is not there.
pub(super) fn unknown(job: &str, jobs: &[JobStatus]) -> String {
    let names: Vec<String> = jobs
        .iter()
        .map(|one| printable::line(&one.job.id, 200))
        .collect();
    let known = match names.is_empty() {
        true => "there are none".to_owned(),
        false => format!("there are {}", names.join(", ")),
    };
    format!("{}: no such job; {known}", printable::line(job, 200))
}
