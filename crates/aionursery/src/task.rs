//! One child: its future, its result, its waker and its handle's side, in one piece of memory: a
//! slot of its nursery's, or an allocation. Only the driver polls the future or drops it; a waker
//! that outlives everything keeps the memory and nothing in it. It must never decide what an end
//! means. What knows the types of future and result is in `cell.rs`; of a spawned child, which has
//! a load in place of the driver, in `away.rs`.
//!
//! What may touch `stage`:
//! * the driver, until it has set `DONE`;
//! * after that the handle, while `HANDLE` is set; clearing it with `DONE` set obliges it to drop
//!   what is there. Without a handle the driver has emptied it before it set `DONE`.
//!
//! The driver's side ends the child before it goes, whatever happens to its owner, and the
//! handle takes what is left. So when the last reference goes, there is no future and no result:
//! freeing runs no code of the child, and may happen after the lifetime that the child borrows from
//! has ended (R29). Only a handle's waker may be left, which borrows nothing.

#[cfg(feature = "tokio")]
mod away;
mod blocks;
mod cell;
mod handle;
mod ready;
mod slots;

use std::marker::PhantomData;
use std::mem::{self, ManuallyDrop};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::task::{Context, RawWaker, RawWakerVTable, Waker};

use nursery_core::{Outcome, Source};

#[cfg(feature = "tokio")]
pub(crate) use away::{Load, make_away, make_here};
pub(crate) use cell::{make, make_idle};
pub(crate) use handle::Handle;
pub(crate) use ready::{Driven, Seat, Share, Woken};
use slots::{Block, give_back};

use crate::error::{Cancelled, Cause, Failure, Label};
use crate::frame::{self, Around, Kind};
use crate::quiet::quietly;
use crate::sync::AtomicWaker;
use crate::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};

/// In the list of woken tasks, or about to be.
const QUEUED: usize = 1;
/// The future is gone.
const DONE: usize = 1 << 1;
/// The handle lives and may want the result.
const HANDLE: usize = 1 << 2;
/// The handle asked for this child to be cancelled.
const CANCEL: usize = 1 << 3;
/// Cancellation does not reach it; set from the start.
const SHIELD: usize = 1 << 4;
/// It is a spawned child that waits: what wants it to end wakes its carrier.
#[cfg(feature = "tokio")]
const WAITS: usize = 1 << 5;
/// The handle has left a waker: what ends the child calls it.
const JOINED: usize = 1 << 6;
/// Its handle asked for its end, and not a scope.
const BY_HAND: usize = 1 << 7;
/// One reference.
const REF: usize = 1 << 8;

/// Not in the driver's list of children.
pub(crate) const NOWHERE: u32 = u32::MAX;
/// Not polled yet: it has given no waker away. Smaller ones are places in that list.
pub(crate) const NEW: u32 = u32::MAX - 1;
/// Not the driver's: a spawned child.
#[cfg(feature = "tokio")]
const AWAY: u32 = u32::MAX - 2;

/// The part that does not know the future's type.
pub(crate) struct Header {
    state: AtomicUsize,
    pub(crate) next: AtomicPtr<Header>,
    vtable: &'static Table,
    /// The block that it lies in, which holds the list that its wakes go to.
    pub(crate) block: NonNull<Block>,
    joiner: AtomicWaker,
    /// Where the driver keeps it, which alone touches it. Of a spawned child it never changes.
    pub(crate) index: AtomicU32,
    id: AtomicU32,
    /// Boxed: most have none, and every word of a task counts.
    name: Option<Box<Arc<str>>>,
}

