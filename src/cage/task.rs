//! A task in the cage that is run to its end: a fresh attempt folder, a program, an answer taken over.

use std::io;
use std::os::unix::fs::{PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Cage, CageError, CageRequest, CagedEvidence};
use crate::durable::{self, FileError};
use crate::printable;

/// What is run.
#[derive(Debug)]
pub struct Task {
    /// For messages: `probe`, `census`.
    pub name: &'static str,
    /// The program and its arguments, as paths inside.
    pub program: Vec<String>,
    /// The evidence, if it needs any.
    pub evidence: Option<CagedEvidence>,
    /// More to be seen read-only: outside, inside.
    pub read_only: Vec<(PathBuf, String)>,
    /// The longest it may take.
    pub limit: Duration,
}

/// Why a task has no answer.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// The cage.
    #[error(transparent)]
    Cage(#[from] CageError),
    /// A file of the attempt folder.
    #[error(transparent)]
    File(#[from] FileError),
    /// The attempt folder cannot be handed over or taken back.
    #[error("hand files over to or take them from the cage")]
    Owner(#[source] io::Error),
    /// The program did not do its work.
    #[error("{task} in the cage: it {ended}; {said}")]
    Failed {
        /// Which.
        task: &'static str,
        /// How it ended.
        ended: String,
        /// What it said last.
        said: String,
    },
}

impl TaskError {
    /// The error of a task that ended well and left no answer.
    #[must_use]
    pub fn no_answer(task: &'static str) -> Self {
        Self::Failed {
            task,
            ended: "ended".to_owned(),
            said: "it left no answer".to_owned(),
        }
    }
}

impl Task {
    /// Runs it in a fresh attempt folder with these files in it.
    ///
    /// # Errors
    /// The cage cannot be built, or the program ends in any way but code 0.
    pub async fn run(
        self,
        cage: &Cage,
        attempt: &Path,
        files: &[(&str, &[u8])],
    ) -> Result<(), TaskError> {
        durable::remove_folder(attempt)?;
        durable::make_folder(attempt)?;
        for (name, content) in files {
            durable::write(&attempt.join(name), content)?;
        }
        cage.hand_over(attempt).map_err(TaskError::Owner)?;
        let request = CageRequest {
            name: self.name.to_owned(),
            program: self.program,
            evidence: self.evidence,
            attempt: attempt.to_path_buf(),
            read_only: self.read_only,
            data: Vec::new(),
            time_limit: self.limit,
        };
        let mut caged = cage.start(&request)?;
        let ended = caged.wait().await;
        if ended.is_success() {
            return Ok(());
        }
        let said = printable::last_line(&caged.errors(), 300);
        Err(TaskError::Failed {
            task: self.name,
            ended: ended.to_string(),
            said,
        })
    }
}

/// Moves files that the cage wrote into a fresh folder of our own: each must be a plain file with one name,
/// and belongs to us from then on. What else the cage left is removed.
///
/// # Errors
/// A file is missing or not plain, or the system refuses.
pub fn take_over(attempt: &Path, kept: &Path, files: &[String]) -> Result<(), TaskError> {
    durable::remove_folder(kept)?;
    durable::make_folder(kept)?;
    for name in files {
        let from = attempt.join(name);
        let file = durable::open_plain(&from)?;
        fchown(&file, Some(0), Some(0)).map_err(TaskError::Owner)?;
        file.set_permissions(PermissionsExt::from_mode(0o640))
            .map_err(TaskError::Owner)?;
        file.sync_all().map_err(TaskError::Owner)?;
        durable::rename(&from, &kept.join(name))?;
    }
    durable::remove_folder(attempt)?;
    Ok(())
}

/// A command as owned words.
#[must_use]
pub fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
