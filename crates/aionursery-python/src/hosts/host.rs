//! The task that enters a scope or a nursery, of either kind: who it is, what it has been asked,
//! how it gives back what the tree has charged it.

use nursery_core::MemberId;
use pyo3::ffi;

use super::dispatch;
use crate::cpython::imports::{current_task, imports, names};
use crate::cpython::object::{Fallible, Owned, Raw, call_method, set_error_text};
use crate::engine::state::LoopState;
use crate::hosts::foreign;
use crate::task;
use crate::wait::clock;

/// The task that runs now, for something called `what` that needs one.
pub unsafe fn current(state: &LoopState, what: &str) -> Fallible<Owned> {
    // SAFETY: attached.
    unsafe {
        let task = current_task(state.event_loop.get())?;
        if task.as_ptr() == ffi::Py_None() {
            return Err(set_error_text(
                ffi::PyExc_RuntimeError,
                &format!(
                    "{what} must be used inside a task; a callback of the loop has none. \
                     Start a task that does it instead"
                ),
            ));
        }
        Ok(task)
    }
}

/// Cancellations of the host that were honoured.
pub unsafe fn honoured(task: Raw) -> Fallible<u32> {
    // SAFETY: the caller's task is alive.
    unsafe {
        if task::is_ours(task) {
            Ok(task::data(task).inbox.get().requests.honoured())
        } else {
            foreign::honoured(task)
        }
    }
}

/// Takes back what a scope was charged (R14).
pub unsafe fn take_back(task: Raw, count: u32) -> Fallible<()> {
    // SAFETY: the caller's task is alive.
    unsafe {
        if task::is_ours(task) {
            task::data(task).change_inbox(|inbox| {
                for _ in 0..count {
                    inbox.take_back();
                }
            });
            return Ok(());
        }
        foreign::take_back(task, count)
    }
}

/// The host has left a scope: a task that is no child leaves the tree with its last one.
pub unsafe fn left_scope(state: &LoopState, task: Raw, member: MemberId) {
    // SAFETY: the caller's task is alive.
    unsafe {
        if !task::is_ours(task) {
            foreign::left_scope(state, task);
            return;
        }
        let ours = task::data(task);
        if ours.member.get() == Some(member)
            && !ours.has(task::flag::CHILD)
            && state.tree.borrow().innermost(member).is_none()
        {
            task::leave_tree(task);
            state.tree.touch(|tree| tree.withdraw_idle(member));
        }
    }
}

/// As [`left_scope`], for a host that may have left the tree already.
pub unsafe fn left_any_scope(state: &LoopState, task: Raw) {
    // SAFETY: the caller's task is alive.
    unsafe {
        if let Some(member) = dispatch::find_member(state, task) {
            left_scope(state, task, member);
        }
    }
}

/// A cancellation from outside was overtaken by an error that the host raises: it is thrown at the
/// host's next await, and counts once, as before (R13).
pub unsafe fn rearm(task: Raw) -> Fallible<()> {
    // SAFETY: the caller's task is alive.
    unsafe {
        if task::is_ours(task) {
            task::data(task).change_inbox(|inbox| inbox.requests.wait());
            return Ok(());
        }
        let nothing = std::ptr::null_mut();
        call_method(task, names().uncancel, &mut [nothing], nothing)?;
        call_method(task, names().cancel, &mut [nothing], nothing)?;
        Ok(())
    }
}

/// Whether a cancellation waits for the task's next await.
pub unsafe fn is_cancelled(state: &LoopState, task: Raw) -> Fallible<bool> {
    // SAFETY: the caller's task is alive.
    unsafe {
        let now = clock::look(state)?;
        if !task::is_ours(task) {
            return foreign::is_cancelled(state, task);
        }
        let ours = task::data(task);
        let Some(member) = ours.member.get() else {
            return Ok(ours.inbox.get().requests.is_waiting());
        };
        let asked = task::is_asked(state, task);
        let pending = state.tree.borrow().is_pending(member);
        Ok(asked || pending || state.tree.touch(|tree| tree.suspended(member, || now)))
    }
}

/// Whether a scope has made this `CancelledError`. Where it has come from a scope that has been left
/// and goes on for a bare cancellation that came beside it, a plain one is raised in its place:
/// whoever asked for that knows it by its type (asyncio.timeout on 3.11 does).
pub unsafe fn is_a_scopes(exception: Raw) -> bool {
    // SAFETY: the caller's exception is alive.
    unsafe { ffi::Py_TYPE(exception).cast() == imports().parts.cancelled }
}
