//! Events in order of time, however many: sorted runs of keys in an unnamed file, then merged.
//!
//! psort's order is SQLite's `ORDER BY timestamp` over rows without an index, which keeps rows of the same time in
//! the order of their numbers.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// What is sorted of an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Key {
    /// Microseconds since 1970.
    pub(super) timestamp: i64,
    /// Row of the event.
    pub(super) row: i64,
    /// Row of its data.
    pub(super) data: i64,
    /// Number of its description.
    pub(super) description: u32,
    /// Whether other events have the same data.
    pub(super) shared: bool,
}

/// Bytes of a key in a run.
const KEY_BYTES: usize = 29;

/// Keys that are sorted in memory: 20 MiB, and half as much to sort them.
const MOST_KEYS: usize = 512 * 1024;

/// Memory for reading all runs.
const MOST_READ: usize = 8 * 1024 * 1024;

impl Key {
    fn pack(self, out: &mut Vec<u8>) {
        out.extend(self.timestamp.to_le_bytes());
        out.extend(self.row.to_le_bytes());
        out.extend(self.data.to_le_bytes());
        out.extend(self.description.to_le_bytes());
        out.push(u8::from(self.shared));
    }

    fn unpack(bytes: &[u8]) -> Option<Self> {
        let (timestamp, rest) = bytes.split_first_chunk()?;
        let (row, rest) = rest.split_first_chunk()?;
        let (data, rest) = rest.split_first_chunk()?;
        let (description, rest) = rest.split_first_chunk()?;
        Some(Self {
            timestamp: i64::from_le_bytes(*timestamp),
            row: i64::from_le_bytes(*row),
            data: i64::from_le_bytes(*data),
            description: u32::from_le_bytes(*description),
            shared: *rest.first()? != 0,
        })
    }
}

/// Takes keys in order of their rows.
#[derive(Debug)]
pub(super) struct Sorter<F> {
    most: usize,
    keys: Vec<Key>,
    spill: F,
    file: Option<File>,
    runs: Vec<Run>,
}

/// A sorted run in the file, and what of it is in memory.
#[derive(Debug)]
struct Run {
    from: u64,
    to: u64,
    held: Vec<u8>,
    at: usize,
}

impl<F: FnMut() -> io::Result<File>> Sorter<F> {
    /// `spill` makes the file, if one is needed.
    pub(super) fn new(spill: F) -> Self {
        Self::with_most(MOST_KEYS, spill)
    }

    fn with_most(most: usize, spill: F) -> Self {
        Self {
            most,
            keys: Vec::new(),
            spill,
            file: None,
            runs: Vec::new(),
        }
    }

    /// Adds a key.
    pub(super) fn push(&mut self, key: Key) -> io::Result<()> {
        if self.keys.len() >= self.most {
            self.put_aside()?;
        }
        self.keys.push(key);
        Ok(())
    }

    fn put_aside(&mut self) -> io::Result<()> {
        self.keys.sort_by_key(|key| key.timestamp);
        let mut from = self.runs.last().map_or(0, |run| run.to);
        let begin = from;
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert((self.spill)()?),
        };
        let mut bytes = Vec::new();
        for part in self.keys.chunks(32 * 1024) {
            bytes.clear();
            part.iter().for_each(|key| key.pack(&mut bytes));
            file.write_all_at(&bytes, from)?;
            from += bytes.len() as u64;
        }
        self.runs.push(Run {
            from: begin,
            to: from,
            held: Vec::new(),
            at: 0,
        });
        self.keys.clear();
        Ok(())
    }

    /// All keys in order.
    pub(super) fn finish(mut self) -> io::Result<Sorted> {
        if !self.runs.is_empty() {
            self.put_aside()?;
            self.keys = Vec::new();
        }
        self.keys.sort_by_key(|key| key.timestamp);
        let share = MOST_READ / self.runs.len().max(1) / KEY_BYTES;
        let mut sorted = Sorted {
            keys: self.keys.into_iter(),
            file: self.file,
            runs: self.runs,
            read: share.clamp(16, 8 * 1024) * KEY_BYTES,
            next: BinaryHeap::new(),
        };
        for run in 0..sorted.runs.len() {
            sorted.advance(run)?;
        }
        Ok(sorted)
    }
}

/// Keys in order.
#[derive(Debug)]
pub(super) struct Sorted {
    keys: std::vec::IntoIter<Key>,
    file: Option<File>,
    runs: Vec<Run>,
    read: usize,
    next: BinaryHeap<Reverse<(i64, usize, KeyAt)>>,
}

/// A key that takes no part in comparisons: the number of its run decides, and runs differ.
#[derive(Debug)]
struct KeyAt(Key);

impl PartialEq for KeyAt {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for KeyAt {}

impl PartialOrd for KeyAt {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for KeyAt {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

impl Sorted {
    /// The next key.
    pub(super) fn next(&mut self) -> io::Result<Option<Key>> {
        if self.file.is_none() {
            return Ok(self.keys.next());
        }
        let Some(Reverse((_, run, KeyAt(key)))) = self.next.pop() else {
            return Ok(None);
        };
        self.advance(run)?;
        Ok(Some(key))
    }

    /// Takes the next key of a run up.
    fn advance(&mut self, number: usize) -> io::Result<()> {
        let (Some(run), Some(file)) = (self.runs.get_mut(number), &self.file) else {
            return Ok(());
        };
        if run.at == run.held.len() {
            let left = usize::try_from(run.to - run.from).unwrap_or(usize::MAX);
            run.held.resize(left.min(self.read), 0);
            file.read_exact_at(&mut run.held, run.from)?;
            run.from += run.held.len() as u64;
            run.at = 0;
        }
        let Some(key) = run.held.get(run.at..).and_then(Key::unpack) else {
            return Ok(());
        };
        run.at += KEY_BYTES;
        self.next.push(Reverse((key.timestamp, number, KeyAt(key))));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_number_of_keys_comes_in_order_of_time_and_then_of_rows(
            times in prop::collection::vec(-3_i64..3, 0..300),
            most in 1_usize..50,
        ) {
            let mut sorter = Sorter::with_most(most, tempfile::tempfile);
            let mut keys: Vec<Key> = Vec::new();
            for (row, timestamp) in (1..).zip(times) {
                keys.push(Key { timestamp, row, data: row / 3, description: 7, shared: row % 2 == 0 });
            }
            keys.iter().try_for_each(|key| sorter.push(*key)).unwrap();
            let mut sorted = sorter.finish().unwrap();
            keys.sort_by_key(|key| (key.timestamp, key.row));
            for key in keys {
                prop_assert_eq!(sorted.next().unwrap(), Some(key));
            }
            prop_assert_eq!(sorted.next().unwrap(), None);
        }
    }
}
