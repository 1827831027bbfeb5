//! How a task is cancelled, by the program and by the tree, and the `CancelledError` that it gets. It
//! must never take a step: what is to be thrown waits for the next one.

use nursery_core::{Ask, At, Inbox, MemberId, Source};
use pyo3::ffi;

use crate::cpython::imports::{imports, names};
use crate::cpython::object::{Aside, Fallible, Owned, Raw, call_method, checked, set_error, truth};
use crate::engine::state::LoopState;
use crate::task::data::{TaskData, data, flag, is_exact, is_ours};
use crate::task::is_shielded;
use crate::task::wake;
use crate::wait;

/// The tree has cancelled a task: what it waits for is cancelled, its next step throws.
pub unsafe fn reach(state: &LoopState, task: Raw) {
    // SAFETY: attached; the caller's task is alive.
    unsafe {
        let ours = data(task);
        ours.change_inbox(Inbox::tell);
        let idle = !ours.has(flag::DONE | flag::RUNNING | flag::SCHEDULED | flag::JOINING);
        let pending =
            ours.member.get().is_some_and(|member| state.tree.borrow().is_pending(member));
        if idle && pending && !ours.waiting.is_empty() {
            cancel_wait(state, task, false);
        }
    }
}

/// Cancels what a task waits for. `handed_on` is asyncio's way: what it waits for brings the
/// `CancelledError`. Returns whether it will.
pub(super) unsafe fn cancel_wait(state: &LoopState, task: Raw, handed_on: bool) -> bool {
    // SAFETY: attached; all is kept alive here.
    unsafe {
        let ours = data(task);
        let Some(what) = ours.waiting.cloned() else {
            return false;
        };
        if wait::is_wait(what.as_ptr()) {
            // Nothing of the program's has to hear of it: the step throws.
            if wait::withdraw(what.as_ptr(), task) {
                if !handed_on {
                    ours.change_inbox(Inbox::cut);
                }
                wake(state, Owned::share(task));
            }
            return false;
        }
        if !handed_on && is_ours(what.as_ptr()) && is_reached(what.as_ptr()) {
            // The same cancellation, or one farther out, ends it.
            return true;
        }
        let message = if handed_on { ours.cancel_message.cloned() } else { reason(state, ours) };
        let message = message.as_ref().map_or(ffi::Py_None(), Owned::as_ptr);
        match cancel_awaited(&what, message) {
            Ok(accepted) => {
                if accepted && !handed_on {
                    ours.change_inbox(Inbox::cut);
                }
                accepted
            }
            Err(raised) => {
                state.report_failure("Cancelling what a task waits for has failed", raised, task);
                false
            }
        }
    }
}

/// Whether a scope's cancellation reaches a task by itself.
unsafe fn is_reached(task: Raw) -> bool {
    // SAFETY: the caller's task is alive.
    let ours = unsafe { data(task) };
    match (ours.state(), ours.member.get()) {
        (Some(state), Some(member)) => state.tree.borrow().is_cancelled(member),
        _ => false,
    }
}

/// `what.cancel(msg=message)`.
unsafe fn cancel_awaited(what: &Owned, message: Raw) -> Fallible<bool> {
    // SAFETY: attached; the caller's objects are alive.
    unsafe {
        let mut args = [std::ptr::null_mut(), message];
        truth(&call_method(what.as_ptr(), names().cancel, &mut args, imports().kw_msg)?)
    }
}

/// The words for a scope's cancellation of a task.
unsafe fn reason(state: &LoopState, ours: &TaskData) -> Option<Owned> {
    let member = ours.member.get()?;
    let tree = state.tree.borrow();
    tree.catcher(member)?.1.reason.clone()
}

/// `Task.cancel(msg)`. A task that awaits another hands it on to that one, and so on along the
/// chain.
pub unsafe fn cancel(task: Raw, message: Option<Owned>) -> Fallible<bool> {
    // SAFETY: attached; the caller's task is alive, and each of the chain is kept so.
    unsafe {
        let mut at = Owned::share(task);
        let ours = data(task);
        ours.lower_flags(flag::LOG_TRACEBACK);
        if ours.has(flag::DONE) || ours.state().is_none() {
            return Ok(false);
        }
        while let Some(awaited) = cancel_one(at.as_ptr(), &message)? {
            let next = data(awaited.as_ptr());
            next.lower_flags(flag::LOG_TRACEBACK);
            let alive = !next.has(flag::DONE) && next.state().is_some();
            data(at.as_ptr()).change_inbox(|inbox| inbox.handed_on(alive));
            if !alive {
                break;
            }
            at = awaited;
        }
        Ok(true)
    }
}

