//! A new task's first step where it is taken at once, and where a task was made. It must never decide
//! when a nursery's children start.

use pyo3::ffi;

use super::step;
use crate::cpython::imports::imports;
use crate::cpython::object::{Aside, Fallible, Owned, Raw, call0, checked};
use crate::engine::state::LoopState;
use crate::task::{TaskData, data, flag};

/// In debug mode a task remembers where it was made.
pub unsafe fn trace_source(ours: &TaskData) -> Fallible<()> {
    // SAFETY: attached.
    unsafe {
        let traceback = call0(imports().parts.extract_stack)?;
        drop(ours.with_rare(|rare| rare.source_traceback.replace(Some(traceback))));
        Ok(())
    }
}

/// Takes a new task's first step at once, inside the step that made it.
pub unsafe fn start_eagerly(state: &LoopState, task: Raw) -> Fallible<()> {
    // SAFETY: attached; the caller's task is alive.
    unsafe {
        let context = data(task).context().get();
        checked(ffi::PyContext_Enter(context))?;
        let _outside = state.ready.outside_batch();
        let result = step::step(state, &Owned::share(task), false);
        let aside = if result.is_err() { Some(Aside::new()) } else { None };
        if ffi::PyContext_Exit(context) < 0 {
            ffi::PyErr_Clear();
        }
        drop(aside);
        if data(task).has(flag::DONE) {
            // As asyncio has it: such a task was never seen suspended, so nothing asks for its
            // coroutine, and it is let go at once.
            data(task).coroutine().clear();
        }
        result
    }
}
