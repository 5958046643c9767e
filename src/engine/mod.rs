//! The engine: one source on its way from opened to released.
//!
//! `process` drives one job with it; the worker will drive many. An engine holds what all jobs share:
//! settings, Plaso, the cage and the places for slices that may run at once. A job's steps stand in
//! [`job`], a slice's in [`slice`].

pub mod export;
pub mod filesystem;
pub mod finish;
mod handing_over;
mod hashing;
pub mod job;
pub mod places;
pub mod planning;
mod presence;
mod room;
pub mod slice;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use places::Places;
use tokio::sync::watch;

use crate::cage::task::TaskError;
use crate::cage::{Cage, CageError};
use crate::census::filter::{CollectionFilter, FilterError};
use crate::config::{ConfigError, Settings, filters};
use crate::delivery::outbox::Outbox;
use crate::durable::FileError;
use crate::evidence::source::SourceError;
use crate::job::{JobError, Selection, Terms};
use crate::manifest::PlasoRecord;
use crate::plaso::install::{Plaso, PlasoError};
use crate::plaso::verdict::Level;

/// What all jobs share.
#[derive(Debug)]
pub struct Engine {
    /// Settings.
    pub settings: Settings,
    /// Plaso.
    pub plaso: Plaso,
    /// The sandbox.
    pub cage: Cage,
    /// Places for slices at work; other engines may share them.
    pub places: Arc<Places>,
}

/// What a job is asked to do.
#[derive(Clone, Debug)]
pub struct JobRequest {
    /// The source.
    pub source: PathBuf,
    /// The kernel's number of the attachment that is meant (`diskseq`); none: whatever is there.
    pub sequence: Option<u64>,
    /// The folder in which the job's folder is made.
    pub output: PathBuf,
    /// The name of the job and its folder; none: made of the source's name and content.
    pub name: Option<String>,
    /// The folder below which filesystems are mounted; none: the job's folder.
    pub mountpoint: Option<PathBuf>,
    /// The case.
    pub case: Option<String>,
    /// Higher is earlier.
    pub priority: i64,
    /// What is looked for, and by what.
    pub selection: Arc<Selection>,
    /// Whether a job that was begun with another selection goes on with that one, or is refused.
    pub keep_begun_selection: bool,
    /// Where finished slices are handed over to delivery; none: the events stay in the job's folder.
    pub outbox: Option<Outbox>,
    /// Where delivery writes down what EC2 says; none: this is no instance of EC2's.
    pub cloud: Option<Outbox>,
}

/// What happens, for whoever shows it.
#[derive(Clone, Debug)]
pub enum Progress {
    /// The job is alive: a step came further, or is one that ends by itself. Told about once a second; not told
    /// while the system keeps us waiting for a device.
    Alive,
    /// A step of the job began.
    Stage(String),
    /// A region is not read, and why.
    Unread(String),
    /// The plan was made and is kept; told once in the life of a job.
    PlanMade,
    /// What the plan comes to, now or from an earlier run.
    Planned {
        /// Slices in all.
        slices: usize,
        /// Bytes in all.
        bytes: u64,
        /// Slices that an earlier run finished.
        done: usize,
        /// And their bytes.
        bytes_done: u64,
    },
    /// A slice began.
    SliceStarted {
        /// Its name.
        name: String,
    },
    /// A slice goes on.
    SliceTick {
        /// Its name.
        name: String,
        /// Events so far.
        events: u64,
        /// The file that is read, printable.
        file: String,
    },
    /// Plaso hung on a file, which is left out.
    SliceStalled {
        /// The slice.
        name: String,
        /// The file, printable.
        file: String,
    },
    /// A slice is finished.
    SliceDone {
        /// Its name.
        name: String,
        /// Documents.
        documents: u64,
        /// Bytes in its files.
        bytes: u64,
        /// Seconds that its last run took.
        seconds: f64,
        /// Its verdict.
        level: Level,
    },
}

/// Where progress is told, and from where a stop comes.
#[derive(Clone)]
pub struct Talk {
    /// Hears the progress; must not wait.
    pub listener: Arc<dyn Fn(Progress) + Send + Sync>,
    /// True once somebody wants the job to stop in order.
    pub stop: watch::Receiver<bool>,
}

impl Talk {
    /// Tells.
    pub fn tell(&self, progress: Progress) {
        (self.listener)(progress);
    }

