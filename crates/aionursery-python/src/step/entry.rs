//! A step as a function that a loop calls. It must never be called out of the task's context.

use super::step::step;
use crate::cpython::function::Method;
use crate::cpython::guard::guard;
use crate::cpython::imports::{imports, names};
use crate::cpython::object::{Fallible, Owned, Raw, call_method, none};
use crate::cpython::thread::thread_mark;
use crate::engine::state::LoopState;
use crate::task::{self, data, flag};

static STEP: Method = Method::no_args(c"step", bound_step_call);

/// A task's step as a function, for a loop to call in the task's context.
unsafe fn bound_step(task: Raw) -> Fallible<Owned> {
    // SAFETY: the caller's task is alive.
    unsafe { STEP.bind(task) }
}

unsafe extern "C" fn bound_step_call(task: Raw, _: Raw) -> Raw {
    // SAFETY: bound to a task, which the call keeps alive; the loop has entered its context.
    unsafe { step_from_loop(task) }
}

/// A step that the loop asks for, in the task's context.
pub unsafe fn step_from_loop(task: Raw) -> Raw {
    // SAFETY: as above.
    unsafe {
        guard(std::ptr::null_mut(), |_| {
            let ours = data(task);
            let Some(home) = ours.home.cloned() else {
                return none().into_ptr();
            };
            let state = &*home;
            if ours.has(flag::DONE | flag::RUNNING) {
                return none().into_ptr();
            }
            let _outside = state.ready.outside_batch();
            state.thread.set(thread_mark());
            let stepped = step(state, &Owned::share(task), false);
            match stepped.and_then(|()| state.check_interrupt()) {
                Ok(()) => none().into_ptr(),
                Err(raised) => raised.null(),
            }
        })
    }
}

/// In debug mode every step is a handle of its own, so that the loop can say which one was slow.
#[cold]
pub unsafe fn step_alone(state: &LoopState, task: Owned) -> Fallible<()> {
    // SAFETY: attached.
    unsafe {
        let step = bound_step(task.as_ptr())?;
        let mut args = [std::ptr::null_mut(), step.as_ptr(), task::context(task.as_ptr())];
        call_method(state.event_loop.get(), names().call_soon, &mut args, imports().kw_context)?;
        Ok(())
    }
}
