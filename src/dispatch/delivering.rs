//! Jobs whose events are on their way to the server, and holding jobs back while it would not take them.

use super::job::State;
use super::{Dispatcher, Effect, Now, Why};
use crate::delivery::receipt::{Delivered, Link};
use crate::plaso::verdict::Level;

use super::act::{Acted, refuse};

impl Dispatcher {
    /// The delivery of a job ended. A job that is not being delivered, or is unknown, stays as it is.
    pub fn delivered(
        &mut self,
        id: &str,
        delivered: Delivered,
        sketch: Option<Link>,
        now: &Now,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        let Some(entry) = self.entries.get_mut(id) else {
            return effects;
        };
        if !matches!(entry.job.state, State::Delivering { .. }) {
            return effects;
        }
        let Some(record) = &mut entry.job.delivery else {
            return effects;
        };
        let Delivered {
            level,
            reasons,
            documents,
        } = delivered;
        record.level = Some(level);
        (record.reasons, record.documents, record.sketch) = (reasons, documents, sketch);
        let extracted = record.extracted;
        let verdict = extracted.max(level);
        let what = format!("done: {verdict}; extracted: {extracted}, delivered: {level}");
        self.change(id, State::Done { verdict }, &what, now, &mut effects);
        if level == Level::Complete {
            effects.push(Effect::Tidy { id: id.to_owned() });
        }
        effects
    }

    /// Tries once more what is not proven, without extracting anything again.
    pub(super) fn redeliver(&mut self, id: &str, now: &Now) -> Acted {
        let mut effects = Vec::new();
        let Some(entry) = self.entries.get_mut(id) else {
            return Ok((String::new(), effects));
        };
        let Some(record) = &mut entry.job.delivery else {
            return Ok((String::new(), effects));
        };
        if record.level == Some(Level::Complete) {
            return refuse(format!(
                "retry {id}: all its events are delivered; `dfagent retry --anew {id}` begins it anew"
            ));
        }
        let verdict = record.extracted;
        record.again = record.again.saturating_add(1);
        record.level = None;
        record.reasons.clear();
        let what = "delivered again by hand";
        let state = State::Delivering { verdict };
        self.change(id, state, what, now, &mut effects);
        effects.push(Effect::Redeliver { id: id.to_owned() });
        let sentence = format!("{id} is delivered again; nothing is extracted again");
        Ok((sentence, effects))
    }

    /// Begins no job from now on, or begins jobs again. Jobs at work go on.
    pub fn hold(&mut self, why: Option<String>, now: &Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.held = why;
        self.start_queued(now, &mut effects);
        effects
    }

    /// Stops in order what is at work while jobs are held; it goes on when they are not held any more.
    pub fn break_off(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.held.is_some() {
            for id in self.ids(|entry| entry.attempt.is_some()) {
                self.stop_attempt(&id, Why::Held, &mut effects);
            }
        }
        effects
    }

    /// Names the case of jobs at work, where it is known otherwise by now.
    pub fn name_cases(&mut self, case: impl Fn(&str) -> Option<String>) -> Vec<Effect> {
        let mut effects = Vec::new();
        for entry in self.entries.values_mut() {
            if entry.attempt.is_some()
                && let Some(case) = case(&entry.job.volume.id)
                && entry.job.case.as_ref() != Some(&case)
            {
                entry.job.case = Some(case);
                effects.push(Effect::Keep {
                    job: Box::new(entry.job.clone()),
                    what: "the case is named by a tag".to_owned(),
                });
            }
        }
        effects
    }

    /// The case of a job as it stands in its manifest; it is kept with the job's end.
    pub fn case_was(&mut self, id: &str, case: Option<&str>) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.job.case = case.map(str::to_owned);
        }
    }

    /// What a job that is queued waits for, in a sentence; none if nothing holds it back.
    #[must_use]
    pub fn waits_for(&self, id: &str, now: &Now) -> Option<String> {
        let entry = self.entries.get(id)?;
        if entry.job.state != State::Queued {
            return None;
        }
        if let Some(why) = &self.held {
            return Some(why.clone());
        }
        let watched = self
            .entries
            .values()
            .find(|one| one.on_probation(now).is_some())?;
        entry.is_suspect().then(|| {
            format!(
                "The agent went down with it, as with {}, which is tried first.",
                watched.job.id
            )
        })
    }
}
