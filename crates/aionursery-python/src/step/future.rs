//! How a task waits for what is not ours: asyncio's futures and tasks, and whatever follows their
//! protocol. It must never ask an object for what its type may have replaced, other than by its
//! attributes.

use super::wakeup;
use crate::cpython::call::{
    call_method_with, getattr_opt, has_attr, is_generator, method0, repr, set_attr, truth, truth_of,
};
use crate::cpython::called::method;
use crate::cpython::errors::{Fallible, misuse, raise};
use crate::cpython::function::Method;
use crate::cpython::imports::{FutureParts, imports, names};
use crate::cpython::object::{Object, boolean_ref};
use crate::cpython::owned::{Owned, none};
use crate::engine::hooks::hooks;
use crate::engine::state::LoopState;
use crate::task::{Task, cancelled_error, flag};
use crate::wait;

/// What a task cannot wait for.
pub(crate) struct Refused {
    /// What the coroutine gets instead.
    pub error: Owned,
    /// It goes once the task is to take its next step: its destructor may be the program's.
    _future: Owned,
}

/// The task is to be called back by `future`, which its coroutine has yielded. Gives the future back.
#[inline]
pub(crate) fn begin(state: &LoopState, task: &Task, future: Owned) -> Result<Owned, Refused> {
    let py = task.py();
    let begun = match imports(py).futures.as_ref().filter(|futures| futures.made(&future)) {
        Some(futures) => match begin_at_once(state, task, &future, futures) {
            Ok(true) => Ok(Ok(())),
            // A misuse: the long way round says which.
            Ok(false) => begin_by_attributes(state, task, &future),
            Err(raised) => Err(raised),
        },
        None => begin_by_attributes(state, task, &future),
    };
    let error = match begun {
        Ok(Ok(())) => return Ok(future),
        Ok(Err(text)) => misuse(py, &text).take(),
        Err(raised) => raised.take(),
    };
    Err(Refused { error, _future: future })
}

/// Adds the task's wake-up to a future of asyncio's own type. Returns `false` if it must not be awaited so.
#[inline]
fn begin_at_once(
    state: &LoopState,
    task: &Task,
    what: &Object,
    futures: &FutureParts,
) -> Fallible<bool> {
    let py = task.py();
    if !futures.blocking.get(what)?.is(boolean_ref(py, true))
        || !state.is_loop(&*futures.event_loop.get(what)?)
    {
        return Ok(false);
    }
    futures.blocking.set(what, boolean_ref(py, false))?;
    let wakeup = bound_wakeup(task)?;
    let context = context(task);
    futures.add_done_callback.call(what, &wakeup, &context, imports(py).kw_context)?;
    Ok(true)
}

/// What a task's steps run in.
fn context(task: &Task) -> Owned {
    task.data().context().cloned().unwrap_or_else(|| none(task.py()))
}

/// Adds the task's wake-up to a future. The inner error is the text of a misuse.
fn begin_by_attributes(
    state: &LoopState,
    task: &Task,
    what: &Object,
) -> Fallible<Result<(), String>> {
    let py = task.py();
    let names = names(py);
    let blocking = getattr_opt(what, names.asyncio_future_blocking)?;
    let blocking = match blocking {
        Some(blocking) if !blocking.is_none() => truth(&blocking)?,
        _ if is_generator(what) => {
            return Ok(Err(format!(
                "yield was used instead of yield from for generator in task {} with {}",
                repr(task),
                repr(what)
            )));
        }
        _ => return Ok(Err(format!("Task got bad yield: {}", repr(what)))),
    };
    let event_loop = if has_attr(what, names.get_loop) {
        Some(method0(what, names.get_loop)?)
    } else {
        getattr_opt(what, names.loop_)?
    };
    if event_loop.is_some_and(|it| !state.is_loop(&it)) {
        return Ok(Err(format!(
            "Task {} got Future {} attached to a different loop",
            repr(task),
            repr(what)
        )));
    }
    if !blocking {
        return Ok(Err(format!(
            "yield was used instead of yield from in task {} with {}",
            repr(task),
            repr(what)
        )));
    }
    if what.is(task) {
        return Ok(Err(format!("Task cannot await on itself: {}", repr(task))));
    }
    set_attr(what, names.asyncio_future_blocking, boolean_ref(py, false))?;
    let wakeup = wakeup::create(task)?;
    let context = context(task);
    let args = [wakeup.object(), &*context];
    call_method_with(what, names.add_done_callback, args, imports(py).kw_context)?;
    Ok(Ok(()))
}

/// A task is to take a step before what it waits for has called it back: what that brings, or a
/// cancellation if it has not ended, is thrown.
pub(crate) fn collect(task: &Task) {
    let names = names(task.py());
    let Some(what) = task.data().waiting.cloned() else { return };
    if wait::is_wait(&what) {
        return;
    }
    let result = match truth_of(method0(&what, names.done)) {
        Ok(true) => method0(&what, names.result),
        Ok(false) => Err(raise(cancelled_error(task))),
        Err(raised) => Err(raised),
    };
    if let Err(raised) = result {
        task.data().set_incoming(raised.take());
    }
}

static WAKEUP: Method<Task> = method!(one_arg Task, c"wakeup", wake_up);

/// A task's wake-up as a function, as a future of asyncio's own types has it: that calls back once,
/// and with itself.
pub(crate) fn bound_wakeup(task: &Task) -> Fallible<Owned> {
    WAKEUP.bind_to(task)
}

/// A future calls the task back. An error or a cancellation that it brings is thrown into the
/// coroutine, as asyncio does: what awaits the future need not ask it (R13).
fn wake_up(task: &Task, future: &Object) -> Fallible<Owned> {
    let py = task.py();
    let ours = task.data();
    // If it waits for something else by now, it was called back twice.
    if !ours.waiting.holds(future) || ours.has(flag::RUNNING) {
        return Ok(none(py));
    }
    let asked = match imports(py).futures.as_ref().filter(|futures| futures.made(future)) {
        Some(futures) => futures.result.call_on(future),
        None => method0(future, names(py).result),
    };
    match asked {
        Ok(result) => drop(result),
        Err(raised) => ours.set_incoming(raised.take()),
    }
    (hooks().step)(task).map(|()| none(py))
}
