//! A step as a function that a loop calls. It must never be called out of the task's context.

use super::step::step;
use crate::cpython::call::call_method_with;
use crate::cpython::called::method;
use crate::cpython::errors::Fallible;
use crate::cpython::function::Method;
use crate::cpython::imports::imports;
use crate::cpython::object::Object;
use crate::cpython::owned::{Owned, none};
use crate::cpython::thread::thread_mark;
use crate::engine::state::LoopState;
use crate::task::{Task, flag};

static STEP: Method<Task> = method!(no_args Task, c"step", bound_step);

/// A task's step, for a loop to call in the task's context.
fn bound_step(task: &Task) -> Fallible<Owned> {
    step_from_loop(task).map(|()| none(task.py()))
}

/// A step that the loop asks for, in the task's context.
pub(crate) fn step_from_loop(task: &Object) -> Fallible<()> {
    let Some(task) = task.cast::<Task>() else { return Ok(()) };
    let ours = task.data();
    let Some(state) = ours.home.cloned() else { return Ok(()) };
    if ours.has(flag::DONE | flag::RUNNING) {
        return Ok(());
    }
    let _outside = state.ready.outside_batch();
    state.thread.set(thread_mark());
    step(&state, task, false)?;
    state.check_interrupt()
}

/// In debug mode every step is a handle of its own, so that the loop can say which one was slow.
#[cold]
pub(crate) fn step_alone(state: &LoopState, task: Owned) -> Fallible<()> {
    let imports = imports(state.py());
    let Ok(task) = task.cast::<Task>() else { return Ok(()) };
    let step = STEP.bind(&task)?;
    let context = task.data().context().cloned().unwrap_or_else(|| none(state.py()));
    let args = [&*step, &*context];
    let call = imports.names.call_soon;
    call_method_with(&state.event_loop(), call, args, imports.kw_context).map(drop)
}
