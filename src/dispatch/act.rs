//! What people may do about jobs: retry, cancel, release.

use serde::{Deserialize, Serialize};

use super::job::State;
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
        if anew || done {
            // In this order: what is set aside is not delivered any more.
            effects.push(Effect::Withdraw { id: id.to_owned() });
            effects.push(Effect::SetAside {
                folder: entry.job.folder.clone(),
            });
        }
        entry.job.crashes = 0;
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

    fn cancel(&mut self, id: &str, now: &Now) -> Acted {
        let mut effects = Vec::new();
        let Some(entry) = self.entries.get(id) else {
            return Ok((String::new(), effects));
        };
        if let State::Done { verdict } = entry.job.state {
            return refuse(format!("cancel {id}: it is done already ({verdict})"));
        }
        if entry.attempt.is_some() {
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
