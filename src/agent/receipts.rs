//! Pure: what `status` and the totals are told about a job's delivery, from what was handed over and the receipt.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::clock;
use crate::delivery::order::HandedSlice;
use crate::delivery::receipt::{Receipt, SliceReceipt, Stage};
use crate::status::{DeliveryStatus, StreamStatus, Totals};

/// Slices that are named one by one.
const MOST_EACH: usize = 200;

/// A rate is measured over at least so long, and forgotten when nothing has moved for so long.
const SHORTEST: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(30);

/// How far a delivery is. The receipt is a cleaned one, of this order.
pub(super) fn status_of(handed: &[HandedSlice], receipt: Option<&Receipt>) -> DeliveryStatus {
    let each = handed.iter().map(|slice| {
        let told = receipt.map_or(&[][..], |receipt| &receipt.slices);
        let told = told.iter().find(|one| one.name == slice.name);
        told.cloned().unwrap_or_else(|| SliceReceipt {
            name: slice.name.clone(),
            sha256: slice.sha256.clone(),
            bytes: slice.bytes,
            expected: slice.documents,
            ..SliceReceipt::default()
        })
    });
    let mut status = DeliveryStatus {
        at: receipt.map(|receipt| receipt.at.clone()),
        sketch: receipt.and_then(|receipt| receipt.sketch.clone()),
        waits: receipt.and_then(|receipt| receipt.waits.clone()),
        needs: receipt.and_then(|receipt| receipt.needs.clone()),
        each: each.collect(),
        ..DeliveryStatus::default()
    };
    for one in &status.each {
        status.slices += 1;
        status.slices_proven += u64::from(is_proven(one));
        status.bytes = status.bytes.saturating_add(one.bytes);
        status.bytes_sent = status.bytes_sent.saturating_add(one.sent);
        status.documents = status.documents.saturating_add(one.expected);
        let found = one.found.unwrap_or_default();
        status.documents_found = status.documents_found.saturating_add(found);
    }
    status.streamed = handed
        .iter()
        .any(|slice| slice.lines.is_some())
        .then(|| streamed(handed, &status.each));
    status
}

/// How far documents are. The receipts are in the order of what was handed over.
fn streamed(handed: &[HandedSlice], each: &[SliceReceipt]) -> StreamStatus {
    let mut all = StreamStatus::default();
    let mut oldest: Option<Timestamp> = None;
    for (slice, told) in handed.iter().zip(each) {
        if let Some(one) = &told.streamed {
            all.sent = all.sent.saturating_add(one.documents);
            all.refused = all.refused.saturating_add(one.refused);
            let sending = told.stage == Stage::Uploading;
            all.per_second = one.per_second.filter(|_| sending).or(all.per_second);
        }
        if told.stage.is_final() {
            continue;
        }
        all.lag = all.lag.saturating_add(slice.documents);
        let lines = slice.lines.as_ref();
        let at = lines.and_then(|lines| lines.at.parse().ok());
        oldest = [oldest, at].into_iter().flatten().min();
    }
    all.lag_seconds = oldest.map(seconds_since);
    all
}

/// Whole seconds; none that are below zero, for a clock may be set back.
fn seconds_since(then: Timestamp) -> u64 {
    let seconds = clock::moment().duration_since(then).as_secs();
    u64::try_from(seconds).unwrap_or_default()
}

fn is_proven(slice: &SliceReceipt) -> bool {
    slice.stage == Stage::Proven && slice.found == Some(slice.expected)
}

/// What was counted of a job's delivery so far.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// By slice: bytes that the server had, and whether it was ever proven.
    seen: BTreeMap<String, (u64, bool)>,
    /// Since when, from which number on.
    from: Option<(Instant, u64)>,
    rate: Option<f64>,
    sent: u64,
}

impl Meter {
    /// Counts what is new. `counts` is false for what was so before the agent was started.
    pub(super) fn add(
        &mut self,
        status: &DeliveryStatus,
        totals: &mut Totals,
        counts: bool,
        now: Instant,
    ) {
        for one in &status.each {
            let proven = is_proven(one);
            let seen = self.seen.entry(one.name.clone()).or_default();
            let (sent, was_proven) = *seen;
            *seen = (one.sent, proven || was_proven);
            // An upload that begins anew sends its bytes again.
            let more = one.sent.saturating_sub(sent);
            self.sent = self.sent.saturating_add(more);
            if !counts {
                continue;
            }
            totals.bytes_sent = totals.bytes_sent.saturating_add(more);
            if proven && !was_proven {
                totals.slices_delivered += 1;
                let documents = totals.documents_delivered;
                totals.documents_delivered = documents.saturating_add(one.expected);
            }
        }
        let uploads = status.each.iter().any(|one| one.stage == Stage::Uploading);
        self.measure(uploads, now);
    }

