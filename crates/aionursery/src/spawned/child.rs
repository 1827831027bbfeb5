//! A spawned child: a task that some worker polls, with the waker it has there, and that tells its
//! nursery by itself how it ended, after its future was dropped and before any thread can see that it
//! is done. It must tell exactly once, however it ends: value, error, panic, cancellation, the
//! runtime's shutdown.
//!
//! What may touch `stage` is said in `child/cell.rs`.

use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::mem::{self, ManuallyDrop};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use nursery_core::{Outcome, Source};

use crate::child::{
    Handle, Stage, cause_of_end, drop_rest, empty, failed, leave_output, take_output,
};
use crate::core::Core;
use crate::error::{Cancelled, Cause, Failure, Fault, HeldStop, Reason};
use crate::ignore_panics::ignore_panics;
use crate::polling::{self, InScope, Kind, PARK, WALL};
use crate::scope::Scope;
use crate::task::{
    Counted, Header, SPAWNED, Size, Spawned, State, Step, Table, TaskOptions, TaskRef,
    forget_carrier, place, wait,
};
use crate::wall::{self, WallsInside};

#[repr(C)]
struct Cell<F, T, E> {
    head: Spawned,
    /// What polls the child alone touches it.
    home: UnsafeCell<Home<E>>,
    stage: UnsafeCell<Stage<F, T, E>>,
}

struct Home<E> {
    /// `None` once it was told.
    core: Option<Counted<Core<E>>>,
    /// What it stands in, if that is not its nursery's scope.
    wall: Option<Arc<Scope>>,
    /// What it stands in, which one of those above holds. Each poll looks at it, and the nursery's core changes with
    /// each turn of its driver: that would be fetched from another processor.
    scope: *const Scope,
    /// What stands inside and is waited for before it is dropped.
    held: WallsInside,
}

/// The right to poll a spawned child, and the duty to end it.
pub(crate) struct SpawnedTask(ManuallyDrop<TaskRef>);

/// Makes a spawned child of `core`'s in its scope, or behind `wall`: what carries it, what awaits it and, unless it is
/// shielded, what cancels it.
#[inline]
pub(crate) fn make_spawned<F, T, E>(
    core: &Counted<Core<E>>,
    wall: Option<Arc<Scope>>,
    id: u32,
    options: TaskOptions,
    future: F,
) -> (SpawnedTask, Handle<T, E>, Option<TaskRef>)
where
    F: Future<Output = Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: Send + 'static,
{
    make_either(core, wall, id, options, future)
}

/// As [`make_spawned`], for a child that stays on this thread: what polls it is not `Send`. What stops it
/// or holds its memory elsewhere touches neither its future nor its result.
pub(crate) fn make_local<F, T, E>(
    core: &Counted<Core<E>>,
    wall: Option<Arc<Scope>>,
    id: u32,
    options: TaskOptions,
    future: F,
) -> (LocalTask, Handle<T, E>, Option<TaskRef>)
where
    F: Future<Output = Result<T, E>> + 'static,
    T: 'static,
    E: Send + 'static,
{
    let (task, handle, reach) = make_either(core, wall, id, options, future);
    (LocalTask { task: Some(task), here: PhantomData }, handle, reach)
}

/// Makes a child. What polls it goes to another thread only if that is right for its future and its result.
#[inline]
fn make_either<F, T, E>(
    core: &Counted<Core<E>>,
    wall: Option<Arc<Scope>>,
    id: u32,
    options: TaskOptions,
    future: F,
) -> (SpawnedTask, Handle<T, E>, Option<TaskRef>)
where
    F: Future<Output = Result<T, E>> + 'static,
    T: 'static,
    E: Send + 'static,
{
    let place = place::<Cell<F, T, E>>();
    let shield = options.shield;
    let references = if shield { 2 } else { 3 };
    let vtable = const {
        &Table {
            poll: poll::<F, T, E>,
            take: take::<F, T, E>,
            forget: Some(forget_carrier),
            size: Size::of::<Cell<F, T, E>>(),
        }
    };
    let scope = Arc::as_ptr(wall.as_ref().unwrap_or(&core.scope));
    let cell = Cell {
        head: Spawned::new(Header::new(
            State::new(references, shield),
            options.name,
            vtable,
            core.ready(),
            (SPAWNED, id),
        )),
        home: UnsafeCell::new(Home {
            core: Some(core.clone()),
            wall,
            scope,
            held: WallsInside::default(),
        }),
        stage: UnsafeCell::new(Stage::<F, T, E>::Future(future)),
    };
    // SAFETY: the memory is the task's own, large enough and aligned.
    unsafe { place.write(cell) };
    let task = place.cast::<Header>().as_ptr();
    // SAFETY: it is asked for as often as the header counts references.
    let reference = || unsafe { TaskRef::from_raw(task) };
    // SAFETY: the handle has a reference of its own, to a task with these types.
    let handle = unsafe { Handle::new(reference()) };
    (SpawnedTask(ManuallyDrop::new(reference())), handle, (!shield).then(reference))
}

