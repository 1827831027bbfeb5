//! What waits for a scope: a future, for its cancellation; or the owner of a future, for the shields and
//! nurseries that stand in it, before it drops that. It must never decide what is waited for.

use std::task::Waker;

use crate::ignore_panics::ignore_panics;
use crate::sync::WakerSlot;
use crate::sync::atomic::{AtomicUsize, Ordering};

pub(crate) struct Waiter {
    /// How many shields stand in the future that it owns.
    shields: AtomicUsize,
    waker: WakerSlot,
}

impl Waiter {
    pub(crate) fn new() -> Self {
        Self { shields: AtomicUsize::new(0), waker: WakerSlot::new() }
    }

    pub(crate) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// It looks again.
    pub(crate) fn wake(&self) {
        ignore_panics(|| self.waker.wake());
    }

    pub(crate) fn add_shield(&self) {
        self.shields.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn shield_has_fallen(&self) {
        if self.shields.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.wake();
        }
    }

    pub(crate) fn has_shields(&self) -> bool {
        self.shields.load(Ordering::Acquire) > 0
    }
}
