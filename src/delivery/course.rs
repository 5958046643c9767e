//! Pure: what is to be done next about a slice, and what the server's answers mean for it.

use super::order::HandedSlice;
use super::receipt::{Link, Stage};
use super::state::{SliceState, Upload};
use crate::timesketch::{Datasource, DatasourceStatus, Timeline, TimelineStatus};

/// The smallest chunk that is tried.
pub const LEAST_CHUNK: u64 = 1024 * 1024;

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Remove the timeline of an earlier upload.
    Remove(u64),
    /// Begin an upload under a name of its own.
    Begin,
    /// Send a chunk.
    Send(Piece),
    /// The last chunk may have arrived: look for it.
    LookForIt,
    /// Follow the server's work on a timeline.
    Follow(u64),
    /// Nothing.
    Nothing,
}

/// A chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// From 0.
    pub index: u64,
    /// Chunks in all.
    pub total: u64,
    /// Its first byte.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

impl Piece {
    /// Whether the server begins to index when it has this one.
    #[must_use]
    pub const fn is_last(&self) -> bool {
        self.index + 1 == self.total
    }
}

/// What is to be done next about a slice.
#[must_use]
pub fn next(slice: &SliceState, handed: &HandedSlice) -> Step {
    match (slice.stage, &slice.upload, &slice.timeline) {
        (Stage::Waiting, _, Some(timeline)) => Step::Remove(timeline.id),
        (Stage::Waiting, ..) | (Stage::Uploading, None, _) => Step::Begin,
        (Stage::Uploading, Some(upload), _) if upload.last_begun => Step::LookForIt,
        (Stage::Uploading, Some(upload), _) => Step::Send(piece(upload, handed.bytes)),
        (Stage::Indexing, _, Some(timeline)) => Step::Follow(timeline.id),
        (Stage::Indexing, _, None) => Step::LookForIt,
        (Stage::Proven | Stage::Short | Stage::Failed, ..) => Step::Nothing,
    }
}

/// The server goes by the offset; of index and total it only asks whether this is the last one.
fn piece(upload: &Upload, bytes: u64) -> Piece {
    let chunk = upload.chunk.max(1);
    let left = bytes.saturating_sub(upload.sent);
    let index = upload.sent.div_ceil(chunk);
    Piece {
        index,
        total: index + left.div_ceil(chunk).max(1),
        offset: upload.sent,
        length: chunk.min(left),
    }
}

/// Begins an upload.
pub fn begin(slice: &mut SliceState, id: String, chunk: u64) {
    slice.tries += 1;
    slice.stage = Stage::Uploading;
    slice.found = None;
    slice.upload = Some(Upload {
        id,
        chunk,
        sent: 0,
        last_begun: false,
        task: None,
    });
}

/// A chunk was too large: the next ones are half as large, and what the server has stays.
///
/// # Errors
/// It cannot be smaller.
pub fn halve(slice: &mut SliceState) -> Result<(), TooSmall> {
    match &mut slice.upload {
        Some(upload) if upload.chunk > LEAST_CHUNK => {
            upload.chunk = (upload.chunk / 2).max(LEAST_CHUNK);
            upload.last_begun = false;
            Ok(())
        }
        _ => Err(TooSmall),
    }
}

/// A chunk cannot be smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("send a chunk of 1 MiB: it is too large for the server or a proxy before it")]
pub struct TooSmall;

/// What following a timeline came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The server is at it; the words say what it does.
    AtWork(&'static str),
    /// Exactly what was exported is found.
    Proven,
    /// It is ready and finds less, so far.
    TooFew(u64),
    /// It cannot become right any more: remove it and begin anew.
    Wrong(String),
    /// An analyst archived it.
    Archived,
}

/// What the state of a timeline means for the slice that was uploaded as `file_name`.
#[must_use]
pub fn judge(timeline: &Timeline, file_name: &str, expected: u64) -> Seen {
    if timeline.status == TimelineStatus::Archived {
        return Seen::Archived;
    }
    let own: Vec<&Datasource> = own(timeline, file_name).collect();
    if own.len() > 1 {
        return Seen::Wrong("the storage file arrived twice".to_owned());
    }
    let Some(one) = own.first() else {
        return Seen::AtWork("the server does not show the storage file yet");
    };
    match (&one.status, &timeline.status) {
        // The server writes this status first, then its reason, and the timeline's status last.
        (DatasourceStatus::Fail, status)
            if one.error.is_empty() && *status != TimelineStatus::Fail =>
        {
            Seen::AtWork("the server gives the storage file up")
        }
        (DatasourceStatus::Fail, _) | (_, TimelineStatus::Fail) => Seen::Wrong(one.error.clone()),
        (DatasourceStatus::Queueing, _) => {
            Seen::AtWork("the storage file waits for a worker of the server")
        }
        (DatasourceStatus::Ready, TimelineStatus::Ready) => match timeline.found {
            Some(found) if found == expected => Seen::Proven,
            Some(found) if found > expected => Seen::Wrong(format!(
                "{found} events are found, more than the {expected} that were exported"
            )),
            found => Seen::TooFew(found.unwrap_or_default()),
        },
        _ => Seen::AtWork("the server indexes the storage file"),
    }
}

/// The datasources that an upload made. The server drops the ending of a name sent in chunks.
pub fn own<'a>(timeline: &'a Timeline, file_name: &'a str) -> impl Iterator<Item = &'a Datasource> {
    let stem = file_name.strip_suffix(".plaso").unwrap_or(file_name);
    timeline
        .datasources
        .iter()
        .filter(move |one| one.original_filename == stem || one.original_filename == file_name)
}

