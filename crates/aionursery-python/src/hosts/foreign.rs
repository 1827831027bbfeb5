//! Hosts that are not our tasks: an `asyncio.Task` that opens a nursery or enters a scope. They are
//! cancelled by their own `cancel()`, once each time the tree says so, and only while they wait:
//! then the `CancelledError` is thrown at that await and never lingers. It must never cancel a task
//! that runs.

use std::cell::Cell;
use std::collections::hash_map::Entry;

use nursery_core::{AtWait, Cause, MemberId, Source};

#[cfg(not(Py_3_13))]
use crate::cpython::call::int;
use crate::cpython::call::{
    as_text, call_method_with, getattr_opt, has_class, method0, method1, number, truth, utf8,
};
use crate::cpython::called::method;
#[cfg(not(Py_3_13))]
use crate::cpython::containers::{items, tuple};
use crate::cpython::errors::{Fallible, optional, string};
use crate::cpython::function::{Method, This};
use crate::cpython::futures;
use crate::cpython::imports::{imports, names};
use crate::cpython::object::Object;
use crate::cpython::owned::{Owned, none};
use crate::engine::foreign::{Host, Hosts};
use crate::engine::state::{Key, LoopState};
use crate::engine::words::source_name;
use crate::wait;
use pyo3::prelude::*;

/// The place of a foreign task in the tree, made if it has none. The tree holds a reference then.
pub(crate) fn member(state: &LoopState, task: &Object) -> MemberId {
    if let Some(member) = state.foreign_member(task) {
        return member;
    }
    let_go_of_ended(state);
    let member = state.tree.touch(|tree| tree.enroll(Key::of(task), true));
    let host = Host { task: Owned::share(task), member, joining: Cell::new(false) };
    state.foreign.borrow_mut().insert(task.address(), host);
    member
}

/// Takes hosts out that have ended without leaving what they had entered: a foreign task does not say
/// that it ends. They are looked for when the map is about to grow, so they are never more than the
/// others have been.
#[inline]
fn let_go_of_ended(state: &LoopState) {
    let is_full = |hosts: &Hosts| hosts.len() == hosts.capacity();
    if !is_full(&state.foreign.borrow()) {
        return;
    }
    let hosts: Vec<Owned> = state.foreign.borrow().values().map(|host| host.task.clone()).collect();
    for host in hosts {
        if optional(futures::is_done(&host)).unwrap_or(false) {
            let_go(state, &host);
        }
    }
}

/// A foreign host has ended: it leaves the tree, if it is still there.
fn let_go(state: &LoopState, host: &Object) {
    let gone = state.foreign.borrow_mut().remove(&host.address());
    if let Some(gone) = &gone {
        wait::host_ended(state, gone.member);
    }
}

/// A foreign host will not leave what it has entered, for nothing has that any more: it leaves the tree when
/// it ends.
pub(crate) fn leave_at_end(state: &LoopState, host: &Object) {
    if state.foreign_member(host).is_none() {
        return;
    }
    let told = ENDED
        .bind_to(host)
        .and_then(|ended| method1(host, names(host.py()).add_done_callback, &ended));
    if let Err(raised) = told {
        state.forget(raised);
    }
}

static ENDED: Method = method!(one_arg Object, c"leave_tree", |this: &This<'_, Object>, _: &Object| {
    let state = LoopState::current(this.py())?;
    let_go(&state, this.object());
    Ok(none(this.py()))
});

/// A foreign task has left a scope: if it was its last one, it leaves the tree.
pub(crate) fn left_scope(state: &LoopState, task: &Object) {
    let mut hosts = state.foreign.borrow_mut();
    let Entry::Occupied(host) = hosts.entry(task.address()) else { return };
    let member = host.get().member;
    if state.tree.borrow().innermost(member).is_none() {
        let gone = host.remove();
        drop(hosts);
        state.tree.touch(|tree| tree.withdraw_idle(member));
        drop(gone);
    } else {
        drop(hosts);
        insist(state, task);
    }
}

/// Cancellations of a foreign task that a `CancelledError` has honoured, or will without fail.
pub(crate) fn honoured(task: &Object) -> Fallible<u32> {
    let imports = imports(task.py());
    let count = if has_class(task, imports.task_type) {
        imports.cancelling.call_on(task)?
    } else {
        method0(task, imports.names.cancelling)?
    };
    let count = count_of(&count)?;
    if count == 0 {
        return Ok(0);
    }
    let waiting = must_cancel(task)?;
    Ok(count.saturating_sub(u32::from(waiting)))
}

