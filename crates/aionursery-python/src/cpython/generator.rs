//! What the methods of an iterator of ours answer, and what is thrown into one. It must never
//! step anything itself.

use pyo3::prelude::*;

use super::call::{call0, call1};
use super::errors::{
    Fallible, Raised, exc, is_exception, is_exception_class, raise, set_error, set_traceback,
    stop_unless_set,
};
use super::object::{Object, none_ref};
use super::owned::Owned;

/// Raises `StopIteration(value)`.
pub(crate) fn stop(py: Python<'_>, value: &Object) -> Raised {
    if value.is_none() {
        return stop_unless_set(py);
    }
    match call1(exc::stop_iteration(py), value) {
        Ok(stop) => raise(stop),
        Err(raised) => raised,
    }
}

/// Raises what was given to a `throw` method: an exception, or the older class, value, traceback.
pub(crate) fn raise_thrown(py: Python<'_>, args: &[&Object]) -> Raised {
    match thrown(py, args) {
        Ok(exception) => raise(exception),
        Err(raised) => raised,
    }
}

fn thrown(py: Python<'_>, args: &[&Object]) -> Fallible<Owned> {
    let arg = |index: usize| args.get(index).copied().unwrap_or_else(|| none_ref(py));
    let (first, second, traceback) = (arg(0), arg(1), arg(2));
    let exception = if is_exception(first) {
        Owned::share(first)
    } else if is_exception(second) {
        Owned::share(second)
    } else if is_exception_class(first) {
        if second.is_none() { call0(first)? } else { call1(first, second)? }
    } else {
        return Err(set_error(
            exc::type_error(py),
            c"exceptions must be classes or instances deriving from BaseException",
        ));
    };
    if !traceback.is_none() {
        set_traceback(&exception, traceback)?;
    }
    Ok(exception)
}
