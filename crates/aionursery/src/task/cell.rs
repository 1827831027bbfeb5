//! The part of an in-task child that knows its types: making it, polling its future, leaving its
//! result, taking that. It must touch the stage only as `task.rs` allows.

use std::alloc::Layout;
use std::any::Any;
use std::cell::UnsafeCell;
use std::future::Future;
use std::marker::PhantomData;
use std::mem::{self, ManuallyDrop};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::ptr::{self, NonNull};
use std::task::{Context, Poll};

use nursery_core::Outcome;

use super::slots::{Block, stride};
use super::{
    DONE, HANDLE, Handle, Header, JOINED, Making, NEW, REF, Running, Share, Step, Table, TaskRef,
};
use crate::error::{Failure, Fault, Held, Panic};
use crate::quiet::{first, quietly};
use crate::sync::atomic::Ordering;

#[repr(C)]
struct Cell<F, T, E> {
    header: Header,
    stage: UnsafeCell<Stage<F, T, E>>,
}

pub(super) enum Stage<F, T, E> {
    Future(F),
    Output(Result<T, Fault<E>>),
    Empty,
}

/// Makes a task: the driver's side and the handle's. Its wakes go to `ready`.
///
/// Whether the driver's side may change threads is not in its type: a `Block` is `Send` only if
/// its nursery admits nothing that is not.
#[inline]
pub(crate) fn make<F, T, E>(ready: &Share, future: F, making: Making) -> (Running<E>, Handle<T, E>)
where
    F: Future<Output = Result<T, E>>,
{
    let (raw, block) = place::<Cell<F, T, E>>(ready);
    let vtable = const { &Table { poll: poll::<F, T, E>, take: take::<F, T, E> } };
    let header = Header::new(2 * REF, making, vtable, block, (NEW, 0));
    let cell = Cell { header, stage: UnsafeCell::new(Stage::<F, T, E>::Future(future)) };
    // SAFETY: the memory is the task's own, large enough and aligned.
    unsafe { raw.cast().write(cell) };
    let handle = Handle { task: ManuallyDrop::new(TaskRef(raw)), result: PhantomData };
    (Running { task: TaskRef(raw), error: PhantomData }, handle)
}

/// Memory for a task that is laid out as `C`, and the block that it is in.
#[inline]
pub(super) fn place<C>(ready: &Share) -> (NonNull<Header>, NonNull<Block>) {
    match (const { stride(Layout::new::<C>()) }, ready.slots()) {
        // SAFETY: `ready` has given its slots out because this thread drives.
        (Some(stride), Some(slots)) => unsafe { slots.take(ready, stride) },
        _ => Block::alone(ready, Layout::new::<C>()),
    }
}

/// A task whose future is never polled, for what is woken as children are.
pub(crate) fn make_idle(ready: &Share) -> TaskRef {
    let making = Making { shield: false, name: None };
    let (running, _) = make::<_, (), ()>(ready, std::future::pending(), making);
    // Such a future need not be dropped.
    TaskRef(ManuallyDrop::new(running).task.0)
}

unsafe fn poll<F, T, E>(task: NonNull<Header>, cx: Option<&mut Context<'_>>, out: *mut ()) -> Step
where
    F: Future<Output = Result<T, E>>,
{
    let raw = task.cast::<Cell<F, T, E>>();
    // SAFETY: the task was made with these types; of `stage` only a raw pointer is taken here.
    let stage = unsafe { UnsafeCell::raw_get(&raw const (*raw.as_ptr()).stage) };
    let mut returned = None;
    let polled = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the driver owns the stage until `DONE` is set.
        let Stage::Future(future) = (unsafe { &mut *stage }) else { unreachable!() };
        if let Some(cx) = cx {
            // SAFETY: the future lies in its memory until it is dropped in place.
            match unsafe { Pin::new_unchecked(future) }.poll(cx) {
                Poll::Ready(end) => returned = Some(end),
                Poll::Pending => return Step::Pending,
            }
        }
        // SAFETY: as above. A destructor that panics has still been run: `Empty` stands there after.
        unsafe { empty(stage) };
        Step::Done
    }));
    match (polled, returned) {
        (Ok(Step::Pending), _) => Step::Pending,
        (Ok(_), Some(Ok(value))) => {
            // SAFETY: the stage is empty and still the driver's.
            match unsafe { leave_output(task, stage, Ok::<T, Fault<E>>(value)) } {
                Ok(()) => Step::Done,
                Err(payload) => {
                    // SAFETY: the driver's reference keeps the task alive.
                    let outcome = panicked::<E>(payload, unsafe { task.as_ref() });
                    // SAFETY: `out` is the caller's.
                    unsafe { tell(out, outcome) }
                }
            }
        }
        // SAFETY: as above.
        (polled, returned) => unsafe { end_without_value(task, stage, polled, returned, out) },
    }
}

/// What is left to do for a child that gave no value; kept apart from the way of those that do.
#[cold]
#[inline(never)]
unsafe fn end_without_value<F, T, E>(
    task: NonNull<Header>,
    stage: *mut Stage<F, T, E>,
    polled: std::thread::Result<Step>,
    returned: Option<Result<T, E>>,
    out: *mut (),
) -> Step {
    // SAFETY: the stage is the driver's; after a panic the future may still be there.
    let polled = unsafe { drop_rest(stage, polled.map(drop)) };
    // SAFETY: the driver's reference keeps the task alive.
    let header = unsafe { task.as_ref() };
    let (fault, outcome) = failed(polled, returned, header);
    // SAFETY: the stage is empty and still the driver's.
    let outcome = match unsafe { leave_output(task, stage, Err(fault)) } {
        Ok(()) => outcome,
        Err(payload) => panicked(payload, header),
    };
    // SAFETY: `out` is the caller's.
    unsafe { tell(out, outcome) }
}

