//! Sees that configuration or filters were changed, and says so once per change. Nothing is asked again and again.
//!
//! What the change is, and whether it is any good, is found out by reading the configuration.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// How long nothing may happen before a change counts as complete.
const QUIET: Duration = Duration::from_millis(500);

/// How long somebody may go on writing before the change is told all the same.
const PATIENCE: Duration = Duration::from_secs(5);

/// Events that may wait; more than that are one change all the same.
const WAITING: usize = 1024;

/// Why changes cannot be seen.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The system gives no watch.
    #[error("watch the configuration for changes")]
    Watcher(#[source] notify::Error),
    /// A folder cannot be watched.
    #[error("watch {} for changes", folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// Why not.
        source: notify::Error,
    },
}

/// Watches these folders, whether they exist yet or not. Each message is one change: the files and folders
/// concerned, of which there may be none if too much happened at once. The watch ends with the receiver.
///
/// Must be called within a tokio runtime.
///
/// # Errors
/// The system refuses a watch.
pub fn watch(folders: &[PathBuf]) -> Result<mpsc::Receiver<Vec<PathBuf>>, ReloadError> {
    let (raw, events) = mpsc::channel(WAITING);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        // When the channel is full a change is about to be told anyway.
        let sent = raw.try_send(event.unwrap_or_else(|_| lost()));
        drop(sent);
    })
    .map_err(ReloadError::Watcher)?;
    let folders: Vec<PathBuf> = folders.to_vec();
    for folder in &folders {
        attach(&mut watcher, folder).map_err(|source| ReloadError::Folder {
            folder: folder.clone(),
            source,
        })?;
    }
    let (changes, receiver) = mpsc::channel(1);
    tokio::spawn(tell(watcher, folders, events, changes));
    Ok(receiver)
}

/// What stands for events that were lost.
fn lost() -> Event {
    Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan)
}

/// Watches the folder, or, while it is not there, the nearest one above it, where it will appear. Not both:
/// every file that is opened in a watched folder wakes us, and in /etc that is every start of a program.
fn attach(watcher: &mut RecommendedWatcher, folder: &Path) -> notify::Result<()> {
    match folder.ancestors().find(|one| one.is_dir()) {
        Some(there) => watcher.watch(there, RecursiveMode::NonRecursive),
        None => Ok(()),
    }
}

async fn tell(
    mut watcher: RecommendedWatcher,
    folders: Vec<PathBuf>,
    mut events: mpsc::Receiver<Event>,
    changes: mpsc::Sender<Vec<PathBuf>>,
) {
    loop {
        let first = tokio::select! {
            event = events.recv() => event,
            () = changes.closed() => None,
        };
        let Some(first) = first else { return };
        let mut change = Change::default();
        change.add(&first, &folders);
        let end = Instant::now() + PATIENCE;
        while change.counts {
            let quiet = Instant::now() + QUIET;
            match timeout_at(quiet.min(end), events.recv()).await {
                Ok(Some(event)) => change.add(&event, &folders),
                Ok(None) | Err(_) => break,
            }
        }
        if change.folders {
            // The old watch may be one of a folder that is not there any more.
            for folder in &folders {
                for above in folder.ancestors() {
                    drop(watcher.unwatch(above));
                }
            }
            for folder in &folders {
                if let Err(error) = attach(&mut watcher, folder) {
                    tracing::warn!("{} is no longer watched: {error}", folder.display());
                }
            }
        }
        if change.counts
            && changes
                .send(change.paths.into_iter().collect())
                .await
                .is_err()
        {
            return;
        }
    }
}

/// What happened so far.
#[derive(Default)]
struct Change {
    /// Whether it concerns us.
    counts: bool,
    /// Whether a folder appeared, went or was replaced.
    folders: bool,
    paths: BTreeSet<PathBuf>,
}

impl Change {
    fn add(&mut self, event: &Event, folders: &[PathBuf]) {
        if event.need_rescan() {
            self.counts = true;
            self.folders = true;
        }
        if !writes(event.kind) {
            return;
        }
        for path in &event.paths {
            let is_folder = folders.iter().any(|folder| folder.starts_with(path));
            let inside = folders.iter().any(|folder| path.parent() == Some(folder));
            self.folders = self.folders || is_folder;
            if is_folder || inside && is_ours(path) {
                self.counts = true;
                self.paths.insert(path.clone());
            }
        }
    }
}

/// Reading the configuration is an event as well, and must not cause the next reading.
const fn writes(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => {
            matches!(access, AccessKind::Close(AccessMode::Write))
        }
        _ => true,
    }
}

/// What the configuration is read from, not what editors leave beside it.
fn is_ours(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.unwrap_or_default();
    let ours = [".toml", ".yaml"].iter().any(|end| name.ends_with(end));
    ours && !name.starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable;
    use std::fs;

    fn run(test: impl Future<Output = ()>) {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().unwrap().block_on(test);
    }

    async fn next(changes: &mut mpsc::Receiver<Vec<PathBuf>>) -> Vec<PathBuf> {
        let limit = Duration::from_secs(20);
        let change = tokio::time::timeout(limit, changes.recv()).await;
        change
            .expect("a change is told")
            .expect("the watch goes on")
    }

    #[test]
    fn one_change_is_told_once_and_without_an_editor_s_files() {
        run(async {
            let folder = tempfile::tempdir().unwrap();
            let at = |name: &str| folder.path().join(name);
            let mut changes = watch(&[folder.path().to_path_buf()]).unwrap();
            for name in ["4913", ".a.toml.swp", "a.toml~", ".#a.toml", ".hidden.toml"] {
                durable::write(&at(name), b"x").unwrap();
            }
            durable::write(&at("new"), b"x").unwrap();
            fs::rename(at("new"), at("a.toml")).unwrap();
            durable::write(&at("b.yaml"), b"x").unwrap();
            durable::write(&at("b.yaml"), b"y").unwrap();
            assert_eq!(next(&mut changes).await, [at("a.toml"), at("b.yaml")]);
            // Reading is no change: the next one is that of c.toml alone.
            fs::read(at("a.toml")).unwrap();
            fs::read_dir(folder.path()).unwrap().for_each(drop);
            fs::remove_file(at("a.toml")).unwrap();
            assert_eq!(next(&mut changes).await, [at("a.toml")]);
            assert!(changes.try_recv().is_err());
        });
    }

    #[test]
    fn a_folder_that_comes_later_or_is_replaced_is_watched() {
        run(async {
            let folder = tempfile::tempdir().unwrap();
            let ours = folder.path().join("etc/conf.d");
            let mut changes = watch(std::slice::from_ref(&ours)).unwrap();
            fs::create_dir_all(&ours).unwrap();
            next(&mut changes).await;
            durable::write(&ours.join("a.toml"), b"x").unwrap();
            assert_eq!(next(&mut changes).await, [ours.join("a.toml")]);
            fs::rename(&ours, folder.path().join("etc/old")).unwrap();
            fs::create_dir(&ours).unwrap();
            assert_eq!(next(&mut changes).await, std::slice::from_ref(&ours));
            durable::write(&ours.join("b.toml"), b"x").unwrap();
            assert_eq!(next(&mut changes).await, [ours.join("b.toml")]);
        });
    }

    #[test]
    fn events_that_were_lost_are_a_change() {
        let mut change = Change::default();
        change.add(&lost(), &[]);
        assert!(change.counts && change.folders);
    }
}
