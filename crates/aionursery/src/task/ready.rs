//! The list of in-task children that were woken, and the one waker behind them. Any thread may push; only
//! the nursery's driver takes. It must never run a child.
//!
//! There are two stacks: the driver has one to itself, for those that wake themselves and each other; a
//! wake from any other thread takes one atomic operation a push, one a batch. Each entry stands for one
//! reference to its task.

use std::cell::Cell;
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::task::Waker;

use super::memory::{self, Size};
use super::stack::{Link, Pushed, Stack};
#[cfg(all(test, aionursery_loom))]
use crate::sync::LocalCell;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{WakerSlot, cell, thread_local};

/// Woken children of one nursery.
pub(crate) struct Ready {
    /// Woken by the thread that drives, while it does.
    woken_here: cell::Cell<*mut Link>,
    /// Woken elsewhere.
    pub(super) woken: Stack,
    driver: WakerSlot,
    /// It may have a waker. For the thread that drives, or with the seat.
    is_registered: cell::Cell<bool>,
    /// Owners, and tasks that were counted elsewhere.
    owners: AtomicUsize,
    /// How many more tasks were counted by the thread that drives than have gone there: it may be less
    /// than none. They are added to `owners` when the seat goes; until then that has [`SEATED`] more.
    tasks_here: cell::Cell<isize>,
}

const SEATED: usize = usize::MAX / 4;

/// One owner's count of a list. As an `Arc`, but the tasks of a list count themselves.
pub(crate) struct ReadyRef(NonNull<Ready>);

// SAFETY: a list may be used and freed on any thread; its cells (`woken_here`, `is_registered`, `tasks_here`)
// are touched by the thread that drives, or with the seat, only.
unsafe impl Send for ReadyRef {}
// SAFETY: as above.
unsafe impl Sync for ReadyRef {}

impl ReadyRef {
    /// A list whose children can be driven, for this many owners.
    pub(super) fn new<const OWNERS: usize>() -> [Self; OWNERS] {
        let ready = Ready {
            woken_here: cell::Cell::new(ptr::null_mut()),
            woken: Stack::new(),
            driver: WakerSlot::new(),
            is_registered: cell::Cell::new(false),
            owners: AtomicUsize::new(SEATED + OWNERS),
            tasks_here: cell::Cell::new(0),
        };
        let list = memory::take(const { &Size::of::<Ready>() }).cast();
        // SAFETY: the memory is the list's own, large enough and aligned.
        unsafe { list.write(ready) };
        [(); OWNERS].map(|()| Self(list))
    }

    /// One task more has this list.
    #[inline]
    pub(super) fn add_task(&self) -> NonNull<Ready> {
        if self.is_driven_here() {
            self.tasks_here.set(self.tasks_here.get() + 1);
        } else {
            self.add_owner();
        }
        self.0
    }

    /// A task of the list was freed.
    ///
    /// # Safety
    /// It was counted, and is used no more.
    #[inline]
    pub(super) unsafe fn drop_task(list: NonNull<Ready>) {
        // SAFETY: the task's count keeps the list until here.
        let ready = unsafe { list.as_ref() };
        if ready.is_driven_here() {
            ready.tasks_here.set(ready.tasks_here.get() - 1);
        } else {
            // A share of the task's own goes.
            drop(Self(list));
        }
    }
}

impl Deref for ReadyRef {
    type Target = Ready;
    fn deref(&self) -> &Ready {
        // SAFETY: the count that `self` is keeps it alive.
        unsafe { self.0.as_ref() }
    }
}

impl Clone for ReadyRef {
    fn clone(&self) -> Self {
        self.add_owner();
        Self(self.0)
    }
}

impl Drop for ReadyRef {
    fn drop(&mut self) {
        // Only the last one sees that it is: then no step that others see is needed.
        if self.owners.load(Ordering::Acquire) == 1
            || self.owners.fetch_sub(1, Ordering::AcqRel) == 1
        {
            // SAFETY: that was the last owner.
            unsafe { ptr::drop_in_place(self.0.as_ptr()) };
            // SAFETY: it was taken for a list, and is used no more.
            unsafe { memory::give(self.0.cast(), const { &Size::of::<Ready>() }) };
        }
    }
}

