//! Shields that stand. To drop a future is to drop whatever is in it: so whoever is about to drop
//! one because it is cancelled asks first whether a shield stands inside, and waits until it has
//! fallen (R12, R19). Who opens a shield says so, once, to all who are polling at that moment, from
//! the inside outwards. It must cost nobody anything who has no shield inside, and never hold
//! against who does not ask: a `select!` that loses, an executor (R20).

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::task::Waker;

use crate::frame;
use crate::quiet::quietly;
use crate::scope::lock;
#[cfg(all(test, aionursery_loom))]
use crate::sync::LocalCell;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{AtomicWaker, Mutex, thread_local};

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
    waiting: Mutex<Option<Vec<Arc<Waiter>>>>,
}

/// Who waits for all the walls in one future to fall.
struct Waiter {
    /// How many of them stand.
    walls: AtomicUsize,
    waker: AtomicWaker,
}

impl Drop for Waiter {
    fn drop(&mut self) {
        quietly(|| drop(self.waker.take()));
    }
}

impl Wall {
    fn has_fallen(&self) -> bool {
        lock(&self.waiting).is_none()
    }

    /// If it stands, `waiter` is told when it falls.
    fn is_waited_for(&self, waiter: &Arc<Waiter>) {
        if let Some(waiting) = &mut *lock(&self.waiting) {
            waiter.walls.fetch_add(1, Ordering::Relaxed);
            waiting.push(waiter.clone());
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
        for waiter in waiting.into_iter().flatten() {
            if waiter.walls.fetch_sub(1, Ordering::AcqRel) == 1 {
                quietly(|| waiter.waker.wake());
            }
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
pub(crate) struct Held {
    /// Those that nobody has asked about yet.
    new: Vec<Arc<Wall>>,
    /// Counts the others.
    waiter: Option<Arc<Waiter>>,
}

impl Held {
    /// Takes those in that were raised since then.
    pub(crate) fn take_in(&mut self, since: usize) {
        if self.new.len() == self.new.capacity() {
            self.new.retain(|wall| !wall.has_fallen());
        }
        let _ = RAISED.try_with(|raised| self.new.extend_from_slice(&raised.borrow()[since..]));
    }

    /// Whether one of them stands: then `waker` is woken when the last has fallen, and the future
    /// must not be dropped yet.
    pub(crate) fn stands(&mut self, waker: &Waker) -> bool {
        if self.new.is_empty() && self.waiter.is_none() {
            return false;
        }
        let waiter = self.waiter.get_or_insert_with(|| {
            Arc::new(Waiter { walls: AtomicUsize::new(0), waker: AtomicWaker::new() })
        });
        waiter.waker.register(waker);
        self.new.drain(..).for_each(|wall| wall.is_waited_for(waiter));
        waiter.walls.load(Ordering::Acquire) > 0
    }
}
