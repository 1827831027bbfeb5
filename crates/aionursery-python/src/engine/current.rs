//! The current task, as asyncio sees it. It must never choose it.

use crate::cpython::containers::{dict_delete, dict_get, dict_set};
use crate::cpython::errors::{Aside, Fallible};
use crate::cpython::imports::imports;
use crate::cpython::object::{Object, none_ref};
use crate::cpython::owned::Owned;
use crate::engine::state::LoopState;

/// Makes a task the current one of its loop; gives back the one that was.
#[inline]
pub(crate) fn enter(state: &LoopState, task: &Object) -> Fallible<Option<Owned>> {
    let event_loop = state.event_loop();
    let Some(tasks) = imports(state.py()).current_tasks else {
        let before = swap_current(&event_loop, task)?;
        return Ok(if before.is_none() { None } else { Some(before) });
    };
    let before = dict_get(tasks, &event_loop)?;
    dict_set(tasks, &event_loop, task)?;
    Ok(before)
}

/// Makes a task the current one in place of the last one of this drain.
#[inline]
pub(crate) fn overwrite(state: &LoopState, task: &Object) -> Fallible<()> {
    let event_loop = state.event_loop();
    match imports(state.py()).current_tasks {
        Some(tasks) => dict_set(tasks, &event_loop, task),
        None => swap_current(&event_loop, task).map(drop),
    }
}

/// Makes the task that was current before the current one again.
pub(crate) fn restore(state: &LoopState, before: Option<Owned>) {
    let py = state.py();
    let event_loop = state.event_loop();
    // A failure cannot be passed on from here.
    let _ = match (imports(py).current_tasks, before) {
        (None, before) => {
            let before = before.as_deref().unwrap_or_else(|| none_ref(py));
            swap_current(&event_loop, before).map(drop)
        }
        (Some(tasks), Some(before)) => dict_set(tasks, &event_loop, &before),
        (Some(tasks), None) => dict_delete(tasks, &event_loop),
    };
}

fn swap_current(event_loop: &Object, task: &Object) -> Fallible<Owned> {
    let swap = imports(task.py()).swap_current_task.as_ref();
    swap.expect("a CPython without the dict has it").call([event_loop, task])
}

/// The end of a drain: no task is current any more. Between the steps of one drain the last
/// task stays in place: the next step overwrites it, and nothing of the program's runs between.
#[inline]
pub(crate) fn leave(state: &LoopState) {
    if state.lingering.take() {
        let _aside = Aside::new(state.py());
        restore(state, None);
    }
}
