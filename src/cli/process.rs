//! `dfagent process`: one job in the foreground.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use super::args::ProcessArgs;
use super::exit::Exit;
use super::foreground::{self, Foreground, Wanted};
use super::progress::{self, Shown};
use crate::config::delivery::WhenUnready;
use crate::config::{ConfigError, Settings, is_parser_name};
use crate::delivery::account;
use crate::delivery::custody::DeliveryProof;
use crate::engine::job::{self, JobResult};
use crate::engine::places::Places;
use crate::engine::{self, Engine, EngineError, JobRequest, Talk};
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
    if delivers(args) {
        let wanted = Wanted {
            to: foreground::is_server(&args.to).then_some(args.to.as_str()),
            sketch: args.sketch.as_deref(),
            streaming: Some(&args.streaming),
        };
        foreground::set_servers(&mut settings, &wanted)?;
        account::keep_memory_private().context("keep secrets out of cores")?;
    }
    if let Err(refusal) = namespace::enter() {
        eprintln!(
            "dfagent: failed to make a mount namespace ({}): evidence is only read as root; call it with sudo",
            refusal.desc()
        );
        return Ok(Exit::NeedsOperator);
    }
    let folder = if foreground::is_server(&args.to) {
        args.work.as_path()
    } else {
        Path::new(&args.to)
    };
    std::fs::create_dir_all(folder)
        .with_context(|| format!("make the output folder {}", folder.display()))?;
    let output = std::fs::canonicalize(folder).context("find the output folder")?;
    super::runtime()
        .context("start")?
        .block_on(process(args, settings, output))
}

/// Whether events go to a server, too.
fn delivers(args: &ProcessArgs) -> bool {
    args.streaming.stream || foreground::is_server(&args.to)
}

async fn process(args: &ProcessArgs, settings: Settings, output: PathBuf) -> anyhow::Result<Exit> {
    let (show, heard) = mpsc::unbounded_channel();
    let (stop_now, stop) = watch::channel(false);
    let delivery = if delivers(args) {
        let delivery = Foreground::set_up(settings.clone(), &output, show.clone(), stop.clone())?;
        if !is_ready(&delivery, &settings).await {
            return Ok(Exit::NeedsOperator);
        }
        Some(delivery)
    } else {
        None
    };
    let selection = engine::select(&settings, args.parsers.clone(), &args.filter)?;
    let places = Places::new(settings.at_once());
    let engine = Engine::set_up(settings, places, &super::own_program()?).await?;
    let request = JobRequest {
        cloud: None,
        source: args.source.clone(),
        sequence: None,
        output,
        name: None,
        mountpoint: None,
        case: args.case.clone(),
        priority: 0,
        selection,
        keep_begun_selection: false,
        outbox: delivery.as_ref().map(|delivery| delivery.outbox.clone()),
    };
    let shown = tokio::spawn(progress::show(heard, args.json));
    let signals = tokio::spawn(listen(stop_now));
    // Nobody listening any more is fine.
    let listener = Arc::new(move |told| drop(show.send(Shown::Job(told))));
    let extraction = job::run(Arc::new(engine), &request, Talk { listener, stop });
    let (result, delivered) = match &delivery {
        None => (extraction.await, None),
        Some(delivery) => both(extraction, delivery).await?,
    };
    signals.abort();
    drop((request, delivery));
    drop(shown.await);
    let result = result?;
    print(args, &result, delivered.as_ref())?;
    let extracted = exit_for(&result.manifest);
    Ok(delivered.map_or(extracted, |delivered| delivered.exit(extracted)))
}

/// What came of the delivery.
struct Delivered {
    record: Option<DeliveryProof>,
    given_up: Vec<String>,
}

impl Delivered {
    fn exit(&self, extracted: Exit) -> Exit {
        foreground::exit_for(extracted, self.record.as_ref(), &self.given_up)
    }
}

/// Asks the server before hours of work whether it would take what they make.
async fn is_ready(delivery: &Foreground, settings: &Settings) -> bool {
    let standing = delivery.ask().await;
    for line in &standing.lines {
        eprintln!("{:<8} {:<10} {}", line.state, line.part, line.text);
    }
    let blocks = settings.delivery.when_unready == WhenUnready::Block;
    let ready = standing.ready == Some(true);
    if !ready && blocks {
        eprintln!(
            "dfagent: failed to begin: the server would not take what is made, and [delivery] when_unready is \"block\""
        );
    }
    ready || !blocks
}

/// Extracts and delivers at the same time.
async fn both(
    extraction: impl Future<Output = Result<JobResult, EngineError>>,
    delivery: &Foreground,
) -> anyhow::Result<(Result<JobResult, EngineError>, Option<Delivered>)> {
    let (done, finish) = watch::channel(false);
    let extraction = async {
        let result = extraction.await;
        done.send(true).unwrap_or_default();
        result
    };
    let (result, given_up) = tokio::join!(extraction, delivery.run(finish));
    let mut given_up = given_up?;
    let delivered = match &result {
        Err(_) => None,
        Ok(job) => {
            let (name, run) = (&job.manifest.job, &job.manifest.started);
            let record = match delivery.settle(name)? {
                None => delivery.delivered_before(name, run),
                record => record,
            };
            if record.is_none() && given_up.is_empty() {
                given_up.push(
                    "deliver all: it was stopped; call the same command again to go on".to_owned(),
                );
            }
            Some(Delivered { record, given_up })
        }
    };
    Ok((result, delivered))
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
pub(super) async fn listen(stop: watch::Sender<bool>) {
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

fn print(
    args: &ProcessArgs,
    result: &JobResult,
    delivered: Option<&Delivered>,
) -> anyhow::Result<()> {
    for sentence in delivered.iter().flat_map(|delivered| &delivered.given_up) {
        eprintln!("dfagent: failed to {sentence}");
    }
    if args.json {
        let text = serde_json::to_string_pretty(&result.manifest).context("write the manifest")?;
        return print_line(&text);
    }
    let mut text = report::render(&result.manifest);
    if result.already_done {
        text.push_str("\nThis job was done before; remove its folder to do it anew.\n");
    }
    if let Some(record) = delivered.and_then(|delivered| delivered.record.as_ref()) {
        text.push_str(&format!("\n{}\n", foreground::render(record)));
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
