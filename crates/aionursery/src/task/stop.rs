//! A spawned child as the code sees it that wants it to end: it wakes what polls the child. It must never
//! touch the future or the result.
//!
//! `carrier` is written once, by what polls the child, before that says that it waits; after that it is
//! only read.

use std::cell::UnsafeCell;
use std::ptr::{self, NonNull};
use std::task::Waker;

use super::{Header, TaskRef};

/// With what every spawned child begins.
#[repr(C)]
pub(crate) struct Spawned {
    header: Header,
    carrier: UnsafeCell<Option<Waker>>,
}

impl Spawned {
    pub(crate) fn new(header: Header) -> Self {
        Self { header, carrier: UnsafeCell::new(None) }
    }
}

impl TaskRef {
    /// Asks a spawned child to end: it is dropped at its next await, or when its worker comes to
    /// it.
    pub(crate) fn stop(&self) {
        if self.header().state.stop() {
            // SAFETY: only spawned children wait.
            let carrier = unsafe { carrier(self.0) };
            // SAFETY: once it waits, the waker is there and not written any more.
            if let Some(carrier) = unsafe { &*carrier } {
                carrier.wake_by_ref();
            }
        }
    }
}

/// The child waits, and `waker` wakes what polls it. Returns `false` if it was asked to end.
///
/// # Safety
/// It is a spawned child, and the caller is what polls it.
#[inline]
pub(crate) unsafe fn wait(task: NonNull<Header>, waker: &Waker) -> bool {
    // SAFETY: the reference of what polls it keeps it alive.
    let state = unsafe { &task.as_ref().state };
    if state.is_waiting() {
        // What asks for its end from here on wakes it; what has asked before has done so.
        return true;
    }
    let waker = Some(waker.clone());
    // SAFETY: as the caller promises.
    let carrier = unsafe { carrier(task) };
    // SAFETY: before it waits no other thread looks at it, and only the caller says that it does.
    unsafe { *carrier = waker };
    state.wait()
}

/// What a spawned child has to drop beside what every task has.
///
/// # Safety
/// It is a spawned child, and used no more.
pub(crate) unsafe fn forget_carrier(task: NonNull<Header>) {
    // SAFETY: as the caller promises.
    let carrier = unsafe { carrier(task) };
    // SAFETY: it is not read again.
    unsafe { ptr::drop_in_place(carrier) };
}

/// # Safety
/// It is a spawned child.
unsafe fn carrier(task: NonNull<Header>) -> *mut Option<Waker> {
    // SAFETY: as the caller promises; a spawned child begins with this.
    UnsafeCell::raw_get(unsafe { &raw const (*task.cast::<Spawned>().as_ptr()).carrier })
}
