//! What a future or a task of any kind says of itself. It must never change one.

use super::call::{call0, getattr_opt, has_class, method0, truth, truth_of};
use super::errors::Fallible;
use super::imports::{imports, names};
use super::object::Object;

/// Whether a future has ended.
pub(crate) fn is_done(future: &Object) -> Fallible<bool> {
    let imports = imports(future.py());
    let is_asyncios = imports
        .futures
        .as_ref()
        .is_some_and(|futures| futures.made(future) || has_class(future, imports.task_type));
    if is_asyncios {
        return truth_of(imports.done.call_on(future));
    }
    truth_of(method0(future, imports.names.done))
}

/// Whether a task's coroutine runs just now, of whatever kind the task is.
pub(crate) fn is_running(task: &Object) -> Fallible<bool> {
    let names = names(task.py());
    let Some(get_coro) = getattr_opt(task, names.get_coro)? else {
        return Ok(false);
    };
    let coroutine = call0(&get_coro)?;
    match getattr_opt(&coroutine, names.cr_running)? {
        Some(running) => truth(&running),
        None => Ok(false),
    }
}