struct Table {
    /// Polls, or drops the future; writes to the pointer's `Option<Outcome<Failure<E>>>` if it
    /// ended without a value.
    poll: unsafe fn(NonNull<Header>, Option<&mut Context<'_>>, *mut ()) -> Step,
    /// Moves the result through the pointer to an `Option<Result<T, Fault<E>>>`.
    take: unsafe fn(NonNull<Header>, *mut ()),
}

/// A counted reference to a task.
pub(crate) struct TaskRef(NonNull<Header>);

// SAFETY: what may be done through it from any thread is waking, asking for a cancellation and
// counting, all atomic. What touches the future or its result is `unsafe` or goes through `Slot`
// and `Joint`, whose owners bound the types.
unsafe impl Send for TaskRef {}
// SAFETY: as above.
unsafe impl Sync for TaskRef {}

/// How a task is to be made.
pub(crate) struct Making {
    pub(crate) shield: bool,
    pub(crate) name: Option<Arc<str>>,
}

impl Making {
    fn flags(&self) -> usize {
        if self.shield { SHIELD } else { 0 }
    }
}

impl Header {
    /// Of a task with a handle and `owners`, which is a count of [`REF`], beside it.
    #[inline]
    fn new(
        owners: usize,
        making: Making,
        vtable: &'static Table,
        block: NonNull<Block>,
        (index, id): (u32, u32),
    ) -> Self {
        Self {
            state: AtomicUsize::new(HANDLE | owners | making.flags()),
            next: AtomicPtr::new(ptr::null_mut()),
            vtable,
            block,
            joiner: AtomicWaker::new(),
            index: AtomicU32::new(index),
            id: AtomicU32::new(id),
            name: making.name.map(Box::new),
        }
    }
}

/// The driver's side of a task: the right to poll its future, and the duty to end it.
pub(crate) struct Running<E> {
    task: TaskRef,
    /// Its error comes out of it, whatever holds it.
    error: PhantomData<fn() -> E>,
}

/// Gives the memory of a task back.
///
/// # Safety
/// The last reference is gone; there is nothing in its stage that has to be dropped.
#[inline]
unsafe fn free(task: NonNull<Header>) {
    let raw = task.as_ptr();
    #[cfg(feature = "tokio")]
    {
        // SAFETY: the header is there until its memory goes, below.
        let away = unsafe { &*raw }.is_away();
        if away {
            // SAFETY: it is a spawned child, and used no more.
            unsafe { away::forget_carrier(task) };
        }
    }
    // SAFETY: the header is there until its memory goes, below.
    let state = unsafe { &(*raw).state }.load(Ordering::Relaxed);
    if state & JOINED != 0 {
        // Without that it has had no waker.
        // SAFETY: it is used no more.
        unsafe { forget_joiner(task) };
    }
    // SAFETY: only an address is computed, within the header.
    let name = unsafe { &raw mut (*raw).name };
    // SAFETY: no other reference to the header is left, and the name is not read again.
    unsafe { ptr::drop_in_place(name) };
    // SAFETY: the memory is the task's own; `next` and `block` are still there.
    unsafe { give_back(task) };
}

/// # Safety
/// It is used no more.
#[cold]
unsafe fn forget_joiner(task: NonNull<Header>) {
    // SAFETY: only an address is computed, within the header.
    let joiner = unsafe { &raw mut (*task.as_ptr()).joiner };
    // SAFETY: as the caller promises; it is not read again.
    quietly(|| unsafe { ptr::drop_in_place(joiner) });
}

impl TaskRef {
    pub(crate) fn into_raw(self) -> *const Header {
        ManuallyDrop::new(self).0.as_ptr()
    }

    /// # Safety
    /// `raw` comes from [`into_raw`](Self::into_raw) and is used once.
    pub(crate) unsafe fn from_raw(raw: *const Header) -> Self {
        // SAFETY: `into_raw` gives no null.
        Self(unsafe { NonNull::new_unchecked(raw.cast_mut()) })
    }

    pub(crate) fn header(&self) -> &Header {
        // SAFETY: the reference that `self` is keeps the header alive; it is shared only.
        unsafe { self.0.as_ref() }
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
        let before = task.header().state.fetch_sub(QUEUED + REF, Ordering::AcqRel);
        if before < 2 * REF {
            // SAFETY: that was the last reference.
            unsafe { free(task.0) };
        }
        (before & DONE == 0).then_some(index)
    }

    pub(crate) fn wake(self) {
        if self.header().enqueue(QUEUED) {
            self.header().ready().push(self);
        }
    }

    pub(crate) fn wake_by_ref(&self) {
        if self.header().enqueue(QUEUED + REF) {
            // SAFETY: that counted a reference, which is this one's alone.
            self.header().ready().push(unsafe { Self::from_raw(self.0.as_ptr()) });
        }
    }
}

impl Clone for TaskRef {
    fn clone(&self) -> Self {
        let before = self.header().state.fetch_add(REF, Ordering::Relaxed);
        if before > usize::MAX / 2 {
            // Only leaking wakers in a loop comes here; going on would free what is in use.
            std::process::abort();
        }
        Self(self.0)
    }
}

impl Drop for TaskRef {
    fn drop(&mut self) {
        let before = self.header().state.fetch_sub(REF, Ordering::AcqRel);
        if before < 2 * REF {
            // SAFETY: that was the last reference.
            unsafe { free(self.0) };
        }
    }
}

impl Header {
    #[inline]
    fn ready(&self) -> ManuallyDrop<Share> {
        // SAFETY: a task keeps its block until it is freed, and a block its list. A thread that gives the
        // last reference away in a push is told of that there.
        unsafe { Block::list(self.block) }
    }

