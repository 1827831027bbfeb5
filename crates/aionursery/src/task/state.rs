//! The word of a task: what is known of it, and how many references there are. Each change is one
//! step with a name. It must never free anything: it says when the last reference has gone.
//!
//! * `QUEUED` is set when it enters the list of woken tasks, with a reference of the entry's, and
//!   cleared when it is taken out of that. Nothing enters that has ended.
//! * `DONE` is set once, by what polls the future, after the future was dropped. Before that the stage is
//!   its own; from then on it is the handle's.
//! * `HANDLE` is cleared once, when the handle goes: before `DONE` the stage stays with what polls, after
//!   it the handle has to empty it.
//! * `JOINED` is set by the handle and stays: it may have left a waker. What sets `DONE` calls that.
//! * `WAITS` is set once by what polls a spawned child, and stays: from then on what asks for its end wakes it.
//! * `CANCEL`, `BY_HAND` are set from anywhere, and stay. `SHIELD` is there from the start.

use crate::sync::atomic::{AtomicUsize, Ordering};

/// In the list of woken tasks, or about to be.
const QUEUED: usize = 1;
/// The future is gone.
const DONE: usize = 1 << 1;
/// The handle lives and may want the result.
const HANDLE: usize = 1 << 2;
/// It is to end as soon as no shield stands inside any more.
const CANCEL: usize = 1 << 3;
/// Cancellation does not reach it.
const SHIELD: usize = 1 << 4;
/// It is a spawned child that waits: what wants it to end wakes its carrier.
#[cfg(feature = "tokio")]
const WAITS: usize = 1 << 5;
/// The handle has left a waker.
const JOINED: usize = 1 << 6;
/// Its handle asked for its end, and not a scope.
const BY_HAND: usize = 1 << 7;
/// One reference.
const REF: usize = 1 << 8;

pub(crate) struct State(AtomicUsize);

/// What the last step of an entry in the list of woken tasks has found.
pub(super) struct Taken {
    pub(super) was_last: bool,
    pub(super) is_done: bool,
}

impl State {
    /// Of a task with a handle, and this many references in all.
    #[inline]
    pub(crate) fn new(references: usize, shield: bool) -> Self {
        Self(AtomicUsize::new(HANDLE | (references * REF) | if shield { SHIELD } else { 0 }))
    }

    /// Of a task without a handle, and with one reference.
    #[inline]
    pub(crate) fn alone() -> Self {
        Self(AtomicUsize::new(REF))
    }

    /// Whether it is as [`alone`](Self::alone) has made it.
    pub(super) fn is_alone(&self) -> bool {
        self.0.load(Ordering::Acquire) == REF
    }

    #[inline]
    fn has(&self, flag: usize) -> bool {
        self.0.load(Ordering::Acquire) & flag != 0
    }

    pub(crate) fn is_done(&self) -> bool {
        self.has(DONE)
    }

    pub(crate) fn has_handle(&self) -> bool {
        self.has(HANDLE)
    }

    pub(crate) fn has_joiner(&self) -> bool {
        self.has(JOINED)
    }

    pub(crate) fn is_shielded(&self) -> bool {
        self.0.load(Ordering::Relaxed) & SHIELD != 0
    }

    pub(crate) fn is_asked_to_cancel(&self) -> bool {
        self.has(CANCEL)
    }

    /// Whether its handle asked for its end.
    pub(crate) fn is_cancelled_by_hand(&self) -> bool {
        self.has(BY_HAND)
    }

