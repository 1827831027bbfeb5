//! One in-task child: its future, its result, its waker and its handle's side, in one allocation.
//! Only the driver polls the future or drops it; a waker that outlives everything keeps the memory
//! and nothing in it. It must never decide what an end means.
//!
//! Who may touch `stage`:
//! * the driver, until it has set `DONE`;
//! * after that the handle, while `HANDLE` is set; clearing it with `DONE` set obliges it to drop
//!   what is there. Without a handle the driver has emptied it before it set `DONE`.
//!
//! So when the last reference goes, `stage` is empty: freeing runs no code of the child, and may
//! happen after the lifetime that the child borrows from has ended (R29).

use std::cell::UnsafeCell;
use std::future::Future;
use std::mem::{self, ManuallyDrop};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

use atomic_waker::AtomicWaker;
use nursery_core::Outcome;

use crate::error::{Failure, Fault, Held, Label};
use crate::ready::Ready;

/// In the list of woken tasks, or about to be.
const QUEUED: usize = 1;
/// The future is gone.
const DONE: usize = 1 << 1;
/// The handle lives and may want the result.
const HANDLE: usize = 1 << 2;
/// The handle asked for this child to be cancelled.
const CANCEL: usize = 1 << 3;
/// One reference.
const REF: usize = 1 << 4;

/// Not in the driver's list of children.
pub(crate) const NOWHERE: u32 = u32::MAX;

/// The part that does not know the future's type.
pub(crate) struct Header {
    state: AtomicUsize,
    pub(crate) next: AtomicPtr<Header>,
    vtable: &'static Table,
    ready: Arc<Ready>,
    joiner: AtomicWaker,
    /// Where the driver keeps it; touched by nobody else.
    pub(crate) index: AtomicU32,
    id: AtomicU32,
    shield: bool,
    name: Option<Arc<str>>,
}

