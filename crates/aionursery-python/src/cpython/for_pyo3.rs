//! What PyO3 is handed, where its own constructors panic without memory. It must never panic.

use pyo3::prelude::*;

use super::call::float;
use super::errors::{exc, fetch, set_error_text, string};

/// Errors for PyO3, whose own constructors panic where memory is short.
pub(crate) mod refusal {
    use super::{PyErr, Python, exc, fetch, set_error_text};

    pub(crate) fn type_error(text: &str) -> PyErr {
        Python::attach(|py| fetch(py, set_error_text(exc::type_error(py), text)))
    }

    pub(crate) fn value_error(text: &str) -> PyErr {
        Python::attach(|py| fetch(py, set_error_text(exc::value_error(py), text)))
    }

    pub(crate) fn runtime_error(text: &str) -> PyErr {
        Python::attach(|py| fetch(py, set_error_text(exc::runtime_error(py), text)))
    }
}

/// A number for PyO3, whose own conversion panics where memory is short.
pub(crate) fn number_object(py: Python<'_>, number: f64) -> PyResult<Bound<'_, PyAny>> {
    match float(py, number) {
        Ok(number) => Ok(number.into_bound(py)),
        Err(raised) => Err(fetch(py, raised)),
    }
}

/// A `str` for PyO3, whose own conversion panics where memory is short.
pub(crate) fn text_object<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyAny>> {
    match string(py, text) {
        Ok(text) => Ok(text.into_bound(py)),
        Err(raised) => Err(fetch(py, raised)),
    }
}
