//! What people may do about jobs: retry, cancel, release.

use serde::{Deserialize, Serialize};

use super::job::{State, Wish};
use super::{Dispatcher, Effect, Now, Why};

/// What can be done about a job.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Go on with it, or, with what is there set aside, begin it anew.
    Retry {
        /// Begin anew.
        anew: bool,
    },
    /// End it for good; what is finished is kept.
    Cancel,
    /// Let go of the volume now; it goes on at the next attachment.
    Release,
}

impl Action {
    /// The command's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Retry { .. } => "retry",
            Self::Cancel => "cancel",
            Self::Release => "release",
        }
    }
}

/// Why something is not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such job.
    #[error("find the job {job}: {known}")]
    Unknown {
        /// The name that was given, printable.
        job: String,
        /// The jobs there are, in words.
        known: String,
    },
    /// The job is not in a state for it.
    #[error("{what}")]
    State {
        /// What cannot be done and why, and what can.
        what: String,
    },
}

pub(super) type Acted = Result<(String, Vec<Effect>), Refusal>;

pub(super) fn refuse(what: String) -> Acted {
    Err(Refusal::State { what })
}

impl Dispatcher {
    /// Does it, and says in a sentence what happens now.
    ///
    /// # Errors
    /// There is no such job, or it is not in a state for it.
    pub fn act(&mut self, action: Action, id: &str, now: &Now) -> Acted {
        if !self.entries.contains_key(id) {
            let known: Vec<String> = self.ids(|_| true);
            let known = if known.is_empty() {
                "there is no job yet".to_owned()
            } else {
                format!("there are {}", known.join(", "))
            };
            return Err(Refusal::Unknown {
                job: crate::printable::line(id, 80),
                known,
            });
        }
        match action {
            Action::Retry { anew } => self.retry(id, anew, now),
            Action::Cancel => self.cancel(id, now),
            Action::Release => self.release(id, now),
        }
    }

    fn retry(&mut self, id: &str, anew: bool, now: &Now) -> Acted {
        let mut effects = Vec::new();
        let Some(entry) = self.entries.get_mut(id) else {
            return Ok((String::new(), effects));
        };
        if entry.attempt.is_some() {
            return refuse(format!("retry {id}: it is at work; cancel it first"));
        }
        let done = matches!(entry.job.state, State::Done { .. });
        if done && !entry.job.hooks_due.is_empty() {
            return refuse(format!("retry {id}: its hooks are still at work"));
        }
        let handed_over = entry.job.delivery.is_some();
        if !anew && handed_over && (done || matches!(entry.job.state, State::Delivering { .. })) {
            return self.redeliver(id, now);
        }
        entry.job.crashes = 0;
        if anew || done {
            self.wish(id, Wish::Anew, &mut effects);
            self.set_aside(id, &mut effects);
        }
        let Some(entry) = self.entries.get_mut(id) else {
            return Ok((String::new(), effects));
        };
        entry.job.delivery = None;
        let sentence = match entry.present.clone() {
            Some(volume) => {
                entry.job.volume = volume;
                let what = if anew || done {
                    "begun anew by hand"
                } else {
                    "retried by hand"
                };
                self.change(id, State::Queued, what, now, &mut effects);
                match &self.held {
                    _ if self.stopping => format!("{id} is started when the agent is back"),
                    None => format!("{id} is started"),
                    Some(why) => format!("{id} is queued, and no job is begun now: {why}"),
                }
            }
            None => {
                let why = "the volume is not attached".to_owned();
                let what = "retried by hand";
                self.change(id, State::Interrupted { why }, what, now, &mut effects);
                format!("{id} is started as soon as its volume is attached")
            }
        };
        self.start_queued(now, &mut effects);
        Ok((sentence, effects))
    }

    /// Keeps what a person asked for before it is done. A cancellation is not made less by a later wish.
    fn wish(&mut self, id: &str, wish: Wish, effects: &mut Vec<Effect>) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        if entry.job.wish == Some(wish) || entry.job.wish == Some(Wish::Cancel) {
            return;
        }
        entry.job.wish = Some(wish);
        let what = match wish {
            Wish::Cancel => "to be cancelled, by hand",
            Wish::Release => "to be released, by hand",
            Wish::Anew => "to be begun anew, by hand",
        };
        effects.push(Effect::Keep {
            job: Box::new(entry.job.clone()),
            what: what.to_owned(),
        });
    }

    /// In this order: what is set aside is not delivered any more.
    fn set_aside(&mut self, id: &str, effects: &mut Vec<Effect>) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        entry.job.wish = None;
        effects.push(Effect::Withdraw { id: id.to_owned() });
        effects.push(Effect::SetAside {
            folder: entry.job.folder.clone(),
        });
    }

    /// Carries out what was asked for before the agent went down.
    pub(super) fn restore_wish(
        &mut self,
        id: &str,
        wish: Wish,
        now: &Now,
        effects: &mut Vec<Effect>,
    ) {
        match wish {
            Wish::Cancel => {
                self.change(id, State::Cancelled, "cancelled", now, effects);
                effects.push(Effect::Withdraw { id: id.to_owned() });
            }
            Wish::Release => self.change(id, State::Released, "released", now, effects),
            Wish::Anew => {
                self.set_aside(id, effects);
                if let Some(entry) = self.entries.get_mut(id) {
                    entry.job.delivery = None;
                }
                let why = "the volume is not attached".to_owned();
                let what = "begun anew by hand";
                self.change(id, State::Interrupted { why }, what, now, effects);
            }
        }
    }

    fn cancel(&mut self, id: &str, now: &Now) -> Acted {
        let mut effects = Vec::new();
        let Some(entry) = self.entries.get(id) else {
            return Ok((String::new(), effects));
        };
        if let State::Done { verdict } = entry.job.state {
            return refuse(format!("cancel {id}: it is done already ({verdict})"));
        }
        if entry.attempt.is_some() {
            self.wish(id, Wish::Cancel, &mut effects);
            self.stop_attempt(id, Why::Cancelled, &mut effects);
            return Ok((
                format!("{id} is being stopped; finished slices are kept"),
                effects,
            ));
        }
        self.change(id, State::Cancelled, "cancelled by hand", now, &mut effects);
        effects.push(Effect::Withdraw { id: id.to_owned() });
        Ok((
            format!("{id} is cancelled; `dfagent retry {id}` goes on with it"),
            effects,
        ))
    }

    fn release(&mut self, id: &str, now: &Now) -> Acted {
        let mut effects = Vec::new();
        let Some(entry) = self.entries.get(id) else {
            return Ok((String::new(), effects));
        };
        if entry.attempt.is_some() {
            self.wish(id, Wish::Release, &mut effects);
            self.stop_attempt(id, Why::Released, &mut effects);
            let sentence =
                format!("{id} is being stopped; detach it once `dfagent status` says released");
            return Ok((sentence, effects));
        }
        match entry.job.state {
            State::Queued
            | State::Waiting { .. }
            | State::Interrupted { .. }
            | State::NeedsOperator { .. } => {
                self.change(id, State::Released, "released by hand", now, &mut effects);
                Ok((
                    format!("{id} is released; it goes on when it is attached again"),
                    effects,
                ))
            }
            _ => Ok((format!("nothing holds {id}; it can be detached"), effects)),
        }
    }
}
