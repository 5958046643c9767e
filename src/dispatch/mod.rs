//! Pure: which jobs there are, what may happen to them next, and what has to be done for it.
//!
//! The dispatcher is told what happened and answers with effects, in order. A job is kept before anything is
//! done for it, so that a crash at any moment finds the intent. It does no I/O and knows no clock.

mod act;
mod attached;
mod delivering;
mod ending;
pub mod job;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use ending::{Why, after};
use job::{DeliveryRecord, HookRecord, Job, State};

use crate::config::worker::{AttachTable, DeviceSettings, HookTable};
use crate::policy::{Ignored, Volume};

pub use act::{Action, Refusal};
pub use ending::Outcome;

/// A job that went down with the agent this often, without getting on, is not tried again by itself.
const MOST_CRASHES: u32 = 3;

/// A job that went down with the agent is watched for so long before the next such job is started: the one
/// that does it is then found, and the others lose nothing. At its last try it is watched until it gets on or ends.
const PROBATION: Duration = Duration::from_secs(60);

/// What new jobs are made by.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// The folder in which jobs have theirs.
    pub jobs: PathBuf,
    /// Which kinds of devices may be evidence.
    pub devices: DeviceSettings,
    /// What is ours.
    pub attach: AttachTable,
    /// What follows a job.
    pub hooks: HookTable,
}

/// A moment.
#[derive(Clone, Debug)]
pub struct Now {
    /// RFC 3339, UTC; only written down, never counted with.
    pub wall: String,
    /// Since the agent was started, on a clock that nobody sets.
    pub running: Duration,
}

/// What has to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Write the job down; what follows waits for that.
    Keep {
        /// As it is now.
        job: Box<Job>,
        /// What happened, for its history.
        what: String,
    },
    /// Set the folder of an earlier result aside.
    SetAside {
        /// The folder.
        folder: PathBuf,
    },
    /// Start the job.
    Start {
        /// Which.
        id: String,
    },
    /// Stop the job, in order.
    Stop {
        /// Which.
        id: String,
    },
    /// End the job: its volume is gone.
    Abandon {
        /// Which.
        id: String,
    },
    /// Take back what was handed over to delivery, if anything was.
    Withdraw {
        /// Which.
        id: String,
    },
    /// Ask delivery to try once more what is not proven.
    Redeliver {
        /// Which.
        id: String,
    },
    /// All is proven: what delivery was given is no longer needed.
    Tidy {
        /// Which.
        id: String,
    },
    /// Run a hook.
    RunHook {
        /// Of which job.
        id: String,
        /// Its name.
        name: String,
    },
}

/// An attempt at a job.
#[derive(Clone, Debug)]
struct Attempt {
    stopping: Option<Why>,
    /// Its volume is gone, so it was ended at once.
    abandoned: bool,
    since: Duration,
}

#[derive(Clone, Debug)]
struct Entry {
    job: Job,
    present: Option<Volume>,
    attempt: Option<Attempt>,
}

impl Entry {
    fn is_suspect(&self) -> bool {
        self.job.crashes > 0
    }

    fn is_stopping(&self) -> bool {
        let attempt = self.attempt.as_ref();
        attempt.is_some_and(|attempt| attempt.stopping.is_some())
    }

    /// Until when it is watched, if it is; at its last try without end.
    fn on_probation(&self, now: &Now) -> Option<Duration> {
        let attempt = self.attempt.as_ref().filter(|_| self.is_suspect())?;
        let last = self.job.crashes + 1 >= MOST_CRASHES;
        let until = if last {
            Duration::MAX
        } else {
            attempt.since + PROBATION
        };
        (now.running < until).then_some(until)
    }
}

/// The jobs and what may happen to them.
#[derive(Clone, Debug)]
pub struct Dispatcher {
    rules: Rules,
    entries: BTreeMap<String, Entry>,
    ignored: Vec<Ignored>,
    stopping: bool,
    /// Why no job is begun, in a sentence.
    held: Option<String>,
}

impl Dispatcher {
    /// Begins with what the ledger remembers. A job that ran when the agent went down counts a crash.
    #[must_use]
    pub fn restore(rules: Rules, jobs: Vec<Job>, now: &Now) -> (Self, Vec<Effect>) {
        let mut dispatcher = Self {
            rules,
            entries: BTreeMap::new(),
            ignored: Vec::new(),
            stopping: false,
            held: None,
        };
        let mut effects = Vec::new();
        for job in jobs {
            let id = job.id.clone();
            let entry = Entry {
                job,
                present: None,
                attempt: None,
            };
            dispatcher.entries.insert(id.clone(), entry);
            dispatcher.restore_one(&id, now, &mut effects);
        }
        (dispatcher, effects)
    }