impl SpawnedTask {
    /// Runs the child until it waits or ends.
    #[inline]
    pub(crate) fn poll(mut self, cx: &mut Context<'_>) -> Result<(), Self> {
        // SAFETY: this is what polls the child, with its reference.
        match unsafe { self.run(Some(cx)) } {
            Step::Pending => Err(self),
            Step::Done | Step::Ended => {
                // SAFETY: the reference goes, once.
                unsafe { ManuallyDrop::drop(&mut self.0) };
                mem::forget(self);
                Ok(())
            }
        }
    }

    /// Has what wants the child to end before it has run wake this.
    pub(crate) fn stop_by(&mut self, waker: &Waker) {
        // SAFETY: this is what polls the child, borrowed alone.
        unsafe { wait(self.0.as_ptr(), waker) };
    }

    /// # Safety
    /// Its reference has not been given back.
    unsafe fn run(&mut self, cx: Option<&mut Context<'_>>) -> Step {
        // SAFETY: `self` is what polls the child, borrowed alone. This type of task leaves nothing elsewhere.
        unsafe { (self.0.header().vtable.poll)(self.0.as_ptr(), cx, ptr::null_mut()) }
    }
}

/// A child that stays on this thread: the future that polls it.
pub(crate) struct LocalTask {
    task: Option<SpawnedTask>,
    here: PhantomData<*mut ()>,
}

impl Future for LocalTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.task.take().map(|task| task.poll(cx)) {
            Some(Err(task)) => {
                self.task = Some(task);
                Poll::Pending
            }
            Some(Ok(())) | None => Poll::Ready(()),
        }
    }
}

impl Drop for SpawnedTask {
    /// It will not be polled: its runtime has gone. A child that has told its end already, and whose
    /// nursery's code panicked then, is done with.
    fn drop(&mut self) {
        // What lets it go may itself be polled: marks that its destructors make are not for that future.
        // SAFETY: this is what polls the child, and its reference is there.
        polling::apart(|| unsafe { self.run(None) });
        // SAFETY: as above; it goes, once.
        unsafe { ManuallyDrop::drop(&mut self.0) };
    }
}

