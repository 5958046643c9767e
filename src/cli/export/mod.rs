//! `dfagent export`: storage files to documents, read in the cage, written by us.

mod sink;
mod work;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use nix::unistd::geteuid;
use tokio::sync::watch;

use self::sink::Sink;
use self::work::{Scratch, Work};
use super::args::ExportArgs;
use super::exit::Exit;
use super::process::listen;
use crate::config::Settings;
use crate::engine::Engine;
use crate::engine::places::Places;
use crate::manifest::Exporter;
use crate::printable::count;

pub(super) fn run(args: &ExportArgs, config: Option<&Path>) -> anyhow::Result<Exit> {
    let settings = Settings::load(config)?;
    if !geteuid().is_root() {
        eprintln!(
            "dfagent: failed to read a storage file in the sandbox: that needs root; call it with sudo"
        );
        return Ok(Exit::NeedsOperator);
    }
    super::runtime()
        .context("start")?
        .block_on(export(args, settings))
}

async fn export(args: &ExportArgs, settings: Settings) -> anyhow::Result<Exit> {
    let stores = args.stores.iter().map(|store| plain(store));
    let stores: Vec<PathBuf> = stores.collect::<Result<_, _>>()?;
    let custom = args.custom_formatters.as_deref().map(plain).transpose()?;
    let sink = Sink::open(&args.output)?;
    let places = Places::new(settings.at_once());
    let engine = Engine::set_up(settings, places, &super::own_program()?).await?;
    let (stop_now, stop) = watch::channel(false);
    let signals = tokio::spawn(listen(stop_now));
    let work = Work {
        engine: &engine,
        scratch: Scratch::make(&sink.folder())?,
        custom: custom.as_deref(),
        stop,
    };
    let done = work.export(&stores).await;
    signals.abort();
    let done = done?;
    sink.take(&work.scratch, &done.documents)?;
    for (store, exported) in stores.iter().zip(&done.stores) {
        let receipt = &exported.receipt;
        let how = match exported.exporter {
            Exporter::Psort => ", made by psort".to_owned(),
            Exporter::Dfagent if receipt.by_plaso > 0 => {
                format!(", {} of them made by Plaso's own code", receipt.by_plaso)
            }
            Exporter::Dfagent => String::new(),
        };
        let doubles = receipt.events.saturating_sub(receipt.documents);
        eprintln!(
            "{}: {} of {}, {}{how}",
            store.display(),
            count(receipt.documents, "document", "documents"),
            count(receipt.events, "event", "events"),
            count(doubles, "double left out", "doubles left out"),
        );
    }
    Ok(Exit::Complete)
}

/// The whole path of a plain file.
fn plain(path: &Path) -> anyhow::Result<PathBuf> {
    let found = std::fs::canonicalize(path).with_context(|| format!("read {}", path.display()))?;
    if !found.is_file() {
        bail!("read {}: it is no plain file", path.display());
    }
    Ok(found)
}
