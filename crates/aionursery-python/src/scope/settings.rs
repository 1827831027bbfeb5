//! The arguments that nurseries and scopes share: a deadline, a shield, a budget for cleaning up. It
//! must never keep one.

use nursery_core::{Cleanup, Settings};
use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::prelude::*;

use crate::cpython::args::given;
use crate::cpython::errors::restore;
use crate::cpython::function::real;
use crate::cpython::object::{Fallible, Raw, set_error};

/// A number of seconds that is one.
pub fn finite(name: &str, seconds: f64) -> PyResult<f64> {
    if seconds.is_nan() {
        return Err(PyValueError::new_err(format!("{name} must not be NaN")));
    }
    Ok(seconds)
}

/// The argument `cleanup`: a number of seconds, or None for ever. Not given, it is inherited.
pub struct Budget(pub Cleanup);

impl Budget {
    pub const INHERITED: Self = Self(Cleanup::Inherited);

    fn seconds(seconds: f64) -> PyResult<Self> {
        if seconds.is_nan() || seconds < 0.0 {
            return Err(PyValueError::new_err(
                "cleanup must be None or a number of seconds that is not negative",
            ));
        }
        Ok(Self(Cleanup::Seconds(seconds)))
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
pub fn settings(deadline: f64, shield: bool, cleanup: Budget) -> PyResult<Settings> {
    let deadline = finite("deadline", deadline)?;
    Ok(Settings { deadline, shield, cleanup: cleanup.0, abrupt: false })
}

/// Settings from arguments that may be missing.
pub unsafe fn settings_of(deadline: Raw, shield: Raw, cleanup: Raw) -> Fallible<Settings> {
    // SAFETY: attached; the caller's objects are alive.
    unsafe {
        let mut settings = Settings { shield: flag(shield)?, ..Settings::default() };
        if !deadline.is_null() {
            let deadline = finite("deadline", real(deadline)?);
            settings.deadline = deadline.map_err(|error| restore(error))?;
        }
        if !cleanup.is_null() {
            settings.cleanup = match given(cleanup) {
                Some(cleanup) => Budget::seconds(real(cleanup)?).map_err(|error| restore(error))?.0,
                None => Cleanup::Never,
            };
        }
        Ok(settings)
    }
}

/// A number of seconds from a moment on: neither NaN nor negative.
pub fn span(name: &str, seconds: f64) -> PyResult<f64> {
    let seconds = finite(name, seconds)?;
    if seconds < 0.0 {
        return Err(PyValueError::new_err(format!("{name} must not be negative")));
    }
    Ok(seconds)
}

/// The argument `relative_deadline`: seconds from entry; missing or None is for ever.
pub unsafe fn relative_of(argument: Raw) -> Fallible<f64> {
    // SAFETY: attached; the caller's object is alive.
    unsafe {
        match given(argument) {
            Some(seconds) => {
                span("relative_deadline", real(seconds)?).map_err(|error| restore(error))
            }
            None => Ok(f64::INFINITY),
        }
    }
}

/// The argument `shield`, if it was given.
unsafe fn flag(shield: Raw) -> Fallible<bool> {
    // SAFETY: compares addresses only.
    unsafe {
        if shield.is_null() || shield == ffi::Py_False() {
            Ok(false)
        } else if shield == ffi::Py_True() {
            Ok(true)
        } else {
            Err(set_error(ffi::PyExc_TypeError, c"shield must be True or False"))
        }
    }
}
