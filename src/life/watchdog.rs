//! When the service manager's watchdog is fed (pure): by signs that work gets on, never by a timer alone.
//!
//! A loop that still turns proves nothing about the work. While jobs run only their steps count, those that came further
//! and those that end by themselves because they have a time limit; a read that the system never answers does not. While
//! none runs there is nothing to wait for, and the regular look at what there is to do counts.

use std::time::{Duration, Instant};

/// A sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// A step of a job came further, or is one that ends by itself.
    Engine,
    /// The agent compared what there is with what should be.
    Reconcile,
}

/// The watchdog.
#[derive(Clone, Copy, Debug)]
pub struct Watchdog {
    /// A quarter of what the service manager waits; none: it has no watchdog.
    quarter: Option<Duration>,
    busy: bool,
    sign: bool,
    fed: Option<Instant>,
}

impl Watchdog {
    /// A watchdog that the service manager ends us by after `limit` without food; the one of
    /// `WATCHDOG_USEC` is `sd_notify::watchdog_enabled()`.
    #[must_use]
    pub fn new(limit: Option<Duration>) -> Self {
        Self {
            quarter: limit.map(|limit| limit / 4),
            busy: false,
            sign: true,
            fed: None,
        }
    }

    /// Whether jobs are at work now. That it changes is itself a sign.
    pub const fn set_busy(&mut self, busy: bool) {
        self.sign = self.sign || self.busy != busy;
        self.busy = busy;
    }

    /// A sign was seen.
    pub fn progress(&mut self, sign: Sign) {
        self.sign = self.sign || self.busy == (sign == Sign::Engine);
    }

    /// Whether it is to be fed now: there was a sign since it was fed last, a quarter of its patience ago.
    #[must_use]
    pub fn due(&self, now: Instant) -> bool {
        let hungry = |quarter| self.fed.is_none_or(|fed| fed + quarter <= now);
        self.sign && self.quarter.is_some_and(hungry)
    }

    /// It was fed.
    pub const fn fed(&mut self, now: Instant) {
        self.sign = false;
        self.fed = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(40);

    fn fed(busy: bool) -> (Watchdog, Instant) {
        let mut dog = Watchdog::new(Some(LIMIT));
        let now = Instant::now();
        dog.set_busy(busy);
        assert!(dog.due(now), "it is fed at the start");
        dog.fed(now);
        (dog, now)
    }

    #[test]
    fn without_signs_it_is_never_fed_again() {
        let (dog, start) = fed(true);
        assert!(!dog.due(start + LIMIT * 10));
    }

    #[test]
    fn while_jobs_run_only_the_engine_counts() {
        let (mut dog, start) = fed(true);
        let later = start + LIMIT;
        dog.progress(Sign::Reconcile);
        assert!(!dog.due(later));
        dog.progress(Sign::Engine);
        assert!(dog.due(later));
    }

    #[test]
    fn while_idle_only_the_reconcile_counts() {
        let (mut dog, start) = fed(false);
        dog.progress(Sign::Engine);
        assert!(!dog.due(start + LIMIT));
        dog.progress(Sign::Reconcile);
        assert!(dog.due(start + LIMIT));
    }

    #[test]
    fn it_is_fed_at_most_four_times_in_its_patience() {
        let (mut dog, start) = fed(true);
        dog.progress(Sign::Engine);
        assert!(!dog.due(start + LIMIT / 4 - Duration::from_millis(1)));
        assert!(dog.due(start + LIMIT / 4));
        dog.fed(start + LIMIT / 4);
        assert!(!dog.due(start + LIMIT));
    }

    #[test]
    fn beginning_and_ending_work_is_a_sign() {
        let (mut dog, start) = fed(false);
        dog.set_busy(false);
        assert!(!dog.due(start + LIMIT));
        dog.set_busy(true);
        assert!(dog.due(start + LIMIT));
    }

    #[test]
    fn without_a_watchdog_nothing_is_fed() {
        let mut dog = Watchdog::new(None);
        dog.progress(Sign::Reconcile);
        assert!(!dog.due(Instant::now()));
    }
}
