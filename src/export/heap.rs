//! The order that psort gives to events of one time, and which of two equal ones it keeps.
//!
//! `PsortEventHeap` and `_FlushExportBuffer` of Plaso 20260720 `multi_process/output_engine.py`: events go to a heap
//! by the hash of their values and then by the description of their time. Those that are equal in both are doubles,
//! of which the first to leave the heap is kept; which that is depends on how Python's `heapq` moves its entries.

/// An event of the group.
#[derive(Debug)]
struct Entry<K, T> {
    key: K,
    event: T,
}

/// Python's `heapq`, CPython 3.11 `Modules/_heapqmodule.c`.
#[derive(Debug)]
pub(super) struct Heap<K, T>(Vec<Entry<K, T>>);

impl<K: Ord, T> Heap<K, T> {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds an event.
    pub(super) fn push(&mut self, key: K, event: T) {
        self.0.push(Entry { key, event });
        self.sift_down(0, self.0.len() - 1);
    }

    /// Takes the next event out.
    pub(super) fn pop(&mut self) -> Option<(K, T)> {
        let last = self.0.len().checked_sub(1)?;
        let entry = self.0.swap_remove(0);
        if last > 1 {
            self.sift_up();
        }
        Some((entry.key, entry.event))
    }

    fn is_less(&self, one: usize, other: usize) -> bool {
        match (self.0.get(one), self.0.get(other)) {
            (Some(one), Some(other)) => one.key < other.key,
            _ => false,
        }
    }

    /// `_siftdown`: moves the entry at `at` towards the root while it is less than its parent.
    fn sift_down(&mut self, start: usize, mut at: usize) {
        while at > start {
            let parent = (at - 1) / 2;
            if !self.is_less(at, parent) {
                break;
            }
            self.0.swap(at, parent);
            at = parent;
        }
    }

    /// `_siftup` of the root: moves it all the way down along the lesser children, then up to where it belongs.
    fn sift_up(&mut self) {
        let (end, mut at) = (self.0.len(), 0);
        while 2 * at + 1 < end {
            let left = 2 * at + 1;
            let right = left + 1;
            let child = if right < end && !self.is_less(left, right) {
                right
            } else {
                left
            };
            self.0.swap(at, child);
            at = child;
        }
        self.sift_down(0, at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What CPython 3.11 gives for `heappush` of 20 numbers that compare by `number * 7 % 5` only, then
    /// `heappop` of all.
    #[test]
    fn equal_keys_leave_in_the_order_of_pythons_heapq() {
        let mut heap = Heap::new();
        for number in 0..20_u32 {
            heap.push(number * 7 % 5, number);
        }
        let mut left = Vec::new();
        while let Some((_, number)) = heap.pop() {
            left.push(number);
        }
        assert_eq!(left, EXPECTED);
    }

    const EXPECTED: [u32; 20] = [
        0, 5, 10, 15, 13, 3, 18, 8, 6, 16, 11, 1, 4, 9, 19, 14, 12, 2, 7, 17,
    ];

    #[test]
    fn an_empty_heap_gives_nothing() {
        let mut heap: Heap<u8, u8> = Heap::new();
        assert_eq!(heap.pop(), None);
        heap.push(1, 2);
        assert_eq!((heap.pop(), heap.pop()), (Some((1, 2)), None));
    }
}
