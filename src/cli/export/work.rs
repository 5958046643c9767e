//! The work of an export in the cage, storage file by storage file, and its folder.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::watch;

use crate::cage::CageRequest;
use crate::cage::command::inside;
use crate::cage::task::{take_over, words};
use crate::durable;
use crate::engine::Engine;
use crate::engine::export::{ExportCommand, Exported};
use crate::inside::merge::MergeReceipt;
use crate::manifest::Exporter;
use crate::printable;

const STORE: &str = "/store.plaso";
const RECEIPT: &str = "receipt.json";
const TIMELINE: &str = "timeline.jsonl";
const MOST_RECEIPT: u64 = 16 * 1024 * 1024;
const LOOK: Duration = Duration::from_millis(500);

/// A folder that goes away with us.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// A fresh folder in another.
    pub(super) fn make(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(format!(".dfagent-export-{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("make {}", path.display()))?;
        let scratch = Self(path);
        durable::make_folder(&scratch.attempt())?;
        Ok(scratch)
    }

    /// A file in it that the cage does not see.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn attempt(&self) -> PathBuf {
        self.0.join("attempt")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// What is needed for an export.
pub(super) struct Work<'a> {
    pub(super) engine: &'a Engine,
    pub(super) scratch: Scratch,
    pub(super) custom: Option<&'a Path>,
    pub(super) stop: watch::Receiver<bool>,
}

/// What came of it.
pub(super) struct Done {
    /// The documents of all, a file of our own.
    pub(super) documents: PathBuf,
    /// Of each storage file, in the order given.
    pub(super) stores: Vec<Exported>,
}

impl Work<'_> {
    pub(super) async fn export(&self, stores: &[PathBuf]) -> anyhow::Result<Done> {
        let attempt = self.scratch.attempt();
        let cage = &self.engine.cage;
        cage.hand_over(&attempt)
            .context("hand a folder to the cage")?;
        let names: Vec<String> = (0..stores.len())
            .map(|index| format!("{index}.jsonl"))
            .collect();
        let mut exported = Vec::new();
        for (store, name) in stores.iter().zip(&names) {
            exported.push(self.one(store, name).await?);
        }
        let result = if let [name] = names.as_slice() {
            name.clone()
        } else {
            self.join(&names).await?;
            TIMELINE.to_owned()
        };
        let kept = self.scratch.file("done");
        take_over(&attempt, &kept, std::slice::from_ref(&result))?;
        Ok(Done {
            documents: kept.join(result),
            stores: exported,
        })
    }

    /// Our own exporter, and where that one gives up, psort.
    async fn one(&self, store: &Path, name: &str) -> anyhow::Result<Exported> {
        let plaso = &self.engine.plaso;
        let (documents, receipt) = (in_cage(name), in_cage(RECEIPT));
        let files = [STORE, &documents, &receipt];
        if let Some(command) = ExportCommand::own(plaso, files) {
            match self.export_by(command, store, name).await? {
                Ok(receipt) => {
                    let exporter = Exporter::Dfagent;
                    return Ok(Exported { receipt, exporter });
                }
                Err(reason) => eprintln!("{}: {reason}; psort is run", store.display()),
            }
            for name in [name, RECEIPT] {
                durable::remove_file(&self.scratch.attempt().join(name))?;
            }
        }
        let command = ExportCommand::psort(plaso, files);
        match self.export_by(command, store, name).await? {
            Ok(receipt) => {
                let exporter = Exporter::Psort;
                Ok(Exported { receipt, exporter })
            }
            Err(reason) => bail!("export {}: {reason}", store.display()),
        }
    }

    async fn export_by<T: serde::de::DeserializeOwned>(
        &self,
        command: ExportCommand,
        store: &Path,
        name: &str,
    ) -> anyhow::Result<Result<T, String>> {
        let command = command.with_formatters(self.custom);
        let mut read_only = command.read_only;
        read_only.push((store.to_path_buf(), STORE.to_owned()));
        let request = CageRequest {
            name: "export".to_owned(),
            program: command.program,
            evidence: None,
            attempt: self.scratch.attempt(),
            read_only,
            data: command.data,
            time_limit: self.engine.settings.slice_limit(),
        };
        if let Err(reason) = self.caged(&request, &self.bar(store), name).await? {
            return Ok(Err(reason));
        }
        let path = self.scratch.attempt().join(RECEIPT);
        let receipt = durable::read_json(&path, MOST_RECEIPT)?;
        Ok(receipt.ok_or_else(|| "it left no receipt".to_owned()))
    }

    async fn join(&self, names: &[String]) -> anyhow::Result<()> {
        let mut program = words(&[inside::GUARD, "inside", "merge", "--output"]);
        program.extend([in_cage(TIMELINE), "--receipt".to_owned(), in_cage(RECEIPT)]);
        program.extend(names.iter().map(|name| in_cage(name)));
        let request = CageRequest {
            name: "merge".to_owned(),
            program,
            evidence: None,
            attempt: self.scratch.attempt(),
            read_only: Vec::new(),
            data: Vec::new(),
            time_limit: self.engine.settings.slice_limit(),
        };
        let bar = self.bar(Path::new("joining"));
        if let Err(reason) = self.caged(&request, &bar, TIMELINE).await? {
            bail!("join the documents: {reason}");
        }
        let path = self.scratch.attempt().join(RECEIPT);
        let receipt: Option<MergeReceipt> = durable::read_json(&path, MOST_RECEIPT)?;
        receipt.map(drop).context("join the documents: no receipt")
    }

    /// Runs something in the cage to its end; the inner error is what it said.
    async fn caged(
        &self,
        request: &CageRequest,
        bar: &ProgressBar,
        grows: &str,
    ) -> anyhow::Result<Result<(), String>> {
        let mut caged = self.engine.cage.start(request)?;
        let mut looks = tokio::time::interval(LOOK);
        let mut stop = self.stop.clone();
        let file = self.scratch.attempt().join(grows);
        let ended = loop {
            // All arms may be dropped at any time: `wait`, `tick` and `wait_for` are cancel-safe.
            tokio::select! {
                ended = caged.wait() => break ended,
                _ = looks.tick() => {
                    bar.set_position(file.symlink_metadata().map_or(0, |about| about.len()));
                }
                Ok(_) = stop.wait_for(|stop| *stop) => {
                    caged.kill();
                    caged.wait().await;
                    bail!("finish the export: it was stopped; nothing was written");
                }
            }
        };
        bar.finish_and_clear();
        if ended.is_success() {
            return Ok(Ok(()));
        }
        let said = printable::last_line(&caged.errors(), 300);
        Ok(Err(if said.is_empty() {
            format!("the export {ended}")
        } else {
            said
        }))
    }

    /// How much is written, on a terminal.
    fn bar(&self, what: &Path) -> ProgressBar {
        if !std::io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new_spinner();
        let template = "{spinner} {msg}  {bytes} of documents  {elapsed}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        let name = what.file_name().unwrap_or_default().to_string_lossy();
        bar.set_message(printable::line(&name, 60));
        bar.enable_steady_tick(LOOK);
        bar
    }
}

/// A file of the attempt folder, as the cage sees it.
fn in_cage(name: &str) -> String {
    format!("{}/{name}", inside::ATTEMPT)
}