    fn measure(&mut self, uploads: bool, now: Instant) {
        let Some((since, from)) = self.from.filter(|_| uploads) else {
            self.from = uploads.then_some((now, self.sent));
            self.rate = None;
            return;
        };
        let time = now.duration_since(since);
        if self.sent > from && time >= SHORTEST {
            self.rate = Some((self.sent - from) as f64 / time.as_secs_f64());
            self.from = Some((now, self.sent));
        }
    }

    /// Bytes a second, while a storage file is being sent.
    pub(super) fn rate(&self, now: Instant) -> Option<f64> {
        let (since, _) = self.from?;
        let fresh = now.duration_since(since) < LONGEST;
        self.rate.filter(|_| fresh).map(f64::round)
    }
}

/// Cut to what can be shown; the sums stay those of all slices.
pub(super) fn shortened(mut status: DeliveryStatus) -> DeliveryStatus {
    status.each.truncate(MOST_EACH);
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handed(name: &str) -> HandedSlice {
        HandedSlice {
            name: name.into(),
            bytes: 100,
            documents: 10,
            ..HandedSlice::default()
        }
    }

    fn told(name: &str, stage: Stage, sent: u64, found: Option<u64>) -> SliceReceipt {
        SliceReceipt {
            name: name.into(),
            stage,
            bytes: 100,
            sent,
            expected: 10,
            found,
            ..SliceReceipt::default()
        }
    }

    fn status(slices: Vec<SliceReceipt>) -> DeliveryStatus {
        let receipt = Receipt {
            slices,
            ..Receipt::default()
        };
        status_of(&[handed("1"), handed("2")], Some(&receipt))
    }

    #[test]
    fn what_delivery_has_not_seen_yet_counts_as_handed_over() {
        let one = status(vec![told("1", Stage::Proven, 100, Some(10))]);
        assert_eq!((one.slices, one.slices_proven), (2, 1));
        assert_eq!((one.bytes, one.bytes_sent), (200, 100));
        assert_eq!((one.documents, one.documents_found), (20, 10));
        let none = status_of(&[handed("1")], None);
        assert_eq!((none.slices, none.bytes, none.bytes_sent), (1, 100, 0));
    }

    #[test]
    fn more_events_than_were_handed_over_prove_nothing() {
        let one = status(vec![told("1", Stage::Proven, 100, Some(u64::MAX)); 1]);
        assert_eq!(one.slices_proven, 0);
    }

    #[test]
    fn totals_count_what_is_new_once() {
        let now = Instant::now();
        let (mut meter, mut totals) = (Meter::default(), Totals::default());
        let before = status(vec![told("1", Stage::Proven, 100, Some(10))]);
        meter.add(&before, &mut totals, false, now);
        let first = told("1", Stage::Proven, 100, Some(10));
        let half = status(vec![first.clone(), told("2", Stage::Uploading, 60, None)]);
        let done = status(vec![first, told("2", Stage::Proven, 100, Some(10))]);
        for seen in [&half, &half, &done, &done] {
            meter.add(seen, &mut totals, true, now);
        }
        assert_eq!(totals.bytes_sent, 100);
        assert_eq!(
            (totals.slices_delivered, totals.documents_delivered),
            (1, 10)
        );
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds_and_ends_with_the_upload() {
        let begun = Instant::now();
        let (mut meter, mut totals) = (Meter::default(), Totals::default());
        let mut see = |sent, stage, seconds| {
            let now = begun + Duration::from_secs(seconds);
            let seen = status(vec![told("1", stage, sent, None)]);
            meter.add(&seen, &mut totals, true, now);
            meter.rate(now)
        };
        assert_eq!(see(0, Stage::Uploading, 0), None);
        assert_eq!(see(50, Stage::Uploading, 5), Some(10.0));
        assert_eq!(see(50, Stage::Uploading, 60), None);
        assert_eq!(see(100, Stage::Indexing, 61), None);
    }
}
