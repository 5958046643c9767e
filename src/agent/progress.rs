//! How far a job is, from what its engine tells.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::engine::Progress;
use crate::status::{JobProgress, SliceAtWork, Totals};

/// Sentences about unread regions that are kept.
const MOST_UNREAD: usize = 50;

/// One attempt at a job.
#[derive(Debug)]
pub(super) struct Tracker {
    started: Instant,
    planned: Option<Instant>,
    told: JobProgress,
    /// Bytes that an earlier attempt had done.
    bytes_before: u64,
    /// Events of the slices that this attempt finished.
    events_done: u64,
    at_work: BTreeMap<String, SliceAtWork>,
}

impl Tracker {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            started: now,
            planned: None,
            told: JobProgress::default(),
            bytes_before: 0,
            events_done: 0,
            at_work: BTreeMap::new(),
        }
    }

    /// Takes in what is told; whether the job got on: there is a step that it will not do again.
    pub(super) fn take(&mut self, progress: Progress, now: Instant) -> bool {
        match progress {
            Progress::Alive | Progress::SliceStalled { .. } => return false,
            Progress::PlanMade => return true,
            Progress::Stage(text) => self.told.stage = text,
            Progress::Unread(text) => {
                if self.told.unread.len() < MOST_UNREAD {
                    self.told.unread.push(text);
                }
            }
            Progress::Planned {
                slices,
                bytes,
                done,
                bytes_done,
            } => {
                "reading".clone_into(&mut self.told.stage);
                (self.told.slices, self.told.slices_done) = (slices as u64, done as u64);
                (self.told.bytes, self.told.bytes_done) = (bytes, bytes_done);
                (self.planned, self.bytes_before) = (Some(now), bytes_done);
            }
            Progress::SliceStarted { name } => {
                let slice = SliceAtWork {
                    name: name.clone(),
                    ..SliceAtWork::default()
                };
                self.at_work.insert(name, slice);
            }
            Progress::SliceTick { name, events, file } => {
                self.at_work
                    .insert(name.clone(), SliceAtWork { name, events, file });
            }
            Progress::SliceDone {
                name,
                documents,
                bytes,
                ..
            } => {
                self.at_work.remove(&name);
                self.events_done += documents;
                self.told.slices_done += 1;
                self.told.bytes_done += bytes;
                return true;
            }
        }
        false
    }

    /// How far it is now.
    pub(super) fn progress(&self, now: Instant) -> JobProgress {
        let seconds = now.duration_since(self.started).as_secs_f64();
        let at_work: Vec<SliceAtWork> = self.at_work.values().cloned().collect();
        let events = self.events_done + at_work.iter().map(|slice| slice.events).sum::<u64>();
        let reading = self.planned.map(|planned| now.duration_since(planned));
        JobProgress {
            events,
            events_per_second: reading.map_or(0.0, |time| rate(events, time)),
            seconds,
            seconds_left: reading.and_then(|time| self.seconds_left(time)),
            at_work,
            ..self.told.clone()
        }
    }

    /// As if the bytes that are left took as long as those that this attempt has done.
    fn seconds_left(&self, reading: Duration) -> Option<f64> {
        let done = self.told.bytes_done.saturating_sub(self.bytes_before);
        let left = self.told.bytes.saturating_sub(self.told.bytes_done);
        (done > 0).then(|| reading.as_secs_f64() * left as f64 / done as f64)
    }
}

/// Adds what a job tells to what was done in all.
pub(super) fn add_up(totals: &mut Totals, progress: &Progress) {
    match progress {
        Progress::SliceStalled { .. } => totals.stalls += 1,
        Progress::SliceDone {
            documents,
            bytes,
            seconds,
            ..
        } => {
            totals.slices += 1;
            totals.slice_seconds += seconds;
            totals.bytes += bytes;
            totals.events += documents;
        }
        _ => {}
    }
}

fn rate(events: u64, time: Duration) -> f64 {
    let seconds = time.as_secs_f64();
    if seconds < 0.5 {
        return 0.0;
    }
    (events as f64 / seconds * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plaso::verdict::Level;

    #[test]
    fn what_an_earlier_attempt_did_is_no_work_of_this_one() {
        let begun = Instant::now();
        let mut tracker = Tracker::new(begun);
        let planned = Progress::Planned {
            slices: 4,
            bytes: 400,
            done: 2,
            bytes_done: 200,
        };
        assert!(
            !tracker.take(planned, begun),
            "a plan that was there is no step"
        );
        assert!(tracker.take(Progress::PlanMade, begun));
        assert!(
            tracker
                .progress(begun + Duration::from_secs(5))
                .seconds_left
                .is_none()
        );
        let done = Progress::SliceDone {
            name: "03".into(),
            documents: 50,
            bytes: 100,
            seconds: 1.0,
            level: Level::Complete,
        };
        assert!(tracker.take(done, begun));
        let told = tracker.progress(begun + Duration::from_secs(10));
        assert_eq!((told.slices_done, told.bytes_done), (3, 300));
        assert_eq!((told.events, told.events_per_second), (50, 5.0));
        assert_eq!(told.seconds_left, Some(10.0));
    }

    #[test]
    fn events_of_slices_at_work_count_once() {
        let begun = Instant::now();
        let mut tracker = Tracker::new(begun);
        for events in [10, 20] {
            let tick = Progress::SliceTick {
                name: "01".into(),
                events,
                file: String::new(),
            };
            assert!(!tracker.take(tick, begun));
        }
        assert_eq!(tracker.progress(begun).events, 20);
        let done = Progress::SliceDone {
            name: "01".into(),
            documents: 25,
            bytes: 0,
            seconds: 1.0,
            level: Level::Complete,
        };
        tracker.take(done, begun);
        assert_eq!(tracker.progress(begun).events, 25);
    }
}
