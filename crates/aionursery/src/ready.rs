//! The list of in-task children that were woken, and the one waker behind them. Anybody may push,
//! from any thread; only the nursery's driver takes. It must never run a child.
//!
//! A stack that is taken whole: one atomic operation a push, one a batch. Each entry holds one
//! reference to its task. After [`Ready::close`] nothing stays in it, however late a waker calls.

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use atomic_waker::AtomicWaker;

use crate::task::{Header, TaskRef};

/// Woken children of one nursery.
pub(crate) struct Ready {
    head: AtomicPtr<Header>,
    driver: AtomicWaker,
}

/// Stands for "closed": an address that no task can have.
fn closed() -> *mut Header {
    ptr::without_provenance_mut(1)
}

impl Ready {
    pub(crate) fn new() -> Self {
        Self { head: AtomicPtr::new(ptr::null_mut()), driver: AtomicWaker::new() }
    }

    /// Wakes the driver without a child: a cancellation, an end on another thread.
    pub(crate) fn poke(&self) {
        self.driver.wake();
    }

    /// The driver is about to wait.
    pub(crate) fn register(&self, waker: &std::task::Waker) {
        self.driver.register(waker);
    }

    /// The driver runs and looks by itself: nobody need wake it.
    pub(crate) fn unregister(&self) {
        drop(self.driver.take());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.head.load(Ordering::Acquire).is_null()
    }

    /// A child was woken; it was not in the list before.
    pub(crate) fn push(&self, task: TaskRef) {
        let node = task.into_raw();
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            if head == closed() {
                // SAFETY: `node` came from `into_raw` above and was not published.
                drop(unsafe { TaskRef::from_raw(node) });
                return;
            }
            // SAFETY: the reference that `node` holds keeps the header alive until it is
            // published; `next` is ours while the task is marked as queued.
            unsafe { (*node).next.store(head, Ordering::Relaxed) };
            match self.head.compare_exchange_weak(
                head,
                node.cast_mut(),
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => break,
                Err(now) => head = now,
            }
        }
        if head.is_null() {
            self.driver.wake();
        }
    }

    /// Takes all, the earliest first, and hands each out. Says how many there were.
    pub(crate) fn take(&self, mut each: impl FnMut(TaskRef)) {
        if self.is_empty() {
            return;
        }
        self.hand_out(self.head.swap(ptr::null_mut(), Ordering::AcqRel), &mut each);
    }

    /// Nothing is taken any more: what is in the list and what comes later is let go.
    pub(crate) fn close(&self) {
        self.unregister();
        self.hand_out(self.head.swap(closed(), Ordering::AcqRel), &mut drop);
    }

    fn hand_out(&self, list: *mut Header, each: &mut impl FnMut(TaskRef)) {
        if list == closed() {
            return;
        }
        let mut reversed = ptr::null_mut();
        let mut at = list;
        while !at.is_null() {
            // SAFETY: every entry of the list holds a reference; the list was taken whole, so
            // its links are ours.
            let next = unsafe { (*at).next.swap(reversed, Ordering::Relaxed) };
            reversed = at;
            at = next;
        }
        while !reversed.is_null() {
            // SAFETY: as above; the link is read before the reference is handed out.
            let next = unsafe { (*reversed).next.load(Ordering::Relaxed) };
            // SAFETY: the entry's own reference, taken exactly once.
            each(unsafe { TaskRef::from_raw(reversed) });
            reversed = next;
        }
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        self.close();
    }
}
