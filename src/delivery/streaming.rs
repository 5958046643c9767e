//! Pure: what is to be done next about a job whose documents go into OpenSearch, and what counts mean for it.

use super::order::HandedSlice;
use super::receipt::Stage;
use super::state::{Described, JobState, SliceState, StreamState};

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Make the index.
    Make,
    /// Have Timesketch know the index.
    Know,
    /// Make a timeline of it.
    Attach(u64),
    /// Write beside the timeline where it is from.
    Describe,
    /// Send the documents of a slice.
    Ship(String),
    /// Count what was sent.
    Prove,
    /// Nothing.
    Nothing,
}

/// What is to be done next. One slice is sent after the other, each is counted before the next one is sent, and nothing
/// is made before there is something to send.
#[must_use]
pub fn next(
    state: &JobState,
    handed: &[HandedSlice],
    with_timesketch: bool,
    is_closed: bool,
) -> Act {
    let fresh = StreamState::default();
    let stream = state.stream.as_ref().unwrap_or(&fresh);
    let stage = |one: &HandedSlice| {
        let known = state.slices.get(&one.name);
        known.map_or(Stage::Waiting, |slice| slice.stage)
    };
    if is_closed && stream.described == Described::Begun {
        return Act::Describe;
    }
    let Some(open) = handed.iter().find(|one| !stage(one).is_final()) else {
        return Act::Nothing;
    };
    if !stream.made {
        return Act::Make;
    }
    if with_timesketch {
        match (stream.known_as, &stream.timeline) {
            (None, _) => return Act::Know,
            (Some(index), None) => return Act::Attach(index),
            _ if stream.described == Described::Not => return Act::Describe,
            _ => {}
        }
    }
    if handed.iter().any(|one| stage(one) == Stage::Indexing) {
        return Act::Prove;
    }
    Act::Ship(open.name.clone())
}

/// Documents of a slice that OpenSearch has, by its own answers.
#[must_use]
pub fn taken(slice: &SliceState) -> u64 {
    let position = slice.position.unwrap_or_default();
    position.documents.saturating_sub(position.refused)
}

/// Documents that have to be found: those of all slices that were sent to their end.
#[must_use]
pub fn expected(state: &JobState) -> u64 {
    let sent = state
        .slices
        .values()
        .filter(|slice| slice.stage >= Stage::Indexing);
    sent.map(taken).fold(0, u64::saturating_add)
}

/// What was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Documents that OpenSearch finds.
    pub opensearch: u64,
    /// Events that Timesketch finds, where there is one.
    pub timesketch: Option<u64>,
}

/// What counts mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Exactly what was sent is found.
    Proven,
    /// OpenSearch has lost some.
    TooFew,
    /// There is something that we did not send.
    TooMany,
    /// OpenSearch finds all, and Timesketch finds another number.
    Unlike(u64),
}

/// What counts mean, where so many have to be found.
#[must_use]
pub const fn judge(counts: Counts, expected: u64) -> Proof {
    if counts.opensearch < expected {
        return Proof::TooFew;
    }
    if counts.opensearch > expected {
        return Proof::TooMany;
    }
    match counts.timesketch {
        Some(found) if found != expected => Proof::Unlike(found),
        _ => Proof::Proven,
    }
}

/// All that was sent is found: what was sent to its end is proven, or short by what was refused, which is in the file.
pub fn settle(state: &mut JobState, handed: &[HandedSlice], rejected: impl Fn(&str) -> String) {
    for one in handed {
        let Some(slice) = state.slices.get_mut(&one.name) else {
            continue;
        };
        if slice.stage != Stage::Indexing {
            continue;
        }
        let (position, found) = (slice.position.unwrap_or_default(), taken(slice));
        slice.found = Some(found);
        slice.pace = None;
        (slice.stage, slice.error) = if found == one.documents {
            (Stage::Proven, None)
        } else if position.refused > 0 {
            let (refused, file) = (position.refused, rejected(&one.name));
            let events = crate::printable::count(refused, "event", "events");
            let text = format!("OpenSearch refused {events}; kept with its reasons in {file}");
            (Stage::Short, Some(text))
        } else {
            let text = format!("the file of documents has {} of them", position.documents);
            (Stage::Short, Some(text))
        };
    }
}

/// Fewer are found than were sent: what is not proven is sent once more, which adds only what is missing; after the
/// last try it stands as it is.
pub fn short(state: &mut JobState, found: u64, most_tries: u32) {
    let expected = expected(state);
    for slice in state.slices.values_mut() {
        if slice.stage != Stage::Indexing {
            continue;
        }
        let lost = expected.saturating_sub(found);
        slice.error = Some(format!(
            "OpenSearch finds {found} of {expected} documents that it took"
        ));
        slice.pace = None;
        if slice.tries >= most_tries {
            slice.found = Some(taken(slice).saturating_sub(lost));
            slice.stage = Stage::Short;
        } else {
            (slice.stage, slice.position) = (Stage::Waiting, None);
        }
    }
}

