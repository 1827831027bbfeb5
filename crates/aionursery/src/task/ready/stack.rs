//! Headers of children in stacks and lists, linked through themselves. A stack is pushed to by any thread
//! and taken whole; what was taken is its taker's alone. It must never touch the link of a header that
//! another thread may have.

use std::ptr::{self, NonNull};

use crate::sync::atomic::{AtomicPtr, Ordering};
use crate::task::{Header, TaskRef};

/// Headers in a stack that is taken whole.
pub(super) struct Stack(AtomicPtr<Header>);

pub(super) enum Pushed {
    /// The stack was empty.
    First,
    Later,
    /// The stack was closed; nothing was pushed.
    Closed,
}

/// Stands for "closed": an address that no task can have.
fn closed() -> *mut Header {
    ptr::without_provenance_mut(1)
}

impl Stack {
    pub(super) fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.load(Ordering::Acquire).is_null()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.0.load(Ordering::Acquire) == closed()
    }

    /// Calls `first` before it pushes into an empty stack.
    pub(super) fn push(&self, node: *const Header, mut first: impl FnMut()) -> Pushed {
        let mut head = self.0.load(Ordering::Relaxed);
        loop {
            if head == closed() {
                return Pushed::Closed;
            }
            if head.is_null() {
                first();
            }
            // SAFETY: what `node` stands for keeps the header alive until it is published; `next`
            // belongs to the thread that pushes.
            unsafe { (*node).next.store(head, Ordering::Relaxed) };
            match self.0.compare_exchange_weak(
                head,
                node.cast_mut(),
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) if head.is_null() => return Pushed::First,
                Ok(_) => return Pushed::Later,
                Err(now) => head = now,
            }
        }
    }

    pub(super) fn take(&self) -> *mut Header {
        self.0.swap(ptr::null_mut(), Ordering::AcqRel)
    }

    pub(super) fn close(&self) -> *mut Header {
        self.0.swap(closed(), Ordering::AcqRel)
    }
}

/// Hands out a list that was taken whole, in no order.
pub(super) fn hand_out(list: *mut Header, mut each: impl FnMut(NonNull<Header>)) {
    let mut next = if list == closed() { ptr::null_mut() } else { list };
    while let Some(node) = NonNull::new(next) {
        // SAFETY: what each entry stands for keeps its link alive, if no more than that; the list was
        // taken whole, so its links are ours. The link is read before the entry is handed out.
        next = unsafe { (*node.as_ptr()).next.load(Ordering::Relaxed) };
        each(node);
    }
}

/// Children that were woken and taken, the earliest first. Each entry's reference is in it.
pub(crate) struct Woken {
    first: *mut Header,
    /// Only while it is not empty.
    last: *mut Header,
}

// SAFETY: it stands for the `TaskRef`s in it, which are `Send`.
unsafe impl Send for Woken {}

impl Woken {
    pub(crate) const fn new() -> Self {
        Self { first: ptr::null_mut(), last: ptr::null_mut() }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_null()
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<TaskRef> {
        let node = NonNull::new(self.first)?;
        // SAFETY: its reference, which is ours, keeps it alive, and until it is taken out of the list
        // no other thread touches its link.
        self.first = unsafe { node.as_ref().next.load(Ordering::Relaxed) };
        // SAFETY: the entry's own reference, taken exactly once.
        Some(unsafe { TaskRef::from_raw(node.as_ptr()) })
    }

    /// Takes in a stack that was taken whole: its latest entry comes first there, and last here.
    pub(super) fn append(&mut self, stack: *mut Header) {
        if stack.is_null() || stack == closed() {
            return;
        }
        let (mut first, mut at) = (ptr::null_mut(), stack);
        while !at.is_null() {
            // SAFETY: what each entry stands for keeps it alive; the stack was taken whole, so its
            // links are ours.
            let next = unsafe { (*at).next.load(Ordering::Relaxed) };
            // SAFETY: as above.
            unsafe { (*at).next.store(first, Ordering::Relaxed) };
            (first, at) = (at, next);
        }
        if self.is_empty() {
            self.first = first;
        } else {
            // SAFETY: the last entry is in the list.
            unsafe { (*self.last).next.store(first, Ordering::Relaxed) };
        }
        self.last = stack;
    }
}

impl Drop for Woken {
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}
