//! The configuration in force, and reading it again: checked first, then valid for new jobs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Agent;
use crate::clock;
use crate::config::worker::AttachSettings;
use crate::config::{FRAGMENTS, MAIN_FILE, Settings};
use crate::dispatch::Rules;
use crate::engine::places::Places;
use crate::engine::{self, Engine, SetupError};
use crate::job::Selection;
use crate::life::reload;
use crate::printable;
use crate::telemetry::events::Event;

/// Where the configuration is from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The settings as they were read.
    pub settings: Settings,
    /// The file that is read instead of the installed ones.
    pub only: Option<PathBuf>,
    /// This very program.
    pub own_program: PathBuf,
}

/// What a reading came to, or a sentence.
pub(super) type Reloaded = Result<Box<Loaded>, String>;

/// A configuration that was read and checked.
pub(super) struct Loaded {
    engine: Engine,
    selections: Selections,
}

/// What is looked for. Kept, because checking a filter takes longer than a job may wait for its start.
struct Selections {
    /// By name of `[attach.NAME]`.
    by_entry: BTreeMap<String, Arc<Selection>>,
    /// Where there is no such table any more.
    plain: Arc<Selection>,
}

/// The configuration in force.
pub(super) struct InForce {
    origin: Origin,
    pub(super) engine: Arc<Engine>,
    selections: Selections,
    places: Arc<Places>,
    /// When it was read.
    pub(super) read: String,
    /// Why a newer one was refused.
    pub(super) refused: Option<String>,
    reading: Option<JoinHandle<Reloaded>>,
    /// Whether it changed again while it was being read.
    again: bool,
    /// The folders to watch from now on, if a new configuration has others.
    pub(super) folders_changed: Option<Vec<PathBuf>>,
}

impl InForce {
    pub(super) async fn set_up(origin: Origin, places: Arc<Places>) -> Result<Self, SetupError> {
        let loaded = load(origin.settings.clone(), &places, &origin.own_program).await?;
        Ok(Self {
            origin,
            engine: Arc::new(loaded.engine),
            selections: loaded.selections,
            places,
            read: clock::now(),
            refused: None,
            reading: None,
            again: false,
            folders_changed: None,
        })
    }

    /// Whether the events of jobs that are started now go to a server.
    pub(super) fn delivers(&self) -> bool {
        self.settings().delivery.to.is_remote()
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.engine.settings
    }

    /// The agent's folder, which is that of its start.
    pub(super) fn directory(&self) -> &Path {
        &self.origin.settings.agent.directory
    }

    /// Where jobs have their folders: beside the ledger, which stays open.
    pub(super) fn jobs(&self) -> PathBuf {
        self.origin.settings.agent.jobs()
    }

    /// What new jobs are made by.
    pub(super) fn rules(&self) -> Rules {
        let settings = self.settings();
        Rules {
            jobs: self.jobs(),
            devices: settings.devices.clone(),
            attach: settings.attach.clone(),
            hooks: settings.hook.clone(),
        }
    }

    /// What is looked for on a volume of this `[attach.NAME]`.
    pub(super) fn selection(&self, entry: &str) -> &Arc<Selection> {
        let own = self.selections.by_entry.get(entry);
        own.unwrap_or(&self.selections.plain)
    }

    /// Begins no slice from now on, or begins them again.
    pub(super) fn hold_slices(&self, held: bool) {
        self.places.hold(held);
    }

    pub(super) fn watched_folders(&self) -> Vec<PathBuf> {
        let mut folders = match &self.origin.only {
            Some(file) => vec![file.parent().unwrap_or(Path::new("/")).to_path_buf()],
            None => {
                let main = Path::new(MAIN_FILE).parent().unwrap_or(Path::new("/"));
                vec![main.to_path_buf(), PathBuf::from(FRAGMENTS)]
            }
        };
        let settings = self.settings();
        folders.push(settings.filter.directory.clone());
        let filters = settings
            .attach
            .values()
            .flat_map(AttachSettings::own_filter);
        folders.extend(filters.filter_map(|filter| {
            let folder = if filter.is_file() {
                filter.parent()?
            } else {
                filter.as_path()
            };
            folder.is_absolute().then(|| folder.to_path_buf())
        }));
        folders.sort();
        folders.dedup();
        folders
    }

    /// Begins to read it again; what is read meanwhile is read once more.
    pub(super) fn reload(&mut self) {
        if self.reading.is_some() {
            self.again = true;
            return;
        }
        let (only, own) = (self.origin.only.clone(), self.origin.own_program.clone());
        let places = Arc::clone(&self.places);
        self.reading = Some(tokio::spawn(async move {
            let settings =
                Settings::load(only.as_deref()).map_err(|error| printable::causes(&error))?;
            let loaded = load(settings, &places, &own).await;
            loaded
                .map(Box::new)
                .map_err(|error| printable::causes(&error))
        }));
    }

    /// Waits for a reading to end; for ever without one. Cancel-safe: the reading goes on.
    pub(super) async fn reloaded(&mut self) -> Reloaded {
        let Some(reading) = &mut self.reading else {
            return std::future::pending().await;
        };
        let result = reading.await;
        self.reading = None;
        if std::mem::take(&mut self.again) {
            self.reload();
        }
        result.unwrap_or_else(|error| Err(error.to_string()))
    }
}

impl Agent {
    /// Watches other folders, if the new configuration has some.
    pub(super) fn watch_anew(&mut self, reloads: &mut mpsc::Receiver<Vec<PathBuf>>) {
        let Some(folders) = self.in_force.folders_changed.take() else {
            return;
        };
        match reload::watch(&folders) {
            Ok(watch) => *reloads = watch,
            Err(error) => {
                let error = printable::causes(&error);
                tracing::warn!(
                    dfagent_error = error,
                    "changed filters are taken up at SIGHUP only"
                );
            }
        }
    }

    /// Takes up a new configuration, or keeps the old one and says why.
    pub(super) fn reloaded(&mut self, reloaded: Reloaded) {
        match reloaded {
            Ok(loaded) => {
                let Loaded { engine, selections } = *loaded;
                self.in_force.places.resize(engine.settings.at_once());
                let before = self.in_force.watched_folders();
                self.in_force.engine = Arc::new(engine);
                self.in_force.selections = selections;
                let folders = self.in_force.watched_folders();
                self.in_force.folders_changed = (folders != before).then_some(folders);
                self.in_force.read = clock::now();
                self.in_force.refused = None;
                self.dispatcher.set_rules(self.in_force.rules());
                self.deliver_by();
                crate::sys::give_back_memory();
                Event::ConfigurationReloaded.emit();
                // What was not ours may be now.
                self.waker.wake();
            }
            Err(why) => {
                Event::ConfigurationRefused { why: why.clone() }.emit();
                self.in_force.refused = Some(format!("failed to {why}"));
            }
        }
        self.notifier.ready(&self.in_words);
    }
}

/// Checks everything that these settings lead to.
async fn load(
    settings: Settings,
    places: &Arc<Places>,
    own_program: &Path,
) -> Result<Loaded, SetupError> {
    let plain = engine::select(&settings, None, &[])?;
    let mut by_entry = BTreeMap::new();
    for (name, rule) in &settings.attach {
        let selection = engine::select(&settings, None, rule.own_filter())?;
        by_entry.insert(name.clone(), selection);
    }
    let engine = Engine::set_up(settings, Arc::clone(places), own_program).await?;
    let selections = Selections { by_entry, plain };
    Ok(Loaded { engine, selections })
}
