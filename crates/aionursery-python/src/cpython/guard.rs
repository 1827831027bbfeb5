//! The way in from CPython: every function that CPython calls goes through `guard`. A panic must never
//! cross into Python.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::prelude::*;

use super::errors::{exc, set_error_text};

/// Runs a function that CPython has called. A panic becomes a `SystemError`.
///
/// To make PyO3 find out that the thread is attached costs more than most of these functions. PyO3 puts
/// off what it is asked to let go of where it does not know that a thread is attached, so `body` must
/// own Python objects as `Owned` or `Bound`, and never as `Py`.
#[inline]
pub(crate) fn guard<R>(py: Python<'_>, failed: R, body: impl FnOnce() -> R) -> R {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(result) => result,
        Err(payload) => {
            let text = payload
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| payload.downcast_ref::<String>().cloned())
                .unwrap_or_default();
            let text = format!("aionursery: internal error, please report it: {text}");
            set_error_text(exc::system_error(py), &text).stand();
            failed
        }
    }
}
