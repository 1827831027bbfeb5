//! How a task is awaited: the iterator behind `await task`. One of our tasks that gets the task out
//! of it joins directly; any other code treats the task as the future that it is. A task of asyncio's
//! that awaits one which is shielded until it ends gets a future in its place: cancelling that leaves the
//! other alone. It must never take a step of the task that is awaited.

use pyo3::prelude::*;

use crate::cpython::args::Args;
use crate::cpython::call::{Sent, copy_context};
use crate::cpython::called::method;
use crate::cpython::class::{Class, Heap, Inside};
use crate::cpython::errors::{Fallible, exc, optional, set_error};
use crate::cpython::function::{Method, This};
use crate::cpython::generator::raise_thrown;
use crate::cpython::object::Object;
use crate::cpython::owned::{Owned, none};
use crate::cpython::slot::{Slot, Visitor};
use crate::cpython::slots::{Sends, Slots, yielded};
use crate::engine::state::LoopState;
use crate::task::result::{alive, result_of};
use crate::task::{Task, Waiter, callbacks, flag, is_shielded_for_life};
use crate::wait::{self, WaitKind, WaitObject};

/// What is inside the iterator.
struct Awaiting {
    task: Slot<Task>,
    /// What the task calls, once it has ended, for what waits in its place.
    over: Slot,
}

type Iterator = Heap<Awaiting>;

static CLASS: Class<Awaiting> = Class::new();

impl Inside for Awaiting {
    type Weak = ();

    fn class() -> &'static Class<Self> {
        &CLASS
    }

    fn traverse(&self, visitor: &mut Visitor) {
        visitor.slot(&self.task);
        visitor.slot(&self.over);
    }

    fn clear(&self, _: Python<'_>) {
        self.part();
    }
}

impl Awaiting {
    /// Lets go of the task, which has ended or is awaited no more.
    fn part(&self) {
        let task = self.task.take();
        if let (Some(task), Some(over)) = (task, self.over.take()) {
            callbacks::take_out(task.data(), &over);
        }
    }
}

/// `task.__await__()` and `iter(task)`.
pub(super) fn iterate(task: &Task) -> Fallible<Owned> {
    if !task.data().home.is_some() {
        drop(alive(task)?);
    }
    let inside = Awaiting { task: Slot::empty(), over: Slot::empty() };
    inside.task.set(Owned::share(task));
    CLASS.make(task.py(), inside).map(Owned::into_object)
}

impl Sends<Iterator> for Awaiting {
    fn send(this: &This<'_, Iterator>) -> Fallible<Sent> {
        send(this)
    }
}

fn send(this: &Iterator) -> Fallible<Sent> {
    let py = this.py();
    let Some(task) = this.task.cloned() else {
        // It has ended: as an exhausted generator, it returns None.
        return Ok(Sent::Returned(none(py)));
    };
    let ours = task.data();
    if !ours.has(flag::DONE) {
        if ours.home.is_idle()
            && is_shielded_for_life(&task)
            && let Some(wait) = wait_apart(this, &task)?
        {
            return wait::advance(&wait);
        }
        if ours.has(flag::BLOCKING) {
            return Err(set_error(exc::runtime_error(py), c"await wasn't used with future"));
        }
        ours.raise_flags(flag::BLOCKING);
        return Ok(Sent::Yielded(task.into_object()));
    }
    this.part();
    result_of(&task).map(Sent::Returned)
}

static OVER: Method<WaitObject> = method!(one_arg WaitObject, c"awaited_task_is_over", is_over);

fn is_over(wait: &WaitObject, _: &Object) -> Fallible<Owned> {
    wait::complete(wait, None);
    Ok(none(wait.py()))
}

/// A task that is not ours waits for a future in the place of one that is shielded until it ends: what cancels
/// it asks what it waits for, and would wait with it (R19). Returns `None` outside of the task's loop.
#[cold]
fn wait_apart(this: &Iterator, task: &Task) -> Fallible<Option<Owned<WaitObject>>> {
    let py = this.py();
    let ours = task.data();
    let here = optional(LoopState::current(py)).filter(|state| ours.home.is_at(state));
    let Some(state) = here else { return Ok(None) };
    let wait = wait::create(py, WaitKind::Parked, 0.0, None)?;
    wait.attach_to(&state);
    let over = OVER.bind_to(&wait)?;
    let context = copy_context(py)?;
    if let Some(before) = this.over.replace(Some(over.clone())) {
        callbacks::take_out(ours, &before);
    }
    callbacks::add(ours, Waiter::Callback(over, context));
    Ok(Some(wait))
}

fn send_value(this: &Iterator, _: &Object) -> Fallible<Owned> {
    yielded(send(this))
}

fn throw(this: &Iterator, args: Args<'_>) -> Fallible<Owned> {
    this.part();
    Err(raise_thrown(this.py(), args.positional()))
}

fn close(this: &Iterator) -> Fallible<Owned> {
    this.part();
    Ok(none(this.py()))
}

static METHODS: [Method<Iterator>; 4] = [
    method!(one_arg Iterator, c"send", send_value),
    method!(fast Iterator, c"throw", throw),
    method!(no_args Iterator, c"close", close),
    Method::end(),
];

/// Makes the type.
pub(crate) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let slots = Slots::new().sends::<Awaiting>().methods(&METHODS);
    CLASS.create(module.py(), c"aionursery._aionursery.TaskIterator", slots).map(drop)
}
