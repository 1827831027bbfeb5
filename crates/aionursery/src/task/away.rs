//! A spawned child: a task that some worker polls, with the waker it has there, and that tells its
//! nursery by itself how it ended, after its future was dropped and before any thread can see that it
//! is done. It must tell exactly once, however it ends: value, error, panic, cancellation, the
//! runtime's shutdown.
//!
//! What may touch `stage` is said in `task.rs`, with the load in the driver's place. `carrier` is
//! written once, by the load, before it sets `WAITS`; after that it is only read.

use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::mem::{self, ManuallyDrop};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::cell::{Stage, drop_rest, empty, failed, leave_output, place, take_output};
use super::{AWAY, CANCEL, DONE, HANDLE, REF, WAITS};
use super::{Handle, Header, Making, Step, Table, TaskRef};
use crate::core::Core;
use crate::error::{Failure, Fault, Reason};
use crate::frame::{self, Kind, STOP, Standing, WALL};
use crate::quiet::quietly;
use crate::scope::Scope;
use crate::sync::atomic::Ordering;
use crate::wall::{self, Held};

/// What does not know the types.
#[repr(C)]
struct Head {
    header: Header,
    carrier: UnsafeCell<Option<Waker>>,
}

#[repr(C)]
struct Cell<F, T, E> {
    head: Head,
    /// The load's alone.
    home: UnsafeCell<Home<E>>,
    stage: UnsafeCell<Stage<F, T, E>>,
}

struct Home<E> {
    /// `None` once it was told.
    core: Option<Arc<Core<E>>>,
    /// `None` while a thread stands in it.
    scope: Option<Arc<Scope>>,
    /// The shields inside, if there ever was one.
    held: Option<Box<Held>>,
}

/// The right to poll a spawned child, and the duty to end it.
pub(crate) struct Load(ManuallyDrop<TaskRef>);

/// Makes a spawned child of `core`'s in `scope`: what carries it, what awaits it and, unless it is
/// shielded, what cancels it.
#[inline]
pub(crate) fn make_away<F, T, E>(
    core: &Arc<Core<E>>,
    scope: Arc<Scope>,
    id: u32,
    making: Making,
    future: F,
) -> (Load, Handle<T, E>, Option<TaskRef>)
where
    F: Future<Output = Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: Send + 'static,
{
    make_anywhere(core, scope, id, making, future)
}

/// As [`make_away`], for a child that stays on this thread: its load is not `Send`. What stops it
/// or holds its memory elsewhere touches neither its future nor its result.
pub(crate) fn make_here<F, T, E>(
    core: &Arc<Core<E>>,
    scope: Arc<Scope>,
    id: u32,
    making: Making,
    future: F,
) -> (Here, Handle<T, E>, Option<TaskRef>)
where
    F: Future<Output = Result<T, E>> + 'static,
    T: 'static,
    E: Send + 'static,
{
    let (load, handle, reach) = make_anywhere(core, scope, id, making, future);
    (Here { load: Some(load), here: PhantomData }, handle, reach)
}

/// Makes a child whose load goes to another thread only if that is right for its future and its result.
#[inline]
fn make_anywhere<F, T, E>(
    core: &Arc<Core<E>>,
    scope: Arc<Scope>,
    id: u32,
    making: Making,
    future: F,
) -> (Load, Handle<T, E>, Option<TaskRef>)
where
    F: Future<Output = Result<T, E>> + 'static,
    T: 'static,
    E: Send + 'static,
{
    let (raw, block) = place::<Cell<F, T, E>>(&core.ready);
    let shield = making.shield;
    let owners = if shield { 2 * REF } else { 3 * REF };
    let vtable = const { &Table { poll: poll::<F, T, E>, take: take::<F, T, E> } };
    let header = Header::new(owners, making, vtable, block, (AWAY, id));
    let cell = Cell {
        head: Head { header, carrier: UnsafeCell::new(None) },
        home: UnsafeCell::new(Home { core: Some(core.clone()), scope: Some(scope), held: None }),
        stage: UnsafeCell::new(Stage::<F, T, E>::Future(future)),
    };
    // SAFETY: the memory is the task's own, large enough and aligned.
    unsafe { raw.cast().write(cell) };
    let handle = Handle { task: ManuallyDrop::new(TaskRef(raw)), result: PhantomData };
    (Load(ManuallyDrop::new(TaskRef(raw))), handle, (!shield).then(|| TaskRef(raw)))
}

