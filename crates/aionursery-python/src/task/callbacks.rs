//! What is told of a task's end: callbacks, which the loop calls, and tasks of ours that await
//! it, which go straight to the ready queue. In the order in which they came. It must
//! never run one itself.

use nursery_core::MemberId;

use super::data::{Task, TaskData};
use super::waiters::{self, Waiter, Waiters};
use crate::cpython::call::call_method_with;
use crate::cpython::errors::Fallible;
use crate::cpython::imports::imports;
use crate::cpython::object::Object;
use crate::cpython::owned::Owned;
use crate::engine::state::LoopState;

/// Adds what waits for a task that has not ended.
pub(crate) fn add(task: &TaskData, waiter: Waiter<Task>) {
    task.waiters.borrow_mut().push(waiter);
}

/// Takes the callbacks out that equal `function`, and returns how many. What an `__eq__` raises is
/// passed on; the list is then as it was.
pub(crate) fn remove(task: &TaskData, function: &Object) -> Fallible<usize> {
    let callbacks = waiters::callbacks(task.waiters.borrow().all());
    let found = waiters::equal(&callbacks, function)?;
    let removed = task.waiters.borrow_mut().take(&found);
    Ok(removed.len())
}

/// Takes out just this function, which is nothing of the program's.
pub(crate) fn take_out(task: &TaskData, function: &Object) {
    let gone = task.waiters.borrow_mut().take(&[function.address()]);
    drop(gone);
}

/// Takes out a task of ours that waits for a task no more.
pub(crate) fn withdraw(task: &TaskData, waiting: &Task) {
    let gone = task.waiters.borrow_mut().take_tasks(waiting.address());
    drop(gone);
}

/// Wakes what waits for a task that has ended. `child`: its place in a nursery's; the end of another
/// wakes nothing else.
#[inline]
pub(crate) fn notify(state: &LoopState, task: &Task, child: Option<MemberId>) {
    match task.data().take_waiters() {
        None | Some(Waiters::None) => {}
        Some(Waiters::One(Waiter::Task(waiting))) if child.is_none() => {
            if waiting.data().waiting.holds(task) {
                super::wake::wake_alone(state, waiting);
            }
        }
        Some(Waiters::One(only)) => tell(state, task, child, only),
        Some(Waiters::Many(all)) => {
            all.into_iter().for_each(|waiter| tell(state, task, child, waiter));
        }
    }
}

fn tell(state: &LoopState, task: &Task, child: Option<MemberId>, waiter: Waiter<Task>) {
    match waiter {
        Waiter::Task(waiting) => {
            if waiting.data().waiting.holds(task) {
                super::wake::wake(state, waiting);
            }
        }
        Waiter::Callback(function, context) => match call_soon(state, &function, task, &context) {
            Ok(handle) => {
                let nursery = child.and_then(|child| state.tree.borrow().nursery_of(child));
                if let Some(nursery) = nursery {
                    state.called.note(nursery, &handle);
                }
            }
            Err(raised) => {
                let text = "A callback of a task that has ended could not be scheduled";
                state.report_failure(text, raised, Some(task));
            }
        },
    }
}

/// `loop.call_soon(function, arg, context=context)`, which answers a handle.
pub(crate) fn call_soon(
    state: &LoopState,
    function: &Object,
    arg: &Object,
    context: &Object,
) -> Fallible<Owned> {
    let imports = imports(state.py());
    let args = [function, arg, context];
    let call = imports.names.call_soon;
    call_method_with(&state.event_loop(), call, args, imports.kw_context)
}
