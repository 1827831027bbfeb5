//! How a task has ended, as `result` says it: it may be asked again and again. It must never
//! change how it has ended.

use super::data::Task;
use super::flag;
use crate::cpython::call::{call0, call1};
use crate::cpython::errors::{
    Fallible, Raised, exc, raise_in_context, set_error, set_error_text, set_traceback,
};
use crate::cpython::imports::imports;
use crate::cpython::object::none_ref;
use crate::cpython::owned::{Owned, none};
use crate::engine::home::Home;
use pyo3::prelude::*;

/// The loop's part of a task whose `__init__` has run.
pub(crate) fn alive(task: &Task) -> Fallible<Home> {
    task.data()
        .state()
        .ok_or_else(|| set_error(exc::runtime_error(task.py()), c"Task object is not initialized."))
}

pub(crate) fn invalid_state(py: Python<'_>, text: &str) -> Raised {
    set_error_text(imports(py).invalid_state_error, text)
}

/// The `CancelledError` of a cancelled task: the one that ended it the first time it is asked for,
/// a new one with the same message afterwards.
pub(crate) fn raise_cancelled(task: &Task) -> Raised {
    let kept = task.data().outcome.take();
    raise_in_context(kept.unwrap_or_else(|| cancelled_error(task)))
}

pub(crate) fn result_of(task: &Task) -> Fallible<Owned> {
    let py = task.py();
    let ours = task.data();
    if !ours.home.is_some() {
        return alive(task).map(|_| none(py));
    }
    if !ours.has(flag::DONE) {
        return Err(invalid_state(py, "Result is not set."));
    }
    if ours.has(flag::CANCELLED) {
        return Err(raise_cancelled(task));
    }
    let outcome = ours.outcome.cloned();
    if ours.has(flag::FAILED) {
        ours.lower_flags(flag::LOG_TRACEBACK);
        let Some(exception) = outcome else {
            return Err(invalid_state(py, "Result is lost."));
        };
        // The traceback is the one it had when it ended, however often it was raised since.
        let traceback = {
            let rare = ours.rare.borrow();
            rare.as_ref().and_then(|rare| rare.exception_traceback.cloned())
        };
        let _ = set_traceback(&exception, traceback.as_deref().unwrap_or_else(|| none_ref(py)));
        return Err(raise_in_context(exception));
    }
    Ok(outcome.unwrap_or_else(|| none(py)))
}

/// The `CancelledError` for a cancellation from outside, with its message.
pub(crate) fn cancelled_error(task: &Task) -> Owned {
    let kind = imports(task.py()).cancelled_error;
    let error = match task.data().cancel_message.cloned() {
        Some(message) if !message.is_none() => call1(kind, &message),
        _ => call0(kind),
    };
    error.unwrap_or_else(Raised::take)
}