/// The timeline is lost: all begins anew under another name, or, after the last try, stands as it is.
pub fn anew(state: &mut JobState, why: &str, most_tries: u32) {
    let tries = state.stream.as_mut().map_or(0, |stream| {
        stream.tries += 1;
        stream.tries
    });
    let gone: Vec<String> = state
        .slices
        .iter()
        .filter(|(_, slice)| slice.position.is_some())
        .map(|(name, _)| name.clone())
        .collect();
    state.leave_stream();
    for name in gone {
        if let Some(slice) = state.slices.get_mut(&name) {
            slice.error = Some(why.to_owned());
            if tries >= most_tries {
                slice.stage = Stage::Failed;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::order::Order;
    use crate::delivery::receipt::Link;
    use crate::opensearch::Position;

    fn handed(name: &str, documents: u64) -> HandedSlice {
        HandedSlice {
            name: name.into(),
            sha256: format!("sha of {name}"),
            documents,
            ..HandedSlice::default()
        }
    }

    fn begun(all: &[HandedSlice]) -> JobState {
        let mut state = JobState::default();
        state.take_order(&Order::default(), "s");
        for one in all {
            state.slice(one);
        }
        state.stream = Some(StreamState {
            index: "df0".into(),
            made: true,
            known_as: Some(1),
            timeline: Some(Link::default()),
            described: Described::Begun,
            ..StreamState::default()
        });
        state
    }

    fn send(state: &mut JobState, name: &str, documents: u64, refused: u64) {
        let slice = state.slices.get_mut(name).unwrap();
        slice.stage = Stage::Indexing;
        slice.tries += 1;
        slice.position = Some(Position {
            documents,
            refused,
            ..Position::default()
        });
    }

    #[test]
    fn sketch_index_timeline_and_words_come_before_the_first_document() {
        let all = [handed("1", 10)];
        let mut state = begun(&all);
        let whole = state.stream.take().unwrap();
        let mut seen = Vec::new();
        let mut stream = StreamState::default();
        for step in 0..5 {
            state.stream = Some(stream.clone());
            seen.push(next(&state, &all, true, false));
            match step {
                0 => stream.made = true,
                1 => stream.known_as = Some(1),
                2 => stream.timeline.clone_from(&whole.timeline),
                _ => stream.described = Described::Begun,
            }
        }
        let wanted = [
            Act::Make,
            Act::Know,
            Act::Attach(1),
            Act::Describe,
            Act::Ship("1".into()),
        ];
        assert_eq!(seen, wanted);
        state.stream = Some(StreamState {
            made: true,
            ..StreamState::default()
        });
        assert_eq!(next(&state, &all, false, false), Act::Ship("1".into()));
    }

    #[test]
    fn nothing_is_made_for_slices_without_events() {
        let all = [handed("1", 0)];
        let mut state = begun(&all);
        state.stream = None;
        assert_eq!(next(&state, &all, true, true), Act::Nothing);
    }

    #[test]
    fn what_is_sent_is_counted_before_more_is_sent_and_the_end_is_told() {
        let all = [handed("1", 10), handed("2", 5)];
        let mut state = begun(&all);
        send(&mut state, "1", 10, 0);
        assert_eq!(next(&state, &all, true, false), Act::Prove);
        settle(&mut state, &all, str::to_owned);
        assert_eq!(state.slices["1"].stage, Stage::Proven);
        assert_eq!(next(&state, &all, true, false), Act::Ship("2".into()));
        send(&mut state, "2", 5, 2);
        assert_eq!(expected(&state), 13);
        settle(&mut state, &all, |name| format!("/x/{name}"));
        let slice = &state.slices["2"];
        assert_eq!((slice.stage, slice.found), (Stage::Short, Some(3)));
        let error = slice.error.as_deref().unwrap();
        assert!(error.contains("refused 2 events") && error.contains("/x/2"));
        assert_eq!(next(&state, &all, true, false), Act::Nothing);
        assert_eq!(next(&state, &all, true, true), Act::Describe);
    }

    #[test]
    fn only_equal_counts_of_both_prove_anything() {
        let counts = |opensearch, timesketch| Counts {
            opensearch,
            timesketch,
        };
        assert_eq!(judge(counts(7, Some(7)), 7), Proof::Proven);
        assert_eq!(judge(counts(7, None), 7), Proof::Proven);
        assert_eq!(judge(counts(6, Some(7)), 7), Proof::TooFew);
        assert_eq!(judge(counts(8, Some(7)), 7), Proof::TooMany);
        assert_eq!(judge(counts(7, Some(0)), 7), Proof::Unlike(0));
    }

    #[test]
    fn what_was_lost_is_sent_once_more_and_then_said() {
        let all = [handed("1", 10)];
        let mut state = begun(&all);
        send(&mut state, "1", 10, 0);
        short(&mut state, 8, 2);
        assert_eq!(next(&state, &all, true, false), Act::Ship("1".into()));
        send(&mut state, "1", 10, 0);
        short(&mut state, 8, 2);
        let slice = &state.slices["1"];
        assert_eq!((slice.stage, slice.found), (Stage::Short, Some(8)));
    }

    #[test]
    fn a_timeline_that_was_removed_is_made_anew_with_all_that_was_sent_as_often_as_may_be() {
        let all = [handed("1", 10), handed("2", 0)];
        let mut state = begun(&all);
        send(&mut state, "1", 10, 0);
        settle(&mut state, &all, str::to_owned);
        anew(&mut state, "it was removed", 2);
        let stream = state.stream.clone().unwrap();
        assert_eq!((stream.generation, stream.made), (1, false));
        assert_eq!(state.left[0].index, "df0");
        assert_eq!(state.slices["1"].stage, Stage::Waiting);
        assert_eq!(state.slices["2"].stage, Stage::Proven);
        assert_eq!(next(&state, &all, true, false), Act::Make);
        send(&mut state, "1", 10, 0);
        anew(&mut state, "it was removed", 2);
        assert_eq!(state.slices["1"].stage, Stage::Failed);
        assert_eq!(next(&state, &all, true, false), Act::Nothing);
    }
}
