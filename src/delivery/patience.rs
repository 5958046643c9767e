//! How long is waited before something is tried again, and when a foreground command gives up. The only layer that
//! tries again: the client below makes single tries.

use std::time::{Duration, Instant};

/// The first wait.
const FIRST: Duration = Duration::from_millis(500);

/// The longest wait, also when the server asks for a longer one.
pub const LONGEST: Duration = Duration::from_secs(60);

/// Waits that grow, each by a random part so that a fleet does not come back at once.
#[derive(Debug)]
pub struct Backoff {
    failures: u32,
    random: u64,
}

impl Backoff {
    /// Begins with the first wait. The seed is to differ between machines.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            failures: 0,
            random: seed | 1,
        }
    }

    /// The wait after one more failure: between half and all of twice the one before, but not less than what the
    /// server asked for.
    pub fn next(&mut self, asked: Option<Duration>) -> Duration {
        let grown = FIRST
            .saturating_mul(1 << self.failures.min(10))
            .min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        // xorshift: good enough to spread waits.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let part = u32::try_from(self.random % 1000).unwrap_or_default();
        let wait = grown / 2 + grown / 2 * part / 1000;
        wait.max(asked.unwrap_or_default().min(LONGEST))
    }

    /// Something worked: the next failure is the first again.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }
}

/// When a command gives up: after so long without progress. A service never does.
#[derive(Debug)]
pub struct Patience {
    limit: Option<Duration>,
    since: Instant,
}

impl Patience {
    /// Begins now.
    #[must_use]
    pub fn new(limit: Option<Duration>) -> Self {
        Self {
            limit,
            since: Instant::now(),
        }
    }

    /// There was progress.
    pub fn progress(&mut self) {
        self.since = Instant::now();
    }

    /// Whether it is at its end.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.limit
            .is_some_and(|limit| self.since.elapsed() >= limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit_and_are_not_all_the_same() {
        let mut waits = Backoff::new(42);
        let all: Vec<Duration> = (0..20).map(|_| waits.next(None)).collect();
        assert!(all[0] <= FIRST && all[0] >= FIRST / 2, "{all:?}");
        assert!(all.iter().all(|wait| *wait <= LONGEST), "{all:?}");
        assert!(all[12..].iter().any(|wait| *wait != all[12]), "{all:?}");
        assert!(all[12..].iter().all(|wait| *wait >= LONGEST / 2), "{all:?}");
        waits.reset();
        assert!(waits.next(None) <= FIRST);
    }

    #[test]
    fn a_server_may_ask_for_a_longer_wait_but_not_for_ever() {
        let mut waits = Backoff::new(1);
        let asked = Duration::from_secs(20);
        assert_eq!(waits.next(Some(asked)), asked);
        assert_eq!(waits.next(Some(Duration::from_secs(1_000_000))), LONGEST);
    }
}
