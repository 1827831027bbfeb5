//! Shields that stand. To drop a future is to drop whatever is in it: so whoever is about to drop
//! one because it is cancelled asks first whether a shield stands inside, and waits until it has
//! fallen (R12, R19). Who opens a shield says so, once, to all who are polling at that moment, from
//! the inside outwards. It must cost nobody anything who has no shield inside, and never hold
//! against who does not ask: a `select!` that loses, an executor (R20).

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Waker;

use crate::frame;
use crate::scope::lock;
#[cfg(all(test, aionursery_loom))]
use crate::sync::LocalCell;
use crate::sync::{Mutex, thread_local};

thread_local! {
    /// The walls that were raised in the polls that this thread is in, and that all around are yet
    /// to see.
    static RAISED: RefCell<Vec<Arc<Wall>>> = const { RefCell::new(Vec::new()) };
    /// How many these are, without a destructor, which costs each access.
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

/// A shield, to those who are around it.
pub(crate) struct Wall {
    /// Who waits for it to fall; `None` once it has.
    waiting: Mutex<Option<Vec<Waker>>>,
}

impl Wall {
    /// Whether it stands; if it does, `waker` is woken when it falls.
    fn tell(&self, waker: &Waker) -> bool {
        match &*lock(&self.waiting) {
            None => return false,
            Some(waiting) if waiting.iter().any(|other| other.will_wake(waker)) => return true,
            Some(_) => {}
        }
        // A waker is cloned and dropped outside the lock: either may run anybody's code (R29).
        let waker = waker.clone();
        match &mut *lock(&self.waiting) {
            None => false,
            Some(waiting) => {
                waiting.push(waker);
                true
            }
        }
    }
}

/// Its owner's side: it falls when this is dropped.
pub(crate) struct Raised(Arc<Wall>);

impl Raised {
    pub(crate) fn new() -> Self {
        let wall = Arc::new(Wall { waiting: Mutex::new(Some(Vec::new())) });
        // A thread that is ending has no list left: nobody hears of it, as of a bare drop.
        let _ = RAISED.try_with(|raised| {
            let raised = &mut *raised.borrow_mut();
            raised.push(wall.clone());
            COUNT.set(raised.len());
        });
        frame::mark_wall();
        Self(wall)
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        let waiting = lock(&self.0.waiting).take();
        for waker in waiting.into_iter().flatten() {
            let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
    }
}

/// Where the walls begin that will be raised from here on.
#[inline]
pub(crate) fn count() -> usize {
    COUNT.get()
}

/// All around have seen those that were raised since then.
pub(crate) fn forget(since: usize) {
    if count() > since {
        let seen = RAISED.try_with(|raised| {
            let raised = &mut *raised.borrow_mut();
            COUNT.set(since);
            raised.split_off(since)
        });
        drop(seen);
    }
}

/// The walls that stand in one future.
#[derive(Default)]
pub(crate) struct Held(Vec<Arc<Wall>>);

impl Held {
    /// Takes those in that were raised since then.
    pub(crate) fn take_in(&mut self, since: usize) {
        if self.0.len() == self.0.capacity() {
            self.0.retain(|wall| lock(&wall.waiting).is_some());
        }
        let _ = RAISED.try_with(|raised| self.0.extend_from_slice(&raised.borrow()[since..]));
    }

    /// Whether one of them stands: then `waker` is woken when it falls, and the future must not be
    /// dropped yet.
    pub(crate) fn stands(&mut self, waker: &Waker) -> bool {
        self.0.retain(|wall| wall.tell(waker));
        !self.0.is_empty()
    }
}