/// Tells the driver how a child has ended that has no value.
unsafe fn tell<E>(out: *mut (), outcome: Outcome<Failure<E>>) -> Step {
    // SAFETY: the caller's pointer is to an `Option` of this outcome.
    unsafe { *out.cast::<Option<Outcome<Failure<E>>>>() = Some(outcome) };
    Step::Ended
}

#[cold]
fn panicked<E>(payload: Box<dyn Any + Send>, header: &Header) -> Outcome<Failure<E>> {
    Outcome::Failed(Failure::panic(payload, header.label()))
}

/// What a child that gave no value leaves to its handle and to its nursery.
#[inline]
pub(super) fn failed<T, E>(
    polled: std::thread::Result<()>,
    returned: Option<Result<T, E>>,
    header: &Header,
) -> (Fault<E>, Outcome<Failure<E>>) {
    match (polled, returned) {
        (Err(payload), returned) => {
            // What it returned goes with the destructor that panicked; one panic is enough.
            quietly(|| drop(returned));
            let held = Held::new(Panic::new(payload));
            (
                Fault::Panicked(held.clone()),
                Outcome::Failed(Failure::held_panic(held, header.label())),
            )
        }
        (Ok(()), Some(Err(error))) => {
            let held = Held::new(error);
            (Fault::Failed(held.clone()), Outcome::Failed(Failure::held(held, header.label())))
        }
        (Ok(()), _) => (Fault::Cancelled(header.cause_of_end()), Outcome::Cancelled),
    }
}

/// Leaves the result to the handle, if there is one, and marks the task as done. Otherwise drops
/// it; gives back the panic of its destructor.
///
/// # Safety
/// The driver, or the load, calls it, once, with the task's own stage, which is empty.
#[inline(always)]
pub(super) unsafe fn leave_output<F, T, E>(
    task: NonNull<Header>,
    stage: *mut Stage<F, T, E>,
    output: Result<T, Fault<E>>,
) -> std::thread::Result<()> {
    // SAFETY: the driver's reference keeps it alive.
    let header = unsafe { task.as_ref() };
    let unwanted = |output: Result<T, Fault<E>>| match &output {
        Ok(_) if !mem::needs_drop::<T>() => Ok(()),
        _ => catch_unwind(AssertUnwindSafe(|| drop(output))),
    };
    let state = header.state.load(Ordering::Acquire);
    if state & HANDLE == 0 {
        let dropped = unwanted(output);
        if state == REF {
            // There is no other reference: no step that others see is needed.
            header.state.store(state | DONE, Ordering::Relaxed);
        } else {
            header.state.fetch_or(DONE, Ordering::AcqRel);
        }
        return dropped;
    }
    // SAFETY: as the caller promises; nothing is overwritten that needs dropping. From here to `DONE`
    // nothing can panic.
    unsafe { ptr::write(stage, Stage::Output(output)) };
    let state = header.state.fetch_or(DONE, Ordering::AcqRel);
    if state & HANDLE != 0 {
        if state & JOINED != 0 {
            quietly(|| header.joiner.wake());
        }
        return Ok(());
    }
    // The handle went in between and could not see a result: it is still the driver's.
    // SAFETY: no handle is left to touch it.
    match unsafe { mem::replace(&mut *stage, Stage::Empty) } {
        Stage::Output(output) => unwanted(output),
        _ => Ok(()),
    }
}

/// Drops what is in a stage and leaves it empty, also if the destructor panics.
pub(super) unsafe fn empty<F, T, E>(stage: *mut Stage<F, T, E>) {
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

/// Drops what is left in a stage once its future was polled. Gives the first panic of the two.
///
/// # Safety
/// The caller owns the stage.
pub(super) unsafe fn drop_rest<F, T, E>(
    stage: *mut Stage<F, T, E>,
    polled: std::thread::Result<()>,
) -> std::thread::Result<()> {
    // SAFETY: as the caller says; after a panic the future may still be there.
    let dropped = catch_unwind(AssertUnwindSafe(|| unsafe { empty(stage) }));
    first(polled, dropped)
}

unsafe fn take<F, T, E>(task: NonNull<Header>, out: *mut ()) {
    let raw = task.cast::<Cell<F, T, E>>();
    // SAFETY: the task was made with these types; of `stage` only a raw pointer is taken here.
    let stage = unsafe { UnsafeCell::raw_get(&raw const (*raw.as_ptr()).stage) };
    // SAFETY: the caller is the handle of a task that is done: the stage is its own.
    unsafe { take_output(stage, out) };
}

/// Moves the result out of a stage, if it is there.
///
/// # Safety
/// The caller owns the stage, and `out` is a pointer to an `Option` of the result.
#[inline]
pub(super) unsafe fn take_output<F, T, E>(stage: *mut Stage<F, T, E>, out: *mut ()) {
    // SAFETY: as the caller says.
    if let Stage::Output(output) = unsafe { mem::replace(&mut *stage, Stage::Empty) } {
        // SAFETY: as the caller says.
        unsafe { *out.cast::<Option<Result<T, Fault<E>>>>() = Some(output) };
    }
}