struct Table {
    /// Polls, or drops the future; writes an `Outcome<Failure<E>>` through the pointer if it ended.
    poll: unsafe fn(NonNull<Header>, Option<&mut Context<'_>>, *mut ()) -> bool,
    /// Moves the result through the pointer to an `Option<Result<T, Fault<E>>>`.
    take: unsafe fn(NonNull<Header>, *mut ()),
    free: unsafe fn(NonNull<Header>),
}

#[repr(C)]
struct Cell<F, T, E> {
    header: Header,
    stage: UnsafeCell<Stage<F, T, E>>,
}

enum Stage<F, T, E> {
    Future(F),
    Output(Result<T, Fault<E>>),
    Empty,
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
    pub(crate) ready: Arc<Ready>,
    pub(crate) shield: bool,
    pub(crate) name: Option<Arc<str>>,
}

/// Makes a task: the driver's side and the handle's.
pub(crate) fn make<F, T, E>(future: F, making: Making) -> (TaskRef, TaskRef)
where
    F: Future<Output = Result<T, E>>,
{
    let header = Header {
        state: AtomicUsize::new(HANDLE | (2 * REF)),
        next: AtomicPtr::new(ptr::null_mut()),
        vtable: const {
            &Table { poll: poll::<F, T, E>, take: take::<F, T, E>, free: free::<F, T, E> }
        },
        ready: making.ready,
        joiner: AtomicWaker::new(),
        index: AtomicU32::new(NOWHERE),
        id: AtomicU32::new(0),
        shield: making.shield,
        name: making.name,
    };
    let cell = Box::new(Cell::<F, T, E> { header, stage: UnsafeCell::new(Stage::Future(future)) });
    let raw = NonNull::from(Box::leak(cell)).cast::<Header>();
    (TaskRef(raw), TaskRef(raw))
}

/// A task without a future: the nursery's body, which its driver polls where it lies.
pub(crate) fn make_body(ready: Arc<Ready>) -> TaskRef {
    let making = Making { ready, shield: false, name: None };
    let (task, handle) = make::<_, (), ()>(std::future::pending(), making);
    // SAFETY: this type of task was made just above, and its handle is forgotten.
    unsafe { let_go::<(), ()>(&ManuallyDrop::new(handle)) };
    task
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

    /// Takes it out of the list of woken tasks: from now on it may enter again. Says whether it
    /// has anything left to run.
    pub(crate) fn unqueue(&self) -> bool {
        self.header().state.fetch_and(!QUEUED, Ordering::AcqRel) & DONE == 0
    }

    /// As [`unqueue`](Self::unqueue), and lets the list's reference go in the same step.
    pub(crate) fn unqueue_into(self) -> Option<NonNull<Header>> {
        let raw = ManuallyDrop::new(self).0;
        // SAFETY: our reference keeps the header alive until the subtraction.
        let before = unsafe { raw.as_ref() }.state.fetch_sub(QUEUED + REF, Ordering::AcqRel);
        if before & DONE == 0 {
            return Some(raw);
        }
        if before < 2 * REF {
            // SAFETY: that was the last reference.
            unsafe { (raw.as_ref().vtable.free)(raw) };
        }
        None
    }

    pub(crate) fn wake(self) {
        let header = self.header();
        if header.state.fetch_or(QUEUED, Ordering::AcqRel) & (QUEUED | DONE) == 0 {
            let ready = Arc::as_ptr(&header.ready);
            // SAFETY: `self` goes into the list, which the driver may empty and the task free
            // before `push` is back; so the list is held for that long.
            let ready = unsafe {
                Arc::increment_strong_count(ready);
                Arc::from_raw(ready)
            };
            ready.push(self);
        }
    }

    pub(crate) fn wake_by_ref(&self) {
        let header = self.header();
        if header.state.fetch_or(QUEUED, Ordering::AcqRel) & (QUEUED | DONE) == 0 {
            header.ready.push(self.clone());
        }
    }

    /// The handle asks for this child alone to be cancelled (R16).
    pub(crate) fn ask_to_cancel(&self) {
        self.header().state.fetch_or(CANCEL, Ordering::AcqRel);
        self.wake_by_ref();
    }

    pub(crate) fn set_id(&self, id: u32) {
        self.header().id.store(id, Ordering::Relaxed);
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
            unsafe { (self.header().vtable.free)(self.0) };
        }
    }
}

impl Header {
    pub(crate) fn id(&self) -> u32 {
        self.id.load(Ordering::Relaxed)
    }

    pub(crate) fn name(&self) -> Option<&Arc<str>> {
        self.name.as_ref()
    }

    pub(crate) fn is_shielded(&self) -> bool {
        self.shield
    }

    pub(crate) fn is_done(&self) -> bool {
        self.state.load(Ordering::Acquire) & DONE != 0
    }

    pub(crate) fn asked_to_cancel(&self) -> bool {
        self.state.load(Ordering::Acquire) & CANCEL != 0
    }

    fn label(&self) -> Label {
        Label { id: self.id(), name: self.name.clone() }
    }
}

/// Polls a child.
///
/// # Safety
/// Only the driver, which owns the child and has not seen it end. `E` is the child's.
pub(crate) unsafe fn drive<E>(task: NonNull<Header>) -> Option<Outcome<Failure<E>>> {
    // SAFETY: the header is alive, and no reference is counted: the waker is never dropped.
    let waker = ManuallyDrop::new(unsafe { Waker::from_raw(raw_waker(task)) });
    let mut cx = Context::from_waker(&waker);
    // SAFETY: as the caller promises.
    unsafe { run(task, Some(&mut cx)) }
}

/// Drops a child's future. What is dropped ends as cancelled, or in the panic of a destructor.
///
/// # Safety
/// As for [`drive`].
pub(crate) unsafe fn cancel<E>(task: NonNull<Header>) -> Outcome<Failure<E>> {
    // SAFETY: as the caller promises.
    unsafe { run(task, None) }.expect("a child without a future has ended")
}