impl Load {
    /// Runs the child until it waits or ends.
    #[inline]
    pub(crate) fn poll(mut self, cx: &mut Context<'_>) -> Result<(), Self> {
        // SAFETY: this is the load, with its reference.
        match unsafe { self.run(Some(cx)) } {
            Step::Pending => Err(self),
            Step::Done | Step::Ended => {
                // SAFETY: the load's reference goes, once.
                unsafe { ManuallyDrop::drop(&mut self.0) };
                mem::forget(self);
                Ok(())
            }
        }
    }

    /// Has what wants the child to end before it has run wake this.
    pub(crate) fn stop_by(&mut self, waker: &Waker) {
        // SAFETY: this is the load, borrowed alone.
        unsafe { wait(self.0.0, waker) };
    }

    /// # Safety
    /// This is the load, whose reference has not been given back.
    unsafe fn run(&mut self, cx: Option<&mut Context<'_>>) -> Step {
        // SAFETY: `self` is the load, borrowed alone. This type of task leaves nothing elsewhere.
        unsafe { (self.0.header().vtable.poll)(self.0.0, cx, ptr::null_mut()) }
    }
}

/// The load of a child that stays on this thread: the future that polls it.
pub(crate) struct Here {
    load: Option<Load>,
    here: PhantomData<*mut ()>,
}

impl Future for Here {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.load.take().map(|load| load.poll(cx)) {
            Some(Err(load)) => {
                self.load = Some(load);
                Poll::Pending
            }
            Some(Ok(())) | None => Poll::Ready(()),
        }
    }
}

impl Drop for Load {
    /// It will not be polled: its runtime has gone. A child that has told its end already, and whose
    /// nursery's code panicked then, is done with.
    fn drop(&mut self) {
        // What lets it go may itself be polled: marks that its destructors make are not for that future.
        // SAFETY: this is the load, whose reference is there.
        frame::apart(|| unsafe { self.run(None) });
        // SAFETY: as above; it goes, once.
        unsafe { ManuallyDrop::drop(&mut self.0) };
    }
}

impl TaskRef {
    /// Asks a spawned child to end: it is dropped at its next await, or when its worker comes to
    /// it.
    pub(crate) fn stop(&self) {
        let before = self.header().state.fetch_or(CANCEL, Ordering::AcqRel);
        if before & (DONE | WAITS) == WAITS {
            // SAFETY: only spawned children set `WAITS`.
            let carrier = unsafe { carrier(self.0) };
            // SAFETY: with `WAITS`, the waker is there and not written any more.
            if let Some(carrier) = unsafe { &*carrier } {
                carrier.wake_by_ref();
            }
        }
    }
}

/// What a spawned child has to drop beside what every task has.
///
/// # Safety
/// It is a spawned child, and used no more.
pub(super) unsafe fn forget_carrier(task: NonNull<Header>) {
    // SAFETY: as the caller promises.
    let carrier = unsafe { carrier(task) };
    // SAFETY: it is not read again.
    unsafe { ptr::drop_in_place(carrier) };
}

/// # Safety
/// It is a spawned child.
unsafe fn carrier(task: NonNull<Header>) -> *mut Option<Waker> {
    // SAFETY: as the caller promises; a spawned child begins with its `Head`.
    UnsafeCell::raw_get(unsafe { &raw const (*task.cast::<Head>().as_ptr()).carrier })
}

