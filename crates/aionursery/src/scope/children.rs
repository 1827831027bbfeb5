//! How many children a nursery has: for its core, which counts them, and for the owners of scopes
//! above, which wait for the spawned ones (R27a). It must never be asked for more than a number.

use crate::sync::atomic::{AtomicU32, Ordering};

/// The body has ended: the last child to end wakes the driver.
const JOINING: u32 = 1;
/// The driver has gone: the last child to end hands over what is left.
const GONE: u32 = 1 << 1;
/// One child.
const ONE: u32 = 1 << 2;

#[derive(Default)]
pub(crate) struct Children {
    /// Those that have not ended, as the lifecycle will count them once it is told; and the two marks
    /// for the one that ends last, so that one step does both.
    word: AtomicU32,
    /// Of these, those that the lifecycle was told of and that have not started. The driver's to
    /// change.
    pub(crate) spare: AtomicU32,
    /// Of these, those that have returned and that it was not told of. The driver's to change.
    pub(crate) done: AtomicU32,
    /// Of these, those that the driver holds, as of the end of its last turn.
    held: AtomicU32,
    /// Of these, those that wait for the driver to take them up, and were started elsewhere.
    pub(crate) waiting: AtomicU32,
}

/// What a child that has returned finds.
#[cfg(feature = "tokio")]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// Others, or the body.
    Some,
    /// It was the last, and the driver waits.
    None,
    /// The driver has gone.
    Orphans,
}

impl Children {
    /// None were started: the lifecycle is told of the first `count`, before any code has the nursery.
    pub(crate) fn begin(&self, count: u32) {
        self.word.store(count * ONE, Ordering::Relaxed);
        self.spare.store(count, Ordering::Relaxed);
        for none in [&self.done, &self.held, &self.waiting] {
            none.store(0, Ordering::Relaxed);
        }
    }

    /// So many more start.
    pub(crate) fn add(&self, count: u32) {
        self.word.fetch_add(count * ONE, Ordering::Relaxed);
    }

    /// Those that have not ended.
    #[inline]
    pub(crate) fn alive(&self) -> u32 {
        self.word.load(Ordering::Acquire) / ONE
    }

    /// So many have returned, and the body has ended if it `joins`, which it does once. Gives how many have
    /// not ended, and whether the body has.
    pub(crate) fn settle(&self, returned: u32, joins: bool) -> (u32, bool) {
        let mark = if joins { JOINING } else { 0 };
        let change = mark.wrapping_sub(returned * ONE);
        let word = match change {
            0 => self.word.load(Ordering::Acquire),
            _ => self.word.fetch_add(change, Ordering::AcqRel).wrapping_add(change),
        };
        (word / ONE, word & JOINING != 0)
    }

    /// The driver goes.
    pub(crate) fn leave_alone(&self) {
        self.word.fetch_or(GONE, Ordering::AcqRel);
    }

    /// One has ended by itself. Gives how many have not, too.
    #[cfg(feature = "tokio")]
    #[inline]
    pub(crate) fn one_less(&self) -> (Left, u32) {
        let before = self.word.fetch_sub(ONE, Ordering::AcqRel);
        let left = match before {
            _ if before & GONE != 0 => Left::Orphans,
            _ if before & JOINING != 0 && before < 2 * ONE => Left::None,
            _ => Left::Some,
        };
        (left, before / ONE - 1)
    }

    /// So many are the driver's own.
    #[cfg(feature = "tokio")]
    pub(crate) fn set_held(&self, held: u32) {
        // Most turns change nothing, and what is written is fetched again by each worker that looks at the scope.
        if self.held.load(Ordering::Relaxed) != held {
            self.held.store(held, Ordering::Relaxed);
        }
    }

    /// How many have not ended. Exact where the nursery is driven; elsewhere as of a moment ago.
    pub(crate) fn running(&self) -> u32 {
        let not_running = self.spare.load(Ordering::Relaxed) + self.done.load(Ordering::Relaxed);
        self.alive().saturating_sub(not_running)
    }

    /// How many of them end by themselves. Between two turns of the driver it is exact.
    pub(crate) fn spawned(&self) -> u32 {
        // Not a plain look: a spawned child counts itself out and looks then whether an owner waits
        // for it, which has said so before it comes here.
        let alive = self.word.fetch_add(0, Ordering::AcqRel) / ONE;
        let others = [&self.spare, &self.done, &self.held, &self.waiting];
        alive.saturating_sub(others.iter().map(|count| count.load(Ordering::Relaxed)).sum())
    }
}
