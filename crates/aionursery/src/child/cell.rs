//! The part of an in-task child that knows its types: options it, polling its future, leaving its
//! result, taking that. It must never decide what an end means.
//!
//! What may touch `stage`:
//! * the driver, until it has set `DONE`;
//! * after that the handle, while it is there; one that goes afterwards is to drop what is left there.
//!   Without a handle the driver has emptied it before it set `DONE`.
//!
//! Of a spawned child what carries it stands in the driver's place.

use std::any::Any;
use std::cell::UnsafeCell;
use std::future::Future;
use std::marker::PhantomData;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::task::{Context, Poll};

use nursery_core::{Outcome, Source};

use super::{Handle, Running};
use crate::around::Around;
use crate::error::{Cancelled, Cause, Failure, Fault, Held, HeldStop, Panic};
use crate::ignore_panics::{first, ignore_panics};
use crate::polling;
use crate::task::{Header, NEW, ReadyRef, Size, State, Step, Table, TaskOptions, TaskRef, place};

#[repr(C)]
struct Cell<F, T, E> {
    header: Header,
    stage: UnsafeCell<Stage<F, T, E>>,
}

pub(crate) enum Stage<F, T, E> {
    Future(F),
    Output(Result<T, Fault<E>>),
    Empty,
}

/// Makes a task: the driver's side and the handle's. Its wakes go to `ready`.
///
/// Whether the driver's side may change threads is not in its type: a `Block` is `Send` only if
/// its nursery admits nothing that is not.
#[inline]
pub(crate) fn make<F, T, E>(
    ready: &ReadyRef,
    future: F,
    options: TaskOptions,
) -> (Running<E>, Handle<T, E>)
where
    F: Future<Output = Result<T, E>>,
{
    let task = write::<F, T, E>(ready, State::new(2, options.shield), options.name, future);
    // SAFETY: the first of the two references that the header counts.
    let driven = unsafe { TaskRef::from_raw(task) };
    // SAFETY: the second.
    let joined = unsafe { TaskRef::from_raw(task) };
    // SAFETY: it is a reference of its own, to a task with these types.
    let handle = unsafe { Handle::new(joined) };
    (Running { task: driven, error: PhantomData }, handle)
}

/// A task whose future is never polled, for what is woken as children are.
pub(crate) fn make_idle(ready: &ReadyRef) -> TaskRef {
    // Such a future need not be dropped.
    let task = write::<_, (), ()>(ready, State::alone(), None, std::future::pending());
    // SAFETY: the one reference that it counts.
    unsafe { TaskRef::from_raw(task) }
}

