//! How much is sent at once: learnt from what the server says, shared by all that send to it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::config::delivery::OpensearchSettings;

/// A bulk is not made smaller for a server that has too much to do.
const FEWEST_BYTES: usize = 256 * 1024;
/// The first pause, and the longest that is our own idea.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Bulks that went well before more is tried.
const CALM: u32 = 16;
/// How long nothing may be taken before whoever waits is told.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is known. Pure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Learnt {
    /// Bulks at once, as configured.
    most: usize,
    /// Bytes of a bulk that somebody on the way allows, as far as is known.
    ceiling: usize,
    parallel: usize,
    bytes: usize,
    /// Bulks that were too much since one was not.
    refusals: u32,
    calm: u32,
}

impl Learnt {
    pub(super) const fn new(most: usize, ceiling: usize) -> Self {
        Self {
            most,
            ceiling,
            parallel: most,
            bytes: ceiling,
            refusals: 0,
            calm: 0,
        }
    }

    /// A bulk was taken.
    pub(super) fn taken(&mut self) {
        self.refusals = 0;
        self.calm += 1;
        if self.calm >= CALM {
            self.calm = 0;
            self.parallel = (self.parallel + 1).min(self.most);
            self.bytes = self.bytes.saturating_mul(2).min(self.ceiling);
        }
    }

    /// A bulk was too much at this time: less is sent.
    pub(super) fn busy(&mut self) {
        if self.parallel > 1 {
            self.parallel /= 2;
        } else {
            self.bytes = (self.bytes / 2).max(FEWEST_BYTES.min(self.ceiling));
        }
    }

    /// How long to send nothing after a bulk was not taken. `dice`: 0 to 255, so that many who wait do not come back
    /// in one moment.
    pub(super) fn pause(&mut self, after: Option<Duration>, dice: u8) -> Duration {
        self.calm = 0;
        let doubled = PAUSE
            .0
            .saturating_mul(1 << self.refusals.min(8))
            .min(PAUSE.1);
        self.refusals = self.refusals.saturating_add(1);
        let part = doubled / 2 + doubled / 512 * u32::from(dice);
        part.max(after.unwrap_or_default())
    }

    /// A bulk of so many bytes is more than is allowed there, at any time.
    pub(super) fn too_large(&mut self, bytes: usize) {
        self.ceiling = self.ceiling.min((bytes / 2).max(1));
        self.bytes = self.bytes.min(self.ceiling);
    }
}

struct State {
    learnt: Learnt,
    flying: usize,
    /// Nothing is sent before.
    until: Option<Instant>,
    /// Since when nothing was taken, if the last was not.
    stalled: Option<Instant>,
}

/// How much is sent at once, by all shipments together.
pub struct Pace {
    state: Mutex<State>,
    changed: Notify,
}

/// The right to send one bulk.
pub(super) struct Place<'a>(&'a Pace);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.state().flying -= 1;
        self.0.changed.notify_waiters();
    }
}

