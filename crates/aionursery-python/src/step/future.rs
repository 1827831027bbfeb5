//! How a task waits for what is not ours: asyncio's futures and tasks, and whatever follows their
//! protocol. It must never ask an object for what its type may have replaced, other than by its
//! attributes.

use pyo3::ffi;

use super::wakeup;
use crate::cpython::function::Method;
use crate::cpython::imports::{FutureParts, imports, names};
use crate::cpython::object::{
    Fallible, Owned, Raw, call_method, checked, getattr_opt, method0, none, raise, repr,
    set_error_text, truth,
};
use crate::engine::hooks::hooks;
use crate::engine::state::LoopState;
use crate::task::data::{TaskData, data, flag};
use crate::wait;

/// What a task cannot wait for.
pub struct Refused {
    /// What the coroutine gets instead.
    pub error: Owned,
    /// It goes once the task is to take its next step: its destructor may be the program's.
    _future: Owned,
}

/// The task is to be called back by `future`, which its coroutine has yielded. Gives the future back.
#[inline]
pub unsafe fn begin(
    state: &LoopState,
    task: &Owned,
    ours: &TaskData,
    future: Owned,
) -> Result<Owned, Refused> {
    // SAFETY: attached; all is alive.
    unsafe {
        let what = future.as_ptr();
        let begun = match imports().futures.as_ref().filter(|futures| futures.made(what)) {
            Some(futures) => match begin_at_once(state, task, ours, what, futures) {
                Ok(true) => Ok(Ok(())),
                // A misuse: the long way round says which.
                Ok(false) => begin_by_attributes(state, task, ours, what),
                Err(raised) => Err(raised),
            },
            None => begin_by_attributes(state, task, ours, what),
        };
        let error = match begun {
            Ok(Ok(())) => return Ok(future),
            Ok(Err(text)) => set_error_text(ffi::PyExc_RuntimeError, &text).take(),
            Err(raised) => raised.take(),
        };
        Err(Refused { error, _future: future })
    }
}

/// Adds the task's wake-up to a future of asyncio's own type. Says no if it must not be awaited so.
#[inline]
unsafe fn begin_at_once(
    state: &LoopState,
    task: &Owned,
    ours: &TaskData,
    what: Raw,
    futures: &FutureParts,
) -> Fallible<bool> {
    // SAFETY: attached; the future is of the type that the parts are for.
    unsafe {
        if futures.blocking.get(what)?.as_ptr() != ffi::Py_True()
            || futures.event_loop.get(what)?.as_ptr() != state.event_loop.get()
        {
            return Ok(false);
        }
        futures.blocking.set(what, ffi::Py_False())?;
        let wakeup = bound_wakeup(task.as_ptr())?;
        let args = [wakeup.as_ptr(), ours.context().get()];
        futures.add_done_callback.call(what, &args, imports().kw_context)?;
        Ok(true)
    }
}

/// Adds the task's wake-up to a future. The inner error is the text of a misuse.
unsafe fn begin_by_attributes(
    state: &LoopState,
    task: &Owned,
    ours: &TaskData,
    what: Raw,
) -> Fallible<Result<(), String>> {
    // SAFETY: attached; all is alive.
    unsafe {
        let names = names();
        let this = task.as_ptr();
        let blocking = getattr_opt(what, names.asyncio_future_blocking)?;
        let blocking = match blocking {
            Some(blocking) if blocking.as_ptr() != ffi::Py_None() => truth(&blocking)?,
            _ if ffi::PyGen_Check(what) != 0 => {
                return Ok(Err(format!(
                    "yield was used instead of yield from for generator in task {} with {}",
                    repr(this),
                    repr(what)
                )));
            }
            _ => return Ok(Err(format!("Task got bad yield: {}", repr(what)))),
        };
        let event_loop = if ffi::PyObject_HasAttr(what, names.get_loop) != 0 {
            Some(method0(what, names.get_loop)?)
        } else {
            getattr_opt(what, names.loop_)?
        };
        if event_loop.is_some_and(|it| it.as_ptr() != state.event_loop.get()) {
            return Ok(Err(format!(
                "Task {} got Future {} attached to a different loop",
                repr(this),
                repr(what)
            )));
        }
        if !blocking {
            return Ok(Err(format!(
                "yield was used instead of yield from in task {} with {}",
                repr(this),
                repr(what)
            )));
        }
        if what == this {
            return Ok(Err(format!("Task cannot await on itself: {}", repr(this))));
        }
        checked(ffi::PyObject_SetAttr(what, names.asyncio_future_blocking, ffi::Py_False()))?;
        let wakeup = wakeup::create(this)?;
        let context = ours.context().get();
        let mut args = [std::ptr::null_mut(), wakeup.as_ptr(), context];
        call_method(what, names.add_done_callback, &mut args, imports().kw_context)?;
        Ok(Ok(()))
    }
}

/// A task is to take a step before what it waits for has called it back: what that brings, or a
/// cancellation if it has not ended, is thrown.
pub unsafe fn collect(task: Raw) {
    // SAFETY: attached; the caller's task is alive.
    unsafe {
        let ours = data(task);
        let Some(what) = ours.waiting.cloned() else { return };
        if wait::is_wait(what.as_ptr()) {
            return;
        }
        let done = method0(what.as_ptr(), names().done).and_then(|done| truth(&done));
        let result = match done {
            Ok(true) => method0(what.as_ptr(), names().result),
            Ok(false) => Err(raise(crate::task::cancelled_error(task))),
            Err(raised) => Err(raised),
        };
        if let Err(raised) = result {
            ours.set_incoming(raised.take());
        }
    }
}

static WAKEUP: Method = Method::one_arg(c"wakeup", wakeup);

/// A task's wake-up as a function, as a future of asyncio's own types has it: that calls back once,
/// and with itself.
pub unsafe fn bound_wakeup(task: Raw) -> Fallible<Owned> {
    // SAFETY: the caller's task is alive.
    unsafe { WAKEUP.bind(task) }
}

/// A future calls the task back. An error or a cancellation that it brings is thrown into the
/// coroutine, as asyncio does: what awaits the future need not ask it (R13).
unsafe extern "C" fn wakeup(task: Raw, future: Raw) -> Raw {
    // SAFETY: bound to a task, which the call keeps alive; the loop has entered its context.
    unsafe {
        if data(task).waiting.get() != future {
            // It waits for something else by now: somebody has called back twice.
            return none().into_ptr();
        }
        if data(task).has(flag::RUNNING) {
            return none().into_ptr();
        }
        let asked = match imports().futures.as_ref().filter(|futures| futures.made(future)) {
            Some(futures) => futures.result.call_on(future),
            None => method0(future, names().result),
        };
        match asked {
            Ok(result) => drop(result),
            Err(raised) => data(task).set_incoming(raised.take()),
        }
        (hooks().step)(task)
    }
}
