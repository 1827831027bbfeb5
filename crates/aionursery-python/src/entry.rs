//! The way in from CPython: every function that CPython calls goes through `guard` or is too small
//! to panic. A panic must never cross into Python.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::ffi;
use pyo3::prelude::*;

use crate::object::set_error_text;

/// Runs a function that CPython has called. A panic becomes a `SystemError`.
#[inline]
pub fn guard<R>(failed: R, body: impl FnOnce(Python<'_>) -> R) -> R {
    match catch_unwind(AssertUnwindSafe(|| Python::attach(body))) {
        Ok(result) => result,
        Err(payload) => {
            let text = payload
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| payload.downcast_ref::<String>().cloned())
                .unwrap_or_default();
            // SAFETY: CPython called us, so the thread is attached.
            unsafe {
                set_error_text(
                    ffi::PyExc_SystemError,
                    &format!("aionursery: internal error, please report it: {text}"),
                );
            }
            failed
        }
    }
}
