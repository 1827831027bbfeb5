//! The arguments that nurseries and scopes share: a deadline, a shield, a budget for cleaning up. It
//! must never keep one.

use std::ffi::CString;

use nursery_core::{Cleanup, Settings};
use pyo3::prelude::*;

use crate::cpython::args::given;
use crate::cpython::call::{is_number, real, repr};
use crate::cpython::errors::{Fallible, Raised, exc, restore, set_error, set_error_text, warn};
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

/// The number that an argument is.
#[inline]
pub(super) fn number(name: &str, argument: &Object) -> Fallible<f64> {
    real(argument).map_err(|raised| refused(name, argument, raised))
}

/// CPython does not say which argument it was, nor what was given.
#[cold]
fn refused(name: &str, argument: &Object, raised: Raised) -> Raised {
    if is_number(argument) {
        return raised;
    }
    raised.forget();
    let text = format!("{name} must be a number, not {}", repr(argument));
    set_error_text(exc::type_error(argument.py()), &text)
}

/// The argument `cleanup`: a number of seconds, or None for ever. Not given, it is inherited.
pub(crate) struct Budget(pub Cleanup);

impl Budget {
    pub(crate) const INHERITED: Self = Self(Cleanup::Inherited);

    fn seconds(seconds: f64) -> PyResult<Self> {
        if seconds.is_nan() || seconds < 0.0 {
            return Err(refusal::value_error(
                "cleanup must be None or a number of seconds that is not negative",
            ));
        }
        Ok(Self(Cleanup::Limited(seconds)))
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Budget {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if object.is_none() {
            return Ok(Self(Cleanup::Never));
        }
        Self::seconds(object.extract()?)
    }
}

/// Settings from the arguments that nurseries and scopes share.
pub(crate) fn settings(deadline: f64, shield: bool, cleanup: Budget) -> PyResult<Settings> {
    let deadline = finite("deadline", deadline)?;
    Ok(Settings { deadline, shield, cleanup: cleanup.0, abrupt: false })
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
        settings.cleanup = match given(cleanup) {
            Some(_) => {
                Budget::seconds(number("cleanup", argument)?).map_err(|error| restore(py, error))?.0
            }
            None => Cleanup::Never,
        };
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
