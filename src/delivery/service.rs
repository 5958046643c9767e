//! The loop of delivery: a task for each job that there is an order for, and one that asks the server whether it would
//! take what is made. It sees the meeting place, its own folder and the server, and nothing else.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{EventKind, RecursiveMode, Watcher as _};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::name;
use super::order::Order;
use super::outbox::Outbox;
use super::receipt::{Receipt, Standing};
use super::sketch::Sketches;
use super::standing::{self, Servers};
use super::state::States;
use super::steps::{Delivering, GaveUp};
use crate::config::Settings;
use crate::durable::FileError;
use crate::opensearch::{self, Pace};
use crate::timesketch;

/// The folders are looked at this often without a hint.
const RECONCILE: Duration = Duration::from_secs(60);

/// How soon somebody else's turn at the meeting place may be over.
const TURN: Duration = Duration::from_millis(500);

/// Why there is no delivery.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// A file of ours.
    #[error(transparent)]
    File(#[from] FileError),
    /// The client of Timesketch cannot be made.
    #[error(transparent)]
    Timesketch(#[from] timesketch::ClientError),
    /// The client of OpenSearch cannot be made.
    #[error(transparent)]
    Opensearch(#[from] opensearch::ClientError),
    /// The folders cannot be watched.
    #[error("watch {}", path.display())]
    Watch {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: notify::Error,
    },
}

/// Hears every receipt.
pub type Listener = Arc<dyn Fn(&Receipt) + Send + Sync>;

/// What all jobs share.
pub struct Context {
    servers: Servers,
    pub(super) settings: Settings,
    pub(super) outbox: Outbox,
    pub(super) states: States,
    pub(super) sketches: Sketches,
    /// Where documents stand that OpenSearch refused.
    rejected: PathBuf,
    pub(super) places: Semaphore,
    /// How fast OpenSearch takes documents, as all jobs have found out.
    pub(super) pace: Pace,
    /// Differs between machines and starts.
    pub(super) seed: u64,
    /// After how long without progress a job is given up; never, for a service.
    pub(super) gives_up: Option<Duration>,
    listener: Listener,
    stop: watch::Receiver<bool>,
}

/// What is to be served, and how.
pub struct Service {
    /// Settings.
    pub settings: Settings,
    /// The meeting place.
    pub outbox: Outbox,
    /// The folder of delivery's own.
    pub folder: PathBuf,
    /// Where the service manager puts secrets.
    pub credentials: Option<PathBuf>,
    /// Whether it gives up when nothing gets on.
    pub in_foreground: bool,
    /// Hears every receipt.
    pub listener: Listener,
    /// True once somebody wants it to stop.
    pub stop: watch::Receiver<bool>,
}

impl Service {
    /// Makes the client and the folders; asks nobody yet.
    ///
    /// # Errors
    /// A file cannot be made or used.
    pub fn set_up(self) -> Result<Context, ServiceError> {
        let delivery = &self.settings.delivery;
        let patience = Duration::from_secs(delivery.patience_seconds);
        Ok(Context {
            servers: Servers::new(&self.settings, self.credentials.as_deref())?,
            states: States::at(&self.folder)?,
            rejected: self.folder.join("rejected"),
            outbox: self.outbox,
            sketches: Sketches::default(),
            places: Semaphore::new(delivery.at_once),
            pace: Pace::new(&self.settings.opensearch),
            seed: getrandom::u64().unwrap_or(1),
            gives_up: self.in_foreground.then_some(patience),
            listener: self.listener,
            stop: self.stop,
            settings: self.settings,
        })
    }
}

impl Context {
    /// A name for an upload that nobody else has: 32 hexadecimal digits.
    pub(super) fn fresh_id() -> std::io::Result<String> {
        let mut id = [0; 16];
        getrandom::fill(&mut id)?;
        Ok(crate::durable::hex(&id))
    }

    pub(super) const fn chunk_bytes(&self) -> u64 {
        self.settings.timesketch.chunk_bytes()
    }

    /// Timesketch, if there is one.
    pub(super) const fn timesketch(&self) -> Option<&timesketch::Client> {
        self.servers.timesketch.as_ref()
    }

    /// OpenSearch, if there is one.
    pub(super) const fn opensearch(&self) -> Option<&opensearch::Client> {
        self.servers.opensearch.as_ref()
    }

    /// Times that something is begun anew at the most.
    pub(super) const fn tries(&self) -> u32 {
        self.settings.delivery.tries
    }

    /// The documents of a job that OpenSearch refused, a file a slice.
    pub(super) fn rejected_of(&self, job: &str) -> PathBuf {
        self.rejected.join(job)
    }

    /// The documents of a slice that OpenSearch refused, with its reasons.
    pub(super) fn rejected(&self, job: &str, slice: &str) -> PathBuf {
        self.rejected_of(job).join(format!("{slice}.jsonl"))
    }

    /// How long a count may stand still before it is final: the last events are found a second or two after
    /// Timesketch says ready, when OpenSearch has refreshed.
    pub(super) fn count_limit(&self) -> Duration {
        let part = Duration::from_secs(self.settings.delivery.patience_seconds) / 30;
        part.clamp(Duration::from_secs(3), Duration::from_secs(60))
    }

    /// The order with the case that a tag names, and the name of its sketch.
    pub(super) fn tagged(&self, order: Order) -> (Order, String) {
        let on_ec2 = self.settings.ec2.is_used();
        let said = on_ec2.then(|| self.outbox.cloud().ok().flatten());
        let said = said.flatten().unwrap_or_default();
        name::tagged(&said, &self.settings.timesketch.sketch, order)
    }

    pub(super) fn tell(&self, receipt: &Receipt) -> Result<(), FileError> {
        (self.listener)(receipt);
        self.outbox.keep_receipt(receipt)
    }

    /// Asks the servers whether they would take what is made.
    pub async fn ask(&self) -> Standing {
        standing::ask(&self.servers, &self.settings).await
    }

    /// Waits, but not beyond a stop.
    pub(super) async fn wait(&self, time: Duration) {
        let mut stop = self.stop.clone();
        tokio::select! {
            () = sleep(time) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }

    /// Delivers until it is stopped, or, once `finish` says so, until nothing is left to do. Sentences say what was
    /// given up.
    ///
    /// # Errors
    /// The meeting place cannot be used.
    pub async fn run(
        self: Arc<Self>,
        finish: watch::Receiver<bool>,
    ) -> Result<Vec<String>, ServiceError> {
        let mut stop = self.stop.clone();
        let serving = Arc::clone(&self).serve(finish);
        tokio::select! {
            given_up = serving => given_up,
            // Whatever is under way is on disk and is gone on with the next time.
            _ = stop.wait_for(|stop| *stop) => Ok(Vec::new()),
        }
    }

    async fn serve(
        self: Arc<Self>,
        finish: watch::Receiver<bool>,
    ) -> Result<Vec<String>, ServiceError> {
        let _turn = loop {
            if let Some(turn) = self.outbox.serve()? {
                break turn;
            }
            tracing::info!("another delivery serves this folder; waiting for it to end");
            sleep(TURN).await;
        };
        let (hint, changes) = watch::channel(());
        let _watching = watch_folder(self.outbox.orders_folder(), hint)?;
        let mut tasks = JoinSet::new();
        if self.gives_up.is_none() {
            tasks.spawn(standing::keep(Arc::clone(&self)));
        }
        self.serve_jobs(&mut tasks, changes, finish).await
    }

    async fn serve_jobs(
        self: Arc<Self>,
        tasks: &mut JoinSet<Ended>,
        mut changes: watch::Receiver<()>,
        mut finish: watch::Receiver<bool>,
    ) -> Result<Vec<String>, ServiceError> {
        let (mut served, mut given_up) = (BTreeSet::new(), Vec::new());
        loop {
            changes.borrow_and_update();
            let finishing = *finish.borrow_and_update();
            let jobs = self.outbox.jobs()?;
            self.states.forget_others(&jobs);
            for job in jobs {
                if served.insert(job.clone()) {
                    let (context, changes, finish) =
                        (Arc::clone(&self), changes.clone(), finish.clone());
                    tasks.spawn(deliver(context, job, changes, finish));
                }
            }
            if finishing && tasks.is_empty() {
                return Ok(given_up);
            }
            tokio::select! {
                // All arms may be dropped at any time: each waits on a channel, a set of tasks or a clock.
                Some(ended) = tasks.join_next() => if let Ok(Ended { job, given_up: why }) = ended {
                    // In the foreground a job is served once.
                    if !finishing && why.is_none() {
                        served.remove(&job);
                    }
                    given_up.extend(why);
                },
                _ = changes.changed() => {}
                _ = finish.changed(), if !finishing => {}
                () = sleep(RECONCILE) => {}
            }
        }
    }
}

/// How a task ended.
pub(super) struct Ended {
    pub(super) job: String,
    pub(super) given_up: Option<String>,
}

/// Delivers a job for as long as there is an order for it.
async fn deliver(
    context: Arc<Context>,
    job: String,
    mut changes: watch::Receiver<()>,
    mut finish: watch::Receiver<bool>,
) -> Ended {
    let mut delivering = loop {
        match Delivering::new(&context, &job) {
            Ok(delivering) => break delivering,
            Err(error) => {
                let error = crate::printable::causes(&error);
                tracing::error!(
                    dfagent_job = job,
                    dfagent_error = error,
                    "the state cannot be read"
                );
                if context.gives_up.is_some() {
                    let given_up = Some(error);
                    return Ended { job, given_up };
                }
                context.wait(RECONCILE).await;
            }
        }
    };
    loop {
        changes.borrow_and_update();
        let finishing = *finish.borrow_and_update();
        match delivering.catch_up(&job).await {
            Ok(true) if !finishing => {}
            Ok(_) => {
                return Ended {
                    job,
                    given_up: None,
                };
            }
            Err(GaveUp(why)) => {
                return Ended {
                    job,
                    given_up: Some(why),
                };
            }
        }
        tokio::select! {
            _ = changes.changed() => {}
            _ = finish.changed() => {}
            () = sleep(RECONCILE) => {}
        }
    }
}

/// Every change below a folder becomes a hint; what is read there makes none.
fn watch_folder(
    path: &Path,
    hint: watch::Sender<()>,
) -> Result<notify::RecommendedWatcher, ServiceError> {
    let failed = |source| ServiceError::Watch {
        path: path.to_path_buf(),
        source,
    };
    let heard = move |event: notify::Result<notify::Event>| {
        let looked = |event: &notify::Event| matches!(event.kind, EventKind::Access(_));
        if !event.as_ref().is_ok_and(looked) {
            hint.send_replace(());
        }
    };
    let mut watcher = notify::recommended_watcher(heard).map_err(failed)?;
    watcher
        .watch(path, RecursiveMode::Recursive)
        .map_err(failed)?;
    Ok(watcher)
}
