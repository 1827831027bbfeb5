//! When the loop will call back, and how it is asked not to. It must never ask the loop for a call.

use std::cell::Cell;

use crate::cpython::call::{referent, weak_reference};
use crate::cpython::errors::optional;
use crate::cpython::object::Object;
use crate::cpython::owned::Owned;
use crate::cpython::slot::Slot;
use pyo3::gc::PyTraverseError;

/// When the loop will call back.
#[derive(Debug)]
pub(crate) struct Armed {
    pub at: Cell<f64>,
    /// The loop holds its handle and the handle its loop: we know it weakly, if that can be.
    pub weak_handle: Slot,
    pub handle: Slot,
    pub callback: Slot,
    /// What the clock showed at the last call that came too early, and how many came since it moved.
    early: Cell<(f64, u32)>,
}

/// What a clock's own rounding explains: a call no earlier than this, in seconds, is on time.
pub(crate) const ROUNDING: f64 = 1e-6;
/// Loops that count in milliseconds round to the nearest one. Half of one, in seconds, makes it the next.
const HALF_A_TICK: f64 = 0.0005;
/// After this many early calls while the clock stands still, it is not going to move.
const STANDS_STILL: u32 = 10;

impl Armed {
    pub(crate) fn new() -> Self {
        Self {
            at: Cell::new(f64::INFINITY),
            weak_handle: Slot::empty(),
            handle: Slot::empty(),
            callback: Slot::empty(),
            early: Cell::new((f64::NEG_INFINITY, 0)),
        }
    }

    /// The loop has called at `now` for what is due at `due`. Returns the time that is to count: the
    /// clock's where the call came too early, so that the loop is to be asked again. A loop whose
    /// clock stands still is believed in the end: it would be asked for ever.
    pub(crate) fn time_of_call(&self, now: f64, due: f64) -> f64 {
        if due - now < ROUNDING {
            return now.max(due);
        }
        let (at, calls) = self.early.get();
        let calls = if at.total_cmp(&now).is_eq() { calls + 1 } else { 0 };
        self.early.set((now, calls));
        if calls < STANDS_STILL { now } else { due }
    }

    /// The moment to ask the loop for, for what is due at `due`: a bit later where it has just called
    /// too early by less than one of its ticks, for it would do so again.
    pub(crate) fn moment_for(&self, due: f64) -> f64 {
        let left = due - self.early.get().0;
        if (0.0..2.0 * HALF_A_TICK).contains(&left) { due + HALF_A_TICK } else { due }
    }

    pub(crate) fn traverse(
        &self,
        visit: impl Fn(&Object) -> Result<(), PyTraverseError>,
    ) -> Result<(), PyTraverseError> {
        self.weak_handle.show(&visit)?;
        self.handle.show(&visit)?;
        self.callback.show(&visit)
    }

    pub(crate) fn clear(&self) {
        self.weak_handle.clear();
        self.handle.clear();
        self.callback.clear();
    }

    pub(crate) fn keep(&self, handle: Owned) {
        match optional(weak_reference(&handle, None)) {
            Some(reference) => self.weak_handle.set(reference),
            None => self.handle.set(handle),
        }
    }

    /// The handle that stands for the next call; taken out.
    pub(crate) fn handle(&self) -> Option<Owned> {
        match self.weak_handle.take() {
            Some(reference) => referent(&reference),
            None => self.handle.take(),
        }
    }
}