impl Ready {
    fn add_owner(&self) {
        let before = self.owners.fetch_add(1, Ordering::Relaxed);
        if before > usize::MAX / 2 {
            // Only leaking in a loop comes here; going on would free what is in use.
            std::process::abort();
        }
    }

    /// Wakes the driver without a child: a cancellation, an end on another thread.
    pub(crate) fn notify_driver(&self) {
        self.driver.wake();
    }

    /// The driver is about to wait.
    pub(crate) fn register(&self, waker: &Waker) {
        self.is_registered.set(true);
        self.driver.register(waker);
    }

    /// The driver runs and looks by itself: it need not be woken.
    pub(crate) fn unregister(&self) {
        if self.is_registered.replace(false) {
            self.driver.clear();
        }
    }

    /// Whether it has just `owners`, one task and no waker, as it was made: for the driver.
    pub(super) fn is_as_made(&self, owners: usize) -> bool {
        self.owners.load(Ordering::Acquire) == SEATED + owners
            && (self.tasks_here.get(), self.is_registered.get()) == (1, false)
            && self.is_empty()
    }

    /// Whether no child was woken: for the driver.
    pub(crate) fn is_empty(&self) -> bool {
        self.woken_here.get().is_null() && self.woken.is_empty()
    }

    /// Whether one was woken by the thread that drives: for the driver.
    pub(super) fn has_woken_here(&self) -> bool {
        !self.woken_here.get().is_null()
    }

    /// What was woken by the thread that drives: for the driver.
    pub(super) fn take_here(&self) -> *mut Link {
        self.woken_here.replace(ptr::null_mut())
    }

    /// Whether this thread drives these children at this moment.
    #[inline]
    pub(crate) fn is_driven_here(&self) -> bool {
        HERE.get() == ptr::from_ref(self)
    }

    /// This thread drives these children from now on. Gives which it has driven before.
    pub(super) fn drive_here(&self) -> *const Ready {
        HERE.replace(self)
    }

    /// The driver has gone: every task counts for itself from now on.
    pub(super) fn unseat(&self) {
        let tasks = self.tasks_here.replace(0) as usize;
        self.owners.fetch_add(tasks.wrapping_sub(SEATED), Ordering::AcqRel);
    }

    /// A child was woken; it was not in the list before. Returns `false` if the list is closed: then
    /// nothing was pushed.
    ///
    /// # Safety
    /// `node` begins a task of this list, and the caller gives a reference to it away; if another thread drives, beside one
    /// that it keeps.
    #[inline]
    pub(super) unsafe fn push(&self, node: NonNull<Link>) -> bool {
        if self.is_driven_here() {
            // The driver looks again before it waits: it need not be woken.
            // SAFETY: the reference keeps it alive; its link belongs to the thread that pushes.
            unsafe { node.as_ref() }.set_next(self.woken_here.get());
            self.woken_here.set(node.as_ptr());
            return true;
        }
        // SAFETY: as the caller promises.
        unsafe { self.push_elsewhere(node) }
    }

    /// # Safety
    /// As for [`push`](Self::push).
    unsafe fn push_elsewhere(&self, node: NonNull<Link>) -> bool {
        // SAFETY: the reference that is given away keeps it alive.
        match unsafe { self.woken.push(node) } {
            Pushed::Closed => false,
            Pushed::Later => true,
            Pushed::First => {
                self.driver.wake();
                true
            }
        }
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        debug_assert!(self.is_empty(), "tasks hold their list");
        debug_assert!(!self.is_registered.get(), "the seat has gone before");
    }
}

thread_local! {
    /// The list whose children this thread drives, the innermost if there are several.
    static HERE: Cell<*const Ready> = const { Cell::new(ptr::null()) };
}

/// This thread drives again what it has driven before.
pub(super) fn drive_before(before: *const Ready) {
    HERE.set(before);
}
