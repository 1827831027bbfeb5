//! One task: what is known of it without its types, the references to it, and its waker. A waker that outlives everything keeps the memory and
//! nothing in it: what polls the future ends it before it goes, and the handle takes what is left. So
//! when the last reference goes, there is no future and no result: freeing runs no code of the child,
//! and may happen after the lifetime that the child borrows from has ended (R29). Only a handle's waker
//! may be left, which borrows nothing. It must never know the type of a future or a result.

mod counted;
mod memory;
mod ready;
mod seat;
mod stack;
mod state;
#[cfg(feature = "tokio")]
mod stop;
#[cfg(feature = "tokio")]
mod workers;

use std::mem::{self, ManuallyDrop};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::task::{Context, RawWaker, RawWakerVTable, Waker};

pub(crate) use counted::Counted;
pub(crate) use memory::Size;
use ready::Ready;
pub(crate) use ready::ReadyRef;
pub(crate) use seat::{DriverCell, DriverSeat, TaskQueue};
use stack::Link;
pub(crate) use state::State;
#[cfg(feature = "tokio")]
pub(crate) use stop::{Spawned, forget_carrier, wait};
#[cfg(feature = "tokio")]
pub(crate) use workers::{SpawnedTasks, Workers};

use crate::error::Label;
use crate::sync::WakerSlot;
use crate::sync::atomic::{AtomicU32, Ordering};

/// Not in the driver's list of children.
pub(crate) const NOWHERE: u32 = u32::MAX;
/// Not polled yet: it has given no waker away. Smaller ones are places in that list.
pub(crate) const NEW: u32 = u32::MAX - 1;
/// Not the driver's: a spawned child.
#[cfg(feature = "tokio")]
pub(crate) const SPAWNED: u32 = u32::MAX - 2;

/// The part that does not know the future's type.
#[repr(C)]
pub(crate) struct Header {
    link: Link,
    pub(crate) state: State,
    pub(crate) vtable: &'static Table,
    /// Where its wakes go.
    ready: NonNull<Ready>,
    pub(crate) joiner: WakerSlot,
    /// Where the driver keeps it, which alone touches it. Of a spawned child it never changes.
    pub(crate) index: AtomicU32,
    pub(crate) id: AtomicU32,
    /// Boxed: most have none, and every word of a task counts.
    name: Option<Box<Arc<str>>>,
}

/// What knows the types.
pub(crate) struct Table {
    /// Polls the future, or drops it; writes to what the pointer is for if it has ended without a
    /// value.
    pub(crate) poll: unsafe fn(NonNull<Header>, Option<&mut Context<'_>>, *mut ()) -> Step,
    /// Moves the result to what the pointer is for.
    pub(crate) take: unsafe fn(NonNull<Header>, *mut ()),
    /// Drops what it has beside what every task has.
    pub(crate) forget: Option<unsafe fn(NonNull<Header>)>,
    pub(crate) size: Size,
}

/// A counted reference to a task.
pub(crate) struct TaskRef(NonNull<Header>);

// SAFETY: what may be done through it from any thread is waking, asking for a cancellation and
// counting, all atomic. What touches the future or its result is `unsafe`.
unsafe impl Send for TaskRef {}
// SAFETY: as above.
unsafe impl Sync for TaskRef {}

/// How a task is to be made.
#[derive(Clone, Default)]
pub(crate) struct TaskOptions {
    pub(crate) shield: bool,
    pub(crate) name: Option<Arc<str>>,
}

/// Memory for a task that is laid out as `C`.
#[inline]
pub(crate) fn place<C>() -> NonNull<C> {
    memory::take(const { &Size::of::<C>() }).cast()
}

impl Header {
    #[inline]
    pub(crate) fn new(
        state: State,
        name: Option<Arc<str>>,
        vtable: &'static Table,
        ready: &ReadyRef,
        (index, id): (u32, u32),
    ) -> Self {
        Self {
            link: Link::new(),
            state,
            vtable,
            ready: ready.add_task(),
            joiner: WakerSlot::new(),
            index: AtomicU32::new(index),
            id: AtomicU32::new(id),
            name: name.map(Box::new),
        }
    }
}

/// Gives the memory of a task back.
///
/// # Safety
/// The last reference is gone; there is nothing in its stage that has to be dropped.
#[inline]
pub(crate) unsafe fn free(task: NonNull<Header>) {
    let raw = task.as_ptr();
    // SAFETY: the header is there until its memory goes, below.
    let Header { vtable, ready, .. } = unsafe { &*raw };
    let (vtable, ready) = (*vtable, *ready);
    if let Some(forget) = vtable.forget {
        // SAFETY: the function is for this type of task, which is used no more.
        unsafe { forget(task) };
    }
    // SAFETY: the header is there until its memory goes, below.
    let was_joined = unsafe { &(*raw).state }.has_joiner();
    if was_joined {
        // Without that it has had no waker.
        // SAFETY: only an address is computed, within the header.
        let joiner = unsafe { &raw mut (*raw).joiner };
        // SAFETY: no other reference to the header is left, and it is not read again.
        unsafe { ptr::drop_in_place(joiner) };
    }
    // SAFETY: only an address is computed, within the header.
    let name = unsafe { &raw mut (*raw).name };
    // SAFETY: no other reference to the header is left, and the name is not read again.
    unsafe { ptr::drop_in_place(name) };
    // SAFETY: it was taken for this layout, and is used no more.
    unsafe { memory::give(task.cast(), &vtable.size) };
    // SAFETY: the task has been counted, and has gone.
    unsafe { ReadyRef::drop_task(ready) };
}

impl TaskRef {
    /// # Safety
    /// `raw` is a task, one reference of which becomes this.
    pub(crate) unsafe fn from_raw(raw: *const Header) -> Self {
        // SAFETY: a task has an address.
        Self(unsafe { NonNull::new_unchecked(raw.cast_mut()) })
    }