    /// Awaits a step that ends by itself, such as a cage, which has a time limit: while it lasts, the job is alive.
    ///
    /// Cancel-safe if the step is.
    pub async fn during<T>(&self, step: impl Future<Output = T>) -> T {
        let mut looks = tokio::time::interval(job::LOOK);
        let mut step = std::pin::pin!(step);
        loop {
            tokio::select! {
                biased;
                done = &mut step => return done,
                _ = looks.tick() => self.tell(Progress::Alive),
            }
        }
    }
}

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Settings or filter files.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The collection filter.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// Plaso.
    #[error(transparent)]
    Plaso(#[from] PlasoError),
    /// The sandbox.
    #[error(transparent)]
    Cage(#[from] CageError),
}

/// Why a job did not come to an end.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The source cannot be used.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The job's folder cannot be used.
    #[error(transparent)]
    Job(#[from] JobError),
    /// A file of the job.
    #[error(transparent)]
    File(#[from] FileError),
    /// The sandbox.
    #[error(transparent)]
    Cage(#[from] CageError),
    /// Reading the source.
    #[error("read the source")]
    Read(#[source] std::io::Error),
    /// A system call on the way.
    #[error("{operation}")]
    System {
        /// What was tried.
        operation: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The folder holds a job with other terms.
    #[error("go on with the job in {}: it was begun with {difference}; use the same again or another --to folder", folder.display())]
    OtherTerms {
        /// The folder.
        folder: PathBuf,
        /// What is different.
        difference: String,
    },
    /// The source is not what it was when the job began.
    #[error("go on with the job in {}: {difference}; the source changed, use another --to folder", folder.display())]
    SourceChanged {
        /// The folder.
        folder: PathBuf,
        /// What is different.
        difference: String,
    },
    /// A task in the cage.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// Asked to stop.
    #[error("finish the job: it was stopped; call the same command again to go on")]
    Stopped,
    /// The output folder's file system is nearly full.
    #[error(
        "finish the job: only {free_mib} MiB are free in the output folder, {reserve_mib} MiB are kept free; make room and call the same command again to go on"
    )]
    WorkFull {
        /// Free.
        free_mib: u64,
        /// Wanted.
        reserve_mib: u64,
    },
    /// The source went away.
    #[error(
        "finish the job: the source was detached while it was read; attach it and call the same command again to go on"
    )]
    Gone,
}

impl EngineError {
    /// Whether a person can remove the cause.
    #[must_use]
    pub fn needs_operator(&self) -> bool {
        match self {
            Self::Source(error) => error.needs_operator(),
            Self::Job(JobError::Taken { .. }) => true,
            Self::OtherTerms { .. } | Self::SourceChanged { .. } => true,
            Self::Stopped | Self::WorkFull { .. } | Self::Gone => true,
            _ => false,
        }
    }
}

impl Engine {
    /// Finds Plaso and the cage. `own_program` is run in the cage.
    ///
    /// # Errors
    /// Something needed is missing or wrong.
    pub async fn set_up(
        settings: Settings,
        places: Arc<Places>,
        own_program: &Path,
    ) -> Result<Self, SetupError> {
        let environment = &settings.plaso.environment;
        let configured = (!environment.as_os_str().is_empty()).then_some(environment.as_path());
        let plaso = Plaso::find(configured).await?;
        let cage = Cage::find(
            &settings.cage.user,
            settings.cage.limits(),
            settings.cage.weights(),
            own_program,
        )?;
        Ok(Self {
            settings,
            plaso,
            cage,
            places,
        })
    }

    /// What a timeline depends on besides the source.
    #[must_use]
    pub fn terms(&self, selection: &Arc<Selection>) -> Terms {
        Terms {
            plaso: self.plaso.versions.plaso,
            selection: Arc::clone(selection),
        }
    }

    /// For the manifest.
    #[must_use]
    pub fn plaso_record(&self, selection: &Selection) -> PlasoRecord {
        PlasoRecord {
            version: self.plaso.versions.plaso.to_string(),
            python: self.plaso.versions.python.clone(),
            libfsxfs: self.plaso.versions.libfsxfs,
            mode: "single_process".to_owned(),
            parsers: selection.parsers.clone(),
            filter_sha256: selection.filter_sha256(),
            filters: selection
                .filters
                .iter()
                .map(|(name, _)| name.clone())
                .collect(),
        }
    }
}

/// The selection: filter files that are `given`, or the ones in force; `parsers`, or those of the settings.
///
/// # Errors
/// A filter file cannot be read or understood.
pub fn select(
    settings: &Settings,
    parsers: Option<Vec<String>>,
    given: &[PathBuf],
) -> Result<Arc<Selection>, SetupError> {
    let filters = filters::in_force(&settings.filter.directory, given)?;
    let texts = filters
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()));
    CollectionFilter::read(texts)?;
    let parsers = match parsers {
        Some(parsers) => parsers,
        None if settings.plaso.parsers.is_empty() => filters::built_in_parsers(),
        None => settings.plaso.parsers.clone(),
    };
    Ok(Arc::new(Selection { filters, parsers }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_job_is_alive_while_a_step_that_ends_by_itself_lasts_and_by_nothing_else() {
        let told = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&told);
        let talk = Talk {
            listener: Arc::new(move |progress| {
                assert!(matches!(progress, Progress::Alive));
                count.fetch_add(1, Ordering::Relaxed);
            }),
            stop: watch::channel(false).1,
        };
        let second = Duration::from_secs(1);
        let answer = talk.during(async {
            tokio::time::sleep(10 * second).await;
            "answer"
        });
        assert_eq!(answer.await, "answer");
        let during = told.load(Ordering::Relaxed);
        assert!((10..=11).contains(&during), "{during}");
        tokio::time::sleep(10 * second).await;
        assert_eq!(told.load(Ordering::Relaxed), during);
    }
}
