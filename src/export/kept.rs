//! What was used lately, within a bound of memory.

use std::collections::HashMap;
use std::rc::Rc;

/// Values by row, of two generations: when the younger is full, the older goes.
#[derive(Debug)]
pub(super) struct Kept<T> {
    young: HashMap<i64, (Rc<T>, usize)>,
    old: HashMap<i64, (Rc<T>, usize)>,
    bytes: usize,
    most: usize,
}

impl<T> Kept<T> {
    /// Holds about `most` bytes.
    pub(super) fn new(most: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            bytes: 0,
            most: most / 2,
        }
    }

    /// The value, which then counts as used.
    pub(super) fn get(&mut self, row: i64) -> Option<Rc<T>> {
        if let Some((value, _)) = self.young.get(&row) {
            return Some(Rc::clone(value));
        }
        let (value, size) = self.old.remove(&row)?;
        self.put(row, &value, size);
        Some(value)
    }

    /// The value, which is no longer held.
    pub(super) fn take(&mut self, row: i64) -> Option<Rc<T>> {
        if let Some((value, size)) = self.young.remove(&row) {
            self.bytes = self.bytes.saturating_sub(size);
            return Some(value);
        }
        self.old.remove(&row).map(|(value, _)| value)
    }

    /// Holds a value of this many bytes.
    pub(super) fn put(&mut self, row: i64, value: &Rc<T>, size: usize) {
        if self.bytes + size > self.most {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
            self.bytes = 0;
        }
        self.bytes += size;
        self.young.insert(row, (Rc::clone(value), size));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_the_newest_and_bounded() {
        let mut kept = Kept::new(100);
        for row in 0..1000 {
            kept.put(row, &Rc::new(row), 10);
            assert!(kept.young.len() + kept.old.len() <= 10);
            assert_eq!(kept.get(row).as_deref(), Some(&row));
            assert!(
                row < 4 || kept.old.contains_key(&(row - 4)) || kept.young.contains_key(&(row - 4))
            );
        }
    }

    #[test]
    fn what_is_used_stays_and_what_is_taken_goes() {
        let mut kept = Kept::new(100);
        kept.put(-1, &Rc::new(-1), 10);
        for row in 0..100 {
            kept.put(row, &Rc::new(row), 10);
            assert_eq!(kept.get(-1).as_deref(), Some(&-1));
            assert_eq!(kept.take(row).as_deref(), Some(&row));
            assert_eq!(kept.get(row), None);
        }
        assert_eq!((kept.bytes, kept.young.len(), kept.old.len()), (10, 1, 0));
    }
}
