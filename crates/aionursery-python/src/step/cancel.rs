//! How a task is cancelled, by the program and by the tree, and the `CancelledError` that it gets. It
//! must never take a step: what is to be thrown waits for the next one.

use nursery_core::{Ask, At, Cause, Inbox, Source};

use crate::cpython::call::{call_method_with, call1, instantiate, set_attr, truth_of};
use crate::cpython::errors::{Aside, Fallible, Raised, exc, optional, set_error_text, string};
use crate::cpython::imports::imports;
use crate::cpython::object::{Object, none_ref};
use crate::cpython::owned::Owned;
use crate::engine::ready;
use crate::engine::state::LoopState;
use crate::engine::words::source_name;
use crate::task::{
    Task, TaskData, callbacks, cancelled_error, find_member, flag, is_shielded, wake,
};
use crate::wait::{self, WaitObject};
use pyo3::prelude::*;

/// On whose account the wait of a task is cancelled.
pub(super) enum By<'a> {
    /// The program's `Task.cancel()`: as asyncio has it, what the task waits for brings the
    /// `CancelledError`.
    Request,
    /// A scope's cancellation, with its reason: the step throws.
    Scope(Option<&'a Object>),
}

/// The tree has cancelled a task, and its inbox knows: what it waits for is cancelled, its next step throws.
/// What has come between, a step or a delivery, has changed the inbox.
pub(crate) fn reach(state: &LoopState, task: &Task, reason: Option<&Object>) {
    let ours = task.data();
    if ours.has(flag::SCHEDULED) {
        ready::insist(state);
    }
    let idle = !ours.has(flag::DONE | flag::RUNNING | flag::SCHEDULED | flag::JOINING);
    if idle && ours.inbox.get().is_told() && !ours.waiting.is_empty() {
        cancel_wait(state, task, By::Scope(reason));
    }
}

/// Cancels what a task waits for. Returns whether that brings the `CancelledError`.
pub(super) fn cancel_wait(state: &LoopState, task: &Task, by: By<'_>) -> bool {
    let py = task.py();
    let ours = task.data();
    let Some(what) = ours.waiting.cloned() else {
        return false;
    };
    let by_scope = matches!(by, By::Scope(_));
    if let Some(waiting) = what.object().cast::<WaitObject>() {
        // Nothing of the program's has to hear of it: the step throws.
        if wait::withdraw(waiting, task) {
            if by_scope {
                ours.change_inbox(Inbox::cut);
            }
            wake(state, Owned::share(task));
        }
        return false;
    }
    if outlasts(state, &what, ours) {
        // It goes on, and this one without it, as `asyncio.shield` has it.
        if let Some(awaited) = what.object().cast::<Task>() {
            callbacks::withdraw(awaited.data(), task);
        }
        ours.set_incoming(cancelled_error(task));
        if by_scope {
            ours.change_inbox(Inbox::cut);
        }
        wake(state, Owned::share(task));
        return false;
    }
    if by_scope && what.object().cast::<Task>().is_some_and(is_reached) {
        // The same cancellation, or one farther out, ends it.
        return true;
    }
    let message = match by {
        By::Request => ours.cancel_message.cloned(),
        By::Scope(reason) => reason.map(Owned::share),
    };
    match cancel_awaited(&what, message.as_deref().unwrap_or_else(|| none_ref(py))) {
        Ok(accepted) => {
            if accepted && by_scope {
                ours.change_inbox(Inbox::cut);
            }
            accepted
        }
        Err(raised) => {
            let text = "Cancelling what a task waits for has failed";
            state.report_failure(text, raised, Some(task));
            false
        }
    }
}

/// Whether a scope's cancellation reaches a task by itself.
fn is_reached(task: &Task) -> bool {
    let ours = task.data();
    match (ours.state(), ours.member.get()) {
        (Some(state), Some(member)) => state.tree.borrow().is_cancelled(member),
        _ => false,
    }
}

/// Whether what a task awaits is a task that does not end on account of its cancellation.
fn outlasts(state: &LoopState, what: &Object, ours: &TaskData) -> bool {
    let awaited = find_member(state, what);
    awaited.is_some_and(|awaited| state.tree.borrow().outlasts(awaited, ours.member.get()))
}

/// `what.cancel(msg=message)`.
fn cancel_awaited(what: &Object, message: &Object) -> Fallible<bool> {
    let imports = imports(what.py());
    truth_of(call_method_with(what, imports.names.cancel, [message], imports.kw_msg))
}

