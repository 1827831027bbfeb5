//! What a block raises: a `MultiError`, one error alone, or what is left without the nursery's own
//! cancellation. It must never decide which.

use nursery_core::Verdict;
use pyo3::ffi;
use pyo3::prelude::*;

use super::Nursery;
use crate::cpython::imports::{self, imports};
use crate::cpython::object::{
    Fallible, Owned, Raised, Raw, call, call0, call1, checked, getattr_opt, raise, raise_in_context,
};
use crate::cpython::raised::Group;
use crate::engine::state::{Failure, LoopState};
use crate::wait;

/// Raises what a nursery raises; `thrown` is what is on its way already.
pub unsafe fn raise_verdict(
    object: &Bound<'_, Nursery>,
    state: &LoopState,
    task: Raw,
    verdict: Verdict<Failure>,
    thrown: Option<Owned>,
) -> Fallible<Owned> {
    // SAFETY: attached.
    unsafe {
        match verdict {
            Verdict::Clean => Ok(Owned::share(ffi::Py_False())),
            Verdict::Errors(errors) => Err(raise_together(object, errors)),
            Verdict::Bare { error: Failure { error, .. }, beside } => {
                for Failure { error: other, .. } in beside {
                    let text = "A nursery was left by KeyboardInterrupt or SystemExit; \
                                this error was beside it";
                    state.report(text, Some(&other), task);
                }
                if thrown.is_some_and(|thrown| thrown.as_ptr() == error.as_ptr()) {
                    return Ok(Owned::share(ffi::Py_False()));
                }
                Err(raise_in_context(error))
            }
        }
    }
}

/// Takes the cancellations out of groups among the errors: none leaves a block as a member of a group
/// (R13, R13a). Returns what is left, and whether there was any.
pub unsafe fn without_cancellations(verdict: Verdict<Failure>) -> (Verdict<Failure>, bool) {
    let mut found = false;
    let mut without = |errors: Vec<Failure>| -> Vec<Failure> {
        let mut left = Vec::with_capacity(errors.len());
        for Failure { error, name } in errors {
            // SAFETY: attached; the error is alive.
            match unsafe { Group::of_error(error.as_ptr()) } {
                Group::Without => left.push(Failure { error, name }),
                Group::With(rest) => {
                    found = true;
                    left.extend(rest.map(|error| Failure { error, name }));
                }
            }
        }
        left
    };
    let verdict = match verdict {
        Verdict::Clean => Verdict::Clean,
        Verdict::Bare { error, beside } => Verdict::Bare { error, beside: without(beside) },
        Verdict::Errors(errors) => match without(errors) {
            left if left.is_empty() => Verdict::Clean,
            left => Verdict::Errors(left),
        },
    };
    (verdict, found)
}

/// The `CancelledError` of a foreign host, with the message it was cancelled with.
pub unsafe fn plain_cancelled(join: Raw) -> Owned {
    // SAFETY: attached.
    unsafe {
        let kind = imports().cancelled_error;
        let error = match wait::message(join) {
            Some(message) => call1(kind, message.as_ptr()),
            None => call0(kind),
        };
        error.unwrap_or_else(|raised| raised.take())
    }
}

/// Raises the errors as a `MultiError` (R8). A subclass may have a group of its own.
unsafe fn raise_together(nursery: &Bound<'_, Nursery>, errors: Vec<Failure>) -> Raised {
    // SAFETY: attached.
    unsafe {
        let make = || -> Fallible<Owned> {
            let (list, names) = (Owned::new(ffi::PyList_New(0))?, Owned::new(ffi::PyList_New(0))?);
            for Failure { error, name } in errors {
                checked(ffi::PyList_Append(list.as_ptr(), error.as_ptr()))?;
                let name = name.as_ref().map_or(ffi::Py_None(), Owned::as_ptr);
                checked(ffi::PyList_Append(names.as_ptr(), name))?;
            }
            match getattr_opt(nursery.as_ptr(), imports::names().make_group)? {
                None => {
                    let mut args = [std::ptr::null_mut(), list.as_ptr(), names.as_ptr()];
                    call(imports().parts.multi_error_of, &mut args)
                }
                Some(make) => call1(make.as_ptr(), list.as_ptr()),
            }
        };
        match make() {
            Ok(error) => {
                ffi::PyException_SetCause(error.as_ptr(), std::ptr::null_mut());
                raise(error)
            }
            Err(raised) => raised,
        }
    }
}