unsafe fn poll<F, T, E>(task: NonNull<Header>, cx: Option<&mut Context<'_>>, _: *mut ()) -> Step
where
    F: Future<Output = Result<T, E>>,
{
    let raw = task.cast::<Cell<F, T, E>>().as_ptr();
    // SAFETY: the task was made with these types; of `stage` only a raw pointer is taken here.
    let stage = unsafe { UnsafeCell::raw_get(&raw const (*raw).stage) };
    // SAFETY: as above, of `home`.
    let home = unsafe { UnsafeCell::raw_get(&raw const (*raw).home) };
    // SAFETY: the caller is what polls the child, whose alone it is.
    let home = unsafe { &mut *home };
    // SAFETY: the caller's reference keeps it alive.
    let header = unsafe { task.as_ref() };
    let shield = header.state.is_shielded();
    let asked = |scope: &Scope| header.state.is_asked_to_cancel() || (!shield && scope.is_hard());
    let (mut polled, mut returned) = (Ok(()), None);
    // One that a panic has refused is that panic's.
    let is_cut_off = cx.is_none() && !std::thread::panicking();
    if let Some(cx) = cx
        && home.core.is_some()
        // SAFETY: before it has told its end, what holds its scope is there.
        && let scope = unsafe { ManuallyDrop::new(Arc::from_raw(home.scope)) }
        && (!asked(&scope) || holds(&mut home.held, cx.waker()))
    {
        let since = wall::count();
        // Uncounted, and given back so: what holds the scope is there meanwhile.
        let standing = InScope::enter(ManuallyDrop::into_inner(scope));
        let kind = if shield { Kind::Shielded } else { Kind::Open };
        let frame = polling::enter(kind, header.state.is_asked_to_cancel());
        polled = catch_unwind(AssertUnwindSafe(|| {
            // SAFETY: what polls the child owns the stage until `DONE` is set.
            let Stage::Future(future) = (unsafe { &mut *stage }) else { unreachable!() };
            // SAFETY: the future lies in its memory until it is dropped in place.
            if let Poll::Ready(end) = unsafe { Pin::new_unchecked(future) }.poll(cx) {
                returned = Some(end);
                // SAFETY: as above.
                unsafe { empty(stage) };
            }
        }));
        let marks = polling::leave(frame);
        let scope = ManuallyDrop::new(standing.leave());
        if marks != 0 {
            acknowledge(header, marks, since, &mut home.held);
        }
        // A child that is cancelled while it runs has come to its next await.
        let waits = polled.is_ok()
            && returned.is_none()
            && (!asked(&scope) || holds(&mut home.held, cx.waker()))
            // SAFETY: the caller is what polls the child.
            && (unsafe { wait(task, cx.waker()) } || holds(&mut home.held, cx.waker()));
        if waits {
            return Step::Pending;
        }
    }
    if !home.held.is_empty() {
        leave_walls(&mut home.held);
    }
    // It has told if a destructor of the nursery's panicked out of its end.
    let Some(core) = home.core.take() else { return Step::Done };
    let wall = home.wall.take();
    let scope = wall.as_ref().unwrap_or(&core.scope);
    // A value without a handle goes while its panic can still be told.
    let unwanted = mem::needs_drop::<T>() && !header.state.has_handle();
    let output = match (polled, returned) {
        (Ok(()), Some(Ok(value))) if !unwanted => {
            // The value is there whatever a waker of the nursery's does.
            ignore_panics(|| core.spawned_returned());
            Ok(value)
        }
        (Ok(()), None) if is_cut_off && !asked(scope) && !scope.is_soft() => {
            // SAFETY: the stage is still the caller's.
            Err(unsafe { end_cut_off(task, &core, stage) })
        }
        (polled, returned) => {
            // SAFETY: the stage is still the caller's.
            Err(unsafe { end_without_value(task, &core, scope, stage, polled, returned) })
        }
    };
    // SAFETY: the stage is empty and still the caller's.
    if let Err(payload) = unsafe { leave_output(task, stage, output) } {
        core.fail(Failure::panic(payload, header.label()));
    }
    drop((core, wall));
    Step::Done
}

/// Whether a child that was cancelled may not be dropped yet.
#[cold]
fn holds(held: &mut WallsInside, waker: &Waker) -> bool {
    held.stands(waker)
}

/// A child has ended: what stood in it is waited for no more.
#[cold]
fn leave_walls(held: &mut WallsInside) {
    let held = mem::take(held);
    ignore_panics(|| drop(held));
}

/// A child that has just been polled cannot go on, or has raised a wall.
#[cold]
fn acknowledge(header: &Header, marks: u8, since: usize, held: &mut WallsInside) {
    if marks & WALL != 0 {
        held.take_over(since);
    }
    if marks & PARK != 0 {
        polling::acknowledge();
        header.state.ask_to_cancel();
    }
}

/// # Safety
/// The caller is what polls the child, and `stage` its task's.
#[cold]
unsafe fn end_without_value<F, T, E>(
    task: NonNull<Header>,
    core: &Core<E>,
    scope: &Arc<Scope>,
    stage: *mut Stage<F, T, E>,
    mut polled: std::thread::Result<()>,
    mut returned: Option<Result<T, E>>,
) -> Fault<E> {
    // SAFETY: as the caller promises.
    let header = unsafe { task.as_ref() };
    // SAFETY: as the caller promises.
    polled = unsafe { drop_rest(stage, polled) };
    if polled.is_ok() && matches!(returned, Some(Ok(_))) {
        polled = catch_unwind(AssertUnwindSafe(|| drop(returned.take())));
        if polled.is_ok() {
            ignore_panics(|| core.spawned_returned());
            return Fault::Cancelled(in_scope(scope, || cause_of_end(header)));
        }
    }
    let label = header.label();
    let reason = || Reason::from(label.to_string());
    let (fault, outcome) = in_scope(scope, || failed(polled, returned, header));
    ignore_panics(|| core.ended(outcome, reason));
    fault
}

/// Its runtime has gone, and nothing had asked for its end: what looks finished must not hide that.
///
/// # Safety
/// The caller is what polls the child, and `stage` its task's.
#[cold]
unsafe fn end_cut_off<F, T, E>(
    task: NonNull<Header>,
    core: &Core<E>,
    stage: *mut Stage<F, T, E>,
) -> Fault<E> {
    // SAFETY: as the caller promises.
    let header = unsafe { task.as_ref() };
    // SAFETY: as the caller promises.
    let polled = unsafe { drop_rest(stage, Ok(())) };
    if let Err(payload) = polled {
        core.fail(Failure::panic(payload, header.label()));
    }
    let cause = Cause::new(Source::Host, Some("its runtime was shut down".into()));
    let held = HeldStop::cut_off(Cancelled(cause));
    ignore_panics(|| {
        core.cut_off(Failure::stop(held.clone(), header.label()));
        core.ended(Outcome::Cancelled, || Reason::from(header.label().to_string()));
    });
    Fault::Stopped(held)
}

/// Acts where the child stood.
fn in_scope<R>(scope: &Arc<Scope>, act: impl FnOnce() -> R) -> R {
    let standing = InScope::enter(scope.clone());
    let acted = act();
    drop(standing);
    acted
}

unsafe fn take<F, T, E>(task: NonNull<Header>, out: *mut ()) {
    let raw = task.cast::<Cell<F, T, E>>().as_ptr();
    // SAFETY: the task was made with these types; of `stage` only a raw pointer is taken here.
    let stage = unsafe { UnsafeCell::raw_get(&raw const (*raw).stage) };
    // SAFETY: the caller is the handle of a task that is done: the stage is its own.
    unsafe { take_output(stage, out) };
}
