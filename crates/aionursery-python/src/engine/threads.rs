//! Which thread may change what belongs to a loop: the one that runs it, or any while none does.
//! From another one a cancellation would act when the loop happens to wake, if it ever does, so it
//! is refused, always, where asyncio's debug mode does it. It must never refuse the loop's own thread,
//! even where that runs another loop meanwhile.

use pyo3::ffi;

use crate::cpython::imports::{imports, names};
use crate::cpython::object::{Fallible, getattr_opt, method0, optional, set_error_text, truth};
use crate::cpython::thread::thread_mark;
use crate::engine::state::LoopState;

/// Raises if another thread runs the loop. `what` was used; `instead` is what to hand over.
#[inline]
pub unsafe fn check(state: &LoopState, what: &str, instead: &str) -> Fallible<()> {
    // In a step of ours the loop runs in the thread that has come into it last.
    if state.thread.get() == thread_mark() && !state.running.get().is_null() {
        return Ok(());
    }
    // SAFETY: attached.
    unsafe { look(state, what, instead) }
}

unsafe fn look(state: &LoopState, what: &str, instead: &str) -> Fallible<()> {
    // SAFETY: attached; the loop is alive.
    unsafe {
        let event_loop = state.event_loop.get();
        if imports().peek_running_loop.call()?.as_ptr() == event_loop {
            return Ok(());
        }
        let running = method0(event_loop, names().is_running);
        if !optional(running.and_then(|running| truth(&running))).unwrap_or(false) {
            return Ok(());
        }
        // The loop may run in this thread, and another one inside it.
        let here = match optional(getattr_opt(event_loop, names().thread_id)).flatten() {
            Some(thread) if ffi::PyLong_CheckExact(thread.as_ptr()) != 0 => {
                let thread = ffi::PyLong_AsUnsignedLongMask(thread.as_ptr());
                thread == ffi::PyThread_get_thread_ident()
            }
            _ => state.thread.get() == thread_mark(),
        };
        if here {
            return Ok(());
        }
        let text = format!(
            "{what} was used from another thread than the one that runs the loop it belongs to; use \
             loop.call_soon_threadsafe({instead}) instead"
        );
        Err(set_error_text(ffi::PyExc_RuntimeError, &text))
    }
}
