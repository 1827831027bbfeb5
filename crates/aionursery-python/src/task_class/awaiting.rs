//! How a task is awaited: the iterator behind `await task`. One of our tasks that gets the task out
//! of it joins directly; any other code treats the task as the future that it is. It
//! must never take a step of the task that is awaited.

use pyo3::prelude::*;

use crate::cpython::args::Args;
use crate::cpython::call::Sent;
use crate::cpython::called::method;
use crate::cpython::class::{Class, Heap, Inside};
use crate::cpython::errors::{Fallible, exc, set_error};
use crate::cpython::function::{Method, This};
use crate::cpython::generator::raise_thrown;
use crate::cpython::object::Object;
use crate::cpython::owned::{Owned, none};
use crate::cpython::slot::{Slot, Visitor};
use crate::cpython::slots::{Sends, Slots, yielded};
use crate::task::result::{alive, result_of};
use crate::task::{Task, flag};

/// What is inside the iterator.
struct Awaiting {
    task: Slot<Task>,
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
    }

    fn clear(&self, _: Python<'_>) {
        self.task.clear();
    }
}

/// `task.__await__()` and `iter(task)`.
pub(super) fn iterate(task: &Task) -> Fallible<Owned> {
    if !task.data().home.is_some() {
        drop(alive(task)?);
    }
    let inside = Awaiting { task: Slot::empty() };
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
        if ours.has(flag::BLOCKING) {
            return Err(set_error(exc::runtime_error(py), c"await wasn't used with future"));
        }
        ours.raise_flags(flag::BLOCKING);
        return Ok(Sent::Yielded(task.into_object()));
    }
    this.task.clear();
    result_of(&task).map(Sent::Returned)
}

fn send_value(this: &Iterator, _: &Object) -> Fallible<Owned> {
    yielded(send(this))
}

fn throw(this: &Iterator, args: Args<'_>) -> Fallible<Owned> {
    this.task.clear();
    Err(raise_thrown(this.py(), args.positional()))
}

fn close(this: &Iterator) -> Fallible<Owned> {
    this.task.clear();
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
