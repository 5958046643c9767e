//! Carrying out what the dispatcher decided.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::progress::Tracker;
use super::{Agent, Work, aside, sentence};
use crate::dispatch::job::{Job, State};
use crate::dispatch::{Effect, Outcome};
use crate::durable;
use crate::engine::{JobRequest, Talk, job};
use crate::hooks::{self, HookFacts};
use crate::ledger;
use crate::plaso::verdict::Level;
use crate::telemetry::events::Event;

/// How long after a failure to write the ledger it is tried again, and how often room is looked for.
const AGAIN: Duration = Duration::from_secs(5);

/// More than a job needs must be free before it goes on, or it would stop again at once.
pub(super) const MARGIN: u64 = 64 << 20;

impl Agent {
    /// Carries out, in order. What cannot be written down holds up what follows, but for ends: those are
    /// never held up.
    pub(super) fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Stop { id } => self.stop(&id),
                Effect::Abandon { id } => self.abandon(&id),
                effect if self.stuck.is_empty() => self.carry_out_one(effect),
                effect => self.stuck.push_back(effect),
            }
            self.changed = true;
        }
    }

    fn carry_out_one(&mut self, effect: Effect) {
        let written = match &effect {
            Effect::Keep { job, what } => {
                let kept = self.ledger.keep(job, what);
                if kept.is_ok() {
                    announce(job);
                }
                kept.map_err(|error| sentence(&error))
            }
            Effect::SetAside { folder } => {
                self.results.retain(|id, _| !folder.ends_with(id));
                let there = folder.exists();
                let moved = there.then(|| durable::rename(folder, &aside(folder)));
                moved.unwrap_or(Ok(())).map_err(|error| sentence(&error))
            }
            Effect::Withdraw { id } => self.withdraw(id).map_err(|error| sentence(&error)),
            Effect::Redeliver { id } => self.redeliver(id).map_err(|error| sentence(&error)),
            Effect::Tidy { id } => self.tidy(id).map_err(|error| sentence(&error)),
            Effect::Start { id } => {
                Event::JobStarted { job: id.clone() }.emit();
                self.start(id);
                Ok(())
            }
            Effect::RunHook { id, name } => {
                self.run_hook(id, name);
                Ok(())
            }
            Effect::Stop { .. } | Effect::Abandon { .. } => Ok(()),
        };
        if let Err(why) = written {
            tracing::error!(
                dfagent_error = why,
                "the ledger cannot be written; it is tried again"
            );
            self.trouble = Some(why);
            self.stuck.push_front(effect);
            self.last_stuck = Some(Instant::now());
        }
    }

    /// Tries again what is stuck.
    pub(super) fn retry_stuck(&mut self) {
        let due = self
            .last_stuck
            .is_some_and(|last| last + AGAIN <= Instant::now());
        if !due {
            return;
        }
        (self.last_stuck, self.trouble) = (None, None);
        while let Some(effect) = self.stuck.pop_front() {
            self.carry_out_one(effect);
            if self.last_stuck.is_some() {
                return;
            }
        }
        self.changed = true;
    }

    fn stop(&mut self, id: &str) {
        if let Some(work) = self.work.get(id) {
            work.stop.send(true).unwrap_or_default();
        }
    }

    /// Dropping a job's task ends all its cages.
    fn abandon(&mut self, id: &str) {
        if let Some(work) = self.work.get(id) {
            let volume = id.to_owned();
            Event::VolumeGone { volume }.emit();
            work.task.abort();
        }
    }

    fn start(&mut self, id: &str) {
        let Some(job) = self.dispatcher.job(id).cloned() else {
            return;
        };
        if self.dispatcher.is_stopping(id) {
            // It could not be written down until now, and was asked to stop meanwhile.
            let now = self.now();
            let effects = self.dispatcher.ended(id, Outcome::Stopped, &now);
            return self.carry_out(effects);
        }
        if let Err(error) = ledger::note(&job.folder, &job) {
            let (why, help) = (sentence(&error), format!("dfagent retry {id}"));
            let now = self.now();
            let outcome = Outcome::NeedsOperator { why, help };
            let effects = self.dispatcher.ended(id, outcome, &now);
            return self.carry_out(effects);
        }
        self.spawn(&job);
    }

    fn spawn(&mut self, job: &Job) {
        let selection = self.in_force.selection(&job.volume.entry).clone();
        let id = job.id.clone();
        let request = JobRequest {
            source: job.volume.node.clone(),
            sequence: job.volume.sequence,
            output: job
                .folder
                .parent()
                .unwrap_or(std::path::Path::new("/"))
                .to_path_buf(),
            name: Some(id.clone()),
            mountpoint: job.mountpoint.clone(),
            case: self
                .deliveries
                .ec2
                .case(&job.volume.id)
                .or(job.case.clone()),
            priority: job.priority,
            selection,
            keep_begun_selection: true,
            outbox: self
                .in_force
                .delivers()
                .then(|| self.deliveries.outbox.clone()),
            cloud: self
                .in_force
                .settings()
                .ec2
                .is_used()
                .then(|| self.deliveries.outbox.clone()),
        };
        let (stop, stopped) = watch::channel(false);
        let (told, teller) = (self.told.clone(), id.clone());
        let talk = Talk {
            // Nobody listens any more when the agent ends.
            listener: Arc::new(move |progress| drop(told.send((teller.clone(), progress)))),
            stop: stopped,
        };
        let engine = Arc::clone(&self.in_force.engine);
        let task = self
            .tasks
            .spawn(async move { job::run(engine, &request, talk).await });
        self.ids.insert(task.id(), id.clone());
        let tracker = Tracker::new(Instant::now());
        let work = Work {
            task,
            stop,
            tracker,
            handed_over: self.in_force.delivers(),
        };
        self.work.insert(id, work);
        self.had_work = true;
    }

    fn run_hook(&mut self, id: &str, name: &str) {
        let Some(job) = self.dispatcher.job(id) else {
            return;
        };
        let verdict = match job.state {
            State::Done { verdict } => verdict.to_string(),
            _ => String::new(),
        };
        let delivery = job.delivery.as_ref();
        let sketch = delivery.and_then(|delivery| Some(delivery.sketch.as_ref()?.url.clone()));
        let facts = HookFacts {
            job: job.id.clone(),
            volume: job.volume.id.clone(),
            node: job.volume.node.display().to_string(),
            point: job.volume.point.clone(),
            case: job.case.clone().unwrap_or_default(),
            verdict,
            folder: job.folder.display().to_string(),
            sketch: sketch.unwrap_or_default(),
        };
        let hook = self.in_force.settings().hook.get(name).cloned();
        let (id, name) = (id.to_owned(), name.to_owned());
        self.hooks.spawn(async move {
            let record = match hook {
                Some(hook) => hooks::run(&name, &hook, &facts).await,
                None => crate::dispatch::job::HookRecord {
                    name,
                    ok: false,
                    outcome: "it is no longer in the configuration".to_owned(),
                },
            };
            (id, record)
        });
    }

    /// Jobs that waited for room when the agent went down still do.
    pub(super) fn remember_who_waits(&mut self) {
        let reserve = self.in_force.settings().reserve_bytes();
        for (job, ..) in self.dispatcher.jobs() {
            if matches!(job.state, State::Waiting { .. }) {
                self.wanted.insert(job.id.clone(), reserve);
            }
        }
    }

    /// Lets jobs that wait for room go on when there is enough.
    pub(super) fn look_for_room(&mut self) {
        if self.wanted.is_empty() || !self.room_is_due() {
            return;
        }
        self.room_looked = Instant::now();
        let free = durable::free_bytes(&self.in_force.jobs()).unwrap_or(u64::MAX);
        let ready: Vec<String> = self
            .wanted
            .iter()
            .filter(|(_, wanted)| free >= wanted.saturating_add(MARGIN))
            .map(|(id, _)| id.clone())
            .collect();
        for id in ready {
            self.wanted.remove(&id);
            let now = self.now();
            let effects = self.dispatcher.room(&id, &now);
            self.carry_out(effects);
        }
    }

    fn room_is_due(&self) -> bool {
        self.room_looked + AGAIN <= Instant::now()
    }

    /// When something follows from time alone.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let now = self.now();
        let look = self.dispatcher.next_look(&now);
        let publish = self
            .changed
            .then(|| self.published + super::snapshot::PAUSE);
        let room = (!self.wanted.is_empty()).then(|| self.room_looked + AGAIN);
        [
            look.map(|at| self.started + at),
            publish,
            room,
            self.last_stuck.map(|last| last + AGAIN),
            self.deliveries.due,
            self.deliveries.ec2.break_off_at(),
            self.stop_until,
            self.power_off_at(),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}

