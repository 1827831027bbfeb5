//! How a task has ended, as `result` says it: it may be asked again and again.

use pyo3::ffi;

use super::data::{data, flag};
use crate::cpython::imports::imports;
use crate::cpython::object::{
    Fallible, Owned, Raised, Raw, call0, call1, none, raise_in_context, set_error, set_error_text,
};
use crate::engine::state::LoopState;

/// The loop's part of a task whose `__init__` has run.
pub unsafe fn alive<'a>(task: Raw) -> Fallible<&'a LoopState> {
    // SAFETY: the caller's task is alive.
    unsafe {
        data(task)
            .state()
            .ok_or_else(|| set_error(ffi::PyExc_RuntimeError, c"Task object is not initialized."))
    }
}

pub unsafe fn invalid_state(text: &str) -> Raised {
    // SAFETY: attached.
    unsafe { set_error_text(imports().invalid_state_error, text) }
}

/// The `CancelledError` of a cancelled task: the one that ended it the first time it is asked for,
/// a new one with the same message afterwards.
pub unsafe fn raise_cancelled(task: Raw) -> Raised {
    // SAFETY: attached; the task is alive.
    unsafe {
        let kept = data(task).outcome.take();
        raise_in_context(kept.unwrap_or_else(|| cancelled_error(task)))
    }
}

pub unsafe fn result_of(task: Raw) -> Fallible<Owned> {
    // SAFETY: attached; the task is alive.
    unsafe {
        let ours = data(task);
        alive(task)?;
        if !ours.has(flag::DONE) {
            return Err(invalid_state("Result is not set."));
        }
        if ours.has(flag::CANCELLED) {
            return Err(raise_cancelled(task));
        }
        let outcome = ours.outcome.cloned();
        if ours.has(flag::FAILED) {
            ours.lower_flags(flag::LOG_TRACEBACK);
            let Some(exception) = outcome else {
                return Err(invalid_state("Result is lost."));
            };
            // The traceback is the one it had when it ended, however often it was raised since.
            let traceback = {
                let rare = ours.rare.borrow();
                rare.as_ref().and_then(|rare| rare.exception_traceback.cloned())
            };
            let traceback = traceback.as_ref().map_or(ffi::Py_None(), Owned::as_ptr);
            ffi::PyException_SetTraceback(exception.as_ptr(), traceback);
            return Err(raise_in_context(exception));
        }
        Ok(outcome.unwrap_or_else(|| none()))
    }
}

/// The `CancelledError` for a cancellation from outside, with its message.
pub unsafe fn cancelled_error(task: Raw) -> Owned {
    // SAFETY: attached; the caller's task is alive.
    unsafe {
        let message = data(task).cancel_message.cloned();
        let kind = imports().cancelled_error;
        let error = match message {
            Some(message) if message.as_ptr() != ffi::Py_None() => call1(kind, message.as_ptr()),
            _ => call0(kind),
        };
        error.unwrap_or_else(|raised| raised.take())
    }
}