unsafe fn run<E>(
    task: NonNull<Header>,
    cx: Option<&mut Context<'_>>,
) -> Option<Outcome<Failure<E>>> {
    let mut outcome = None;
    // SAFETY: the table is the one of this task's type, and `outcome` is what it writes to.
    unsafe { (task.as_ref().vtable.poll)(task, cx, ptr::from_mut(&mut outcome).cast()) };
    outcome
}

/// A waker of the task, for a body that its driver polls.
pub(crate) fn waker(task: &TaskRef) -> ManuallyDrop<Waker> {
    // SAFETY: it counts no reference and is never dropped; `task` outlives its use.
    ManuallyDrop::new(unsafe { Waker::from_raw(raw_waker(task.0)) })
}

unsafe fn poll<F, T, E>(
    task: NonNull<Header>,
    cx: Option<&mut Context<'_>>,
    out: *mut (),
) -> bool
where
    F: Future<Output = Result<T, E>>,
{
    let raw = task.cast::<Cell<F, T, E>>();
    // SAFETY: the task was made with these types; of `stage` only a raw pointer is taken here.
    let stage = unsafe { UnsafeCell::raw_get(&raw const (*raw.as_ptr()).stage) };
    let polled = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the driver owns the stage until `DONE` is set.
        let Stage::Future(future) = (unsafe { &mut *stage }) else { unreachable!() };
        match cx {
            // SAFETY: the future lies in its allocation until it is dropped in place.
            Some(cx) => unsafe { Pin::new_unchecked(future) }.poll(cx).map(Some),
            None => Poll::Ready(None),
        }
    }));
    if let Ok(Poll::Pending) = polled {
        return false;
    }
    // SAFETY: as above. A destructor that panics has still been run: `Empty` stands there after.
    let dropped = catch_unwind(AssertUnwindSafe(|| unsafe { empty(stage) }));
    let label = || {
        // SAFETY: the driver's reference keeps it alive.
        unsafe { task.as_ref() }.label()
    };
    let (output, outcome) = match (polled, dropped) {
        (Err(payload), _) | (Ok(_), Err(payload)) => {
            (Err(Fault::Panicked), Outcome::Failed(Failure::panic(payload, label())))
        }
        (Ok(Poll::Ready(Some(Ok(value)))), Ok(())) => (Ok(value), Outcome::Done),
        (Ok(Poll::Ready(Some(Err(error)))), Ok(())) => {
            let held = Held::new(error);
            (Err(Fault::Failed(held.clone())), Outcome::Failed(Failure::held(held, label())))
        }
        (Ok(_), Ok(())) => (Err(Fault::Cancelled), Outcome::Cancelled),
    };
    // SAFETY: the driver's reference keeps it alive.
    let header = unsafe { task.as_ref() };
    let wanted = header.state.load(Ordering::Acquire) & HANDLE != 0;
    let mut outcome = outcome;
    let unwanted = |output: Result<T, Fault<E>>, outcome: &mut Outcome<Failure<E>>| {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(output))) {
            *outcome = Outcome::Failed(Failure::panic(payload, label()));
        }
    };
    if wanted {
        // SAFETY: the stage is empty and still the driver's.
        unsafe { ptr::write(stage, Stage::Output(output)) };
        if header.state.fetch_or(DONE, Ordering::AcqRel) & HANDLE == 0 {
            // The handle went in between and could not see a result: it is still the driver's.
            // SAFETY: no handle is left, so nobody else touches it.
            let stage = unsafe { mem::replace(&mut *stage, Stage::Empty) };
            if let Stage::Output(output) = stage {
                unwanted(output, &mut outcome);
            }
        } else {
            let _ = catch_unwind(AssertUnwindSafe(|| header.joiner.wake()));
        }
    } else {
        unwanted(output, &mut outcome);
        header.state.fetch_or(DONE, Ordering::AcqRel);
    }
    // SAFETY: the caller's pointer is to an `Option` of this outcome.
    unsafe { *out.cast::<Option<Outcome<Failure<E>>>>() = Some(outcome) };
    true
}

