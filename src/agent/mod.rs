//! The agent: the only place that names every concrete edge. It hears what happens, lets the dispatcher decide,
//! and carries out what follows.
//!
//! Everything runs on one thread, because one thread has to start all cages; what may wait for a device or for
//! a client has threads of its own ([`crate::device::monitor`], [`crate::status::server`]).

mod cloud;
mod configuration;
mod deliveries;
mod delivering;
mod effects;
mod outcome;
mod power;
mod progress;
mod receipts;
mod rights;
mod snapshot;
mod wait;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, Id, JoinSet};

use crate::clock;
use crate::config::Settings;
use crate::device::monitor::{Devices, Waker, Watcher};
use crate::dispatch::job::{HookRecord, Job};
use crate::dispatch::{Dispatcher, Effect, Now, Outcome};
use crate::durable::FileError;
use crate::engine::job::JobResult;
use crate::engine::places::Places;
use crate::engine::{EngineError, Progress, SetupError};
use crate::ledger::{Ledger, LedgerError, Opened};
use crate::life::notify::Notifier;
use crate::life::reload::{self, ReloadError};
use crate::life::watchdog::{Sign, Watchdog};
use crate::printable;
use crate::status::access::Access;

use crate::status::server::{ActionRequest, Server, SocketError};
use crate::status::{Answer, JobResultStatus, Status, Totals, jobs};
use crate::telemetry::events::Event;

use configuration::InForce;
pub use configuration::Origin;
use deliveries::Deliveries;
use power::PowerOff;
use progress::Tracker;
use wait::{Happening, Signals, TaskResult};

/// How often the devices are looked at without a hint.
const RECONCILE: Duration = Duration::from_secs(60);

