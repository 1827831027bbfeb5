//! What is told of a task's end: callbacks, which the loop calls, and tasks of ours that await
//! it, which go straight to the ready queue. In the order in which they came.

use super::data::{Task, TaskData};
use super::watchers::Watcher;
use crate::cpython::call::call_method_with;
use crate::cpython::errors::Fallible;
use crate::cpython::imports::imports;
use crate::cpython::object::Object;
use crate::cpython::owned::Owned;
use crate::engine::state::LoopState;

/// Adds a watcher to a task that has not ended.
pub(crate) fn add(task: &TaskData, watcher: Watcher<Task>) {
    task.watchers.borrow_mut().get_or_insert_default().list.push(watcher);
}

/// Takes the callbacks out for which `matches` is true, and returns how many. What it raises is
/// passed on; the list is then as it was.
pub(crate) fn remove(
    task: &TaskData,
    mut matches: impl FnMut(&Object) -> Fallible<bool>,
) -> Fallible<usize> {
    // A callback's `__eq__` may do anything, so it runs on a copy, and what it says is applied to
    // whatever the list is by then.
    let callbacks: Vec<Owned> = match task.watchers.borrow().as_deref() {
        Some(watchers) => watchers
            .list
            .iter()
            .filter_map(|watcher| match watcher {
                Watcher::Callback(function, _) => Some(function.clone()),
                Watcher::Joiner(_) => None,
            })
            .collect(),
        None => return Ok(0),
    };
    let mut gone = Vec::new();
    for callback in &callbacks {
        if matches(callback)? {
            gone.push(callback.address());
        }
    }
    let removed: Vec<Watcher<Task>> = match task.watchers.borrow_mut().as_deref_mut() {
        Some(watchers) => watchers
            .list
            .extract_if(.., |watcher| match watcher {
                Watcher::Callback(function, _) => gone.contains(&function.address()),
                Watcher::Joiner(_) => false,
            })
            .collect(),
        None => return Ok(0),
    };
    let count = removed.len();
    drop(removed);
    Ok(count)
}

/// Tells everybody that a task has ended.
#[inline]
pub(crate) fn tell(state: &LoopState, task: &Task) {
    let Some(watchers) = task.data().watchers.take() else {
        return;
    };
    for watcher in watchers.list {
        match watcher {
            Watcher::Joiner(joiner) => {
                if joiner.data().waiting.holds(task) {
                    super::wake::wake(state, joiner);
                }
            }
            Watcher::Callback(function, context) => {
                if let Err(raised) = call_soon(state, &function, task, &context) {
                    let text = "A callback of a task that has ended could not be scheduled";
                    state.report_failure(text, raised, Some(task));
                }
            }
        }
    }
}

/// `loop.call_soon(function, arg, context=context)`.
pub(crate) fn call_soon(
    state: &LoopState,
    function: &Object,
    arg: &Object,
    context: &Object,
) -> Fallible<()> {
    let imports = imports(state.py());
    let args = [function, arg, context];
    let call = imports.names.call_soon;
    call_method_with(&state.event_loop(), call, args, imports.kw_context).map(drop)
}
