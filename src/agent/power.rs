//! Switching the machine off when nothing is left to do: after a job, never before the first one.

use std::time::Instant;

use tokio::task::{JoinError, JoinSet};

use super::Agent;
use crate::life::power::{self, Grace};
use crate::status::OperatorTask;
use crate::status::attention;
use crate::telemetry::events::Event;

/// How the command ended.
pub(super) type Tried = Result<Result<(), String>, JoinError>;

/// What is known of switching off.
#[derive(Debug, Default)]
pub(super) struct PowerOff {
    grace: Grace,
    /// The command, while it runs.
    pub(super) command: JoinSet<Result<(), String>>,
    /// Why it did not do it.
    failed: Option<String>,
}

impl PowerOff {
    /// What a person has to do. It keeps nobody from trying again, so it is none of those that keep the machine on.
    pub(super) fn task(&self) -> Option<OperatorTask> {
        let why = self.failed.as_ref()?;
        Some(OperatorTask {
            why: format!("the machine stays on, because the agent {why}; it is tried again"),
            command: "journalctl -u dfagent".to_owned(),
        })
    }
}

impl Agent {
    /// Looks whether the machine is to be switched off, and does it.
    pub(super) fn power(&mut self) {
        // A machine that waits for its first volume is not idle.
        let idle = self.had_work && self.dispatcher.is_idle() && self.stop_until.is_none();
        let quiet = idle && !self.needs_somebody();
        let settings = &self.in_force.settings().power;
        let off = self.power.grace.look(Instant::now(), quiet, settings);
        if !quiet || !settings.off_when_idle {
            self.power.failed = None;
        }
        if off && self.power.command.is_empty() {
            Event::PoweringOff.emit();
            let command = settings.command.clone();
            self.power.command.spawn(async move {
                let done = power::off(&command).await;
                done.map_err(|error| super::sentence(&error))
            });
        }
    }

    /// The command ended.
    pub(super) fn power_tried(&mut self, tried: Tried) {
        let tried = tried.unwrap_or_else(|error| Err(error.to_string()));
        self.power.grace.tried(Instant::now(), tried.is_ok());
        self.power.failed = tried.err();
        if let Some(why) = &self.power.failed {
            tracing::error!(dfagent_error = why, "the machine stays on");
        }
    }

    /// Whether anything waits for a person, who would find the machine gone. The last snapshot may be older than that.
    fn needs_somebody(&self) -> bool {
        let mut jobs = self.dispatcher.jobs();
        jobs.any(|(job, ..)| attention::task(job).is_some()) || !self.own_troubles().is_empty()
    }

    /// When it is to be switched off, if nothing comes.
    pub(super) fn power_off_at(&self) -> Option<Instant> {
        let ends = self.power.grace.ends();
        ends.filter(|_| self.power.command.is_empty())
    }

    /// The same for people.
    pub(super) fn power_off_wall(&self) -> Option<String> {
        power::in_words(self.power_off_at()?, Instant::now())
    }
}
