//! A wait as an object of Python's: its type, its collection, and the warning that it was never
//! awaited. It must never decide anything.

use std::ffi::CStr;

use pyo3::prelude::*;

use super::coroutine::{close, send_value, throw};
use super::future::{
    add_done_callback, blocking, cancel, cancelled, done, event_loop, exception, get_loop,
    make_cancelled_error, remove_done_callback, result, set_blocking, set_result,
};
use super::{CLASS, Wait, WaitKind, WaitObject, WaitPhase};
use crate::cpython::called::{method, property, unary};
use crate::cpython::class::{Class, Inside};
use crate::cpython::errors::{Aside, Fallible, exc, string, warn, write_unraisable};
use crate::cpython::function::{Method, Property, This};
use crate::cpython::owned::Owned;
use crate::cpython::slot::Visitor;
use crate::cpython::slots::Slots;
use crate::cpython::trash::let_go;
use crate::task::Waiter;

fn wait_repr(this: &This<'_, WaitObject>) -> Fallible<Owned> {
    let text = match this.kind.get() {
        WaitKind::Span => format!("sleep({})", this.when.get()),
        WaitKind::Moment => format!("sleep_until({})", this.when.get()),
        kind => format!("{kind:?}").to_lowercase(),
    };
    let phase = format!("{:?}", this.phase.get()).to_lowercase();
    string(this.py(), &format!("<aionursery wait {text} {phase}>"))
}

impl Inside for Wait {
    type Weak = ();

    fn class() -> &'static Class<Self> {
        &CLASS
    }

    fn traverse(&self, visitor: &mut Visitor) {
        self.home.traverse(|home| visitor.show(home));
        visitor.slot(&self.task);
        for slot in [&self.payload, &self.value, &self.message] {
            visitor.slot(slot);
        }
        if let Ok(others) = self.others.try_borrow() {
            others.iter().flat_map(Waiter::parts).for_each(|held| visitor.show(held));
        }
    }

    fn clear(&self, py: Python<'_>) {
        // A join that goes before its end was taken can no longer leave its nursery.
        if self.ops.get().is_some()
            && matches!(self.phase.get(), WaitPhase::Waiting | WaitPhase::Done)
        {
            self.abandon(py);
        }
        self.task.clear();
        // What it would give may be a wait that would give another.
        let gives = if self.kind.get() == WaitKind::Ready { &self.payload } else { &self.value };
        if let Some(given) = gives.take() {
            let_go([given]);
        }
        self.payload.clear();
        self.value.clear();
        drop(self.others.take());
        self.message.clear();
        self.home.clear();
    }

    /// As for a coroutine: a sleep that is never awaited is a mistake. What is in a heap is held by that,
    /// so no timer is left.
    fn farewell(&self, py: Python<'_>) {
        let text = match self.kind.get() {
            WaitKind::Span | WaitKind::Moment | WaitKind::Forever => {
                c"aionursery.sleep() was never awaited"
            }
            WaitKind::Turn => c"aionursery.checkpoint() or sleep(0) was never awaited",
            _ => return,
        };
        if self.phase.get() == WaitPhase::New && !self.claimed.get() {
            warn_unawaited(py, text);
        }
    }
}

#[cold]
fn warn_unawaited(py: Python<'_>, text: &CStr) {
    let _aside = Aside::new(py);
    if let Err(raised) = warn(exc::runtime_warning(py), text) {
        write_unraisable(raised, None);
    }
}

static METHODS: [Method<WaitObject>; 14] = [
    method!(one_arg WaitObject, c"send", send_value),
    method!(fast WaitObject, c"throw", throw),
    method!(no_args WaitObject, c"close", close),
    method!(no_args WaitObject, c"done", done),
    method!(no_args WaitObject, c"cancelled", cancelled),
    method!(no_args WaitObject, c"result", result),
    method!(no_args WaitObject, c"exception", exception),
    method!(one_arg WaitObject, c"set_result", set_result),
    method!(fast WaitObject, c"cancel", cancel),
    method!(fast WaitObject, c"add_done_callback", add_done_callback),
    method!(one_arg WaitObject, c"remove_done_callback", remove_done_callback),
    method!(no_args WaitObject, c"get_loop", get_loop),
    method!(no_args WaitObject, c"_make_cancelled_error", make_cancelled_error),
    Method::end(),
];

static PROPERTIES: [Property<WaitObject>; 3] = [
    property!(WaitObject, c"_asyncio_future_blocking", blocking, set_blocking),
    property!(WaitObject, c"_loop", event_loop),
    Property::end(),
];

/// Makes the type and adds it to the module.
pub(crate) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let slots = Slots::new()
        .repr(unary!(WaitObject, wait_repr))
        .sends::<Wait>()
        .methods(&METHODS)
        .properties(&PROPERTIES);
    let class = CLASS.create(module.py(), c"aionursery._aionursery.Wait", slots)?;
    module.add("Wait", class)
}
