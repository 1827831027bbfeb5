//! Tasks in stacks, linked through themselves. Any thread pushes; a stack is taken whole, and what was
//! taken is its taker's alone. It must never touch the link of a task that another thread may have.

use std::ptr::{self, NonNull};

use crate::sync::atomic::{AtomicPtr, Ordering};

/// What a task begins with.
pub(super) struct Link(AtomicPtr<Link>);

impl Link {
    pub(super) fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    pub(super) fn next(&self) -> *mut Link {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn set_next(&self, next: *mut Link) {
        self.0.store(next, Ordering::Relaxed);
    }
}

/// Links in a stack that is taken whole.
pub(super) struct Stack(AtomicPtr<Link>);

#[derive(PartialEq, Eq)]
pub(super) enum Pushed {
    /// The stack was empty.
    First,
    Later,
    /// The stack was closed; nothing was pushed.
    Closed,
}

/// Stands for "closed": an address that no task can have.
fn closed() -> *mut Link {
    ptr::without_provenance_mut(1)
}

/// What was taken: nothing of a stack that was closed.
fn taken(list: *mut Link) -> *mut Link {
    if list == closed() { ptr::null_mut() } else { list }
}

impl Stack {
    pub(super) fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    pub(super) fn is_empty(&self) -> bool {
        taken(self.0.load(Ordering::Acquire)).is_null()
    }

    /// # Safety
    /// `node` is alive until it is taken, and no other thread touches its link before that.
    pub(super) unsafe fn push(&self, node: NonNull<Link>) -> Pushed {
        let mut head = self.0.load(Ordering::Relaxed);
        loop {
            if head == closed() {
                return Pushed::Closed;
            }
            // SAFETY: as the caller promises.
            unsafe { node.as_ref() }.set_next(head);
            match self.0.compare_exchange_weak(
                head,
                node.as_ptr(),
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) if head.is_null() => return Pushed::First,
                Ok(_) => return Pushed::Later,
                Err(now) => head = now,
            }
        }
    }

    /// Pushes links that hang together, from `first` to `last`.
    ///
    /// # Safety
    /// As for [`push`](Self::push), of each.
    #[cfg(feature = "tokio")]
    pub(super) unsafe fn push_all(&self, first: NonNull<Link>, last: NonNull<Link>) {
        let mut head = self.0.load(Ordering::Relaxed);
        loop {
            // SAFETY: as the caller promises.
            unsafe { last.as_ref() }.set_next(head);
            let first = first.as_ptr();
            match self.0.compare_exchange_weak(head, first, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    pub(super) fn take(&self) -> *mut Link {
        taken(self.0.swap(ptr::null_mut(), Ordering::AcqRel))
    }

    pub(super) fn close(&self) -> *mut Link {
        taken(self.0.swap(closed(), Ordering::AcqRel))
    }
}
