//! Children that are another nursery's until they say that they are ready (R24): what the Python part
//! of `Nursery.start` needs of the tree. It must never start a child.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::cpython::errors::fetch;
use crate::cpython::imports::imports;
use crate::cpython::object::{Owned, set_error_text};
use crate::nursery::Nursery;
use crate::task;
use crate::wait;

/// Keep a nursery from closing until `unreserve` is called: a child is to come.
///
/// Raises RuntimeError before entry and from another thread, NurseryClosed once the block has ended.
#[pyfunction]
fn reserve(py: Python<'_>, nursery: &Bound<'_, Nursery>) -> PyResult<()> {
    let this = nursery.get();
    // SAFETY: attached.
    unsafe {
        let (state, id) = this.admit().map_err(|raised| fetch(py, raised))?;
        if state.tree.touch(|tree| tree.reserve(id)).is_err() {
            let text = "this nursery is closed: no child can be started in it any more";
            return Err(fetch(py, set_error_text(imports().parts.closed, text)));
        }
        Ok(())
    }
}

/// Let a nursery close again.
#[pyfunction]
fn unreserve(nursery: &Bound<'_, Nursery>) {
    let Some((state, id)) = nursery.get().place() else {
        return;
    };
    // SAFETY: attached.
    unsafe {
        let now = state.now_or_zero();
        if let Some(closed) = state.change(|tree, out| tree.unreserve(id, now, out)) {
            wait::wake_joiner(&state, closed);
        }
    }
}

/// Make a child of one nursery another's, unless the first is cancelled or the child has ended.
#[pyfunction]
fn move_child(
    child: &Bound<'_, PyAny>,
    from: &Bound<'_, Nursery>,
    to: &Bound<'_, Nursery>,
) -> PyResult<bool> {
    let (Some((state, old)), Some((_, new))) = (from.get().place(), to.get().place()) else {
        return Ok(false);
    };
    if !from.get().is_here() {
        return Err(PyRuntimeError::new_err(
            "task_status.started() was called from another thread than the child's; use \
             loop.call_soon_threadsafe(task_status.started, value)",
        ));
    }
    // SAFETY: attached.
    unsafe {
        // It is kept alive while what it awaits may be told.
        let child = Owned::share(child.as_ptr());
        let Some(member) = task::data(child.as_ptr()).member.get() else {
            return Ok(false);
        };
        if state.tree.borrow().is_scope_cancelled(old) {
            return Ok(false);
        }
        let now = state.now_or_zero();
        let moved = state.change(|tree, out| tree.move_child(member, new, now, out));
        match moved {
            Ok(closed) => {
                if let Some(closed) = closed {
                    wait::wake_joiner(&state, closed);
                }
                Ok(true)
            }
            Err(nursery_core::Closed) => Ok(false),
        }
    }
}

/// Have a nursery's own cancellation act as asyncio's groups do it: as `Task.cancel()`, once.
#[pyfunction]
fn act_as_task_group(nursery: &Bound<'_, Nursery>) {
    nursery.get().act_as_task_group();
}

/// Puts the functions into the module.
pub fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(reserve, module)?)?;
    module.add_function(wrap_pyfunction!(unreserve, module)?)?;
    module.add_function(wrap_pyfunction!(move_child, module)?)?;
    module.add_function(wrap_pyfunction!(act_as_task_group, module)?)
}
