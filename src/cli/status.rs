//! `dfagent status`: asks the agent, or its ledger when it does not answer, and shows what is said.

use std::io::{IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use terminal_size::{Height, Width, terminal_size_of};

use super::act::unknown;
use super::args::StatusArgs;
use super::exit::{Exit, chain, for_error};
use super::process::print_line;
use crate::config::Settings;
use crate::config::worker::AgentSettings;
use crate::printable;
use crate::printable::causes;
use crate::status::access::{Access, Person};
use crate::status::client::{self, ClientError, Connection};
use crate::status::render::{Style, WIDTH, brief, render, screen};
use crate::status::{Answer, Ask, Status, attention, offline};

/// Between two looks of `--watch`.
const INTERVAL: Duration = Duration::from_secs(1);

/// What there is to show, and which code it stands for.
struct Seen {
    status: Box<Status>,
    exit: Exit,
}

pub(super) fn run(args: &StatusArgs, config: Option<&Path>) -> anyhow::Result<Exit> {
    let settings = super::settings_to_ask(config);
    if args.line {
        return line(&settings);
    }
    if args.watch {
        let runtime = super::runtime().context("start")?;
        return runtime.block_on(async {
            tokio::select! {
                ended = watch(args, &settings) => ended,
                _ = tokio::signal::ctrl_c() => Ok(Exit::Complete),
            }
        });
    }
    let answer = client::ask(&settings.agent, Ask::Status);
    let mut seen = match answer {
        Err(error) if error.is_unreachable() => {
            eprintln!("dfagent: failed to {}", causes(&error));
            match from_ledger(&settings, &error) {
                Ok(seen) => seen,
                Err(error) => {
                    eprintln!("dfagent: failed to {}", chain(&error));
                    return Ok(Exit::Unreachable);
                }
            }
        }
        answer => match answer? {
            Answer::Status(status) => from_agent(status),
            other => return Ok(refused(&other, refusal(&settings.agent))),
        },
    };
    if let Some(exit) = filter(args, &mut seen) {
        return Ok(exit);
    }
    if args.json {
        let text = serde_json::to_string_pretty(&seen.status).context("write the status")?;
        print_line(&text)?;
    } else {
        print_line(render(&seen.status, style()).trim_end())?;
    }
    Ok(seen.exit)
}

/// One line, for a person who logs in.
fn line(settings: &Settings) -> anyhow::Result<Exit> {
    match client::ask(&settings.agent, Ask::Status) {
        Ok(Answer::Status(status)) => {
            print_line(&format!("dfagent: {}", brief(&status)))?;
            Ok(from_agent(status).exit)
        }
        Ok(_) => Ok(Exit::Failed),
        Err(error) => {
            if error.is_unreachable() {
                print_line("dfagent: not running; systemctl status dfagent says why")?;
            }
            Ok(Exit::Unreachable)
        }
    }
}

fn from_agent(status: Box<Status>) -> Seen {
    let exit = match attention::tasks(&status).is_empty() {
        true => Exit::Complete,
        false => Exit::NeedsOperator,
    };
    Seen { status, exit }
}

fn from_ledger(settings: &Settings, error: &ClientError) -> anyhow::Result<Seen> {
    let mut status = Box::new(offline::from_ledger(settings)?);
    status.agent.running = false;
    let state = match error {
        ClientError::Late { .. } => "not answering",
        _ => "not running",
    };
    status.agent.state = state.to_owned();
    let exit = Exit::Unreachable;
    Ok(Seen { status, exit })
}

/// Leaves the job that was asked for; the code to end with when there is none.
fn filter(args: &StatusArgs, seen: &mut Seen) -> Option<Exit> {
    let job = args.job.as_deref()?;
    let jobs = &seen.status.jobs;
    if !jobs.iter().any(|one| one.job.id == job) {
        eprintln!("dfagent: failed to show {}", unknown(job, jobs));
        return Some(Exit::Failed);
    }
    attention::only(&mut seen.status, job);
    if seen.exit == Exit::NeedsOperator && attention::tasks(&seen.status).is_empty() {
        seen.exit = Exit::Complete;
    }
    None
}

/// Says why the agent refused.
pub(super) fn refused(answer: &Answer, exit: Exit) -> Exit {
    let why = match answer {
        Answer::Refused { why } => why,
        _ => "understand the agent: its answer is to another question",
    };
    eprintln!("dfagent: failed to {}", printable::line(why, 2000));
    exit
}

/// What we may do ourselves, by the rules that the agent goes by.
pub(super) fn may(agent: &AgentSettings) -> Person {
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    Access::of(agent).person(uid.as_raw(), gid.as_raw())
}

fn refusal(agent: &AgentSettings) -> Exit {
    match may(agent).look {
        true => Exit::Failed,
        false => Exit::NeedsOperator,
    }
}

fn style() -> Style {
    let terminal = std::io::stdout().is_terminal();
    Style {
        width: size().0,
        colour: terminal && std::env::var_os("NO_COLOR").is_none(),
    }
}

/// Columns and rows of the terminal under standard output.
fn size() -> (usize, usize) {
    let found = terminal_size_of(std::io::stdout());
    found.map_or((WIDTH, usize::MAX), |(Width(columns), Height(rows))| {
        (usize::from(columns).max(20), usize::from(rows))
    })
}

/// Shows the status until nobody reads it any more. An agent that goes away is waited for.
async fn watch(args: &StatusArgs, settings: &Settings) -> anyhow::Result<Exit> {
    let mut connection = None;
    let mut shown = Shown::default();
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let view = match look(&mut connection, settings).await {
            Ok(Answer::Status(status)) => watched(args, from_agent(status))?,
            Ok(other) => return Ok(refused(&other, refusal(&settings.agent))),
            Err(error) if error.is_unreachable() => {
                let sentence = format!("dfagent: failed to {}\n", causes(&error));
                match from_ledger(settings, &error) {
                    Ok(seen) => watched(args, seen)?,
                    // What is read by a program stays JSON.
                    Err(_) if args.json => None,
                    Err(_) => Some(View {
                        key: sentence.clone(),
                        text: sentence,
                    }),
                }
            }
            Err(error) => {
                let error = error.into();
                eprintln!("dfagent: failed to {}", chain(&error));
                return Ok(for_error(&error));
            }
        };
        let Some(view) = view else { continue };
        if !shown.show(&view).context("write to standard output")? {
            return Ok(Exit::Complete);
        }
    }
}

