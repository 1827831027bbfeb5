//! Which blocks shield a task, for the part that finds out what asks it to cancel. It must never run code of the
//! program's.

use pyo3::prelude::*;

use super::Nursery;
use crate::cpython::object::object;
use crate::hosts;
use crate::scope::CancelScope;

/// Whether a task has entered this scope or nursery, and that holds a bare cancellation back (R20).
#[pyfunction]
#[pyo3(signature = (block, task, /))]
fn shields(block: &Bound<'_, PyAny>, task: &Bound<'_, PyAny>) -> bool {
    let place = if let Ok(nursery) = block.cast::<Nursery>() {
        let place = nursery.get().place();
        place.map(|(state, id)| {
            let scope = state.tree.borrow().scope(id);
            (state, scope)
        })
    } else if let Ok(scope) = block.cast::<CancelScope>() {
        scope.get().place_in_tree()
    } else {
        None
    };
    let Some((state, scope)) = place else { return false };
    hosts::find_member(&state, object(task))
        .is_some_and(|member| state.tree.borrow().shields(scope, member))
}

/// Puts the function into the module.
pub(crate) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(shields, module)?)
}