/// Puts a task into its memory.
#[inline]
fn write<F, T, E>(
    ready: &ReadyRef,
    state: State,
    name: Option<Arc<str>>,
    future: F,
) -> *const Header
where
    F: Future<Output = Result<T, E>>,
{
    let vtable = const {
        &Table {
            poll: poll::<F, T, E>,
            take: take::<F, T, E>,
            forget: None,
            size: Size::of::<Cell<F, T, E>>(),
        }
    };
    let place = place::<Cell<F, T, E>>();
    let header = Header::new(state, name, vtable, ready, (NEW, 0));
    let cell = Cell { header, stage: UnsafeCell::new(Stage::<F, T, E>::Future(future)) };
    // SAFETY: the memory is the task's own, large enough and aligned.
    unsafe { place.write(cell) };
    place.cast::<Header>().as_ptr()
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
        // SAFETY: the driver's reference keeps the task alive.
        (Ok(_), None) if !unsafe { task.as_ref() }.state.has_handle() => {
            // Its future is dropped, and nothing asks why.
            // SAFETY: as above.
            unsafe { task.as_ref() }.state.finish_alone();
            // SAFETY: `out` is the caller's.
            unsafe { tell::<E>(out, Outcome::Cancelled) }
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
pub(crate) fn failed<T, E>(
    polled: std::thread::Result<()>,
    returned: Option<Result<T, E>>,
    header: &Header,
) -> (Fault<E>, Outcome<Failure<E>>) {
    match (polled, returned) {
        (Err(payload), returned) => {
            // What it returned goes with the destructor that panicked; one panic is enough.
            ignore_panics(|| drop(returned));
            let held = HeldStop::panic(Panic::new(payload));
            (Fault::Stopped(held.clone()), Outcome::Failed(Failure::stop(held, header.label())))
        }
        (Ok(()), Some(Err(error))) => {
            let held = Held::new(error);
            (Fault::Failed(held.clone()), Outcome::Failed(Failure::held(held, header.label())))
        }
        (Ok(()), _) => (Fault::Cancelled(cause_of_end(header)), Outcome::Cancelled),
    }
}

/// Why a child ends that is dropped where it stands; nothing if no handle will ask.
#[inline]
pub(crate) fn cause_of_end(header: &Header) -> Option<Box<Cancelled>> {
    header.state.has_handle().then(|| cause_for_handle(header))
}

#[cold]
fn cause_for_handle(header: &Header) -> Box<Cancelled> {
    let cause = match header.state.is_cancelled_by_hand() {
        false => polling::look(Around::cause).unwrap_or_else(|| {
            let reason = "it awaited the value of a child that had none, or its runtime is gone";
            Cause::new(Source::Host, Some(reason.into()))
        }),
        true => Cause::new(Source::Explicit, Some("its handle cancelled it".into())),
    };
    Box::new(Cancelled(cause))
}

/// Leaves the result to the handle, if there is one, and marks the task as done. Otherwise drops
/// it; gives back the panic of its destructor.
///
/// # Safety
/// The driver, or what polls a spawned child, calls it, once, with the task's own stage, which is empty.
#[inline(always)]
pub(crate) unsafe fn leave_output<F, T, E>(
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
    if !header.state.has_handle() {
        let dropped = unwanted(output);
        header.state.finish_alone();
        return dropped;
    }
    // SAFETY: as the caller promises; nothing is overwritten that needs dropping. From here to `DONE`
    // nothing can panic.
    unsafe { ptr::write(stage, Stage::Output(output)) };
    if header.state.finish() {
        if header.state.has_joiner() {
            ignore_panics(|| header.joiner.wake());
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
pub(crate) unsafe fn empty<F, T, E>(stage: *mut Stage<F, T, E>) {
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
pub(crate) unsafe fn drop_rest<F, T, E>(
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
pub(crate) unsafe fn take_output<F, T, E>(stage: *mut Stage<F, T, E>, out: *mut ()) {
    // SAFETY: as the caller says.
    if let Stage::Output(output) = unsafe { mem::replace(&mut *stage, Stage::Empty) } {
        // SAFETY: as the caller says.
        unsafe { *out.cast::<Option<Result<T, Fault<E>>>>() = Some(output) };
    }
}

#[cfg(all(test, not(aionursery_loom)))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    use super::make_idle;
    use crate::task::{DriverSeat, TaskQueue};

    #[derive(Default)]
    struct Calls(AtomicUsize);

    impl Wake for Calls {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_child_that_is_woken_after_the_drivers_last_look_makes_it_come_again() {
        let (ready, mut seat) = DriverSeat::new();
        let task = make_idle(&ready);
        let calls = Arc::new(Calls::default());
        seat.drive(|_| {
            ready.register(&Waker::from(calls.clone()));
            task.wake_by_ref();
            assert!(!ready.is_empty());
        });
        assert_eq!(calls.0.load(Ordering::Relaxed), 1);
        let mut woken = TaskQueue::new();
        seat.drive(|_| woken.take(&ready));
        assert!(woken.pop().is_some_and(|task| task.unqueue().is_some()) && woken.is_empty());
        assert_eq!(calls.0.load(Ordering::Relaxed), 1);
        seat.close();
    }
}
