//! Carrying out what the dispatcher decided.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::progress::Tracker;
use super::{Agent, Work, aside, outcome, sentence};
use crate::dispatch::job::{Job, State};
use crate::dispatch::{Effect, Outcome};
use crate::durable;
use crate::engine::{JobRequest, Talk, job};
use crate::hooks::{self, HookFacts};
use crate::ledger;
use crate::plaso::verdict::Level;
use crate::status::OperatorTask;
use crate::telemetry::events::Event;

/// How long after a failure to write the ledger it is tried again, and how often room is looked for.
const AGAIN: Duration = Duration::from_secs(5);

/// More than a job needs must be free before it goes on, or it would stop again at once.
pub(super) const MARGIN: u64 = 64 << 20;

impl Agent {
    /// Carries out, in order. What cannot be written down holds up what follows, but for ends: those are
    /// never held up. What else fails holds up its own job.
    pub(super) fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Stop { id } => self.stop(&id),
                Effect::Abandon { id } => self.abandon(&id),
                effect => {
                    let waits = self.has_to_wait(&effect, self.stuck.len());
                    if waits || !self.carry_out_one(&effect) {
                        self.stuck.push_back(effect);
                    }
                }
            }
            self.changed = true;
        }
    }

    /// Whether the ledger cannot be written, or one of the first that are stuck is of the same job.
    fn has_to_wait(&self, effect: &Effect, first: usize) -> bool {
        let mut before = self.stuck.iter().take(first);
        self.trouble.is_some() || before.any(|one| job_of(one) == job_of(effect))
    }

    /// Carries it out; false if it has to be tried again.
    fn carry_out_one(&mut self, effect: &Effect) -> bool {
        let done = match effect {
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
        let Err(why) = done else {
            return true;
        };
        self.last_stuck = Some(Instant::now());
        let job = job_of(effect);
        if matches!(effect, Effect::Keep { .. }) {
            tracing::error!(
                dfagent_error = why,
                "the ledger cannot be written; it is tried again"
            );
            self.trouble = Some(why);
        } else {
            tracing::error!(
                dfagent_error = why,
                dfagent_job = job,
                "a job cannot go on; it is tried again"
            );
            self.held_up.insert(job.to_owned(), why);
        }
        false
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
        self.held_up.clear();
        let mut place = 0;
        while let Some(effect) = self.stuck.get(place).cloned() {
            if self.has_to_wait(&effect, place) {
                place += 1;
                continue;
            }
            drop(self.stuck.remove(place));
            if !self.carry_out_one(&effect) {
                self.stuck.insert(place, effect);
                place += 1;
            }
        }
        self.changed = true;
    }

    /// Why a job that was asked for something does not do it yet, if so.
    pub(super) fn waits_because(&self, id: &str) -> Option<String> {
        let ledger = self.trouble.as_ref();
        let ledger = ledger.map(|why| format!("write that down, so it waits: {why}"));
        let job = self.held_up.get(id);
        ledger.or_else(|| job.map(|why| format!("do that yet; it is tried again by itself: {why}")))
    }

    /// What a person has to do about jobs that stand still.
    pub(super) fn held_up_tasks(&self) -> impl Iterator<Item = OperatorTask> {
        self.held_up.iter().map(|(id, why)| OperatorTask {
            why: format!("{id} stands still, because the agent {why}; it is tried again"),
            command: "journalctl -u dfagent".to_owned(),
        })
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
            let outcome = if durable::is_full(&error) {
                let reserve = self.in_force.settings().reserve_bytes();
                self.wanted.insert(id.to_owned(), reserve);
                let free = durable::free_bytes(&self.in_force.jobs()).unwrap_or_default();
                outcome::waits_for_room(free >> 20, reserve >> 20)
            } else {
                Outcome::NeedsOperator { why, help }
            };
            let effects = self.dispatcher.ended(id, outcome, &now);
            return self.carry_out(effects);
        }
        self.spawn(&job);
    }

    fn spawn(&mut self, job: &Job) {
        let selection = Arc::clone(self.in_force.selection(&job.volume.entry));
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

    /// Lets one job that waits for room go on when there is enough: the next one may, too, when this one has begun.
    pub(super) fn look_for_room(&mut self) {
        if self.wanted.is_empty() || !self.room_is_due() {
            return;
        }
        self.room_looked = Instant::now();
        let free = durable::free_bytes(&self.in_force.jobs()).unwrap_or(u64::MAX);
        let jobs = self.dispatcher.jobs().map(|(job, ..)| job);
        let waiting: Vec<&Job> = jobs
            .filter(|job| matches!(job.state, State::Waiting { .. }))
            .collect();
        self.wanted
            .retain(|id, _| waiting.iter().any(|job| job.id == *id));
        let wanted = |job: &&&Job| self.wanted.get(&job.id);
        let ready = waiting
            .iter()
            .filter(|job| wanted(job).is_some_and(|wanted| free >= wanted.saturating_add(MARGIN)));
        let next = ready.min_by_key(|job| (-job.priority, &job.created, &job.id));
        if let Some(id) = next.map(|job| job.id.clone()) {
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

/// The job that an effect is about; a folder has its job's name.
fn job_of(effect: &Effect) -> &str {
    match effect {
        Effect::Keep { job, .. } => &job.id,
        Effect::SetAside { folder } => folder
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default(),
        Effect::Start { id }
        | Effect::Stop { id }
        | Effect::Abandon { id }
        | Effect::Withdraw { id }
        | Effect::Redeliver { id }
        | Effect::Tidy { id }
        | Effect::RunHook { id, .. } => id,
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
