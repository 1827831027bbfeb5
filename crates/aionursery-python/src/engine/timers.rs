//! One loop timer for all of ours: deadlines, budgets and sleeps stand in the tree's heap, and the
//! loop is asked to call back at its head. It must never fire early, and never poll.

use pyo3::ffi;

use super::hooks::hooks;
use crate::cpython::imports::{is_closed, names};
use crate::cpython::object::{Aside, Fallible, Owned, call_method, method0, optional, raise};
use crate::engine::link::Link;
use crate::engine::state::LoopState;

/// Sees to it that the loop calls back no later than the next alarm. A call that comes too early,
/// because what it was for is gone, finds nothing to do: most deadlines never pass, and leaving one
/// costs no call into the loop.
#[inline]
pub unsafe fn arm(state: &LoopState) {
    let next = state.tree.borrow().next_alarm();
    if let Some(next) = next
        && next < state.timers.at.get()
    {
        // SAFETY: attached.
        unsafe { arm_at(state, next) };
    }
}

#[cold]
unsafe fn arm_at(state: &LoopState, when: f64) {
    // SAFETY: attached; an exception on its way is put aside.
    unsafe {
        let _aside = Aside::new();
        let call = || -> Fallible<()> {
            if let Some(handle) = state.timers.handle() {
                method0(handle.as_ptr(), names().cancel)?;
            }
            let callback = match state.timers.callback.cloned() {
                Some(callback) => callback,
                None => {
                    let made = Link::bind(&state.address, hooks().fire)?;
                    state.timers.callback.set(made.clone());
                    made
                }
            };
            let moment = Owned::new(ffi::PyFloat_FromDouble(when))?;
            let mut args = [std::ptr::null_mut(), moment.as_ptr(), callback.as_ptr()];
            let event_loop = state.event_loop.get();
            let handle = call_method(event_loop, names().call_at, &mut args, std::ptr::null_mut())?;
            state.timers.keep(handle);
            state.timers.at.set(when);
            Ok(())
        };
        if let Err(raised) = call() {
            let error = raised.take();
            // A loop that cannot say whether it is closed counts as open.
            if optional(is_closed(state.event_loop.get())).unwrap_or(false) {
                // Nothing happens on a closed loop any more.
                return;
            }
            let text = "A deadline could not be scheduled";
            state.report_failure(text, raise(error), std::ptr::null_mut());
        }
    }
}
