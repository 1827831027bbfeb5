//! Hosts that are not our tasks: an `asyncio.Task` that opens a nursery or enters a scope. They are
//! cancelled by their own `cancel()`, once each time the tree says so, and only while they wait:
//! then the `CancelledError` is thrown at that await and never lingers. It must never cancel a task
//! that runs.

use std::cell::Cell;

use nursery_core::{MemberId, Source};
use pyo3::ffi;

use crate::cpython::function::{Method, number};
use crate::cpython::futures::{is_done, is_running};
use crate::cpython::guard::guard;
use crate::cpython::imports::{imports, names};
use crate::cpython::object::{
    Fallible, Owned, Raw, call_method, getattr_opt, method0, method1, none, optional, truth, utf8,
};
use crate::engine::guests::{Host, Hosts};
use crate::engine::state::{Key, LoopState};
use crate::engine::words::source_name;

/// The place of a foreign task in the tree, if it has one.
pub fn find_member(state: &LoopState, task: Raw) -> Option<MemberId> {
    state.foreign.borrow().get(&(task as usize)).map(|host| host.member)
}

/// The place of a foreign task in the tree, made if it has none. The tree holds a reference then.
pub unsafe fn member(state: &LoopState, task: Raw) -> MemberId {
    if let Some(member) = find_member(state, task) {
        return member;
    }
    // SAFETY: attached; the caller's task is alive.
    unsafe { let_go_of_ended(state) };
    // SAFETY: the caller's task is alive.
    let key = Key(unsafe { Owned::share(task) }.into_ptr());
    let member = state.tree.touch(|tree| tree.enroll(key, true));
    let host = Host { member, joining: Cell::new(false) };
    state.foreign.borrow_mut().insert(task as usize, host);
    member
}

/// Takes hosts out that have ended without leaving what they had entered: a foreign task does not say
/// that it ends. They are looked for when the map is about to grow, so they are never more than the
/// others have been.
#[inline]
unsafe fn let_go_of_ended(state: &LoopState) {
    // SAFETY: attached; each host is kept while it is asked.
    unsafe {
        let is_full = |hosts: &Hosts| hosts.len() == hosts.capacity();
        if !is_full(&state.foreign.borrow()) {
            return;
        }
        let share = |host: &usize| Owned::share(*host as Raw);
        let hosts: Vec<Owned> = state.foreign.borrow().keys().map(share).collect();
        for host in hosts {
            if !optional(is_done(host.as_ptr())).unwrap_or(false) {
                continue;
            }
            let Some(gone) = state.foreign.borrow_mut().remove(&(host.as_ptr() as usize)) else {
                continue;
            };
            state.change(|tree, out| tree.withdraw(gone.member, out));
            // The reference that the tree's key stood for.
            drop(Owned::maybe(host.as_ptr()));
        }
    }
}

/// A foreign task has left a scope: if it was its last one, it leaves the tree.
pub unsafe fn left_scope(state: &LoopState, task: Raw) {
    let Some(member) = find_member(state, task) else { return };
    if state.tree.borrow().innermost(member).is_some() {
        if state.tree.borrow().is_cancelled(member) {
            // SAFETY: attached; the caller's task is alive.
            unsafe { insist(state, task, member) };
        }
        return;
    }
    state.tree.touch(|tree| tree.withdraw_idle(member));
    state.foreign.borrow_mut().remove(&(task as usize));
    // SAFETY: the reference that the tree's key stood for.
    drop(unsafe { Owned::maybe(task) });
}

/// Cancellations of a foreign task that a `CancelledError` has honoured, or will without fail.
pub unsafe fn honoured(task: Raw) -> Fallible<u32> {
    // SAFETY: the caller's task is alive.
    unsafe {
        let count = if ffi::Py_TYPE(task) == imports().task_type {
            imports().cancelling.call_on(task)?
        } else {
            method0(task, names().cancelling)?
        };
        let count = number(&count)?;
        if count <= 0 {
            return Ok(0);
        }
        let waiting = match getattr_opt(task, names().must_cancel)? {
            Some(waiting) => truth(&waiting)?,
            None => false,
        };
        Ok(u32::try_from(count).unwrap_or(0).saturating_sub(u32::from(waiting)))
    }
}

/// Whether a cancellation waits for the task's next await.
pub unsafe fn is_cancelled(state: &LoopState, task: Raw) -> Fallible<bool> {
    // SAFETY: the caller's task is alive.
    let pending =
        find_member(state, task).is_some_and(|member| unsafe { insist(state, task, member) });
    // SAFETY: as above.
    let waiting = unsafe { getattr_opt(task, names().must_cancel)? };
    match waiting {
        // SAFETY: as above.
        Some(waiting) => Ok(unsafe { truth(&waiting)? } || pending),
        None => Ok(pending),
    }
}

/// Whether a foreign task that runs is to be cancelled at its next await; if its budget is spent, it
/// is (R18).
unsafe fn insist(state: &LoopState, task: Raw, member: MemberId) -> bool {
    // SAFETY: attached; the caller's task is alive.
    unsafe {
        if state.tree.borrow().is_pending(member) {
            return true;
        }
        if !state.tree.borrow().is_cancelled(member) {
            return false;
        }
        let now = state.now_or_zero();
        let spent = state.tree.touch(|tree| tree.suspended(member, || now));
        if spent {
            reach(state, task);
        }
        spent
    }
}