    /// Cancellation reaches it, and it was not asked to end alone.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        !self.has(CANCEL | SHIELD)
    }

    /// One more reference; the caller has one.
    pub(super) fn add_reference(&self) {
        let before = self.0.fetch_add(REF, Ordering::Relaxed);
        if before > usize::MAX / 2 {
            // Only leaking wakers in a loop comes here; going on would free what is in use.
            std::process::abort();
        }
    }

    /// A reference goes. Returns whether it was the last.
    pub(crate) fn drop_reference(&self) -> bool {
        // Only the last one sees that it is: then no step that others see is needed.
        self.0.load(Ordering::Acquire) < 2 * REF
            || self.0.fetch_sub(REF, Ordering::AcqRel) < 2 * REF
    }

    /// Whether the caller's reference is the only one, and there is no handle: so no other can be made.
    #[inline]
    pub(crate) fn is_only_reference(&self) -> bool {
        self.0.load(Ordering::Acquire) & !(DONE | CANCEL | SHIELD | JOINED | BY_HAND) == REF
    }

    /// It enters the list of woken tasks, with the caller's reference or with one more, unless it is there
    /// already, or has ended. One step in any case: the thread that polls next must see what the one that
    /// wakes has done before, also if it was woken twice.
    #[inline]
    pub(super) fn enter_list(&self, one_more: bool) -> bool {
        let entry = if one_more { QUEUED + REF } else { QUEUED };
        let mut now = self.0.load(Ordering::Relaxed);
        loop {
            let enters = now & (QUEUED | DONE) == 0;
            let then = if enters { now + entry } else { now };
            match self.0.compare_exchange_weak(now, then, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return enters,
                Err(other) => now = other,
            }
        }
    }

    /// It leaves the list of woken tasks, with the entry's reference: from now on it may enter again.
    #[inline]
    pub(super) fn leave_list(&self) -> Taken {
        let before = self.0.fetch_sub(QUEUED + REF, Ordering::AcqRel);
        Taken { was_last: before < 2 * REF, is_done: before & DONE != 0 }
    }

    /// It is to end as soon as no shield stands inside any more.
    pub(crate) fn ask_to_cancel(&self) {
        self.0.fetch_or(CANCEL, Ordering::AcqRel);
    }

    /// As [`ask_to_cancel`](Self::ask_to_cancel), by its handle.
    pub(crate) fn cancel_by_hand(&self) {
        self.0.fetch_or(CANCEL | BY_HAND, Ordering::AcqRel);
    }

    /// As [`cancel_by_hand`](Self::cancel_by_hand), of a spawned child, which [`stop`](Self::stop) asks.
    #[cfg(feature = "tokio")]
    pub(crate) fn mark_by_hand(&self) {
        self.0.fetch_or(BY_HAND, Ordering::AcqRel);
    }

    /// As [`ask_to_cancel`](Self::ask_to_cancel), of a spawned child. Returns whether it has to be woken
    /// for that.
    #[cfg(feature = "tokio")]
    pub(super) fn stop(&self) -> bool {
        self.0.fetch_or(CANCEL, Ordering::AcqRel) & (DONE | WAITS) == WAITS
    }

    #[cfg(feature = "tokio")]
    pub(super) fn is_waiting(&self) -> bool {
        self.has(WAITS)
    }

    /// From now on what asks for its end wakes it. Returns `false` if it was asked before.
    #[cfg(feature = "tokio")]
    pub(super) fn wait(&self) -> bool {
        self.0.fetch_or(WAITS, Ordering::AcqRel) & CANCEL == 0
    }

    /// Its handle has left a waker. Returns whether it has ended before.
    pub(crate) fn join(&self) -> bool {
        self.0.fetch_or(JOINED, Ordering::AcqRel) & DONE != 0
    }

    /// It has ended, with a result in its stage. Returns whether a handle is left to take it.
    #[inline]
    pub(crate) fn finish(&self) -> bool {
        self.0.fetch_or(DONE, Ordering::AcqRel) & HANDLE != 0
    }

    /// As [`finish`](Self::finish), where the handle has gone and nothing was left in the stage.
    #[inline]
    pub(crate) fn finish_alone(&self) {
        if self.0.load(Ordering::Acquire) == REF {
            // There is no other reference: no step that others see is needed.
            self.0.store(REF | DONE, Ordering::Relaxed);
        } else {
            self.0.fetch_or(DONE, Ordering::AcqRel);
        }
    }

    /// Whether it is as it was made: with its handle and one more reference.
    #[inline]
    pub(crate) fn is_untouched(&self) -> bool {
        self.0.load(Ordering::Acquire) & !SHIELD == HANDLE | (2 * REF)
    }

    /// The handle goes, with its reference, where no other thread can see the task.
    #[inline]
    pub(crate) fn drop_handle_unseen(&self) {
        let now = self.0.load(Ordering::Relaxed);
        self.0.store(now - HANDLE - REF, Ordering::Relaxed);
    }

    /// The handle goes, with its reference, unless the task has ended. Returns whether that was the last,
    /// or `None` if it has ended: then there is a result to take first.
    pub(crate) fn drop_handle(&self) -> Option<bool> {
        let mut now = self.0.load(Ordering::Acquire);
        while now & DONE == 0 {
            // Without a result there is nothing to drop, and one step does both.
            let then = now - HANDLE - REF;
            match self.0.compare_exchange_weak(now, then, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(then < REF),
                Err(other) => now = other,
            }
        }
        None
    }

    /// The handle of a task that has ended goes, with its reference. Returns whether that was the last.
    pub(crate) fn drop_handle_of_ended(&self) -> bool {
        // With the only reference no other thread can see it: no step that others see is needed.
        self.0.load(Ordering::Acquire) < 2 * REF
            || self.0.fetch_sub(HANDLE + REF, Ordering::AcqRel) < 2 * REF
    }
}
