//! The way in from CPython: every function that CPython calls goes through `guard` or is too small
//! to panic. A panic must never cross into Python.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::ffi;
use pyo3::prelude::*;

use crate::cpython::object::set_error_text;

/// Runs a function that CPython has called. A panic becomes a `SystemError`.
///
/// The thread is attached, for CPython calls only where it is; to make PyO3 find that out costs
/// more than most of these functions. PyO3 puts off what it is asked to let go of where it does not
/// know that a thread is attached, so `body` must own Python objects as `Owned` or `Bound`, and
/// never as `Py`.
#[inline]
pub fn guard<R>(failed: R, body: impl FnOnce(Python<'_>) -> R) -> R {
    // SAFETY: CPython called us, so the thread is attached.
    match catch_unwind(AssertUnwindSafe(|| body(unsafe { Python::assume_attached() }))) {
        Ok(result) => result,
        Err(payload) => {
            let text = payload
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| payload.downcast_ref::<String>().cloned())
                .unwrap_or_default();
            // SAFETY: CPython called us, so the thread is attached.
            let _ = unsafe {
                set_error_text(
                    ffi::PyExc_SystemError,
                    &format!("aionursery: internal error, please report it: {text}"),
                )
            };
            failed
        }
    }
}