/// Why the agent cannot be or go on.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// A folder of the agent.
    #[error(transparent)]
    File(#[from] FileError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Plaso, the cage or the filter.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// Devices cannot be watched.
    #[error("watch for devices; is udevd running?")]
    Devices(#[source] std::io::Error),
    /// Changes of the configuration cannot be heard.
    #[error(transparent)]
    Reload(#[from] ReloadError),
    /// Signals cannot be heard.
    #[error("listen for signals")]
    Signals(#[source] std::io::Error),
}

/// A job at work.
#[derive(Debug)]
struct Work {
    task: AbortHandle,
    stop: watch::Sender<bool>,
    tracker: Tracker,
    /// Whether its events are handed over to delivery.
    handed_over: bool,
}

/// A line of a job's progress.
type Told = (String, Progress);

/// The agent.
struct Agent {
    in_force: InForce,
    started: Instant,
    since: String,
    dispatcher: Dispatcher,
    ledger: Ledger,
    work: BTreeMap<String, Work>,
    tasks: JoinSet<Result<JobResult, EngineError>>,
    ids: HashMap<Id, String>,
    hooks: JoinSet<(String, HookRecord)>,
    deliveries: Deliveries,
    results: BTreeMap<String, JobResultStatus>,
    totals: Totals,
    /// Free bytes that jobs wait for.
    wanted: BTreeMap<String, u64>,
    /// What cannot be done until the ledger can be written again, or what its job needs first, in order.
    stuck: VecDeque<Effect>,
    /// Why the ledger cannot be written.
    trouble: Option<String>,
    /// Why single jobs cannot go on.
    held_up: BTreeMap<String, String>,
    last_stuck: Option<Instant>,
    room_looked: Instant,
    told: mpsc::UnboundedSender<Told>,
    snapshot: watch::Sender<Arc<Status>>,
    published: Instant,
    metrics_written: Option<Instant>,
    /// What the service manager was told last.
    in_words: String,
    changed: bool,
    notifier: Notifier,
    watchdog: Watchdog,
    waker: Waker,
    stop_until: Option<Instant>,
    /// Whether the thread that watches devices has ended by itself.
    blind: bool,
    /// Whether a job was at work since the agent was started.
    had_work: bool,
    power: PowerOff,
}

/// Runs until it is told to stop.
///
/// # Errors
/// It cannot begin; once it runs, only a signal ends it, or a fault in what it stands on.
pub async fn run(origin: Origin) -> Result<(), AgentError> {
    let started = Instant::now();
    let settings = &origin.settings.agent;
    rights::make_directory(settings)?;
    let mut signals = Signals::listen().map_err(AgentError::Signals)?;
    let (ledger, jobs, deliveries) = recall(&origin.settings)?;
    let places = Places::new(origin.settings.at_once());
    let in_force = InForce::set_up(origin, places).await?;
    let (watcher, mut devices) = Watcher::start(RECONCILE).map_err(AgentError::Devices)?;
    let (told, mut heard) = mpsc::unbounded_channel();
    let (asking, mut asked) = mpsc::channel(64);
    let now = now_since(started);
    let (dispatcher, effects) = Dispatcher::restore(in_force.rules(), jobs, &now);
    let (snapshot, shown) = watch::channel(Arc::new(snapshot::empty()));
    let mut agent = Agent {
        started,
        since: now.wall,
        dispatcher,
        ledger,
        work: BTreeMap::new(),
        tasks: JoinSet::new(),
        ids: HashMap::new(),
        hooks: JoinSet::new(),
        deliveries,
        results: BTreeMap::new(),
        totals: Totals::default(),
        wanted: BTreeMap::new(),
        stuck: VecDeque::new(),
        trouble: None,
        held_up: BTreeMap::new(),
        last_stuck: None,
        room_looked: started,
        told,
        snapshot,
        published: started,
        metrics_written: None,
        in_words: String::new(),
        changed: true,
        watchdog: Watchdog::new(sd_notify::watchdog_enabled()),
        notifier: Notifier,
        waker: watcher.waker(),
        stop_until: None,
        blind: false,
        had_work: false,
        power: PowerOff::default(),
        in_force,
    };
    agent.results = snapshot::results_of(&agent.dispatcher).await;
    agent.begin(effects, &mut devices);
    let settings = &agent.in_force.settings().agent;
    let server = Server::start(&settings.socket, Access::of(settings), shown, asking)?;
    let mut reloads = reload::watch(&agent.in_force.watched_folders())?;
    crate::sys::give_back_memory();
    agent.notifier.ready(&agent.in_words);
    Event::AgentReady.emit();
    while !agent.is_over() {
        let deadline = agent.next_deadline();
        let happening = tokio::select! {
            // All arms may be dropped at any time: each waits on a channel, a signal, a set of tasks or a clock.
            changed = devices.changed() => Happening::devices(changed),
            Some(told) = heard.recv() => Happening::Told(told),
            Some(ended) = agent.tasks.join_next_with_id() => Happening::ended(ended),
            Some(Ok((id, record))) = agent.hooks.join_next() => Happening::Hook(id, record),
            Some(tried) = agent.power.command.join_next() => Happening::PowerTried(tried),
            Some(asked) = asked.recv() => Happening::Asked(asked),
            signal = signals.next() => signal,
            Some(changed) = reloads.recv() => Happening::Reload(changed),
            () = agent.deliveries.changed() => Happening::Receipts,
            reloaded = agent.in_force.reloaded() => Happening::Reloaded(reloaded),
            () = wait::until(deadline) => Happening::Time,
        };
        agent.catch_up(&mut heard);
        agent.take(happening, &mut devices);
        agent.settle();
        agent.watch_anew(&mut reloads);
    }
    let ended = agent.end();
    drop(server);
    drop(watcher);
    ended
}

/// What is known from before: the ledger, its jobs, and what was handed over to delivery.
fn recall(settings: &Settings) -> Result<(Ledger, Vec<Job>, Deliveries), AgentError> {
    let agent = &settings.agent;
    let Opened {
        mut ledger,
        mut jobs,
        ..
    } = Ledger::open(&agent.ledger(), &agent.jobs())?;
    rights::limit_ledger(agent)?;
    let mut deliveries = Deliveries::at(&agent.directory, settings);
    deliveries.open(settings)?;
    delivering::recall(&deliveries.outbox, &mut ledger, &mut jobs)?;
    Ok((ledger, jobs, deliveries))
}

/// This moment for the dispatcher.
fn now_since(started: Instant) -> Now {
    Now {
        wall: clock::now(),
        running: started.elapsed(),
    }
}

impl Agent {
    fn begin(&mut self, effects: Vec<Effect>, devices: &mut Devices) {
        self.remember_who_waits();
        self.carry_out(effects);
        self.tidy_outbox();
        self.devices(devices);
        self.publish();
    }

    /// Takes all progress that is waiting: a snapshot is made once for it, and what a job told last counts
    /// before its end.
    fn catch_up(&mut self, heard: &mut mpsc::UnboundedReceiver<Told>) {
        while let Ok(told) = heard.try_recv() {
            self.heard(told);
        }
    }

    fn now(&self) -> Now {
        now_since(self.started)
    }

    fn take(&mut self, happening: Happening, devices: &mut Devices) {
        match happening {
            Happening::Devices => self.devices(devices),
            Happening::Blind => {
                self.blind = true;
                self.stop_until = Some(Instant::now());
            }
            Happening::Told(told) => self.heard(told),
            Happening::Ended(task, result) => self.ended(task, &result),
            Happening::Hook(id, record) => {
                let (job, hook) = (id.clone(), record.name.clone());
                if record.ok {
                    Event::HookDone { job, hook }.emit();
                } else {
                    let why = record.outcome.clone();
                    Event::HookFailed { job, hook, why }.emit();
                }
                let effects = self.dispatcher.hook_ended(&id, record);
                self.carry_out(effects);
            }
            Happening::PowerTried(tried) => self.power_tried(tried),
            Happening::Asked(asked) => self.asked(asked),
            Happening::Terminate => self.terminate(),
            Happening::Reload(changed) => {
                tracing::debug!(?changed, "reading the configuration again");
                self.notifier.reloading();
                self.in_force.reload();
            }
            Happening::Reloaded(done) => self.reloaded(done),
            Happening::Receipts => self.deliveries.hint(),
            Happening::Time => {}
        }
        self.changed = true;
    }

    /// Takes up the newest list of devices.
    fn devices(&mut self, devices: &mut Devices) {
        // Before anything is started: it may have to be held.
        self.look_at_deliveries(true);
        let list = devices.borrow_and_update().clone();
        let now = self.now();
        let effects = self.dispatcher.devices(&list, &now);
        self.watchdog.progress(Sign::Reconcile);
        self.carry_out(effects);
        self.ask_ec2();
    }

    fn heard(&mut self, (id, progress): Told) {
        let now = Instant::now();
        self.watchdog.progress(Sign::Engine);
        let Some(work) = self.work.get_mut(&id) else {
            return;
        };
        progress::add_up(&mut self.totals, &progress);
        if let Progress::SliceStalled { name, file } = &progress {
            let (job, slice, file) = (id.clone(), name.clone(), file.clone());
            Event::SliceStalled { job, slice, file }.emit();
        }
        if let Progress::Stage(stage) = &progress {
            let (job, stage) = (id.clone(), stage.clone());
            Event::JobStage { job, stage }.emit();
        }
        self.changed |= !matches!(progress, Progress::Alive);
        if work.tracker.take(progress, now) {
            let now = self.now();
            let effects = self.dispatcher.progressed(&id, &now);
            self.carry_out(effects);
        }
    }

    fn ended(&mut self, task: Id, result: &TaskResult) {
        let Some(id) = self.ids.remove(&task) else {
            return;
        };
        let work = self.work.remove(&id);
        let handed_over = work.as_ref().is_some_and(|work| work.handed_over);
        let outcome = match result {
            Ok(result) => outcome::of(&id, result, handed_over),
            Err(error) => outcome::of_broken(&id, error),
        };
        match result {
            Ok(Ok(done)) => {
                let case = done.manifest.case.as_deref();
                self.dispatcher.case_was(&id, case);
                self.totals.jobs += 1;
                let seconds = work.map(|work| work.tracker.progress(Instant::now()).seconds);
                self.totals.job_seconds += seconds.unwrap_or_default();
                let shown = jobs::result(&done.folder, &done.manifest);
                self.results.insert(id.clone(), shown);
            }
            Ok(Err(EngineError::WorkFull { reserve_mib, .. })) => {
                self.wanted.insert(id.clone(), reserve_mib << 20);
            }
            _ => {}
        }
        crate::sys::give_back_memory();
        let now = self.now();
        let effects = self.dispatcher.ended(&id, outcome, &now);
        self.carry_out(effects);
        self.deliveries.hint_at(&id);
        // What the job knew may be newer than the list of devices.
        self.waker.wake();
    }

    fn asked(&mut self, asked: ActionRequest) {
        let now = self.now();
        let answer = match self.dispatcher.act(asked.action, &asked.job, &now) {
            Ok((sentence, effects)) => {
                let (job, by) = (asked.job.clone(), asked.by.clone());
                let action = asked.action.name().to_owned();
                Event::ActionDone { job, by, action }.emit();
                self.carry_out(effects);
                match self.waits_because(&asked.job) {
                    None => Answer::Done(sentence),
                    Some(why) => Answer::Refused { why },
                }
            }
            Err(refusal) => Answer::Refused {
                why: refusal.to_string(),
            },
        };
        self.changed = true;
        self.publish();
        drop(asked.answer.send(answer));
    }

    /// The first signal stops in order, the second at once.
    fn terminate(&mut self) {
        let now = Instant::now();
        if self.stop_until.is_some() {
            self.stop_until = Some(now);
            return;
        }
        self.stop_until = Some(now + self.in_force.settings().agent.stop_limit());
        self.notifier.stopping("stopping in order");
        Event::AgentStopping.emit();
        let effects = self.dispatcher.stop();
        self.carry_out(effects);
    }

    /// Whether everything has stopped, or has had its time.
    fn is_over(&self) -> bool {
        let Some(until) = self.stop_until else {
            return false;
        };
        (self.tasks.is_empty() && self.hooks.is_empty()) || Instant::now() >= until
    }

    /// The last words: who did not stop in time is named and ended. An agent that sees no devices any more has
    /// failed, so that the service manager starts it anew.
    fn end(&mut self) -> Result<(), AgentError> {
        self.tasks.abort_all();
        self.hooks.abort_all();
        let mut names: Vec<String> = self.work.keys().cloned().collect();
        for id in &names {
            let now = self.now();
            let effects = self.dispatcher.ended(id, Outcome::Stopped, &now);
            self.carry_out(effects);
        }
        if !self.hooks.is_empty() {
            let jobs = self.dispatcher.jobs();
            let due = jobs.filter_map(|(job, ..)| Some((job.hooks_due.first()?, &job.id)));
            names.extend(due.map(|(hook, id)| format!("the hook {hook} of {id}")));
        }
        if !names.is_empty() {
            Event::LateAtStop { names }.emit();
        }
        if self.blind {
            let why = std::io::Error::other("the thread for it has ended");
            return Err(AgentError::Devices(why));
        }
        Ok(())
    }

    /// What follows from time alone, after anything that happened.
    fn settle(&mut self) {
        self.retry_stuck();
        self.look_for_room();
        self.settle_deliveries();
        self.break_off();
        let now = self.now();
        let effects = self.dispatcher.look(&now);
        self.carry_out(effects);
        self.power();
        let now = Instant::now();
        // A job that may not go on has nothing to show.
        let held = self.deliveries.ec2.hold().is_some();
        self.watchdog.set_busy(!self.work.is_empty() && !held);
        if self.watchdog.due(now) {
            self.notifier.alive();
            self.watchdog.fed(now);
        }
        if self.changed && now >= self.published + snapshot::PAUSE {
            self.publish();
        }
    }
}

/// A sentence about an error, for `status` and logs.
fn sentence(error: &(dyn std::error::Error + 'static)) -> String {
    format!("failed to {}", printable::causes(error))
}

/// The folder beside a job's own to which an earlier result is set aside.
fn aside(folder: &std::path::Path) -> PathBuf {
    let numbers = 1_u32..;
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    numbers
        .map(|number| folder.with_file_name(format!("{name}.{number}")))
        .find(|path| !path.exists())
        .unwrap_or_default()
}
