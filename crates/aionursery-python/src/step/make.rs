//! A new task's first step where it is taken at once, and where a task was made. It must never decide
//! when a nursery's children start.

use super::step;
use crate::cpython::call::{call0, enter_context, exit_context};
use crate::cpython::errors::{Aside, Fallible};
use crate::cpython::imports::imports;
use crate::cpython::owned::none;
use crate::engine::state::LoopState;
use crate::task::{Task, flag};

/// In debug mode a task remembers where it was made.
pub(crate) fn trace_source(task: &Task) -> Fallible<()> {
    let traceback = call0(imports(task.py()).parts.extract_stack)?;
    drop(task.data().with_rare(|rare| rare.source_traceback.replace(Some(traceback))));
    Ok(())
}

/// Takes a new task's first step at once, inside the step that made it.
pub(crate) fn start_eagerly(state: &LoopState, task: &Task) -> Fallible<()> {
    let py = task.py();
    let context = task.data().context().cloned().unwrap_or_else(|| none(py));
    enter_context(&context)?;
    let _outside = state.ready.outside_batch();
    let result = step::step(state, task, false);
    let aside = Aside::of(py, &result);
    exit_context(&context);
    drop(aside);
    if task.data().has(flag::DONE) {
        // As asyncio has it: such a task was never seen suspended, so nothing asks for its
        // coroutine, and it is let go at once.
        task.data().coroutine().clear();
    }
    result
}
