//! Failures as PyO3 has them, and the error for a misuse. It must never swallow one.

use pyo3::ffi;
use pyo3::prelude::*;

use super::object::{Raised, set_error_text, string};

/// Turns a failure into PyO3's error.
pub fn fetch(py: Python<'_>, raised: Raised) -> PyErr {
    // SAFETY: attached; the reference is handed on.
    PyErr::from_value(unsafe { Bound::from_owned_ptr(py, raised.take().into_ptr()) })
}

/// A `str` for PyO3, whose own conversion panics where memory is short.
pub fn text_object<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: attached; the new reference is handed on.
    unsafe {
        match string(text) {
            Ok(text) => Ok(Bound::from_owned_ptr(py, text.into_ptr())),
            Err(raised) => Err(fetch(py, raised)),
        }
    }
}

/// Raises PyO3's error.
pub unsafe fn restore(error: PyErr) -> Raised {
    // SAFETY: the caller is attached.
    unsafe {
        error.restore(Python::assume_attached());
        Raised::seen()
    }
}

/// Raises a RuntimeError.
pub unsafe fn misuse(text: &str) -> Raised {
    // SAFETY: attached.
    unsafe { set_error_text(ffi::PyExc_RuntimeError, text) }
}
