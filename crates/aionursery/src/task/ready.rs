//! The list of in-task children that were woken, the one waker behind them, and the seat of
//! their driver. Any thread may push; only the nursery's driver takes. It must
//! never run a child.
//!
//! Stacks that are taken whole: the driver has one to itself, for those that wake themselves and
//! each other; a wake from any other thread takes one atomic operation a push, one a batch. Each entry holds one
//! reference to its task. After [`Seat::close`] nothing stays in them, however late a waker calls.

mod stack;

use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::{self, NonNull};

use super::slots::Slots;
use super::{Header, TaskRef};
use crate::quiet::quietly;
#[cfg(all(test, aionursery_loom))]
use crate::sync::LocalCell;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{AtomicWaker, cell, thread_local};
pub(crate) use stack::Woken;
use stack::{Pushed, Stack, hand_out};

/// Woken children of one nursery, and the memory of all of them.
pub(crate) struct Ready {
    /// Woken by the thread that drives, while it does.
    woken_here: cell::Cell<*mut Header>,
    /// Woken elsewhere.
    woken: Stack,
    /// Slots that were given back away from the driver.
    returned: Stack,
    driver: AtomicWaker,
    owners: AtomicUsize,
    slots: Slots,
}

/// One owner's count of a list. As an `Arc`, but it can be handed through a raw pointer that the
/// children of a block share.
pub(crate) struct Share(NonNull<Ready>);

// SAFETY: a list may be used and freed on any thread; its slots and `woken_here` are touched by the
// thread that drives, or with the seat, only.
unsafe impl Send for Share {}
// SAFETY: as above.
unsafe impl Sync for Share {}

impl Share {
    pub(crate) fn new() -> Self {
        let ready = Ready {
            woken_here: cell::Cell::new(ptr::null_mut()),
            woken: Stack::new(),
            returned: Stack::new(),
            driver: AtomicWaker::new(),
            owners: AtomicUsize::new(1),
            slots: Slots::new(),
        };
        Self(NonNull::from(Box::leak(Box::new(ready))))
    }

    /// A list with the right to drive its children.
    pub(crate) fn with_seat() -> (Self, Seat) {
        let ready = Self::new();
        (ready.clone(), Seat(ready))
    }

    /// The same list without a count.
    ///
    /// # Safety
    /// The list is there for as long as the alias is used: `self` itself may go before that.
    #[inline]
    pub(crate) unsafe fn alias(&self) -> ManuallyDrop<Self> {
        ManuallyDrop::new(Self(self.0))
    }

    pub(crate) fn as_raw(&self) -> NonNull<Ready> {
        self.0
    }

    /// A child was woken; it was not in the list before.
    #[inline]
    pub(crate) fn push(&self, task: TaskRef) {
        let node = task.into_raw();
        if self.is_driven_here() {
            // The driver looks again before it waits: it need not be woken.
            // SAFETY: the entry keeps the header alive; `next` belongs to the thread that pushes.
            unsafe { (*node).next.store(self.woken_here.get(), Ordering::Relaxed) };
            self.woken_here.set(node.cast_mut());
        } else {
            self.push_elsewhere(node);
        }
    }

    fn push_elsewhere(&self, node: *const Header) {
        let mut hold = None;
        let pushed = self.woken.push(node, || {
            // Once it is in the list the driver may take it, end, and let the last owner go before
            // it is woken; so the list is held for that long.
            hold.get_or_insert_with(|| self.clone());
        });
        match pushed {
            Pushed::Later => {}
            Pushed::First => self.driver.wake(),
            // SAFETY: `node` came from `into_raw` above and was not published.
            Pushed::Closed => drop(unsafe { TaskRef::from_raw(node) }),
        }
    }