/// The child waits for its waker. Returns `false` if it was asked to end.
///
/// # Safety
/// The load calls it.
#[inline]
unsafe fn wait(task: NonNull<Header>, waker: &Waker) -> bool {
    // SAFETY: the load's reference keeps it alive.
    let state = unsafe { &task.as_ref().state };
    if state.load(Ordering::Acquire) & WAITS != 0 {
        // What asks for its end from here on wakes it; what has asked before has done so.
        return true;
    }
    let waker = Some(waker.clone());
    // SAFETY: it is a spawned child.
    let carrier = unsafe { carrier(task) };
    // SAFETY: before `WAITS` is set no other thread looks at it, and only the load sets that.
    unsafe { *carrier = waker };
    state.fetch_or(WAITS, Ordering::AcqRel) & CANCEL == 0
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
    // SAFETY: the caller is the load, whose alone it is.
    let home = unsafe { &mut *home };
    // SAFETY: the load's reference keeps it alive.
    let header = unsafe { task.as_ref() };
    let shield = header.is_shielded();
    let asked = |scope: &Scope| header.asked_to_cancel() || (!shield && scope.is_hard());
    let (mut polled, mut returned) = (Ok(()), None);
    if let Some(cx) = cx
        && let Some(scope) =
            home.scope.take_if(|scope| !asked(scope) || holds(&mut home.held, cx.waker()))
    {
        let since = wall::count();
        let standing = Standing::in_scope(scope);
        let kind = if shield { Kind::Shielded } else { Kind::Open };
        let frame = frame::enter(kind, header.asked_to_cancel());
        polled = catch_unwind(AssertUnwindSafe(|| {
            // SAFETY: the load owns the stage until `DONE` is set.
            let Stage::Future(future) = (unsafe { &mut *stage }) else { unreachable!() };
            // SAFETY: the future lies in its memory until it is dropped in place.
            if let Poll::Ready(end) = unsafe { Pin::new_unchecked(future) }.poll(cx) {
                returned = Some(end);
                // SAFETY: as above.
                unsafe { empty(stage) };
            }
        }));
        let marks = frame::leave(frame);
        let scope = standing.leave();
        if marks != 0 {
            heed(header, marks, since, &mut home.held);
        }
        // A child that is cancelled while it runs has come to its next await.
        let waits = polled.is_ok()
            && returned.is_none()
            && (!asked(&scope) || holds(&mut home.held, cx.waker()))
            // SAFETY: the caller is the load.
            && (unsafe { wait(task, cx.waker()) } || holds(&mut home.held, cx.waker()));
        home.scope = Some(scope);
        if waits {
            return Step::Pending;
        }
    }
    if home.held.is_some() {
        leave_walls(&mut home.held);
    }
    // It has told if a destructor of the nursery's panicked out of its end.
    let Some(core) = home.core.take() else { return Step::Done };
    let scope = home.scope.take();
    // A value without a handle goes while its panic can still be told.
    let unwanted = mem::needs_drop::<T>() && header.state.load(Ordering::Acquire) & HANDLE == 0;
    let output = match (polled, returned) {
        (Ok(()), Some(Ok(value))) if !unwanted => {
            // The value is there whatever a waker of the nursery's does.
            quietly(|| core.spawned_returned());
            Ok(value)
        }
        (polled, returned) => {
            // SAFETY: the stage is still the load's.
            Err(unsafe { end_without_value(task, &core, &scope, stage, polled, returned) })
        }
    };
    // SAFETY: the stage is empty and still the load's.
    if let Err(payload) = unsafe { leave_output(task, stage, output) } {
        core.fail(Failure::panic(payload, header.label()));
    }
    drop((core, scope));
    Step::Done
}

/// Whether a child that was cancelled may not be dropped yet.
#[cold]
fn holds(held: &mut Option<Box<Held>>, waker: &Waker) -> bool {
    held.as_mut().is_some_and(|held| held.stands(waker))
}

/// A child has ended: the shields in it are waited for no more.
#[cold]
fn leave_walls(held: &mut Option<Box<Held>>) {
    let held = held.take();
    quietly(|| drop(held));
}

/// A child that has just been polled cannot go on, or has raised a wall.
#[cold]
fn heed(header: &Header, marks: u8, since: usize, held: &mut Option<Box<Held>>) {
    if marks & WALL != 0 {
        held.get_or_insert_default().take_in(since);
        wall::forget(since);
    }
    if marks & STOP != 0 {
        frame::heed();
        header.ask_to_cancel();
    }
}

/// # Safety
/// The caller is the load, and `stage` its task's.
#[cold]
unsafe fn end_without_value<F, T, E>(
    task: NonNull<Header>,
    core: &Core<E>,
    scope: &Option<Arc<Scope>>,
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
            quietly(|| core.spawned_returned());
            return Fault::Cancelled(in_scope(scope, || header.cause_of_end()));
        }
    }
    let label = header.label();
    let reason = || Reason::from(label.to_string());
    let (fault, outcome) = in_scope(scope, || failed(polled, returned, header));
    quietly(|| core.ended(outcome, reason));
    fault
}

/// Acts where the child stood.
fn in_scope<R>(scope: &Option<Arc<Scope>>, act: impl FnOnce() -> R) -> R {
    let standing = scope.clone().map(Standing::in_scope);
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
