//! Hosts that are not our tasks: an `asyncio.Task` that opens a nursery or enters a scope. They are
//! cancelled by their own `cancel()`, once each time the tree says so, and only while they wait:
//! then the `CancelledError` is thrown at that await and never lingers. It must never cancel a task
//! that runs.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use nursery_core::MemberId;
use pyo3::ffi;

use crate::entry::guard;
use crate::function::{Method, number};
use crate::imports::{imports, names};
use crate::object::{
    Fallible, Owned, Raised, Raw, Slot, call_method, getattr_opt, method0, none, take_raised, truth,
};
use crate::state::{Key, LoopState};
use crate::wait;

/// Foreign hosts by their address.
pub type Hosts = HashMap<usize, Host, BuildHasherDefault<ByAddress>>;

/// Addresses need no more than their bits spread.
#[derive(Default)]
pub struct ByAddress(u64);

impl Hasher for ByAddress {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_usize(usize::from(*byte));
        }
    }

    fn write_usize(&mut self, address: usize) {
        self.0 = (self.0 ^ address as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
    }
}

/// A foreign task that hosts scopes.
pub struct Host {
    pub member: MemberId,
    /// The join that it waits in.
    pub join: Slot,
}

/// The place of a foreign task in the tree, made if it has none. The tree holds a reference then.
pub unsafe fn member(state: &LoopState, task: Raw) -> MemberId {
    let found = state.foreign.borrow().get(&(task as usize)).map(|host| host.member);
    if let Some(member) = found {
        return member;
    }
    // SAFETY: the caller's task is alive.
    let key = Key(unsafe { Owned::share(task) }.into_ptr());
    let member = state.tree.borrow_mut().enroll(key, true);
    let host = Host { member, join: Slot::empty() };
    state.foreign.borrow_mut().insert(task as usize, host);
    member
}

/// A foreign task has left a scope: if it was its last one, it leaves the tree.
pub unsafe fn left_scope(state: &LoopState, task: Raw) {
    let member = state.foreign.borrow().get(&(task as usize)).map(|host| host.member);
    let Some(member) = member else { return };
    if state.tree.borrow().innermost(member).is_some() {
        if state.tree.borrow().is_cancelled(member) {
            // SAFETY: attached; the caller's task is alive.
            unsafe { insist(state, task, member) };
        }
        return;
    }
    state.tree.borrow_mut().withdraw(member);
    let host = state.foreign.borrow_mut().remove(&(task as usize));
    drop(host);
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
    let member = state.foreign.borrow().get(&(task as usize)).map(|host| host.member);
    // SAFETY: the caller's task is alive.
    let pending = member.is_some_and(|member| unsafe { insist(state, task, member) });
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
        let spent = state.tree.borrow_mut().suspended(member, || now);
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

unsafe fn is_running(task: Raw) -> Fallible<bool> {
    // SAFETY: the caller's task is alive.
    unsafe {
        let Some(get_coro) = getattr_opt(task, names().get_coro)? else {
            return Ok(false);
        };
        let coroutine = crate::object::call0(get_coro.as_ptr())?;
        match getattr_opt(coroutine.as_ptr(), names().cr_running)? {
            Some(running) => truth(&running),
            None => Ok(false),
        }
    }
}

/// The tree has cancelled a foreign task.
pub unsafe fn reach(state: &LoopState, task: Raw) {
    // SAFETY: attached; the caller's task is alive.
    unsafe {
        if let Err(Raised) = try_reach(state, task) {
            let error = take_raised();
            state.report("A task could not be cancelled", Some(&error), task);
        }
    }
}

unsafe fn try_reach(state: &LoopState, task: Raw) -> Fallible<()> {
    // SAFETY: as above.
    unsafe {
        let joins = match state.foreign.borrow().get(&(task as usize)) {
            Some(host) => !host.join.is_empty(),
            None => return Ok(()),
        };
        if joins {
            // The nursery that it joins decides what becomes of it.
            return Ok(());
        }
        if is_running(task)? {
            let later = LATER.bind(task)?;
            let mut args = [std::ptr::null_mut(), later.as_ptr()];
            let event_loop = state.event_loop.get();
            call_method(event_loop, names().call_soon, &mut args, std::ptr::null_mut())?;
            return Ok(());
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
            let member = state.foreign.borrow().get(&(task as usize)).map(|host| host.member);
            if let Some(member) = member {
                let now = state.now_or_zero();
                if state.tree.borrow_mut().suspended(member, || now) {
                    reach(&state, task);
                }
            }
            none().into_ptr()
        })
    }
}

/// Has a foreign task throw a `CancelledError` at its await, if one still waits to be thrown.
unsafe fn throw(state: &LoopState, task: Raw) -> Fallible<()> {
    // SAFETY: as above.
    unsafe {
        let member = state.foreign.borrow().get(&(task as usize)).map(|host| host.member);
        let Some(member) = member else { return Ok(()) };
        let reason = {
            let mut tree = state.tree.borrow_mut();
            if !tree.is_pending(member) {
                return Ok(());
            }
            let reason = tree.catcher(member).and_then(|(_, cause)| cause.reason.clone());
            tree.thrown(member);
            reason
        };
        let mut args = [std::ptr::null_mut(), ffi::Py_None()];
        if let Some(reason) = &reason {
            args[1] = reason.as_ptr();
        }
        let waiter = getattr_opt(task, crate::object::string("_fut_waiter")?.as_ptr())?;
        call_method(task, names().cancel, &mut args, imports().kw_msg)?;
        look_again(state, task, waiter.filter(|waiter| waiter.as_ptr() != ffi::Py_None()))
    }
}

/// A foreign task says nothing when it waits again, and its budget may be spent (R18): it is looked
/// at once it has gone on from `waiter`, in which it was cancelled. What refuses to be cancelled is
/// not asked twice.
unsafe fn look_again(state: &LoopState, task: Raw, waiter: Option<Owned>) -> Fallible<()> {
    // SAFETY: as above.
    unsafe {
        let nothing = std::ptr::null_mut();
        if let Some(waiter) = waiter {
            let again = WENT_ON.bind(task)?;
            let mut args = [nothing, again.as_ptr()];
            let call = names().add_done_callback;
            return call_method(waiter.as_ptr(), call, &mut args, nothing).map(drop);
        }
        let later = LATER.bind(task)?;
        let mut args = [nothing, later.as_ptr()];
        call_method(state.event_loop.get(), names().call_soon, &mut args, nothing).map(drop)
    }
}

static WENT_ON: Method = Method::one_arg(c"deliver_again", went_on);

/// What a foreign task waited for has ended, and the task has taken its step.
unsafe extern "C" fn went_on(task: Raw, _: Raw) -> Raw {
    // SAFETY: bound to a task, which the call keeps alive; the loop calls it.
    unsafe { later(task, std::ptr::null_mut()) }
}

/// A foreign host waits in a join, or no longer.
pub fn set_join(state: &LoopState, task: Raw, join: Option<Owned>) {
    let before = match state.foreign.borrow().get(&(task as usize)) {
        Some(host) => host.join.replace(join),
        None => return,
    };
    drop(before);
}

/// The nursery that a foreign host joins has closed.
pub unsafe fn wake_from_join(state: &LoopState, task: Raw) {
    let join = match state.foreign.borrow().get(&(task as usize)) {
        Some(host) => host.join.cloned(),
        None => None,
    };
    if let Some(join) = join {
        // SAFETY: a join is one of our waits.
        unsafe { wait::join_is_over(state, join.as_ptr()) };
    }
}
