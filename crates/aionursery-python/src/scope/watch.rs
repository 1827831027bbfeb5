//! `CancelScope.on_cancel` in the tree: what is to be called when a cancellation reaches a scope. It must
//! never call anything itself: that is done where cancellations are delivered.

use pyo3::prelude::*;

use super::CancelScope;
use crate::cpython::errors::{fetch, misuse};
use crate::cpython::object::object;
use crate::cpython::owned::Owned;

/// Have `call` called, without arguments, when a cancellation reaches a scope; at once if one does.
///
/// Raises RuntimeError before entry, after the block and from another thread.
#[pyfunction]
fn watch(py: Python<'_>, scope: &Bound<'_, CancelScope>, call: &Bound<'_, PyAny>) -> PyResult<()> {
    let scope = scope.get();
    if let Some((state, id, _)) = scope.place_now(py, "scope.on_cancel", "scope.on_cancel")? {
        // What comes at once must come for a deadline that the program has computed past, too.
        scope.look_at_deadline(&state, id);
        // That may have run anything.
        if scope.id.get() == Some(id) {
            let call = Owned::share(object(call));
            state.change(|tree, out| tree.watch(id, call, out));
            return Ok(());
        }
    }
    let text = if scope.block.is_new() {
        "this CancelScope is not entered yet; call on_cancel() inside the block"
    } else {
        "this CancelScope was left; nothing cancels it any more"
    };
    Err(fetch(py, misuse(py, text)))
}

/// Have `call` not called any more; return whether it still would have been.
///
/// Raises RuntimeError from another thread.
#[pyfunction]
fn unwatch(scope: &Bound<'_, CancelScope>, call: &Bound<'_, PyAny>) -> PyResult<bool> {
    let place = scope.get().place("on_cancel's function", "remove")?;
    let Some((state, id)) = place else { return Ok(false) };
    let is_it = |watch: &Owned| watch.is(object(call));
    // What comes back is dropped once the tree is free again.
    let found = state.tree.touch(|tree| tree.unwatch(id, is_it));
    Ok(found.is_some())
}

/// Puts the functions into the module.
pub(crate) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(watch, module)?)?;
    module.add_function(wrap_pyfunction!(unwatch, module)?)
}
