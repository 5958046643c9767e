//! Hears that something was written in a folder. What it was is found out by looking; any number of changes while
//! nobody listens are one hint, and reading is no change.

use std::path::{Path, PathBuf};

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

/// A folder that cannot be watched.
#[derive(Debug, thiserror::Error)]
#[error("watch {} for changes", folder.display())]
pub struct WatchError {
    folder: PathBuf,
    source: notify::Error,
}

/// A watch over one folder; it ends when this is dropped.
#[derive(Debug)]
pub struct FolderWatch {
    _watcher: RecommendedWatcher,
    hints: mpsc::Receiver<()>,
}

impl FolderWatch {
    /// Watches a folder that exists.
    ///
    /// # Errors
    /// The system gives no watch.
    pub fn over(folder: &Path) -> Result<Self, WatchError> {
        let failed = |source| WatchError {
            folder: folder.to_path_buf(),
            source,
        };
        let (told, hints) = mpsc::channel(1);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let is_reading = event.is_ok_and(|event| event.kind.is_access());
            if !is_reading {
                // A hint that waits already stands for this one, too.
                told.try_send(()).unwrap_or_default();
            }
        })
        .map_err(failed)?;
        watcher
            .watch(folder, RecursiveMode::NonRecursive)
            .map_err(failed)?;
        Ok(Self {
            _watcher: watcher,
            hints,
        })
    }

    /// Waits for the next hint; for ever when the watch has broken. Cancel-safe.
    pub async fn changed(&mut self) {
        if self.hints.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable;

    #[test]
    fn writing_is_heard_once_and_reading_is_not() {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().unwrap().block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.json");
            durable::write(&path, b"1").unwrap();
            let mut watch = FolderWatch::over(folder.path()).unwrap();
            durable::read(&path, 10).unwrap();
            durable::write(&path, b"2").unwrap();
            watch.changed().await;
            assert_eq!(durable::read(&path, 10).unwrap().unwrap(), b"2");
        });
    }
}