/// Asks over the connection that there is, or over a new one.
async fn look(
    connection: &mut Option<Connection>,
    settings: &Settings,
) -> Result<Answer, ClientError> {
    let mut open = match connection.take() {
        Some(open) => open,
        None => Connection::open(&settings.agent).await?,
    };
    let answer = open.ask(Ask::Status).await?;
    *connection = Some(open);
    Ok(answer)
}

/// Something to show, and what of it counts as a change.
struct View {
    key: String,
    text: String,
}

/// What `--watch` shows; a job that is not there may come.
fn watched(args: &StatusArgs, mut seen: Seen) -> anyhow::Result<Option<View>> {
    if let Some(job) = &args.job {
        attention::only(&mut seen.status, job);
    }
    let text = match args.json {
        true => serde_json::to_string(&seen.status).context("write the status")? + "\n",
        false => render(&seen.status, style()),
    };
    if !args.json {
        only_steps(&mut seen.status);
    }
    seen.status.agent.at.clear();
    let key = serde_json::to_string(&seen.status).context("write the status")?;
    Ok(Some(View { key, text }))
}

/// Leaves out what changes all the time, so that a log of `--watch` has a block for each step.
fn only_steps(status: &mut Status) {
    status.agent.free_bytes = None;
    for progress in status
        .jobs
        .iter_mut()
        .filter_map(|job| job.progress.as_mut())
    {
        (progress.events, progress.events_per_second) = (0, 0.0);
        (progress.seconds, progress.seconds_left) = (0.0, None);
        for slice in &mut progress.at_work {
            slice.events = 0;
            slice.file.clear();
        }
    }
}

/// What stands on the terminal, or was printed last.
#[derive(Default)]
struct Shown {
    key: String,
    lines: usize,
}

impl Shown {
    /// Shows a text in place of the last one, or after it where nothing can be drawn over; whether somebody
    /// still reads.
    fn show(&mut self, view: &View) -> std::io::Result<bool> {
        let View { key, text } = view;
        let mut out = std::io::stdout();
        let drawn = if out.is_terminal() {
            let (columns, rows) = size();
            let fitting = screen::fit(text, columns, rows);
            let drawn = screen::redraw(self.lines, &fitting);
            self.lines = fitting.lines().count();
            drawn
        } else if self.key == *key {
            return Ok(!is_gone(&out));
        } else if self.key.is_empty() || text.starts_with('{') {
            text.clone()
        } else {
            format!("\n{text}")
        };
        key.clone_into(&mut self.key);
        match out.write_all(drawn.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
            other => other.map(|()| true),
        }
    }
}

/// Whether whoever read from the pipe has gone; where nothing changes, no write would tell.
fn is_gone(out: &std::io::Stdout) -> bool {
    let mut watched = [PollFd::new(out.as_fd(), PollFlags::empty())];
    let heard = poll(&mut watched, PollTimeout::ZERO);
    heard.is_ok()
        && watched[0]
            .revents()
            .is_some_and(|found| found.contains(PollFlags::POLLERR))
}
