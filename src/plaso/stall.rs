//! Telling a Plaso that hangs from one that works (pure).
//!
//! Two kinds are known: it waits for ever (no CPU time passes), or it turns in a circle (CPU time passes, but
//! neither the storage file nor the counts nor the file it reads change). The second gets more time: a
//! large file without a single event looks the same for a while.

use std::time::Duration;

use super::command::Status;

/// What is watched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Bytes of the storage file.
    pub storage_bytes: u64,
    /// The last status line.
    pub status: Status,
    /// CPU time of the cage, where it is known.
    pub cpu: Option<Duration>,
}

/// How long nothing may change.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// With no CPU time passing.
    pub idle: Duration,
    /// With CPU time passing.
    pub busy: Duration,
}

/// Less CPU time than this since the last look counts as none.
const CPU_NOISE: Duration = Duration::from_millis(20);

/// Follows the samples of one run.
#[derive(Debug)]
pub struct StallDetector {
    patience: Patience,
    last: Sample,
    last_cpu: Option<Duration>,
    unchanged_since: Duration,
    idle_since: Duration,
}

impl StallDetector {
    /// Starts at the run's time zero.
    #[must_use]
    pub fn new(patience: Patience) -> Self {
        Self {
            patience,
            last: Sample::default(),
            last_cpu: None,
            unchanged_since: Duration::ZERO,
            idle_since: Duration::ZERO,
        }
    }

    /// Takes a sample at `now`, counted from the start of the run; a sentence if the run hangs.
    pub fn observe(&mut self, now: Duration, sample: Sample) -> Option<String> {
        let changed = (&sample.storage_bytes, &sample.status)
            != (&self.last.storage_bytes, &self.last.status);
        let worked = match (sample.cpu, self.last_cpu) {
            (Some(cpu), Some(before)) => cpu.saturating_sub(before) > CPU_NOISE,
            (None, None) => false,
            _ => true,
        };
        if changed {
            self.unchanged_since = now;
        }
        if changed || worked {
            self.idle_since = now;
        }
        self.last_cpu = sample.cpu;
        self.last = sample;
        let (idle, unchanged) = (now - self.idle_since, now - self.unchanged_since);
        // Without a CPU count a busy run cannot be told from an idle one, and gets a busy one's time.
        if self.last_cpu.is_some() && idle >= self.patience.idle {
            return Some(format!("nothing happened for {} s", idle.as_secs()));
        }
        (unchanged >= self.patience.busy).then(|| {
            format!(
                "it worked for {} s without getting anywhere",
                unchanged.as_secs()
            )
        })
    }

    /// The file of the last status.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.last.status.file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        idle: Duration::from_secs(10),
        busy: Duration::from_secs(60),
    };

    fn sample(bytes: u64, events: u64, cpu: u64) -> Sample {
        let status = Status {
            events,
            file: "EXT:/a".into(),
        };
        Sample {
            storage_bytes: bytes,
            status,
            cpu: Some(Duration::from_secs(cpu)),
        }
    }

    fn stalls_at(samples: impl Iterator<Item = Sample>) -> Option<u64> {
        let mut detector = StallDetector::new(PATIENCE);
        samples.zip(0_u64..).find_map(|(sample, second)| {
            detector
                .observe(Duration::from_secs(second), sample)
                .map(|_| second)
        })
    }

    #[test]
    fn a_run_that_waits_is_found_by_the_idle_limit() {
        assert_eq!(stalls_at((0..100).map(|_| sample(5, 5, 3))), Some(10));
    }

    #[test]
    fn a_run_that_turns_in_a_circle_is_found_by_the_busy_limit() {
        assert_eq!(
            stalls_at((0..100).map(|second| sample(5, 5, second))),
            Some(60)
        );
    }

    #[test]
    fn a_run_that_gets_on_is_left_alone() {
        assert_eq!(
            stalls_at((0..500).map(|second| sample(5, second / 50, second))),
            None
        );
    }
}