/// The timeline in which an upload arrived.
#[must_use]
pub fn arrived<'a>(timelines: &'a [Timeline], file_name: &str) -> Option<&'a Timeline> {
    timelines
        .iter()
        .find(|timeline| own(timeline, file_name).next().is_some())
}

/// The server has the whole file.
pub fn arrived_in(slice: &mut SliceState, timeline: Link) {
    slice.stage = Stage::Indexing;
    slice.timeline = Some(timeline);
    if let Some(upload) = &mut slice.upload {
        upload.last_begun = false;
    }
}

/// An upload came to nothing: what is left is removed and it begins anew, or, after the last try, it stands as it is.
pub fn failed(slice: &mut SliceState, error: String, most_tries: u32) {
    slice.error = Some(error);
    if slice.tries >= most_tries {
        slice.stage = Stage::Failed;
    } else {
        (slice.stage, slice.upload) = (Stage::Waiting, None);
    }
}

/// Too few events are found, and no more come: once more, because a mapping that two imports made at the same time
/// loses documents once and not again; then it stands as it is.
pub fn short(slice: &mut SliceState, found: u64, expected: u64, most_tries: u32) {
    let error = format!(
        "{found} of {expected} events are found; OpenSearch refused the others (a year over 9999, more than 1,000 \
         fields, or a field of two types), which Timesketch does not report"
    );
    slice.found = Some(found);
    if slice.tries >= most_tries.min(2) {
        (slice.stage, slice.error) = (Stage::Short, Some(error));
    } else {
        failed(slice, error, most_tries);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn handed(bytes: u64) -> HandedSlice {
        HandedSlice {
            bytes,
            ..HandedSlice::default()
        }
    }

    fn timeline(
        status: TimelineStatus,
        sources: &[DatasourceStatus],
        found: Option<u64>,
    ) -> Timeline {
        let datasources = sources.iter().map(|status| Datasource {
            id: 1,
            original_filename: "x".into(),
            status: status.clone(),
            error: "the server's words".into(),
            total_events: 0,
            context: String::new(),
            file_size: 0,
        });
        Timeline {
            id: 7,
            name: "t".into(),
            status,
            index: None,
            datasources: datasources.collect(),
            found,
        }
    }

    #[test]
    fn ready_alone_is_no_proof() {
        use DatasourceStatus as D;
        use TimelineStatus as T;
        let judged = |timeline| judge(&timeline, "x.plaso", 10);
        assert_eq!(
            judged(timeline(T::Ready, &[D::Ready], Some(10))),
            Seen::Proven
        );
        assert_eq!(
            judged(timeline(T::Ready, &[D::Ready], Some(9))),
            Seen::TooFew(9)
        );
        assert_eq!(
            judged(timeline(T::Ready, &[D::Ready], None)),
            Seen::TooFew(0)
        );
        assert!(matches!(
            judged(timeline(T::Ready, &[D::Ready], Some(20))),
            Seen::Wrong(_)
        ));
        assert!(matches!(
            judged(timeline(T::Ready, &[D::Ready, D::Queueing], Some(10))),
            Seen::Wrong(_)
        ));
        assert!(matches!(
            judged(timeline(T::Processing, &[D::Ready], Some(10))),
            Seen::AtWork(_)
        ));
        assert!(matches!(
            judged(timeline(T::Ready, &[D::Processing], Some(10))),
            Seen::AtWork(_)
        ));
        assert!(matches!(
            judged(timeline(T::Ready, &[], Some(10))),
            Seen::AtWork(_)
        ));
        let mut without_reason = timeline(T::Processing, &[D::Fail], None);
        without_reason.datasources[0].error.clear();
        assert!(matches!(judged(without_reason), Seen::AtWork(_)));
        assert_eq!(
            judged(timeline(T::Fail, &[D::Fail], None)),
            Seen::Wrong("the server's words".into())
        );
    }

    #[test]
    fn an_upload_that_failed_begins_anew_as_often_as_it_may() {
        let mut slice = SliceState::default();
        for round in 1..=3 {
            begin(&mut slice, "a".into(), LEAST_CHUNK);
            arrived_in(
                &mut slice,
                Link {
                    id: round,
                    ..Link::default()
                },
            );
            failed(&mut slice, "e".into(), 3);
            if round < 3 {
                assert_eq!(next(&slice, &handed(10)), Step::Remove(round));
                slice.timeline = None;
                assert_eq!(next(&slice, &handed(10)), Step::Begin);
            }
        }
        assert_eq!(
            (slice.stage, next(&slice, &handed(10))),
            (Stage::Failed, Step::Nothing)
        );
    }

    proptest! {
        /// Whatever is refused for its size on the way, the pieces that were taken are the file, in order and once.
        #[test]
        fn the_pieces_are_the_file(bytes in 1_u64..40 << 20, chunk_mib in 1_u64..9, refusals in prop::collection::vec(0_u8..4, 0..60)) {
            let mut slice = SliceState::default();
            begin(&mut slice, "a".into(), chunk_mib << 20);
            let (mut end, mut refusals) = (0, refusals.into_iter());
            loop {
                let Step::Send(piece) = next(&slice, &handed(bytes)) else { panic!("{slice:?}") };
                prop_assert_eq!(piece.offset, end);
                prop_assert!(piece.length > 0 || bytes == 0);
                if refusals.next() == Some(0) && halve(&mut slice).is_ok() {
                    continue;
                }
                end += piece.length;
                if piece.is_last() {
                    break;
                }
                slice.upload.as_mut().unwrap().sent = end;
            }
            prop_assert_eq!(end, bytes);
        }
    }
}
