//! What a future or a task of any kind says of itself. It must never change one.

use super::imports::{imports, names};
use super::object::{Fallible, Raw, call0, getattr_opt, method0, truth};

/// Whether a future has ended.
pub unsafe fn is_done(future: Raw) -> Fallible<bool> {
    // SAFETY: attached; the caller's object is alive.
    unsafe {
        let imports = imports();
        if imports.futures.as_ref().is_some_and(|futures| futures.made(future)) {
            return truth(&imports.done.call_on(future)?);
        }
        truth(&method0(future, names().done)?)
    }
}

/// Whether a task's coroutine runs just now, of whatever kind the task is.
pub unsafe fn is_running(task: Raw) -> Fallible<bool> {
    // SAFETY: the caller's task is alive.
    unsafe {
        let Some(get_coro) = getattr_opt(task, names().get_coro)? else {
            return Ok(false);
        };
        let coroutine = call0(get_coro.as_ptr())?;
        match getattr_opt(coroutine.as_ptr(), names().cr_running)? {
            Some(running) => truth(&running),
            None => Ok(false),
        }
    }
}