impl Pace {
    /// What is configured, until the server says what it can take.
    #[must_use]
    pub fn new(settings: &OpensearchSettings) -> Self {
        let bytes = usize::try_from(settings.bulk_bytes()).unwrap_or(usize::MAX);
        Self {
            state: Mutex::new(State {
                learnt: Learnt::new(settings.connections, bytes),
                flying: 0,
                until: None,
                stalled: None,
            }),
            changed: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bulks at once, at most.
    pub(super) fn most(&self) -> usize {
        self.state().learnt.most
    }

    /// Bytes of a bulk.
    pub(super) fn bytes(&self) -> usize {
        self.state().learnt.bytes
    }

    /// Waits until a bulk may be sent.
    pub(super) async fn enter(&self) -> Place<'_> {
        loop {
            let changed = self.changed.notified();
            let until = {
                let mut state = self.state();
                let until = state.until.filter(|until| *until > Instant::now());
                if until.is_none() && state.flying < state.learnt.parallel {
                    state.flying += 1;
                    return Place(self);
                }
                until
            };
            match until {
                Some(until) => sleep_until(until).await,
                None => changed.await,
            }
        }
    }

    /// A bulk was taken.
    pub(super) fn taken(&self) {
        let mut state = self.state();
        state.learnt.taken();
        state.stalled = None;
        drop(state);
        self.changed.notify_waiters();
    }

    /// A bulk was not taken at this time, because the server is busy or does not answer: how long nothing is sent, or
    /// nothing when that goes on for too long.
    pub(super) fn refused(&self, after: Option<Duration>, busy: bool) -> Option<Duration> {
        let now = Instant::now();
        let mut state = self.state();
        let since = *state.stalled.get_or_insert(now);
        if now.duration_since(since) > PATIENCE {
            // Whoever comes back later begins anew.
            state.stalled = None;
            return None;
        }
        // Bulks that were under way together are refused together, which is one thing to learn.
        if let Some(until) = state.until.filter(|until| *until > now) {
            return Some(until.duration_since(now));
        }
        // Without chance all wait alike, which is worse by little.
        let dice = getrandom::u32().unwrap_or_default().to_le_bytes();
        if busy {
            state.learnt.busy();
        }
        let pause = state.learnt.pause(after, dice[0]);
        state.until = Some(now + pause);
        Some(pause)
    }

    /// A bulk of so many bytes is more than is allowed there.
    pub(super) fn too_large(&self, bytes: usize) {
        self.state().learnt.too_large(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: usize = 1024 * 1024;

    #[test]
    fn a_busy_server_gets_fewer_at_once_and_then_smaller_bulks() {
        let mut learnt = Learnt::new(4, 5 * MIB);
        let mut seen = Vec::new();
        for _ in 0..8 {
            learnt.busy();
            seen.push((learnt.parallel, learnt.bytes / 1024));
        }
        let kib = [5120, 5120, 2560, 1280, 640, 320, 256, 256];
        let parallel = [2, 1, 1, 1, 1, 1, 1, 1];
        assert!(seen.into_iter().eq(parallel.into_iter().zip(kib)));
        for _ in 0..CALM * 6 {
            learnt.taken();
        }
        assert_eq!((learnt.parallel, learnt.bytes), (4, 5 * MIB), "it recovers");
    }

    #[test]
    fn pauses_grow_to_a_minute_and_heed_the_server() {
        let mut learnt = Learnt::new(1, MIB);
        let pauses: Vec<u64> = (0..8).map(|_| learnt.pause(None, 255).as_secs()).collect();
        assert_eq!(pauses, [0, 1, 3, 7, 15, 31, 59, 59]);
        let asked = Duration::from_secs(300);
        assert_eq!(learnt.pause(Some(asked), 0), asked);
        learnt.taken();
        assert!(learnt.pause(None, 0) <= PAUSE.0);
    }

    proptest! {
        #[test]
        fn what_is_learnt_stays_within_what_is_configured(
            most in 1_usize..=16, ceiling in 1_usize..=64 * MIB, acts in prop::collection::vec(0_u8..4, 0..200),
        ) {
            let mut learnt = Learnt::new(most, ceiling);
            for act in acts {
                match act {
                    0 => learnt.taken(),
                    1 => learnt.busy(),
                    2 => drop(learnt.pause(None, act)),
                    _ => learnt.too_large(learnt.bytes),
                }
                prop_assert!((1..=most).contains(&learnt.parallel));
                prop_assert!((1..=ceiling).contains(&learnt.bytes) && learnt.bytes <= learnt.ceiling);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_are_under_way_than_may_be_and_all_wait_out_a_pause() {
        let pace = Pace::new(&OpensearchSettings::default());
        let (one, _two) = (pace.enter().await, pace.enter().await);
        let third = tokio::time::timeout(Duration::from_secs(1), pace.enter()).await;
        assert!(third.is_err(), "two at once");
        drop(one);
        let third = pace.enter().await;
        drop(third);
        let asked = Duration::from_secs(7);
        assert_eq!(pace.refused(Some(asked), true), Some(asked));
        // Another one of the same moment changes nothing.
        assert_eq!(pace.refused(None, true), Some(asked));
        drop(_two);
        let begun = Instant::now();
        drop(pace.enter().await);
        assert_eq!(begun.elapsed(), asked);
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends_and_begins_anew() {
        let pace = Pace::new(&OpensearchSettings::default());
        let mut waited = Duration::ZERO;
        while let Some(pause) = pace.refused(None, false) {
            waited += pause;
            tokio::time::advance(pause).await;
        }
        assert!((PATIENCE..PATIENCE * 2).contains(&waited), "{waited:?}");
        assert_eq!(
            pace.state().learnt.parallel,
            2,
            "who is not there is not busy"
        );
        assert!(pace.refused(None, false).is_some());
    }
}