    /// Adds `entry`, which is `QUEUED` and maybe a reference, unless it is in the list of woken tasks
    /// already, or has ended. One step in any case: the thread that polls next must see what the one that
    /// wakes has done before, also if it was woken twice.
    #[inline]
    fn enqueue(&self, entry: usize) -> bool {
        let mut now = self.state.load(Ordering::Relaxed);
        loop {
            let enters = now & (QUEUED | DONE) == 0;
            let then = if enters { now + entry } else { now };
            match self.state.compare_exchange_weak(now, then, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return enters,
                Err(other) => now = other,
            }
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.id.load(Ordering::Relaxed)
    }

    pub(crate) fn name(&self) -> Option<&Arc<str>> {
        self.name.as_deref()
    }

    /// Cancellation reaches it, and it was not asked to end alone.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.state.load(Ordering::Acquire) & (CANCEL | SHIELD) == 0
    }

    pub(crate) fn is_shielded(&self) -> bool {
        self.state.load(Ordering::Relaxed) & SHIELD != 0
    }

    pub(crate) fn is_done(&self) -> bool {
        self.state.load(Ordering::Acquire) & DONE != 0
    }

    pub(crate) fn asked_to_cancel(&self) -> bool {
        self.state.load(Ordering::Acquire) & CANCEL != 0
    }

    /// Whether its handle asked for its end.
    pub(crate) fn is_cancelled_by_hand(&self) -> bool {
        self.state.load(Ordering::Acquire) & BY_HAND != 0
    }

    /// Why a child ends that is dropped where it stands; nothing if no handle will ask.
    #[inline]
    fn cause_of_end(&self) -> Option<Box<Cancelled>> {
        let state = self.state.load(Ordering::Acquire);
        (state & HANDLE != 0).then(|| Self::cause_for_handle(state))
    }

    #[cold]
    fn cause_for_handle(state: usize) -> Box<Cancelled> {
        let cause = match state & BY_HAND {
            0 => frame::look(Around::cause).unwrap_or_else(|| {
                let reason =
                    "it awaited the value of a child that had none, or its runtime is gone";
                Cause::new(Source::Host, Some(reason.into()))
            }),
            _ => Cause::new(Source::Explicit, Some("its handle cancelled it".into())),
        };
        Box::new(Cancelled(cause))
    }

    /// It is to end as soon as no shield stands inside any more.
    pub(crate) fn ask_to_cancel(&self) {
        self.state.fetch_or(CANCEL, Ordering::AcqRel);
    }

    /// Whether some worker polls it.
    #[cfg(feature = "tokio")]
    fn is_away(&self) -> bool {
        self.index.load(Ordering::Relaxed) == AWAY
    }

    pub(crate) fn label(&self) -> Label {
        Label { id: self.id(), name: self.name().cloned() }
    }
}

impl<E> Running<E> {
    pub(crate) fn header(&self) -> &Header {
        self.task.header()
    }

    pub(crate) fn task(&self) -> &TaskRef {
        &self.task
    }

    /// Its number in its nursery. A task is admitted once.
    pub(crate) fn admit(&self, id: u32) {
        self.header().id.store(id, Ordering::Relaxed);
    }

    /// Lets go of a task that has ended: what dropping it does, in fewer steps.
    #[inline]
    pub(crate) fn release(self) {
        let raw = self.task.0;
        if self.header().state.load(Ordering::Acquire) & !(DONE | CANCEL | SHIELD | JOINED) == REF {
            mem::forget(self);
            // SAFETY: the only reference was ours, so no other can be made; no handle is left.
            unsafe { free(raw) };
        }
    }

    /// Polls the child. [`Step::Ended`] leaves its outcome in `out`.
    ///
    /// # Panics
    /// If it has ended.
    #[inline]
    pub(crate) fn poll(&mut self, out: &mut Option<Outcome<Failure<E>>>) -> Step {
        let waker = waker(&self.task);
        self.run(Some(&mut Context::from_waker(&waker)), out)
    }

    /// Drops the child's future: it ends as cancelled, or in the panic of a destructor.
    ///
    /// # Panics
    /// If it has ended.
    pub(crate) fn cancel(&mut self) -> Outcome<Failure<E>> {
        let mut outcome = None;
        // What its destructors mark is for no other future.
        let frame = frame::enter(Kind::Open, false);
        self.run(None, &mut outcome);
        frame::leave(frame);
        outcome.expect("a child without a future has ended")
    }

    #[inline]
    fn run(&mut self, cx: Option<&mut Context<'_>>, out: &mut Option<Outcome<Failure<E>>>) -> Step {
        assert!(!self.header().is_done(), "the child has ended");
        // SAFETY: `self` is the driver's side, borrowed alone, and has not set `DONE`; `out` is
        // what this type of task writes to.
        unsafe { (self.header().vtable.poll)(self.task.0, cx, ptr::from_mut(out).cast()) }
    }
}

impl<E> Drop for Running<E> {
    fn drop(&mut self) {
        if !self.header().is_done() {
            // Other code has panicked through its owner.
            quietly(|| drop(self.cancel()));
        }
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
