//! A job's way into the outbox, for jobs whose events are delivered to a server.

use super::filesystem::system;
use super::{EngineError, JobRequest};
use crate::delivery::fill;
use crate::delivery::outbox::Outbox;
use crate::durable::FileError;
use crate::evidence::source::Source;
use crate::job::{JobFolder, JobRecord};
use crate::manifest::{FilesystemRecord, Manifest, SliceRecord};

/// Where to, of what.
pub(super) struct HandingOver {
    outbox: Option<Outbox>,
    job: String,
    /// The worker knows a volume by its identity, which is the job's name.
    volume: Option<String>,
    filesystems: Vec<FilesystemRecord>,
}

impl HandingOver {
    pub(super) fn of(request: &JobRequest, job: &str, filesystems: &[FilesystemRecord]) -> Self {
        let outbox = request.outbox.clone();
        let filesystems = if outbox.is_some() {
            filesystems.to_vec()
        } else {
            Vec::new()
        };
        Self {
            outbox,
            job: job.to_owned(),
            volume: request.name.clone(),
            filesystems,
        }
    }

    pub(super) fn open(&self, source: &Source, record: &JobRecord) -> Result<(), EngineError> {
        if let Some(outbox) = &self.outbox {
            let volume = self.volume.clone().unwrap_or_else(|| source.facts.volume());
            fill::open(outbox, &self.job, &volume, record)?;
        }
        Ok(())
    }

    /// Hands a finished slice over. Its documents may be long, so they are hashed away from the thread that watches the
    /// cages.
    pub(super) async fn slice(
        &self,
        folder: &JobFolder,
        record: &SliceRecord,
        plaso: &str,
    ) -> Result<(), EngineError> {
        let Some(outbox) = self.outbox.clone() else {
            return Ok(());
        };
        let (folder, job) = (folder.path().to_owned(), self.job.clone());
        let (record, plaso) = (record.clone(), plaso.to_owned());
        let filesystems = self.filesystems.clone();
        aside(move || fill::slice(&outbox, &folder, &job, &record, &filesystems, &plaso)).await
    }

    pub(super) async fn close(
        &self,
        folder: &JobFolder,
        manifest: &Manifest,
    ) -> Result<(), EngineError> {
        let Some(outbox) = self.outbox.clone() else {
            return Ok(());
        };
        let (folder, manifest) = (folder.path().to_owned(), manifest.clone());
        aside(move || fill::close(&outbox, &folder, &manifest).map(drop)).await
    }
}

/// Does what may take long on another thread.
async fn aside(
    work: impl FnOnce() -> Result<(), FileError> + Send + 'static,
) -> Result<(), EngineError> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|error| system("hand over", std::io::Error::other(error)))??)
}