    pub(crate) fn header(&self) -> &Header {
        // SAFETY: the reference that `self` is keeps the header alive; it is shared only.
        unsafe { self.0.as_ref() }
    }

    /// Its address, for what knows its types.
    pub(crate) fn as_ptr(&self) -> NonNull<Header> {
        self.0
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    /// Where it lies.
    pub(crate) fn address(&self) -> usize {
        self.0.addr().get()
    }

    /// Takes it out of the list of woken tasks, whose reference `self` was: from now on it may
    /// enter again. Gives where the driver keeps it, if it has not ended.
    pub(crate) fn unqueue(self) -> Option<u32> {
        let index = self.header().index.load(Ordering::Relaxed);
        let task = ManuallyDrop::new(self);
        let taken = task.header().state.leave_list();
        if taken.was_last {
            // SAFETY: that was the last reference.
            unsafe { free(task.0) };
        }
        (!taken.is_done).then_some(index)
    }

    #[inline]
    pub(crate) fn wake(self) {
        if !self.header().ready().is_driven_here() {
            // While this reference is there, the list is: the thread that drives may be done with both before
            // it is woken.
            self.wake_by_ref();
        } else if self.header().state.enter_list(false) {
            let task = ManuallyDrop::new(self);
            // SAFETY: the reference is the entry's from now on.
            unsafe { task.enter() };
        }
    }

    pub(crate) fn wake_by_ref(&self) {
        if self.header().state.enter_list(true) {
            // SAFETY: that counted a reference, which is the entry's.
            unsafe { self.enter() };
        }
    }

    /// # Safety
    /// It has just entered the list of the woken, with a reference for this. Where another thread drives, `self` is
    /// one more.
    #[inline]
    unsafe fn enter(&self) {
        // SAFETY: as the caller promises; a header begins with its link.
        if !unsafe { self.header().ready().push(self.0.cast()) } {
            // Nothing is driven any more.
            // SAFETY: the list has not taken the entry's reference.
            drop(unsafe { Self::from_raw(self.0.as_ptr()) });
        }
    }
}

impl Clone for TaskRef {
    fn clone(&self) -> Self {
        self.header().state.add_reference();
        Self(self.0)
    }
}

impl Drop for TaskRef {
    fn drop(&mut self) {
        if self.header().state.drop_reference() {
            // SAFETY: that was the last reference.
            unsafe { free(self.0) };
        }
    }
}

impl Header {
    #[inline]
    pub(crate) fn ready(&self) -> &Ready {
        // SAFETY: a task has counted itself in its list until it is freed. A thread that gives the last
        // reference away in a push is told of that there.
        unsafe { self.ready.as_ref() }
    }

    pub(crate) fn id(&self) -> u32 {
        self.id.load(Ordering::Relaxed)
    }

    pub(crate) fn name(&self) -> Option<&Arc<str>> {
        self.name.as_deref()
    }

    /// Whether it polls itself, and no driver.
    #[cfg(feature = "tokio")]
    pub(crate) fn is_spawned(&self) -> bool {
        self.index.load(Ordering::Relaxed) == SPAWNED
    }

    pub(crate) fn label(&self) -> Label {
        Label { id: self.id(), name: self.name().cloned() }
    }
}

/// A waker of the task that counts no reference, for the poll of its child.
pub(crate) fn waker(task: &TaskRef) -> ManuallyDrop<Waker> {
    // SAFETY: it counts no reference and is never dropped; `task` outlives its use.
    ManuallyDrop::new(unsafe { Waker::from_raw(raw_waker(task.0)) })
}

/// What a poll has come to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Pending,
    /// It returned a value; nothing was written.
    Done,
    /// It ended otherwise; the outcome was written.
    Ended,
}

const WAKER: RawWakerVTable = RawWakerVTable::new(
    // SAFETY: a waker's data is a task that its reference, or its borrower, keeps alive.
    |raw| unsafe {
        mem::forget((*ManuallyDrop::new(TaskRef::from_raw(raw.cast()))).clone());
        RawWaker::new(raw, &WAKER)
    },
    // SAFETY: waking by value gives the waker's own reference away.
    |raw| unsafe { TaskRef::from_raw(raw.cast()).wake() },
    // SAFETY: as above, the reference stays the waker's.
    |raw| unsafe { ManuallyDrop::new(TaskRef::from_raw(raw.cast())).wake_by_ref() },
    // SAFETY: as above, the waker's own reference goes.
    |raw| unsafe { drop(TaskRef::from_raw(raw.cast())) },
);

fn raw_waker(task: NonNull<Header>) -> RawWaker {
    RawWaker::new(task.as_ptr().cast_const().cast(), &WAKER)
}
