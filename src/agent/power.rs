//! Switching the machine off when nothing is left to do: after a job, never before the first one.

use std::time::Instant;

use super::Agent;
use crate::life::power::{self, Power};
use crate::telemetry::events::Event;

impl Agent {
    /// Looks whether the machine is to be switched off, and does it.
    pub(super) fn power(&mut self) {
        // A machine that waits for its first volume is not idle.
        let idle = self.had_work && self.dispatcher.is_idle() && self.stop_until.is_none();
        if !idle {
            self.idle_since = None;
            return;
        }
        self.idle_since.get_or_insert_with(Instant::now);
        if self.power_now() != Power::OffNow || self.powering_off.is_some() {
            return;
        }
        Event::PoweringOff.emit();
        let command = self.in_force.settings().power.command.clone();
        self.powering_off = Some(tokio::spawn(async move {
            if let Err(error) = power::off(&command).await {
                let error = crate::printable::causes(&error);
                tracing::error!(dfagent_error = error, "the machine stays on");
            }
        }));
    }

    fn power_now(&self) -> Power {
        let needs_operator = !self.snapshot.borrow().needs_operator.is_empty();
        let settings = &self.in_force.settings().power;
        power::decide(Instant::now(), self.idle_since, settings, needs_operator)
    }

    /// When it is to be switched off, if nothing comes.
    pub(super) fn power_off_at(&self) -> Option<Instant> {
        match self.power_now() {
            Power::OffAt(at) => Some(at),
            Power::On | Power::OffNow => None,
        }
    }

    /// The same for people.
    pub(super) fn power_off_wall(&self) -> Option<String> {
        power::in_words(self.power_off_at()?, Instant::now())
    }
}
