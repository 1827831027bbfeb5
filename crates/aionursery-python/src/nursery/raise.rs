//! What a block raises: a `MultiError`, one error alone, or what is left without the nursery's own
//! cancellation. It must never decide which.

use nursery_core::Verdict;
use pyo3::prelude::*;

use super::Nursery;
use crate::cpython::call::{call, call0, call1, getattr_opt};
use crate::cpython::containers::list;
use crate::cpython::errors::{Fallible, Raised, raise, raise_in_context, set_cause};
use crate::cpython::imports::imports;
use crate::cpython::object::{Object, none_ref};
use crate::cpython::owned::{Owned, boolean};
use crate::cpython::raised::Group;
use crate::engine::report::BESIDE_EXIT;
use crate::engine::state::{Failure, LoopState};
use crate::wait::Wait;

/// Raises what a nursery raises; `thrown` is what is on its way already.
pub(super) fn raise_verdict(
    nursery: &Owned<Nursery>,
    state: &LoopState,
    task: &Object,
    verdict: Verdict<Failure>,
    thrown: Option<Owned>,
) -> Fallible<Owned> {
    match verdict {
        Verdict::Clean => Ok(boolean(state.py(), false)),
        Verdict::Errors(errors) => Err(raise_together(nursery.object(), errors)),
        Verdict::Bare { error: Failure { error, .. }, beside } => {
            for Failure { error: other, .. } in beside {
                state.report(BESIDE_EXIT, Some(&other), Some(task));
            }
            if thrown.is_some_and(|thrown| thrown.is(&error)) {
                return Ok(boolean(state.py(), false));
            }
            Err(raise_in_context(error))
        }
    }
}

/// Takes the cancellations out of groups among the errors: none leaves a block as a member of a group
/// (R13, R13a). Returns what is left, and whether there was any.
pub(super) fn without_cancellations(verdict: Verdict<Failure>) -> (Verdict<Failure>, bool) {
    let mut found = false;
    let mut without = |errors: Vec<Failure>| -> Vec<Failure> {
        let mut left = Vec::with_capacity(errors.len());
        for Failure { error, name } in errors {
            match Group::of_error(&error) {
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
pub(super) fn plain_cancelled(py: Python<'_>, join: &Wait) -> Owned {
    let kind = imports(py).cancelled_error;
    let error = match join.message() {
        Some(message) => call1(kind, &message),
        None => call0(kind),
    };
    error.unwrap_or_else(Raised::take)
}

/// Raises the errors as a `MultiError` (R8). A subclass may have a group of its own.
fn raise_together(nursery: &Object, errors: Vec<Failure>) -> Raised {
    let py = nursery.py();
    let make = || -> Fallible<Owned> {
        let names = errors.iter().map(|it| it.name.as_deref().unwrap_or_else(|| none_ref(py)));
        let names = list(py, names)?;
        let list = list(py, errors.iter().map(|failure| &*failure.error))?;
        match getattr_opt(nursery, imports(py).names.make_group)? {
            None => call(imports(py).parts.multi_error_of, [&list, &names]),
            Some(make) => call1(&make, &list),
        }
    };
    match make() {
        Ok(error) => {
            set_cause(&error, None);
            raise(error)
        }
        Err(raised) => raised,
    }
}
