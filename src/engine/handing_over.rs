//! A job's way into the outbox, for jobs whose events are delivered to a server.

use super::{EngineError, JobRequest};
use crate::delivery::fill;
use crate::delivery::outbox::Outbox;
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

    pub(super) fn slice(
        &self,
        folder: &JobFolder,
        record: &SliceRecord,
        plaso: &str,
    ) -> Result<(), EngineError> {
        if let Some(outbox) = &self.outbox {
            fill::slice(
                outbox,
                folder.path(),
                &self.job,
                record,
                &self.filesystems,
                plaso,
            )?;
        }
        Ok(())
    }

    pub(super) fn close(&self, folder: &JobFolder, manifest: &Manifest) -> Result<(), EngineError> {
        if let Some(outbox) = &self.outbox {
            fill::close(outbox, folder.path(), manifest)?;
        }
        Ok(())
    }
}
