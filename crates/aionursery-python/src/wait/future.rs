//! A wait as a future, for tasks that are not ours and for asyncio's own code on locks and queues. It
//! must never do more than asyncio's futures promise.

use super::waiters::{self, notify};
use super::{Wait, WaitKind, WaitObject, WaitPhase, complete, host_cancelled, start};
use crate::cpython::args::{Args, given};
use crate::cpython::call::{copy_context, int, truth};
use crate::cpython::errors::{Fallible, exc, set_error};
use crate::cpython::imports::imports;
use crate::cpython::object::{Object, none_ref};
use crate::cpython::owned::{Owned, boolean, none};
use crate::engine::threads;
use crate::task;

/// What a program has used where such a future is set or cancelled.
const WAITED_FOR: &str =
    "a future that is waited for, or the event, lock, queue, channel or limiter that made it,";

/// Raises if what sets or cancels it runs in another thread than its loop. One that knows no loop belongs
/// to no thread yet.
pub(crate) fn check_thread(this: &Wait) -> Fallible<()> {
    match this.home.cloned() {
        Some(state) => threads::check(&state, WAITED_FOR, "the method, *args"),
        None => Ok(()),
    }
}

pub(super) fn done(this: &WaitObject) -> Fallible<Owned> {
    Ok(boolean(this.py(), !this.is_open()))
}

pub(super) fn cancelled(this: &WaitObject) -> Fallible<Owned> {
    Ok(boolean(this.py(), this.is_cancelled()))
}

pub(super) fn result(this: &WaitObject) -> Fallible<Owned> {
    let py = this.py();
    match this.phase.get() {
        WaitPhase::Done | WaitPhase::Taken if this.kind.get() == WaitKind::Join => Ok(none(py)),
        WaitPhase::Done | WaitPhase::Taken => Ok(this.value.cloned().unwrap_or_else(|| none(py))),
        WaitPhase::Cancelled => Err(this.raise_cancelled(py)),
        WaitPhase::New | WaitPhase::Waiting => {
            Err(set_error(imports(py).invalid_state_error, c"Result is not set."))
        }
    }
}

/// `set_result`, for what is parked.
pub(super) fn set_result(this: &WaitObject, value: &Object) -> Fallible<Owned> {
    let py = this.py();
    if this.kind.get() != WaitKind::Parked || !this.is_open() {
        return Err(set_error(imports(py).invalid_state_error, c"invalid state"));
    }
    check_thread(this)?;
    complete(this, Some(Owned::share(value)));
    Ok(none(py))
}

/// A wait ends with a result or by a cancellation.
pub(super) fn exception(this: &WaitObject) -> Fallible<Owned> {
    result(this).map(|_| none(this.py()))
}

pub(super) fn cancel(this: &WaitObject, args: Args<'_>) -> Fallible<Owned> {
    let py = this.py();
    let [message] = args.parse(py, "cancel", ["msg"], 1)?;
    if !this.is_open() {
        return Ok(boolean(py, false));
    }
    check_thread(this)?;
    if this.kind.get() == WaitKind::Join {
        // It goes on.
        if this.message.is_empty() || this.takes_last() {
            this.message.set(Owned::share(message.unwrap_or_else(|| none_ref(py))));
        }
        if let Some(state) = this.state() {
            host_cancelled(&state, this);
        }
        return Ok(boolean(py, true));
    }
    drop(this.message.replace(message.map(Owned::share)));
    this.phase.set(WaitPhase::Cancelled);
    this.stop_waiting();
    notify(this);
    Ok(boolean(py, true))
}

pub(super) fn add_done_callback(this: &WaitObject, args: Args<'_>) -> Fallible<Owned> {
    let py = this.py();
    let [function, context] = args.parse(py, "add_done_callback", ["fn", "context"], 1)?;
    let Some(function) = function else {
        let text = c"add_done_callback() needs the function to call";
        return Err(set_error(exc::type_error(py), text));
    };
    start(this)?;
    let state = this.at_home(py)?;
    let context = match given(context) {
        Some(context) => Owned::share(context),
        None => copy_context(py)?,
    };
    if this.is_open() {
        waiters::add(this, Owned::share(function), context);
    } else {
        task::call_soon(&state, function, this.object(), &context)?;
    }
    Ok(none(py))
}

pub(super) fn remove_done_callback(this: &WaitObject, function: &Object) -> Fallible<Owned> {
    let callbacks = task::waiters::callbacks(&this.others.borrow());
    let found = task::waiters::equal(&callbacks, function)?;
    let removed = task::waiters::take(&mut this.others.borrow_mut(), &found);
    int(this.py(), removed.len() as u64)
}

pub(super) fn get_loop(this: &WaitObject) -> Fallible<Owned> {
    Ok(this.at_home(this.py())?.event_loop())
}

pub(super) fn event_loop(this: &WaitObject) -> Fallible<Owned> {
    get_loop(this)
}

/// None for what has not begun: asyncio's functions take that for a coroutine, and await it in a task. Only
/// what is awaited ends by itself.
pub(super) fn blocking(this: &WaitObject) -> Fallible<Owned> {
    let py = this.py();
    let begins = this.phase.get() == WaitPhase::New && this.kind.get() != WaitKind::Parked;
    Ok(if begins { none(py) } else { boolean(py, this.blocking.get()) })
}

/// The error that `result()` raises, for asyncio's `gather`.
pub(super) fn make_cancelled_error(this: &WaitObject) -> Fallible<Owned> {
    Ok(this.raise_cancelled(this.py()).take())
}

pub(super) fn set_blocking(this: &WaitObject, value: Option<&Object>) -> Fallible<()> {
    this.blocking.set(match value {
        Some(value) => truth(value)?,
        None => false,
    });
    Ok(())
}
