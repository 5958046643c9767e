//! Events of one time, in psort's order and without its doubles.

use std::rc::Rc;

use super::heap::Heap;
use super::order::Key;

/// How many events psort has in its heap when one more makes it write them: it adds before it looks again
/// (`_HEAP_MAXIMUM_EVENTS` of Plaso 20260720 `multi_process/output_engine.py`). Only among these are doubles found.
const MOST_TOGETHER: usize = 100_001;

/// Events that come to psort's heap together.
#[derive(Debug)]
pub(super) struct Group {
    keys: Vec<Key>,
    most: usize,
}

/// By what psort sorts events of one time: the hash of the values, and the description of the time.
pub(super) type Rank = (Rc<[u8]>, Rc<str>);

impl Group {
    pub(super) const fn new() -> Self {
        Self {
            keys: Vec::new(),
            most: MOST_TOGETHER,
        }
    }

    /// Whether psort writes what it has before it takes this one.
    pub(super) fn is_complete_before(&self, key: &Key) -> bool {
        self.timestamp().is_some_and(|time| time != key.timestamp) || self.keys.len() >= self.most
    }

    pub(super) fn push(&mut self, key: Key) {
        self.keys.push(key);
    }

    /// The time of all, if there are any.
    pub(super) fn timestamp(&self) -> Option<i64> {
        self.keys.first().map(|key| key.timestamp)
    }

    /// Takes the event out, if there is but one, which needs no arranging.
    pub(super) fn only(&mut self) -> Option<Key> {
        if self.keys.len() == 1 {
            return self.keys.pop();
        }
        None
    }

    /// Takes all events out, arranged by their ranks.
    pub(super) fn arrange<E>(
        &mut self,
        mut rank: impl FnMut(Key) -> Result<Rank, E>,
    ) -> Result<Arranged, E> {
        let mut heap = Heap::new();
        for key in self.keys.drain(..) {
            heap.push(rank(key)?, key);
        }
        Ok(Arranged { heap, last: None })
    }
}

/// Events in psort's order.
#[derive(Debug)]
pub(super) struct Arranged {
    heap: Heap<Rank, Key>,
    last: Option<(Rc<[u8]>, u32)>,
}

impl Iterator for Arranged {
    /// None is a double of the one before.
    type Item = Option<Key>;

    fn next(&mut self) -> Option<Self::Item> {
        let ((hash, _), key) = self.heap.pop()?;
        let this = (hash, key.description);
        if self.last.as_ref() == Some(&this) {
            return Some(None);
        }
        self.last = Some(this);
        Some(Some(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows in the order in which psort would write them, and the number of doubles.
    fn arranged(most: usize, events: &[(i64, &str, u32)]) -> (Vec<i64>, usize) {
        let (mut written, mut doubles) = (Vec::new(), 0);
        let mut flush = |group: &mut Group| {
            let events = group.arrange(|key| {
                let (_, hash, description) = events[usize::try_from(key.row).unwrap()];
                let description = format!("description {description}");
                Ok::<_, ()>((hash.as_bytes().into(), description.as_str().into()))
            });
            for event in events.unwrap() {
                match event {
                    Some(key) => written.push(key.row),
                    None => doubles += 1,
                }
            }
        };
        let mut group = Group {
            keys: Vec::new(),
            most,
        };
        for (row, (timestamp, _, description)) in (0..).zip(events) {
            let key = Key {
                timestamp: *timestamp,
                row,
                description: *description,
                ..Key::default()
            };
            if group.is_complete_before(&key) {
                flush(&mut group);
            }
            group.push(key);
        }
        flush(&mut group);
        (written, doubles)
    }

    /// Of the two equal ones with hash `b` the later is kept: so does CPython 3.11's `heapq`, with which the expected
    /// orders here were made.
    #[test]
    fn events_of_one_time_go_by_hash_and_description_and_doubles_are_left_out() {
        let events = [
            (5, "b", 1),
            (5, "a", 2),
            (5, "a", 1),
            (5, "b", 1),
            (5, "a", 2),
            (6, "a", 2),
            (6, "b", 1),
        ];
        assert_eq!(arranged(100, &events), (vec![2, 1, 3, 5, 6], 2));
    }

    #[test]
    fn doubles_are_found_only_among_those_that_psort_has_at_once() {
        let events = [
            (5, "b", 1),
            (5, "a", 1),
            (5, "a", 1),
            (5, "a", 1),
            (5, "b", 1),
        ];
        assert_eq!(arranged(3, &events), (vec![1, 0, 3, 4], 1));
    }
}
