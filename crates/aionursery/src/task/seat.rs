//! The driver's side of the list of woken children: the seat, what was taken, and what only the driver
//! touches. It must never leave anything in a list that nothing drives any more: after [`Seat::close`]
//! nothing stays in it, however late a waker calls.

use std::ptr::{self, NonNull};

use super::ready::{Ready, ReadyRef, drive_before};
use super::stack::Link;
use super::{Header, TaskRef};
use crate::ignore_panics::ignore_panics;

/// Tasks that are linked through themselves, the earliest first. Each entry's reference is in it.
pub(crate) struct TaskQueue {
    first: *mut Link,
    /// Only while it is not empty.
    last: *mut Link,
}

// SAFETY: it stands for the `TaskRef`s in it, which are `Send`.
unsafe impl Send for TaskQueue {}

impl TaskQueue {
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
        self.first = unsafe { node.as_ref() }.next();
        // SAFETY: the entry's own reference, taken exactly once; a task begins with its link.
        Some(unsafe { TaskRef::from_raw(node.cast::<Header>().as_ptr()) })
    }

    /// What was taken of a stack.
    pub(super) fn of(stack: *mut Link) -> Self {
        let mut queue = Self::new();
        queue.append(stack);
        queue
    }

    /// Takes all that were woken, behind those that are here. For the driver.
    pub(crate) fn take(&mut self, ready: &Ready) {
        if !ready.woken.is_empty() {
            self.append(ready.woken.take());
        }
        self.append(ready.take_here());
    }

    /// Takes in a stack that was taken whole: its latest entry comes first there, and last here.
    fn append(&mut self, stack: *mut Link) {
        let (mut first, mut at) = (ptr::null_mut(), stack);
        while let Some(node) = NonNull::new(at) {
            // SAFETY: what each entry stands for keeps it alive; the stack was taken whole, so its
            // links are ours.
            let link = unsafe { node.as_ref() };
            (first, at) = (node.as_ptr(), {
                let next = link.next();
                link.set_next(first);
                next
            });
        }
        if first.is_null() {
            return;
        }
        if self.is_empty() {
            self.first = first;
        } else {
            // SAFETY: the last entry is in the list.
            unsafe { &*self.last }.set_next(first);
        }
        self.last = stack;
    }
}

impl Drop for TaskQueue {
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}

/// The right to drive the children of one list. There is one for each.
pub(crate) struct DriverSeat {
    ready: ReadyRef,
    closed: bool,
}

impl DriverSeat {
    /// The right to drive the children of a list, with a reference to that.
    pub(crate) fn new() -> (ReadyRef, Self) {
        let [ready, list] = ReadyRef::new();
        (list, Self { ready, closed: false })
    }

    /// While `act` runs, this thread is the one that drives. It is told whether the thread does so amid the turn
    /// of another driver.
    pub(crate) fn drive<R>(&mut self, act: impl FnOnce(bool) -> R) -> R {
        struct Leave<'a>(&'a Ready, *const Ready);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                drive_before(self.1);
                if self.0.has_woken_here() {
                    // After the driver's last look: a destructor has woken a child.
                    ignore_panics(|| self.0.notify_driver());
                }
            }
        }
        let before = self.ready.drive_here();
        let _leave = Leave(&self.ready, before);
        act(!before.is_null())
    }

    /// Whether the list is as it was made, but for one task, that of `body`: nothing else can wake anything in it.
    /// `owners` are those that the caller knows of, beside the seat.
    pub(crate) fn is_as_made(&self, owners: usize, body: &TaskRef) -> bool {
        ignore_panics(|| self.ready.unregister());
        self.ready.is_as_made(owners + 1) && body.header().state.is_alone()
    }

    /// Nothing is driven any more: what is in the list and what comes later is dropped.
    pub(crate) fn close(&mut self) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        ignore_panics(|| self.ready.unregister());
        let mut left = TaskQueue::of(self.ready.woken.close());
        left.append(self.ready.take_here());
        drop(left);
        self.ready.unseat();
    }
}

impl Drop for DriverSeat {
    fn drop(&mut self) {
        self.close();
    }
}

/// A value that only the thread which drives may touch.
pub(crate) struct DriverCell<T> {
    ready: ReadyRef,
    value: T,
}

// SAFETY: the value is reached in `with` on the thread that drives, and with the seat in `own`;
// there is one seat, so never on two threads at once, and what moves the seat orders them.
unsafe impl<T: Send> Sync for DriverCell<T> {}

impl<T> DriverCell<T> {
    pub(crate) fn new(ready: ReadyRef, value: T) -> Self {
        Self { ready, value }
    }

    /// Gives `act` the value, if this thread drives.
    #[inline(always)]
    pub(crate) fn with<R>(&self, act: impl FnOnce(Option<&T>) -> R) -> R {
        act(self.ready.is_driven_here().then_some(&self.value))
    }

    /// The value goes.
    #[inline]
    pub(crate) fn into_list(self) -> ReadyRef {
        self.ready
    }

    /// The list whose driver that is.
    #[inline]
    pub(crate) fn list(&self) -> &ReadyRef {
        &self.ready
    }

    /// The value, for the owner of the seat while it does not drive.
    ///
    /// # Panics
    /// If it is another list's seat.
    pub(crate) fn own<'a>(&'a self, seat: &'a mut DriverSeat) -> &'a T {
        assert!(ptr::eq(&*seat.ready, &*self.ready), "the seat of another list");
        &self.value
    }
}