/// Whether the next step of a foreign task will throw a `CancelledError`.
fn must_cancel(task: &Object) -> Fallible<bool> {
    match getattr_opt(task, names(task.py()).must_cancel)? {
        Some(waiting) => truth(&waiting),
        None => Ok(false),
    }
}

/// Whether a cancellation waits for the task's next await.
pub(crate) fn is_cancelled(state: &LoopState, task: &Object) -> Fallible<bool> {
    let pending = insist(state, task);
    Ok(must_cancel(task)? || pending)
}

/// Whether a foreign task that runs is to be cancelled at its next await; if its budget is spent, it
/// is (R18).
fn insist(state: &LoopState, task: &Object) -> bool {
    let Some(member) = state.foreign_member(task) else {
        return false;
    };
    if state.tree.borrow().is_pending(member) {
        return true;
    }
    if !state.tree.borrow().is_cancelled(member) {
        return false;
    }
    let now = state.now_or_zero();
    // The clock may be the program's code, and the task have left the tree in it.
    let spent = state
        .foreign_member(task)
        .is_some_and(|member| state.tree.touch(|tree| tree.suspended(member, || now)));
    if spent {
        reach(state, task);
    }
    spent
}

/// Takes cancellations back.
pub(crate) fn take_back(task: &Object, count: u32) -> Fallible<()> {
    for _ in 0..count {
        method0(task, names(task.py()).uncancel)?;
    }
    Ok(())
}

/// An error has overtaken `overtaken` cancellations of the task, which runs. One of them is thrown at its next
/// await.
#[cfg(Py_3_13)]
pub(super) fn rearm(_: &LoopState, task: &Object, _: u32) -> Fallible<()> {
    throw_again(task)
}

/// As that. `uncancel()` does not take back here what waits to be thrown, and what has asked may call it
/// before the next await, as asyncio.timeout does: so the loop asks again by then.
#[cfg(not(Py_3_13))]
pub(super) fn rearm(state: &LoopState, task: &Object, overtaken: u32) -> Fallible<()> {
    let others = outside(state, task)?.saturating_sub(overtaken);
    let others = int(state.py(), u64::from(others))?;
    let parts = tuple(state.py(), &[task, others.object()])?;
    let again = REARM.bind(&parts)?;
    method1(&state.event_loop(), names(task.py()).call_soon, &again).map(drop)
}

/// Asks the task to cancel once more, which counts as before.
fn throw_again(task: &Object) -> Fallible<()> {
    let names = names(task.py());
    method0(task, names.uncancel)?;
    method0(task, names.cancel).map(drop)
}

/// The cancellations of a foreign task that the tree has not charged it.
#[cfg(not(Py_3_13))]
fn outside(state: &LoopState, task: &Object) -> Fallible<u32> {
    let count = count_of(&*method0(task, names(task.py()).cancelling)?)?;
    let member = state.foreign_member(task);
    let charges = member.map_or(0, |member| state.tree.borrow().charges(member));
    Ok(count.saturating_sub(charges))
}

/// A number of cancellations.
fn count_of(object: &Object) -> Fallible<u32> {
    number(object).map(|count| u32::try_from(count).unwrap_or(0))
}

#[cfg(not(Py_3_13))]
static REARM: Method = method!(no_args Object, c"throw_overtaken", |this: &This<'_, Object>| {
    let py = this.py();
    let [task, others] = items(this.object()) else {
        unreachable!("it is bound to what rearm has made")
    };
    let state = LoopState::current(py)?;
    if !futures::is_done(task)? && outside(&state, task)? > count_of(others)? {
        throw_again(task)?;
    }
    Ok(none(py))
});

/// The tree has cancelled a foreign task.
pub(crate) fn reach(state: &LoopState, task: &Object) {
    if let Err(raised) = try_reach(state, task) {
        state.report_failure("A task could not be cancelled", raised, Some(task));
    }
}

