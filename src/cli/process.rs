//! `dfagent process`: one job in the foreground.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use super::args::ProcessArgs;
use super::exit::Exit;
use super::progress;
use crate::config::{ConfigError, Settings, is_parser_name};
use crate::engine::job::{self, JobResult};
use crate::engine::places::Places;
use crate::engine::{self, Engine, JobRequest, Talk};
use crate::evidence::namespace;
use crate::evidence::outcome::Weight;
use crate::manifest::{FilesystemRecord, Manifest};
use crate::report;

pub(super) fn run(args: &ProcessArgs, config: Option<&Path>) -> anyhow::Result<Exit> {
    let mut settings = Settings::load(config)?;
    settings.evidence.full_hash |= args.full_hash;
    if let Some(name) = args
        .parsers
        .iter()
        .flatten()
        .find(|name| !is_parser_name(name))
    {
        let problem = format!("{name:?} is no name of a parser or plugin");
        return Err(ConfigError::Value {
            key: "--parsers",
            problem,
        }
        .into());
    }
    if let Err(refusal) = namespace::enter() {
        eprintln!(
            "dfagent: failed to make a mount namespace ({}): evidence is only read as root; call it with sudo",
            refusal.desc()
        );
        return Ok(Exit::NeedsOperator);
    }
    std::fs::create_dir_all(&args.to)
        .with_context(|| format!("make the output folder {}", args.to.display()))?;
    let output = std::fs::canonicalize(&args.to).context("find the output folder")?;
    super::runtime()
        .context("start")?
        .block_on(process(args, settings, output))
}

async fn process(args: &ProcessArgs, settings: Settings, output: PathBuf) -> anyhow::Result<Exit> {
    let selection = engine::select(&settings, args.parsers.clone(), &args.filter)?;
    let places = Places::new(settings.at_once());
    let engine = Engine::set_up(settings, places, &super::own_program()?).await?;
    let request = JobRequest {
        source: args.source.clone(),
        output,
        name: None,
        mountpoint: None,
        case: args.case.clone(),
        priority: 0,
        selection,
        keep_begun_selection: false,
        outbox: None,
    };
    let (progress, heard) = mpsc::unbounded_channel();
    let (stop_now, stop) = watch::channel(false);
    let shown = tokio::spawn(progress::show(heard, args.json));
    let signals = tokio::spawn(listen(stop_now));
    // Nobody listening any more is fine.
    let listener = Arc::new(move |told| drop(progress.send(told)));
    let result = job::run(Arc::new(engine), &request, Talk { listener, stop }).await;
    signals.abort();
    drop(shown.await);
    let result = result?;
    print(args, &result)?;
    Ok(exit_for(&result.manifest))
}

/// The verdict's code; a source of which nothing could be read until somebody unlocks or assembles it needs
/// an operator.
fn exit_for(manifest: &Manifest) -> Exit {
    let locked = |one: &FilesystemRecord| {
        one.unread
            .as_ref()
            .is_some_and(|unread| unread.weight == Weight::NeedsOperator)
    };
    if manifest.slices.is_empty() && manifest.filesystems.iter().any(locked) {
        return Exit::NeedsOperator;
    }
    manifest.verdict.level.into()
}

/// The first SIGINT or SIGTERM stops the job in order; the second ends it at once, and the cages with it.
async fn listen(stop: watch::Sender<bool>) {
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return;
    };
    for count in 0.. {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if count == 0 {
            eprintln!(
                "dfagent: stopping in order; finished slices are kept (once more to end at once)"
            );
            stop.send(true).unwrap_or_default();
        } else {
            nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).unwrap_or_default();
        }
    }
}

fn print(args: &ProcessArgs, result: &JobResult) -> anyhow::Result<()> {
    if args.json {
        let text = serde_json::to_string_pretty(&result.manifest).context("write the manifest")?;
        return print_line(&text);
    }
    let mut text = report::render(&result.manifest);
    if result.already_done {
        text.push_str("\nThis job was done before; remove its folder to do it anew.\n");
    }
    text.push_str(&format!("\nResults: {}\n", result.folder.display()));
    print_line(text.trim_end())
}

/// Writes to standard output; a reader that went away is fine.
pub(super) fn print_line(text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("write to standard output")
        }
        _ => Ok(()),
    }
}
