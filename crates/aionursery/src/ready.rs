//! The list of in-task children that were woken, and the one waker behind them. Anybody may push,
//! from any thread; only the nursery's driver takes. It must never run a child.
//!
//! A stack that is taken whole: one atomic operation a push, one a batch. Each entry holds one
//! reference to its task. After [`Ready::close`] nothing stays in it, however late a waker calls.

use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use atomic_waker::AtomicWaker;

use crate::task::{Header, TaskRef};

/// Woken children of one nursery.
pub(crate) struct Ready {
    head: AtomicPtr<Header>,
    driver: AtomicWaker,
    owners: AtomicUsize,
}

/// One owner's count of a list. As an `Arc`, but counts can be had in one step for many children
/// that start one after another.
pub(crate) struct Share(NonNull<Ready>);

// SAFETY: a list may be used and freed on any thread.
unsafe impl Send for Share {}
// SAFETY: as above.
unsafe impl Sync for Share {}

impl Share {
    pub(crate) fn new() -> Self {
        let ready = Ready {
            head: AtomicPtr::new(ptr::null_mut()),
            driver: AtomicWaker::new(),
            owners: AtomicUsize::new(1),
        };
        Self(NonNull::from(Box::leak(Box::new(ready))))
    }

    pub(crate) fn into_raw(self) -> *const Ready {
        ManuallyDrop::new(self).0.as_ptr()
    }

    /// # Safety
    /// `raw` comes from [`into_raw`](Self::into_raw) and is used once.
    pub(crate) unsafe fn from_raw(raw: *const Ready) -> Self {
        // SAFETY: `into_raw` gives no null.
        Self(unsafe { NonNull::new_unchecked(raw.cast_mut()) })
    }
}

impl Deref for Share {
    type Target = Ready;
    fn deref(&self) -> &Ready {
        // SAFETY: the count that `self` is keeps it alive.
        unsafe { self.0.as_ref() }
    }
}

impl Clone for Share {
    fn clone(&self) -> Self {
        let before = self.owners.fetch_add(1, Ordering::Relaxed);
        if before > usize::MAX / 2 {
            // Only leaking in a loop comes here; going on would free what is in use.
            std::process::abort();
        }
        Self(self.0)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.owners.fetch_sub(1, Ordering::AcqRel) == 1 {
            // SAFETY: that was the last owner; the pointer is the box's own.
            drop(unsafe { Box::from_raw(self.0.as_ptr()) });
        }
    }
}

/// Counts of one list that are kept for children to come.
pub(crate) struct Stock {
    ready: Share,
    left: usize,
}

impl Stock {
    /// How many counts are taken at once.
    const BATCH: usize = 64;

    pub(crate) fn new(ready: Share) -> Self {
        Self { ready, left: 0 }
    }

    pub(crate) fn take(&mut self) -> Share {
        if self.left == 0 {
            self.ready.owners.fetch_add(Self::BATCH, Ordering::Relaxed);
            self.left = Self::BATCH;
        }
        self.left -= 1;
        Share(self.ready.0)
    }

    /// Shares come back.
    ///
    /// # Panics
    /// If they are another list's.
    pub(crate) fn give_back(&mut self, returned: &mut Returned) {
        assert!(returned.of.is_none_or(|of| of == self.ready.0), "shares of another list");
        self.left += std::mem::take(&mut returned.count);
    }
}

impl Drop for Stock {
    fn drop(&mut self) {
        // Never the last: `ready` is one more.
        self.ready.owners.fetch_sub(self.left, Ordering::AcqRel);
    }
}

/// Shares of one list that its driver got back from children that have ended.
#[derive(Default)]
pub(crate) struct Returned {
    of: Option<NonNull<Ready>>,
    count: usize,
}

// SAFETY: it only counts; the pointer is compared, never followed.
unsafe impl Send for Returned {}

impl Returned {
    pub(crate) fn put(&mut self, share: Share) {
        assert!(*self.of.get_or_insert(share.0) == share.0, "a share of another list");
        self.count += 1;
        std::mem::forget(share);
    }
}

/// Stands for "closed": an address that no task can have.
fn closed() -> *mut Header {
    ptr::without_provenance_mut(1)
}

impl Ready {
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