/// Drops what is in a stage and leaves it empty, also if the destructor panics.
unsafe fn empty<F, T, E>(stage: *mut Stage<F, T, E>) {
    struct Leave<F, T, E>(*mut Stage<F, T, E>);
    impl<F, T, E> Drop for Leave<F, T, E> {
        fn drop(&mut self) {
            // SAFETY: what was there has been dropped; nothing is overwritten.
            unsafe { ptr::write(self.0, Stage::Empty) };
        }
    }
    let leave = Leave(stage);
    // SAFETY: the caller owns the stage; `leave` makes sure that it is not dropped twice.
    unsafe { ptr::drop_in_place(leave.0) };
}

unsafe fn free<F, T, E>(task: NonNull<Header>) {
    // SAFETY: the last reference is gone; the pointer is the box's own.
    drop(unsafe { Box::from_raw(task.cast::<Cell<F, T, E>>().as_ptr()) });
}

unsafe fn take<F, T, E>(task: NonNull<Header>, out: *mut ()) {
    let raw = task.cast::<Cell<F, T, E>>();
    // SAFETY: the task was made with these types; of `stage` only a raw pointer is taken here.
    let stage = unsafe { UnsafeCell::raw_get(&raw const (*raw.as_ptr()).stage) };
    // SAFETY: the caller is the handle of a task that is done: the stage is its own.
    if let Stage::Output(output) = unsafe { mem::replace(&mut *stage, Stage::Empty) } {
        // SAFETY: the caller's pointer is to an `Option` of this result.
        unsafe { *out.cast::<Option<Result<T, Fault<E>>>>() = Some(output) };
    }
}

unsafe fn taken<T, E>(task: &TaskRef) -> Option<Result<T, Fault<E>>> {
    let mut output = None;
    // SAFETY: the table is the one of this task's type; the caller is its handle and it is done.
    unsafe { (task.header().vtable.take)(task.0, ptr::from_mut(&mut output).cast()) };
    output
}

/// What a handle of a finished task finds.
///
/// # Safety
/// Called by the one handle, with the task's own `T` and `E`.
///
/// # Panics
/// If it was taken already.
pub(crate) unsafe fn poll_output<T, E>(
    task: &TaskRef,
    cx: &mut Context<'_>,
) -> Poll<Result<T, Fault<E>>> {
    let header = task.header();
    if !header.is_done() {
        header.joiner.register(cx.waker());
        if !header.is_done() {
            return Poll::Pending;
        }
    }
    // SAFETY: `DONE` and `HANDLE` are set: the stage is the handle's.
    Poll::Ready(unsafe { taken(task) }.expect("a child's result can be awaited once"))
}

/// The handle goes.
///
/// # Safety
/// Called by the one handle, once, with the task's own `T` and `E`; it then forgets `task`.
pub(crate) unsafe fn let_go<T, E>(task: &TaskRef) {
    let state = &task.header().state;
    let mut now = state.load(Ordering::Acquire);
    while now & DONE == 0 {
        // Without a result there is nothing to drop, and one step does both.
        let then = now - HANDLE - REF;
        match state.compare_exchange_weak(now, then, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                if then < REF {
                    // SAFETY: that was the last reference: a nursery that never polled it.
                    unsafe { (task.header().vtable.free)(task.0) };
                }
                return;
            }
            Err(other) => now = other,
        }
    }
    // SAFETY: `DONE` and `HANDLE` are set: the stage is the handle's.
    let output = unsafe { taken::<T, E>(task) };
    state.fetch_and(!HANDLE, Ordering::AcqRel);
    // SAFETY: the handle's own reference, which its owner forgets.
    drop(unsafe { TaskRef::from_raw(task.0.as_ptr()) });
    drop(output);
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
