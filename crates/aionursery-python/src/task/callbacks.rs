//! Who is to be told of a task's end: callbacks, which the loop calls, and tasks of ours that await
//! it, which go straight to the ready queue. In the order in which they came.

use super::data::{self, TaskData};
use super::watchers::Watcher;
use crate::cpython::imports::{imports, names};
use crate::cpython::object::{Fallible, Owned, Raw, call_method};
use crate::engine::state::LoopState;

/// Adds a watcher to a task that has not ended.
pub fn add(task: &TaskData, watcher: Watcher) {
    task.watchers.borrow_mut().get_or_insert_default().list.push(watcher);
}

/// Takes the callbacks out for which `matches` says yes, and says how many. What it raises is
/// passed on; the list is then as it was.
pub unsafe fn remove(
    task: &TaskData,
    mut matches: impl FnMut(Raw) -> Fallible<bool>,
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
        if matches(callback.as_ptr())? {
            gone.push(callback.as_ptr());
        }
    }
    let removed: Vec<Watcher> = match task.watchers.borrow_mut().as_deref_mut() {
        Some(watchers) => watchers
            .list
            .extract_if(.., |watcher| match watcher {
                Watcher::Callback(function, _) => gone.contains(&function.as_ptr()),
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
pub unsafe fn tell(state: &LoopState, task: Raw) {
    // SAFETY: the caller keeps the task alive.
    unsafe {
        let Some(watchers) = data::data(task).watchers.take() else {
            return;
        };
        for watcher in watchers.list {
            match watcher {
                Watcher::Joiner(joiner) => {
                    if data::data(joiner.as_ptr()).waiting.get() == task {
                        super::wake::wake(state, joiner);
                    }
                }
                Watcher::Callback(function, context) => {
                    if let Err(raised) = call_soon(state, &function, task, &context) {
                        let text = "A callback of a task that has ended could not be scheduled";
                        state.report_failure(text, raised, task);
                    }
                }
            }
        }
    }
}

/// `loop.call_soon(function, arg, context=context)`.
pub unsafe fn call_soon(
    state: &LoopState,
    function: &Owned,
    arg: Raw,
    context: &Owned,
) -> Fallible<()> {
    // SAFETY: the caller's objects are alive.
    unsafe {
        let mut args = [std::ptr::null_mut(), function.as_ptr(), arg, context.as_ptr()];
        let call = names().call_soon;
        call_method(state.event_loop.get(), call, &mut args, imports().kw_context).map(drop)
    }
}