/// Takes cancellations back.
pub unsafe fn take_back(task: Raw, count: u32) -> Fallible<()> {
    for _ in 0..count {
        // SAFETY: the caller's task is alive.
        unsafe { method0(task, names().uncancel)? };
    }
    Ok(())
}

/// The tree has cancelled a foreign task.
pub unsafe fn reach(state: &LoopState, task: Raw) {
    // SAFETY: attached; the caller's task is alive.
    unsafe {
        if let Err(raised) = try_reach(state, task) {
            state.report_failure("A task could not be cancelled", raised, task);
        }
    }
}

unsafe fn try_reach(state: &LoopState, task: Raw) -> Fallible<()> {
    // SAFETY: as above.
    unsafe {
        let joins = match state.foreign.borrow().get(&(task as usize)) {
            Some(host) => host.joining.get(),
            None => return Ok(()),
        };
        if joins {
            // The nursery that it joins decides what becomes of it.
            return Ok(());
        }
        if is_running(task)? {
            return look_later(state, task);
        }
        throw(state, task)
    }
}

static LATER: Method = Method::no_args(c"deliver_cancellation", later);

/// A foreign task that ran when it was cancelled waits by now, or has left the scope.
unsafe extern "C" fn later(task: Raw, _: Raw) -> Raw {
    // SAFETY: bound to a task, which the call keeps alive; the loop calls it.
    unsafe {
        guard(std::ptr::null_mut(), |_| {
            let Ok(state) = LoopState::current() else {
                return std::ptr::null_mut();
            };
            if let Some(member) = find_member(&state, task) {
                let now = state.now_or_zero();
                if state.tree.touch(|tree| tree.suspended(member, || now)) {
                    reach(&state, task);
                }
            }
            none().into_ptr()
        })
    }
}

/// Has a foreign task throw a `CancelledError` at its await, if one still waits to be thrown. What
/// it has waited for and got is not taken from it: it is cancelled at its next await (R12a).
unsafe fn throw(state: &LoopState, task: Raw) -> Fallible<()> {
    // SAFETY: as above.
    unsafe {
        let Some(member) = find_member(state, task) else { return Ok(()) };
        let waiter = getattr_opt(task, names().fut_waiter)?;
        let waiter = waiter.filter(|waiter| waiter.as_ptr() != ffi::Py_None());
        if let Some(waiter) = &waiter
            && !state.tree.borrow().is_abrupt(member)
            && is_done(waiter.as_ptr())?
        {
            return look_later(state, task);
        }
        let (source, reason) = {
            let tree = state.tree.borrow();
            // Python code ran since the task was found.
            if find_member(state, task) != Some(member) || !tree.is_pending(member) {
                return Ok(());
            }
            match tree.catcher(member) {
                Some((_, cause)) => (cause.source, cause.reason.clone()),
                None => (Source::Explicit, None),
            }
        };
        state.tree.touch(|tree| tree.thrown(member));
        let text = text(source, reason.as_ref());
        let mut args = [std::ptr::null_mut(), text.as_ptr()];
        call_method(task, names().cancel, &mut args, imports().kw_msg)?;
        match waiter {
            Some(waiter) => look_behind(task, &waiter),
            None => look_later(state, task),
        }
    }
}

/// What the plain `CancelledError` of a foreign task says: what brought it, and why (R11).
unsafe fn text(source: Source, reason: Option<&Owned>) -> Owned {
    // SAFETY: attached; an error of the reason's own `__str__` is taken back.
    unsafe {
        let words = match (reason, source) {
            (Some(reason), _) => {
                let text = Owned::maybe(ffi::PyObject_Str(reason.as_ptr()));
                let words = text.as_ref().and_then(|text| utf8(text.as_ptr())).map(str::to_owned);
                if words.is_none() {
                    ffi::PyErr_Clear();
                }
                words
            }
            (None, Source::Deadline) => Some("deadline passed".to_owned()),
            (None, _) => None,
        };
        let source = source_name(source);
        let text = match words {
            Some(words) => format!("cancelled ({source}): {words}"),
            None => format!("cancelled ({source})"),
        };
        optional(crate::cpython::object::string(&text)).unwrap_or_else(|| none())
    }
}

/// The task is looked at in the loop's next turn.
unsafe fn look_later(state: &LoopState, task: Raw) -> Fallible<()> {
    // SAFETY: as above.
    unsafe {
        let later = LATER.bind(task)?;
        method1(state.event_loop.get(), names().call_soon, later.as_ptr()).map(drop)
    }
}

/// A foreign task says nothing when it waits again, and its budget may be spent (R18): it is looked
/// at once it has gone on from `waiter`, in which it was cancelled. What refuses to be cancelled is
/// not asked twice.
unsafe fn look_behind(task: Raw, waiter: &Owned) -> Fallible<()> {
    // SAFETY: as above.
    unsafe {
        let again = WENT_ON.bind(task)?;
        method1(waiter.as_ptr(), names().add_done_callback, again.as_ptr()).map(drop)
    }
}

static WENT_ON: Method = Method::one_arg(c"deliver_again", went_on);

/// What a foreign task waited for has ended, and the task has taken its step.
unsafe extern "C" fn went_on(task: Raw, _: Raw) -> Raw {
    // SAFETY: bound to a task, which the call keeps alive; the loop calls it.
    unsafe { later(task, std::ptr::null_mut()) }
}

/// A foreign host waits in a join, or no longer.
pub fn set_joining(state: &LoopState, task: Raw, joining: bool) {
    if let Some(host) = state.foreign.borrow().get(&(task as usize)) {
        host.joining.set(joining);
    }
}