/// Asks one task to cancel. Returns the task of ours to which it is to be handed on.
unsafe fn cancel_one(task: Raw, message: &Option<Owned>) -> Fallible<Option<Owned>> {
    // SAFETY: attached; the caller's task is alive.
    unsafe {
        let ours = data(task);
        let home = ours.home.cloned();
        let Some(state) = home.as_deref() else {
            return Ok(None);
        };
        drop(ours.cancel_message.replace(message.clone()));
        let waiting = ours.waiting.cloned();
        let at = match &waiting {
            _ if ours.has(flag::JOINING) => At::Join,
            Some(what) if !ours.has(flag::SCHEDULED) => {
                if wait::is_wait(what.as_ptr()) {
                    At::OwnWait
                } else {
                    At::Awaited
                }
            }
            _ => At::Step,
        };
        let shielded = is_shielded(state, ours);
        // Python code finds out where the request comes from, so it runs before the inbox changes.
        let inside = shielded && is_asked_from_inside(task);
        match (ours.change_inbox(|inbox| inbox.ask(at, shielded, || inside)), waiting) {
            (Ask::Join, Some(join)) => wait::host_cancelled(state, join.as_ptr()),
            (Ask::Cut, Some(_)) => {
                cancel_wait(state, task, true);
            }
            (Ask::HandOn, Some(what)) => {
                if is_exact(what.as_ptr()) {
                    return Ok(Some(what));
                }
                let message = message.as_ref().map_or(ffi::Py_None(), Owned::as_ptr);
                let accepted = cancel_awaited(&what, message);
                let answer = matches!(accepted, Ok(true));
                ours.change_inbox(|inbox| inbox.handed_on(answer));
                accepted?;
            }
            _ => {}
        }
        Ok(None)
    }
}

/// Whether a block that a shielded task has entered inside the shield asks it to cancel.
#[cold]
unsafe fn is_asked_from_inside(task: Raw) -> bool {
    // SAFETY: attached; an error is taken back.
    unsafe {
        let _aside = Aside::new();
        let answer = crate::cpython::object::call1(imports().parts.asked_from_inside, task);
        answer.and_then(|answer| truth(&answer)).unwrap_or_else(|raised| {
            raised.forget();
            false
        })
    }
}

/// The `CancelledError` for a scope's cancellation: it says which, and why (R11).
pub unsafe fn cancelled_by_scope(state: &LoopState, member: MemberId) -> Owned {
    // SAFETY: attached; nothing of the tree is borrowed while Python runs.
    unsafe {
        let (source, reason) = {
            let tree = state.tree.borrow();
            match tree.catcher(member) {
                Some((_, cause)) => (cause.source, cause.reason.clone()),
                None => (Source::Explicit, None),
            }
        };
        make_cancelled(source, reason.as_ref()).unwrap_or_else(|raised| raised.take())
    }
}

/// `Cancelled(reason, source)`, for as many tasks as there are: the class is not called, and what it
/// says by itself is not set.
unsafe fn make_cancelled(source: Source, reason: Option<&Owned>) -> Fallible<Owned> {
    // SAFETY: attached; the class is an exception's, whose `__new__` takes the arguments.
    unsafe {
        let class: *mut ffi::PyTypeObject = imports().parts.cancelled.cast();
        let reason = reason.filter(|reason| reason.as_ptr() != ffi::Py_None());
        let words = match (reason, source) {
            (Some(reason), _) => Some(reason.clone()),
            (None, Source::Deadline) => Some(crate::cpython::object::string("deadline passed")?),
            (None, _) => None,
        };
        let args = match words {
            Some(words) => ffi::PyTuple_Pack(1, words.as_ptr()),
            None => ffi::PyTuple_New(0),
        };
        let args = Owned::new(args)?;
        let Some(new) = (*class).tp_new else {
            let text = c"the class of a cancellation makes no instances";
            return Err(set_error(ffi::PyExc_TypeError, text));
        };
        let error = Owned::new(new(class, args.as_ptr(), std::ptr::null_mut()))?;
        let set =
            |name: Raw, value: Raw| checked(ffi::PyObject_SetAttr(error.as_ptr(), name, value));
        if let Some(reason) = reason {
            set(names().reason, reason.as_ptr())?;
        }
        if source != Source::Explicit {
            let text = crate::cpython::object::string(crate::engine::words::source_name(source))?;
            set(names().source, text.as_ptr())?;
        }
        Ok(error)
    }
}