/// Tells the log what a job came to.
fn announce(job: &Job) {
    let id = job.id.clone();
    let event = match &job.state {
        State::Queued if job.starts == 0 => Event::VolumeSeen {
            volume: id,
            point: job.volume.point.clone(),
        },
        State::Waiting { why } => Event::JobWaiting {
            job: id,
            why: why.clone(),
        },
        State::Interrupted { why } => Event::JobInterrupted {
            job: id,
            why: why.clone(),
        },
        State::NeedsOperator { why, help } => Event::JobNeedsOperator {
            job: id,
            why: why.clone(),
            help: help.clone(),
        },
        State::Parked => Event::JobParked { job: id },
        State::Delivering { .. } => Event::JobDelivering { job: id },
        State::Done { verdict } if job.hooks_done.is_empty() => {
            delivered(job);
            Event::JobDone {
                job: id,
                verdict: *verdict,
            }
        }
        _ => return,
    };
    event.emit();
}

/// Tells the log how the delivery of a job ended, if it had one.
fn delivered(job: &Job) {
    let Some(delivery) = &job.delivery else {
        return;
    };
    let id = job.id.clone();
    let event = match delivery.level {
        None => return,
        Some(Level::Complete) => Event::JobDelivered {
            job: id,
            documents: delivery.documents,
            sketch: delivery.sketch.clone().unwrap_or_default().url,
        },
        Some(Level::Partial | Level::Failed) => Event::JobDeliveredShort {
            job: id,
            why: delivery.reasons.join(" "),
        },
    };
    event.emit();
}
