//! What a loop's handles are bound to: a small object that finds the loop's state for as long as there is
//! one. A loop holds its handles, and the state must not be held by them: then a closed loop goes when its
//! last user does. It must never keep a state or a loop alive.

use std::cell::Cell;

use crate::cpython::errors::Fallible;
use crate::cpython::function::Method;
use crate::cpython::myself::Weakly;
use crate::cpython::object::class;
use crate::cpython::owned::Owned;
use pyo3::prelude::*;

/// Stands in a handle for the loop, too: asyncio asks the loop of a handle no more than this answers.
#[pyclass(frozen, module = "aionursery._aionursery", name = "Link")]
#[derive(Debug)]
pub(crate) struct Link {
    /// `home` alone knows what is found there.
    pub state: Weakly,
    /// How far a call drains the ready queue, in tasks since the beginning; 0 for not at all.
    pub end: Cell<u64>,
}

class!(Link);

impl Link {
    /// A new link, as an object.
    pub(crate) fn create(py: Python<'_>, state: &Weakly) -> Fallible<Owned<Self>> {
        Owned::make(py, Self { state: state.clone(), end: Cell::new(0) })
    }

    /// A function of ours, bound to a link of its own.
    pub(crate) fn bind(
        py: Python<'_>,
        state: &Weakly,
        method: &'static Method<Self>,
    ) -> Fallible<Owned> {
        method.bind(&Self::create(py, state)?)
    }
}