fn try_reach(state: &LoopState, task: &Object) -> Fallible<()> {
    let joins = match state.foreign.borrow().get(&task.address()) {
        Some(host) => host.joining.get(),
        None => return Ok(()),
    };
    if futures::is_running(task)? {
        return look_later(state, task);
    }
    if joins && !waits_elsewhere(task)? {
        // The nursery that it joins decides what becomes of it.
        return Ok(());
    }
    throw(state, task)
}

/// Whether a foreign task that has begun to join does not wait for that: it drives the join by hand.
fn waits_elsewhere(task: &Object) -> Fallible<bool> {
    let waiter = getattr_opt(task, names(task.py()).fut_waiter)?;
    Ok(waiter.is_some_and(|waiter| !waiter.is_none() && !wait::is_join(&waiter)))
}

static LATER: Method = method!(no_args Object, c"deliver_cancellation", |this: &This<'_, Object>| {
    later(this.object())
});

/// A foreign task that ran when it was cancelled waits by now, or has left the scope.
fn later(task: &Object) -> Fallible<Owned> {
    let py = task.py();
    let state = LoopState::current(py)?;
    // The clock may be the program's code, so the task's place is asked for after it.
    let now = state.now_or_zero();
    if let Some(member) = state.foreign_member(task)
        && state.tree.touch(|tree| tree.suspended(member, || now))
    {
        reach(&state, task);
    }
    Ok(none(py))
}

/// Has a foreign task throw a `CancelledError` at its await, if one still waits to be thrown. What
/// it has waited for and got is not taken from it: it is cancelled at its next await (R12a).
fn throw(state: &LoopState, task: &Object) -> Fallible<()> {
    let imports = imports(task.py());
    let Some(member) = state.foreign_member(task) else { return Ok(()) };
    let waiter = getattr_opt(task, imports.names.fut_waiter)?;
    let waiter = waiter.filter(|waiter| !waiter.is_none());
    let got = match &waiter {
        Some(waiter) => futures::is_done(waiter)?,
        None => false,
    };
    // Python code ran since the task was found.
    if state.foreign_member(task) != Some(member) {
        return Ok(());
    }
    match state.tree.touch(|tree| tree.at_wait(member, got)) {
        AtWait::Nothing => Ok(()),
        AtWait::GoesOn => look_later(state, task),
        AtWait::Cancel(Cause { source, reason }) => {
            let text = text(task.py(), source, reason.as_deref());
            call_method_with(task, imports.names.cancel, [&*text], imports.kw_msg)?;
            match waiter {
                Some(waiter) => look_behind(task, &waiter),
                None => look_later(state, task),
            }
        }
    }
}

/// What the plain `CancelledError` of a foreign task says: what brought it, and why (R11). An error of
/// the reason's own `__str__` is taken back.
fn text(py: Python<'_>, source: Source, reason: Option<&Object>) -> Owned {
    let words = match (reason, source) {
        (Some(reason), _) => {
            let text = optional(as_text(reason));
            text.as_deref().and_then(utf8).map(str::to_owned)
        }
        (None, Source::Deadline) => Some("deadline passed".to_owned()),
        (None, _) => None,
    };
    let source = source_name(source);
    let text = match words {
        Some(words) => format!("cancelled ({source}): {words}"),
        None => format!("cancelled ({source})"),
    };
    optional(string(py, &text)).unwrap_or_else(|| none(py))
}

/// The task is looked at in the loop's next turn.
fn look_later(state: &LoopState, task: &Object) -> Fallible<()> {
    let later = LATER.bind_to(task)?;
    method1(&state.event_loop(), names(task.py()).call_soon, &later).map(drop)
}

/// A foreign task says nothing when it waits again, and its budget may be spent (R18): it is looked
/// at once it has gone on from `waiter`, in which it was cancelled. What refuses to be cancelled is
/// not asked twice.
fn look_behind(task: &Object, waiter: &Object) -> Fallible<()> {
    let again = WENT_ON.bind_to(task)?;
    method1(waiter, names(task.py()).add_done_callback, &again).map(drop)
}

/// What a foreign task waited for has ended, and the task has taken its step.
static WENT_ON: Method = method!(one_arg Object, c"deliver_again", |this: &This<'_, Object>, _: &Object| {
    later(this.object())
});

/// A foreign host waits in a join, or no longer.
pub(crate) fn set_joining(state: &LoopState, task: &Object, joining: bool) {
    if let Some(host) = state.foreign.borrow().get(&task.address()) {
        host.joining.set(joining);
    }
}
