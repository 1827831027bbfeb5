//! Failures as PyO3 has them, and the error for a misuse. It must never swallow one.

use pyo3::ffi;
use pyo3::prelude::*;

use super::object::{Raised, set_error_text};

/// Turns a failure into PyO3's error.
pub fn fetch(py: Python<'_>, raised: Raised) -> PyErr {
    // SAFETY: attached; the reference is handed on.
    PyErr::from_value(unsafe { Bound::from_owned_ptr(py, raised.take().into_ptr()) })
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