/// `Task.cancel(msg)`. A task that awaits another hands it on to that one, and so on along the
/// chain. Raises RecursionError if that is a circle, as asyncio's tasks do: none of them would end by it.
pub(crate) fn cancel(task: &Task, message: Option<Owned>) -> Fallible<bool> {
    let ours = task.data();
    ours.lower_flags(flag::LOG_TRACEBACK);
    if ours.has(flag::DONE) || !ours.home.is_some() {
        return Ok(false);
    }
    let mut at = Owned::share(task);
    // One that the walk has come by, which follows it in ever longer steps: in a circle the walk comes back to it.
    let mut seen = at.clone();
    for steps in 1_usize.. {
        let Some(awaited) = cancel_one(&at, &message)? else { break };
        let next = awaited.data();
        next.lower_flags(flag::LOG_TRACEBACK);
        let circle = awaited.is(&seen);
        let alive = !next.has(flag::DONE) && next.home.is_some();
        at.data().change_inbox(|inbox| inbox.handed_on(alive && !circle));
        if circle {
            let text = "tasks that await each other in a circle do not end by a cancellation; await one of \
                        them by 'asyncio.shield' or with a timeout";
            return Err(set_error_text(exc::recursion_error(task.py()), text));
        }
        if !alive {
            break;
        }
        if steps.is_power_of_two() {
            seen = awaited.clone();
        }
        at = awaited;
    }
    Ok(true)
}

/// Asks one task to cancel. Returns the task of ours to which it is to be handed on.
fn cancel_one(task: &Task, message: &Option<Owned>) -> Fallible<Option<Owned<Task>>> {
    let ours = task.data();
    let Some(state) = ours.home.cloned() else {
        return Ok(None);
    };
    if !ours.inbox.get().is_answered() || takes_last(ours) {
        drop(ours.cancel_message.replace(message.clone()));
    }
    if ours.has(flag::SCHEDULED) {
        ready::insist(&state);
    }
    let waiting = ours.waiting.cloned();
    let at = match &waiting {
        _ if ours.has(flag::JOINING) => At::Join,
        Some(what) if !ours.has(flag::SCHEDULED) => {
            if wait::is_wait(what) || outlasts(&state, what, ours) {
                At::OwnWait
            } else {
                At::Awaited
            }
        }
        _ => At::Step,
    };
    let shielded = is_shielded(&state, ours);
    // Python code finds out where the request comes from, so it runs before the inbox changes.
    let inside = shielded && is_asked_from_inside(task);
    match (ours.change_inbox(|inbox| inbox.ask(at, shielded, || inside)), waiting) {
        (Ask::Join, Some(join)) => {
            if let Ok(join) = join.cast::<WaitObject>() {
                wait::host_cancelled(&state, &join);
            }
        }
        (Ask::Cut, Some(_)) => {
            cancel_wait(&state, task, By::Request);
        }
        (Ask::HandOn, Some(what)) => {
            if let Some(next) = what.object().cast::<Task>().filter(|next| next.is_exact()) {
                return Ok(Some(Owned::share(next)));
            }
            let message = message.as_deref().unwrap_or_else(|| none_ref(task.py()));
            let accepted = cancel_awaited(&what, message);
            let answer = matches!(accepted, Ok(true));
            ours.change_inbox(|inbox| inbox.handed_on(answer));
            accepted?;
        }
        _ => {}
    }
    Ok(None)
}

/// Whether what a task waits for takes the message of a cancellation that comes after others.
#[cold]
fn takes_last(task: &TaskData) -> bool {
    let waiting = task.waiting.cloned().and_then(|what| what.cast::<WaitObject>().ok());
    waiting.is_some_and(|wait| wait.takes_last())
}

/// Whether a block that a shielded task has entered inside the shield asks it to cancel. An error is
/// taken back.
#[cold]
fn is_asked_from_inside(task: &Task) -> bool {
    let py = task.py();
    let _aside = Aside::new(py);
    optional(truth_of(call1(imports(py).parts.asked_from_inside, task))).unwrap_or(false)
}

/// The `CancelledError` for a scope's cancellation: it says which, and why (R11).
pub(crate) fn cancelled_for(py: Python<'_>, cause: &Cause<Owned>) -> Owned {
    make_cancelled(py, cause.source, cause.reason.as_ref()).unwrap_or_else(Raised::take)
}

/// `Cancelled(reason, source)`, for as many tasks as there are: the class is not called, and what it
/// says by itself is not set.
fn make_cancelled(py: Python<'_>, source: Source, reason: Option<&Owned>) -> Fallible<Owned> {
    let imports = imports(py);
    let reason = reason.filter(|reason| !reason.is_none());
    let words = match (reason, source) {
        (Some(reason), _) => Some(reason.clone()),
        (None, Source::Deadline) => Some(string(py, "deadline passed")?),
        (None, _) => None,
    };
    let error = match &words {
        Some(words) => instantiate(imports.parts.cancelled, &[words])?,
        None => instantiate(imports.parts.cancelled, &[])?,
    };
    if let Some(reason) = reason {
        set_attr(&error, imports.names.reason, reason)?;
    }
    if source != Source::Explicit {
        set_attr(&error, imports.names.source, &*string(py, source_name(source))?)?;
    }
    Ok(error)
}
