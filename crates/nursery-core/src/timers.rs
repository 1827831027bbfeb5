//! A heap of moments: the deadlines of a tree and whatever else a face wants to be woken for.
//! It knows no clock: the face says what time it is. It must never fire early.
//!
//! A four-way heap whose entries know where they stand, so that leaving a block whose deadline
//! did not pass removes it at once: the usual deadline is the latest one and stands at the end,
//! where both ways cost a few instructions.

use crate::slab::Slab;

/// A moment in the heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerId(u32);

#[derive(Clone, Copy, Debug)]
struct Node {
    when: f64,
    /// Breaks ties: first in, first out.
    order: u64,
    slot: u32,
}

impl Node {
    #[inline]
    fn before(&self, other: &Self) -> bool {
        self.when < other.when || (self.when == other.when && self.order < other.order)
    }
}

#[derive(Clone, Debug)]
struct Slot<T> {
    position: u32,
    value: T,
}

/// Moments, the earliest first; of equal ones the first that was inserted.
///
/// ```
/// use nursery_core::Timers;
/// let mut timers = Timers::new();
/// let late = timers.insert(2.0, "late");
/// timers.insert(1.0, "soon");
/// assert_eq!(timers.pop_due(0.5), None);
/// assert_eq!(timers.pop_due(1.0), Some("soon"));
/// assert_eq!(timers.remove(late), "late");
/// assert!(timers.is_empty());
/// ```
#[derive(Clone, Debug)]
pub struct Timers<T> {
    heap: Vec<Node>,
    slots: Slab<Slot<T>>,
    order: u64,
}

const WAYS: usize = 4;

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Timers<T> {
    /// An empty heap.
    #[must_use]
    pub const fn new() -> Self {
        Self { heap: Vec::new(), slots: Slab::new(), order: 0 }
    }

    /// How many moments there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// Adds a moment (on the face's clock; not NaN). One at infinity never comes, and keeps its value.
    #[inline]
    pub fn insert(&mut self, when: f64, value: T) -> TimerId {
        debug_assert!(!when.is_nan(), "a timer needs a moment, not {when}");
        let position = self.heap.len();
        let slot = self.slots.insert(Slot { position: position as u32, value });
        self.order += 1;
        self.heap.push(Node { when, order: self.order, slot });
        self.sift_up(position);
        TimerId(slot)
    }

    /// Takes a moment out before it has passed.
    #[inline]
    pub fn remove(&mut self, id: TimerId) -> T {
        let Slot { position, value } = self.slots.remove(id.0);
        self.take(position as usize);
        value
    }

    /// The moment of a timer.
    #[must_use]
    pub fn when(&self, id: TimerId) -> f64 {
        self.heap[self.slots[id.0].position as usize].when
    }

    /// The earliest moment that comes.
    #[inline]
    #[must_use]
    pub fn next(&self) -> Option<f64> {
        self.heap.first().map(|node| node.when).filter(|when| *when < f64::INFINITY)
    }

    /// Takes the earliest moment out if it is not after `now`.
    #[inline]
    pub fn pop_due(&mut self, now: f64) -> Option<T> {
        let head = self.heap.first()?;
        if head.when > now {
            return None;
        }
        let slot = head.slot;
        self.take(0);
        Some(self.slots.remove(slot).value)
    }

    /// What the moments are for, in no order.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().map(|slot| &slot.value)
    }

    /// Takes everything out.
    pub fn clear(&mut self) -> Vec<T>
    where
        T: Clone,
    {
        let values = self.values().cloned().collect();
        self.heap = Vec::new();
        self.slots = Slab::new();
        values
    }

    fn take(&mut self, position: usize) {
        let last = self.heap.len() - 1;
        if position == last {
            self.heap.pop();
            return;
        }
        self.heap.swap_remove(position);
        self.note(position);
        if position > 0 && self.heap[position].before(&self.heap[(position - 1) / WAYS]) {
            self.sift_up(position);
        } else {
            self.sift_down(position);
        }
    }

    #[inline]
    fn note(&mut self, position: usize) {
        let slot = self.heap[position].slot;
        self.slots[slot].position = position as u32;
    }

    #[inline]
    fn sift_up(&mut self, mut position: usize) {
        while position > 0 {
            let parent = (position - 1) / WAYS;
            if !self.heap[position].before(&self.heap[parent]) {
                break;
            }
            self.heap.swap(position, parent);
            self.note(position);
            position = parent;
        }
        self.note(position);
    }

    fn sift_down(&mut self, mut position: usize) {
        loop {
            let first = position * WAYS + 1;
            let Some(least) = (first..self.heap.len().min(first + WAYS))
                .reduce(|a, b| if self.heap[b].before(&self.heap[a]) { b } else { a })
            else {
                break;
            };
            if !self.heap[least].before(&self.heap[position]) {
                break;
            }
            self.heap.swap(position, least);
            self.note(position);
            position = least;
        }
        self.note(position);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small generator, so that the test needs no dependency and repeats itself exactly.
    fn numbers(mut state: u64) -> impl FnMut() -> u64 {
        move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        }
    }

    #[test]
    fn moments_come_out_in_order_whatever_was_removed_between() {
        let mut next = numbers(0x9E37_79B9_7F4A_7C15);
        for _ in 0..200 {
            let mut timers = Timers::new();
            let mut model: Vec<(f64, u64, TimerId)> = Vec::new();
            for name in 0..200 {
                if next().is_multiple_of(3) && !model.is_empty() {
                    let (_, name, id) = model.swap_remove(next() as usize % model.len());
                    assert_eq!(timers.remove(id), name);
                } else {
                    let when = (next() % 50) as f64;
                    model.push((when, name, timers.insert(when, name)));
                }
            }
            model.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            let fired: Vec<u64> = std::iter::from_fn(|| timers.pop_due(f64::MAX)).collect();
            assert_eq!(fired, model.iter().map(|entry| entry.1).collect::<Vec<_>>());
            assert!(timers.is_empty());
        }
    }

    #[test]
    fn what_never_comes_is_kept_and_is_not_waited_for() {
        let mut timers = Timers::new();
        let never = timers.insert(f64::INFINITY, "never");
        assert_eq!(timers.next(), None);
        timers.insert(1.0, "soon");
        assert_eq!(timers.next(), Some(1.0));
        assert_eq!(timers.pop_due(f64::MAX), Some("soon"));
        assert_eq!((timers.pop_due(f64::MAX), timers.next()), (None, None));
        assert_eq!(timers.values().collect::<Vec<_>>(), [&"never"]);
        assert_eq!(timers.remove(never), "never");
    }

    #[test]
    fn all_moments_can_be_seen_and_taken_out() {
        let mut timers = Timers::default();
        assert!(timers.is_empty() && timers.clear().is_empty());
        for name in ["a", "b", "c"] {
            timers.insert(1.0, name);
        }
        assert_eq!((timers.len(), timers.values().count()), (3, 3));
        let mut all = timers.clear();
        all.sort_unstable();
        assert_eq!(all, ["a", "b", "c"]);
        assert_eq!((timers.len(), timers.next()), (0, None));
    }

    #[test]
    fn r21_nothing_fires_early() {
        let mut timers = Timers::new();
        timers.insert(2.0, "b");
        timers.insert(1.0, "a");
        assert_eq!(timers.pop_due(0.999), None);
        assert_eq!(timers.pop_due(1.0), Some("a"));
        assert_eq!(timers.pop_due(1.5), None);
        assert_eq!(timers.next(), Some(2.0));
    }
}
