//! The hidden commands: arguments to the functions of [`crate::inside`].

use std::path::Path;

use super::args::Inside;
use super::exit::Exit;
use crate::cage::launch::Launch;
use crate::cage::supervise::AGENT_GONE;
use crate::census::report::CensusRequest;
use crate::inside::{census, export, guard, merge, probe, summary};
use crate::{durable, printable};

/// The largest question that is asked.
const MOST_QUESTION: u64 = 16 * 1024 * 1024;

pub(super) fn run(part: Inside) -> Exit {
    match part {
        Inside::Guard { command } => passed("guard", guard::run(&command)),
        Inside::Launch {
            cgroup,
            parent,
            data,
            processes,
            file_size,
            command,
        } => {
            let launch = Launch {
                cgroup,
                parent,
                data,
                processes,
                file_size,
                command,
            };
            passed("launch", launch.run())
        }
        other => answered(answer(other)),
    }
}

fn answered(result: anyhow::Result<()>) -> Exit {
    match result {
        Ok(()) => Exit::Complete,
        Err(error) => {
            eprintln!("{}", printable::line(&super::exit::chain(&error), 600));
            Exit::Failed
        }
    }
}

/// The code of the program that was watched.
fn passed(who: &str, result: std::io::Result<u8>) -> Exit {
    match result {
        Ok(code) => Exit::Passed(code),
        Err(error) => {
            eprintln!("{who}: {error}");
            Exit::Passed(AGENT_GONE)
        }
    }
}

fn answer(part: Inside) -> anyhow::Result<()> {
    match part {
        Inside::Probe { source, answer } => write(&answer, &probe::run(&source)?),
        Inside::Census {
            root,
            request,
            folder,
        } => {
            let request: Option<CensusRequest> = durable::read_json(&request, MOST_QUESTION)?;
            let request = request.ok_or_else(|| anyhow::anyhow!("no question"))?;
            Ok(census::run(&root, &request, &folder)?)
        }
        Inside::Summary {
            store,
            listing,
            evidence,
            answer,
        } => write(&answer, &summary::run(&store, &listing, &evidence)?),
        Inside::Export {
            store,
            formatters,
            output,
            receipt,
            python,
            script,
            custom,
        } => {
            let request = export::Request {
                store,
                formatters,
                custom,
                output,
                python,
                script,
            };
            write(&receipt, &export::run(&request)?)
        }
        Inside::Merge {
            output,
            receipt,
            inputs,
        } => write(&receipt, &merge::run(&inputs, &output)?),
        Inside::Launch { .. } | Inside::Guard { .. } => Ok(()),
    }
}

fn write(path: &Path, answer: &impl serde::Serialize) -> anyhow::Result<()> {
    Ok(durable::write_json(path, answer)?)
}
