//! Which thread may change what belongs to a loop: the one that runs it, or any while none does.
//! From another one a cancellation would act when the loop happens to wake, if it ever does, so it
//! is refused, always, where asyncio's debug mode does it. It must never refuse the loop's own thread,
//! even where that runs another loop meanwhile.

use crate::cpython::call::{getattr_opt, is_this_thread, method0, truth_of};
use crate::cpython::errors::{Fallible, exc, optional, set_error_text};
use crate::cpython::imports::{imports, names};
use crate::cpython::thread::thread_mark;
use crate::engine::state::LoopState;

/// Raises if another thread runs the loop. `what` was used; `instead` is what to hand over.
#[inline]
pub(crate) fn check(state: &LoopState, what: &str, instead: &str) -> Fallible<()> {
    // In a step of ours the loop runs in the thread that has come into it last.
    if state.thread.get() == thread_mark() && state.running.get() != 0 {
        return Ok(());
    }
    look(state, what, instead)
}

fn look(state: &LoopState, what: &str, instead: &str) -> Fallible<()> {
    let py = state.py();
    let event_loop = state.event_loop();
    if imports(py).peek_running_loop.call()?.is(&event_loop) {
        return Ok(());
    }
    let running = truth_of(method0(&event_loop, names(py).is_running));
    if !optional(running).unwrap_or(false) {
        return Ok(());
    }
    // The loop may run in this thread, and another one inside it.
    let thread = optional(getattr_opt(&event_loop, names(py).thread_id)).flatten();
    let here = thread.and_then(|thread| is_this_thread(&thread));
    if here.unwrap_or_else(|| state.thread.get() == thread_mark()) {
        return Ok(());
    }
    let text = format!(
        "{what} was used from another thread than the one that runs the loop it belongs to; use \
         loop.call_soon_threadsafe({instead}) instead"
    );
    Err(set_error_text(exc::runtime_error(py), &text))
}
