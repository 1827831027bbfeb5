//! The done callbacks of children that the loop has not called yet: a block is left after them, as
//! asyncio's are. It must never hold a handle, which holds a task and its result.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use nursery_core::NurseryId;

use crate::cpython::call::{referent, weak_reference};
use crate::cpython::errors::optional;
use crate::cpython::object::Object;
use crate::cpython::owned::Owned;

/// Of each nursery the handle of the callback that comes last, weakly: a handle goes once it was called. One that
/// cannot be known so counts as called.
#[derive(Debug)]
pub(crate) struct Called {
    last: RefCell<HashMap<NurseryId, Owned>>,
    /// With this many those are looked for that were called.
    full: Cell<usize>,
}

const FEW: usize = 64;

impl Called {
    pub(crate) fn new() -> Self {
        Self { last: RefCell::default(), full: Cell::new(FEW) }
    }

    /// The loop will call back for a child of this nursery.
    pub(crate) fn note(&self, nursery: NurseryId, handle: &Object) {
        let Some(reference) = optional(weak_reference(handle, None)) else { return };
        let before = self.last.borrow_mut().insert(nursery, reference);
        drop(before);
        if self.last.borrow().len() >= self.full.get() {
            self.sweep();
        }
    }

    /// Whether the loop has yet to call back for a child of this nursery, which is left now.
    pub(crate) fn is_due(&self, nursery: NurseryId) -> bool {
        if self.last.borrow().is_empty() {
            return false;
        }
        let last = self.last.borrow_mut().remove(&nursery);
        last.is_some_and(|reference| referent(&reference).is_some())
    }

    #[cold]
    fn sweep(&self) {
        let (due, called): (HashMap<_, _>, HashMap<_, _>) =
            self.last.take().into_iter().partition(|(_, reference)| referent(reference).is_some());
        self.full.set((due.len() * 2).max(FEW));
        self.last.borrow_mut().extend(due);
        drop(called);
    }

    pub(crate) fn traverse<E>(&self, visit: impl Fn(&Object) -> Result<(), E>) -> Result<(), E> {
        let last = self.last.try_borrow();
        last.map_or(Ok(()), |last| last.values().try_for_each(|reference| visit(reference)))
    }

    pub(crate) fn clear(&self) {
        drop(self.last.take());
    }
}
