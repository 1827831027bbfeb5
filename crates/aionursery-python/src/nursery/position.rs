//! What may be asked of a task or a nursery from outside of it: whether a cancellation reaches it, and
//! whose child it is, and since when its nurseries are open. It must never change anything.

use pyo3::prelude::*;

use crate::cpython::call::{int, method0};
use crate::cpython::containers::{list, tuple};
use crate::cpython::errors::{Fallible, fetch};
use crate::cpython::imports::names;
use crate::cpython::object::{Object, object};
use crate::cpython::owned::{Owned, none};
use crate::engine::home::Home;
use crate::engine::state::LoopState;
use crate::hosts;
use crate::nursery::Nursery;
use nursery_core::MemberId;

/// A task's place in its loop's tree, if it has one.
fn place_of(task: &Object) -> Fallible<Option<(Home, MemberId)>> {
    let event_loop = method0(task, names(task.py()).get_loop)?;
    let state = LoopState::of(&event_loop)?;
    let member = hosts::find_member(&state, task);
    Ok(member.map(|member| (state, member)))
}

/// Return whether a scope's cancellation reaches a task or a nursery.
///
/// May be asked from any thread.
#[pyfunction]
fn is_cancelled(py: Python<'_>, what: &Bound<'_, PyAny>) -> PyResult<bool> {
    if let Ok(nursery) = what.cast::<Nursery>() {
        let place = nursery.get().place();
        return Ok(place.is_some_and(|(state, id)| state.tree.borrow().is_scope_cancelled(id)));
    }
    let place = place_of(object(what)).map_err(|raised| fetch(py, raised))?;
    Ok(place.is_some_and(|(state, member)| state.tree.borrow().is_cancelled(member)))
}

/// Return the host of the nursery that a task is a child of; None if there is none.
#[pyfunction]
fn parent_task<'py>(
    py: Python<'py>,
    task: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let place = place_of(object(task)).map_err(|raised| fetch(py, raised))?;
    let host = place.and_then(|(state, member)| {
        let tree = state.tree.borrow();
        tree.host_of(member).map(|key| key.share(py))
    });
    Ok(host.map(|host| host.into_bound(py)))
}

/// Return the host of the nursery that a task is a child of, and when that nursery was entered, as a
/// count of the loop's scopes; None if the task is no child.
#[pyfunction]
fn parent_of<'py>(py: Python<'py>, task: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let answer = || -> Fallible<Owned> {
        let parent = place_of(object(task))?.and_then(|(state, member)| {
            let tree = state.tree.borrow();
            tree.parent(member).map(|(key, moment)| (key.share(py), moment))
        });
        let Some((host, moment)) = parent else { return Ok(none(py)) };
        tuple(py, &[&host, &*int(py, moment.into())?])
    };
    bound(py, answer())
}

/// Return the count of the loop's scopes now, and what it was when each of the nurseries was entered
/// that a task has entered and not left.
#[pyfunction]
fn entered_by<'py>(py: Python<'py>, task: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let answer = || -> Fallible<Owned> {
        let (moment, entered) = match place_of(object(task))? {
            Some((state, member)) => {
                let tree = state.tree.borrow();
                (tree.moment(), tree.entered(member))
            }
            // It has entered nothing yet; the loop may have.
            None => (LoopState::current(py)?.tree.borrow().moment(), Vec::new()),
        };
        let entered: Vec<Owned> =
            entered.into_iter().map(|moment| int(py, moment.into())).collect::<Result<_, _>>()?;
        let entered = list(py, entered.iter().map(|moment| &**moment))?;
        tuple(py, &[&*int(py, moment.into())?, &*entered])
    };
    bound(py, answer())
}

/// An answer for PyO3, whose own conversions panic where memory is short.
fn bound(py: Python<'_>, answer: Fallible<Owned>) -> PyResult<Bound<'_, PyAny>> {
    answer.map(|answer| answer.into_bound(py)).map_err(|raised| fetch(py, raised))
}

/// Puts the functions into the module.
pub(crate) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(is_cancelled, module)?)?;
    module.add_function(wrap_pyfunction!(parent_of, module)?)?;
    module.add_function(wrap_pyfunction!(entered_by, module)?)?;
    module.add_function(wrap_pyfunction!(parent_task, module)?)
}
