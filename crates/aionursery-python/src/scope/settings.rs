//! The arguments that nurseries and scopes share: a deadline, a shield, a budget for cleaning up. It
//! must never keep one.

use std::ffi::CString;

use nursery_core::{Cleanup, Settings};
use pyo3::prelude::*;

use crate::cpython::args::{given, number};
use crate::cpython::errors::{Fallible, exc, restore, set_error, warn};
use crate::cpython::for_pyo3::refusal;
use crate::cpython::object::{Object, boolean_ref};
use crate::engine::state::LoopState;

/// A number of seconds that is one.
pub(super) fn finite(name: &str, seconds: f64) -> PyResult<f64> {
    if seconds.is_nan() {
        return Err(refusal::value_error(&format!("{name} must not be NaN")));
    }
    Ok(seconds)
}

/// The argument `cleanup`: a number of seconds, or None for ever.
pub(super) fn cleanup_of(argument: &Object) -> Fallible<Cleanup> {
    let Some(seconds) = given(Some(argument)) else { return Ok(Cleanup::Never) };
    let seconds = span("cleanup", number("cleanup", seconds)?);
    seconds.map(Cleanup::Limited).map_err(|error| restore(argument.py(), error))
}

/// Settings from arguments that may be missing.
pub(crate) fn settings_of(
    py: Python<'_>,
    deadline: Option<&Object>,
    shield: Option<&Object>,
    cleanup: Option<&Object>,
) -> Fallible<Settings> {
    let mut settings = Settings { shield: flag(shield)?, ..Settings::default() };
    if let Some(deadline) = deadline {
        let deadline = finite("deadline", number("deadline", deadline)?);
        settings.deadline = deadline.map_err(|error| restore(py, error))?;
    }
    if let Some(argument) = cleanup {
        settings.cleanup = cleanup_of(argument)?;
    }
    Ok(settings)
}

/// A number of seconds from a moment on: neither NaN nor negative.
pub(super) fn span(name: &str, seconds: f64) -> PyResult<f64> {
    let seconds = finite(name, seconds)?;
    if seconds < 0.0 {
        return Err(refusal::value_error(&format!("{name} must not be negative, not {seconds}")));
    }
    Ok(seconds)
}

/// The argument `relative_deadline`: seconds from entry; missing or None is for ever.
pub(crate) fn relative_of(argument: Option<&Object>) -> Fallible<f64> {
    match given(argument) {
        Some(seconds) => {
            let py = seconds.py();
            let seconds = number("relative_deadline", seconds)?;
            span("relative_deadline", seconds).map_err(|error| restore(py, error))
        }
        None => Ok(f64::INFINITY),
    }
}

/// Warns of a deadline that has passed before the loop was made. Looked at only where one has passed.
#[cold]
pub(crate) fn warn_if_meant_as_seconds(state: &LoopState, deadline: f64) -> Fallible<()> {
    if !state.precedes(deadline) {
        return Ok(());
    }
    let text = format!(
        "deadline={deadline} lies before the event loop was made: a deadline is a moment on the \
         loop's clock; for seconds from now use relative_deadline={deadline}, \
         fail_after({deadline}) or move_on_after({deadline})"
    );
    let text = CString::new(text).expect("a number has no zero inside");
    warn(exc::runtime_warning(state.py()), &text)
}

/// The argument `shield`, if it was given.
fn flag(shield: Option<&Object>) -> Fallible<bool> {
    let Some(shield) = shield else { return Ok(false) };
    let py = shield.py();
    if shield.is(boolean_ref(py, false)) {
        Ok(false)
    } else if shield.is(boolean_ref(py, true)) {
        Ok(true)
    } else {
        Err(set_error(exc::type_error(py), c"shield must be True or False"))
    }
}