    fn restore_one(&mut self, id: &str, now: &Now, effects: &mut Vec<Effect>) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        match (entry.job.state.clone(), entry.job.wish.take()) {
            (_, Some(wish)) => self.restore_wish(id, wish, now, effects),
            (State::Running, None) => {
                entry.job.crashes += 1;
                let (state, what) = if entry.job.crashes >= MOST_CRASHES {
                    let what =
                        "the agent went down with it again; it is not tried by itself any more";
                    (State::Parked, what)
                } else {
                    let why = "the agent went down while it was at work".to_owned();
                    (State::Interrupted { why }, "the agent went down with it")
                };
                self.change(id, state, what, now, effects);
            }
            (State::Done { .. }, None) => self.next_hook(id, effects),
            _ => {}
        }
    }

    /// Takes up new rules; they hold for jobs that are not begun yet.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// The jobs, whether their volume is attached, and whether they are being stopped.
    pub fn jobs(&self) -> impl Iterator<Item = (&Job, bool, bool)> {
        self.entries
            .values()
            .map(|entry| (&entry.job, entry.present.is_some(), entry.is_stopping()))
    }

    /// A job.
    #[must_use]
    pub fn job(&self, id: &str) -> Option<&Job> {
        self.entries.get(id).map(|entry| &entry.job)
    }

    /// Whether a job at work was asked to stop.
    #[must_use]
    pub fn is_stopping(&self, id: &str) -> bool {
        self.entries.get(id).is_some_and(Entry::is_stopping)
    }

    /// The devices that are not evidence.
    #[must_use]
    pub fn ignored(&self) -> &[Ignored] {
        &self.ignored
    }

    /// Whether nothing is left that would be done by itself.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.entries.values().all(|entry| {
            entry.attempt.is_none()
                && entry.job.hooks_due.is_empty()
                && !matches!(
                    entry.job.state,
                    State::Queued | State::Waiting { .. } | State::Delivering { .. }
                )
        })
    }

    /// The job made its plan or finished a slice: it does not bring the agent down.
    pub fn progressed(&mut self, id: &str, now: &Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let Some(entry) = self.entries.get_mut(id)
            && entry.is_suspect()
            && entry.attempt.is_some()
        {
            entry.job.crashes = 0;
            effects.push(Effect::Keep {
                job: Box::new(entry.job.clone()),
                what: "it gets on".to_owned(),
            });
            self.start_queued(now, &mut effects);
        }
        effects
    }

    /// The attempt at a job ended; said twice, it means nothing.
    pub fn ended(&mut self, id: &str, outcome: Outcome, now: &Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        let Some(entry) = self.entries.get_mut(id) else {
            return effects;
        };
        let Some(attempt) = entry.attempt.take() else {
            return effects;
        };
        (entry.job.crashes, entry.job.wish) = (0, None);
        let (state, what) = after(outcome, attempt.stopping);
        entry.job.delivery = match state {
            State::Delivering { verdict } => Some(DeliveryRecord::new(verdict)),
            _ => None,
        };
        self.change(id, state.clone(), &what, now, &mut effects);
        if state == State::Cancelled {
            effects.push(Effect::Withdraw { id: id.to_owned() });
        }
        self.requeue(id, false, now, &mut effects);
        self.start_queued(now, &mut effects);
        effects
    }

    /// A hook ended.
    pub fn hook_ended(&mut self, id: &str, record: HookRecord) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let Some(entry) = self.entries.get_mut(id) {
            let what = format!("hook {}: {}", record.name, record.outcome);
            entry.job.hooks_due.retain(|name| *name != record.name);
            entry.job.hooks_done.push(record);
            effects.push(Effect::Keep {
                job: Box::new(entry.job.clone()),
                what,
            });
            self.next_hook(id, &mut effects);
        }
        effects
    }

    /// There is room for the results of a job that waits.
    pub fn room(&mut self, id: &str, now: &Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        let entry = self.entries.get(id);
        if entry.is_some_and(|entry| matches!(entry.job.state, State::Waiting { .. })) {
            self.change(id, State::Queued, "there is room again", now, &mut effects);
        }
        self.start_queued(now, &mut effects);
        effects
    }

    /// Looks whether what had to wait for a time may be started; to be called at [`Self::next_look`].
    pub fn look(&mut self, now: &Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.start_queued(now, &mut effects);
        effects
    }

    /// When [`Self::look`] has something to do, if no event comes before.
    #[must_use]
    pub fn next_look(&self, now: &Now) -> Option<Duration> {
        let watched = self.entries.values();
        let until = watched.filter_map(|entry| entry.on_probation(now));
        until.filter(|until| *until < Duration::MAX).min()
    }

    /// The agent is to end: nothing is started any more, and what runs is stopped.
    pub fn stop(&mut self) -> Vec<Effect> {
        self.stopping = true;
        let mut effects = Vec::new();
        for id in self.ids(|entry| entry.attempt.is_some()) {
            self.stop_attempt(&id, Why::Shutdown, &mut effects);
        }
        effects
    }

    fn ids(&self, wanted: impl Fn(&Entry) -> bool) -> Vec<String> {
        let entries = self.entries.iter().filter(|(_, entry)| wanted(entry));
        entries.map(|(id, _)| id.clone()).collect()
    }

    fn change(&mut self, id: &str, state: State, what: &str, now: &Now, effects: &mut Vec<Effect>) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        let done = match state {
            State::Done { verdict } => Some(verdict),
            _ => None,
        };
        if let Some(verdict) = done {
            entry.job.hooks_done.clear();
            let hooks = self.rules.hooks.iter();
            let due = hooks.filter(|(_, hook)| hook.on.contains(&verdict));
            entry.job.hooks_due = due.map(|(name, _)| name.clone()).collect();
        }
        entry.job.state = state;
        entry.job.changed.clone_from(&now.wall);
        effects.push(Effect::Keep {
            job: Box::new(entry.job.clone()),
            what: what.to_owned(),
        });
        if done.is_some() {
            self.next_hook(id, effects);
        }
    }

    /// Says once that an attempt is to end. Of several wishes a cancellation decides what the job is then.
    fn stop_attempt(&mut self, id: &str, why: Why, effects: &mut Vec<Effect>) {
        let entry = self.entries.get_mut(id);
        let Some(attempt) = entry.and_then(|entry| entry.attempt.as_mut()) else {
            return;
        };
        let id = id.to_owned();
        let asked = attempt.stopping.is_some();
        if why == Why::Gone && !attempt.abandoned {
            attempt.abandoned = true;
            effects.push(Effect::Abandon { id });
        } else if why != Why::Gone && !asked {
            effects.push(Effect::Stop { id });
        }
        if !asked || why == Why::Cancelled || attempt.stopping == Some(Why::Held) {
            attempt.stopping = Some(why);
        }
    }

    /// The hooks that are left when the agent ends are run when it is back.
    fn next_hook(&self, id: &str, effects: &mut Vec<Effect>) {
        if self.stopping {
            return;
        }
        let due = self
            .entries
            .get(id)
            .and_then(|entry| entry.job.hooks_due.first());
        if let Some(name) = due {
            effects.push(Effect::RunHook {
                id: id.to_owned(),
                name: name.clone(),
            });
        }
    }

    /// Starts what is queued: the highest priority first, then the oldest. Of jobs that went down with the
    /// agent, one at a time.
    fn start_queued(&mut self, now: &Now, effects: &mut Vec<Effect>) {
        if self.stopping || self.held.is_some() {
            return;
        }
        let mut queued: Vec<&Entry> = self
            .entries
            .values()
            .filter(|entry| entry.job.state == State::Queued && entry.present.is_some())
            .filter(|entry| entry.attempt.is_none())
            .collect();
        queued.sort_by(|one, other| {
            let order = |entry: &Entry| (entry.job.crashes, -entry.job.priority);
            let age = |entry: &Entry| (entry.job.created.clone(), entry.job.id.clone());
            (order(one), age(one)).cmp(&(order(other), age(other)))
        });
        let queued: Vec<String> = queued.iter().map(|entry| entry.job.id.clone()).collect();
        for id in queued {
            let watched = self
                .entries
                .values()
                .any(|entry| entry.on_probation(now).is_some());
            let Some(entry) = self.entries.get_mut(&id) else {
                continue;
            };
            if entry.is_suspect() && watched {
                continue;
            }
            entry.job.starts += 1;
            let since = now.running;
            entry.attempt = Some(Attempt {
                stopping: None,
                abandoned: false,
                since,
            });
            self.change(&id, State::Running, "started", now, effects);
            effects.push(Effect::Start { id });
        }
    }
}