    /// The slot of a task that was freed on whatever thread.
    ///
    /// # Safety
    /// `slot` lies in one of this list's blocks, and is used no more.
    #[inline]
    pub(crate) unsafe fn give_back(&self, slot: NonNull<Header>) {
        if let Some(slots) = self.slots() {
            // SAFETY: as the caller promises; this thread drives.
            unsafe { slots.put(slot) };
        } else if let Pushed::Closed = self.returned.push(slot.as_ptr(), || {}) {
            // SAFETY: as the caller promises; its driver is gone.
            unsafe { Slots::put_late(slot) };
        }
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

impl Ready {
    /// Wakes the driver without a child: a cancellation, an end on another thread.
    pub(crate) fn poke(&self) {
        self.driver.wake();
    }

    /// The driver is about to wait.
    pub(crate) fn register(&self, waker: &std::task::Waker) {
        self.driver.register(waker);
    }

    /// The driver runs and looks by itself: it need not be woken.
    pub(crate) fn unregister(&self) {
        drop(self.driver.take());
    }

    /// Whether no child was woken: for the driver.
    pub(crate) fn is_empty(&self) -> bool {
        self.woken_here.get().is_null() && self.woken.is_empty()
    }

    /// Takes all that were woken, behind those that `woken` has.
    pub(crate) fn take(&self, woken: &mut Woken) {
        if let Some(slots) = self.slots()
            && !self.returned.is_empty()
        {
            // SAFETY: what is in this list was given back; this thread drives.
            hand_out(self.returned.take(), |slot| unsafe { slots.put(slot) });
        }
        if !self.woken.is_empty() {
            woken.append(self.woken.take());
        }
        woken.append(self.take_here());
    }

    /// What was woken by the thread that drives: for the driver.
    fn take_here(&self) -> *mut Header {
        self.woken_here.replace(ptr::null_mut())
    }

    /// Whether this thread drives these children at this moment.
    #[inline]
    pub(crate) fn is_driven_here(&self) -> bool {
        HERE.get() == ptr::from_ref(self)
    }

    /// The memory of children, for the thread that drives them.
    #[inline]
    pub(crate) fn slots(&self) -> Option<&Slots> {
        self.is_driven_here().then_some(&self.slots)
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        quietly(|| self.unregister());
        debug_assert!(self.woken.is_empty() || self.woken.is_closed(), "tasks hold their list");
        debug_assert!(self.woken_here.get().is_null(), "tasks hold their list");
    }
}

thread_local! {
    /// The list whose children this thread drives, the innermost if there are several.
    static HERE: Cell<*const Ready> = const { Cell::new(ptr::null()) };
}

/// The right to drive the children of one list. There is one for each.
pub(crate) struct Seat(Share);

impl Seat {
    /// While `act` runs, this thread is the one that drives.
    pub(crate) fn drive<R>(&mut self, act: impl FnOnce() -> R) -> R {
        struct Leave<'a>(&'a Ready, *const Ready);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                HERE.set(self.1);
                if !self.0.woken_here.get().is_null() {
                    // After the driver's last look: a destructor has woken a child.
                    quietly(|| self.0.poke());
                }
            }
        }
        let _leave = Leave(&self.0, HERE.replace(self.0.as_raw().as_ptr()));
        act()
    }

    /// Nothing is driven any more: what is in the list and what comes later is dropped.
    pub(crate) fn close(&mut self) {
        quietly(|| self.0.unregister());
        let mut left = Woken::new();
        left.append(self.0.woken.close());
        left.append(self.0.take_here());
        drop(left);
        let returned = self.0.returned.close();
        // SAFETY: the one seat, borrowed alone, and no child is driven: only this thread uses the slots; what is
        // in the list of returned ones was given back.
        let put = |slot| unsafe { self.0.slots.put(slot) };
        hand_out(returned, put);
        // SAFETY: as for `put`.
        unsafe { self.0.slots.close() };
    }
}

/// A value that only the thread which drives may touch.
pub(crate) struct Driven<T> {
    ready: Share,
    value: T,
}

// SAFETY: the value is reached in `with` on the thread that drives, and with the seat in `own`;
// there is one seat, so never on two threads at once, and what moves the seat orders them.
unsafe impl<T: Send> Sync for Driven<T> {}

impl<T> Driven<T> {
    pub(crate) fn new(ready: Share, value: T) -> Self {
        Self { ready, value }
    }

    /// Gives `act` the value, if this thread drives.
    #[inline(always)]
    pub(crate) fn with<R>(&self, act: impl FnOnce(Option<&T>) -> R) -> R {
        act(self.ready.is_driven_here().then_some(&self.value))
    }

    /// The value, for the owner of the seat while it does not drive.
    ///
    /// # Panics
    /// If it is another list's seat.
    pub(crate) fn own<'a>(&'a self, seat: &'a mut Seat) -> &'a T {
        assert!(seat.0.as_raw() == self.ready.as_raw(), "the seat of another list");
        &self.value
    }
}
