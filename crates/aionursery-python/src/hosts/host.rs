//! The task that enters a scope or a nursery, of either kind: which one it is, what it has been asked,
//! how it gives back what the tree has charged it. It must never decide which cancellation is
//! given back.

use nursery_core::MemberId;

use crate::cpython::call::has_class;
use crate::cpython::errors::{Fallible, misuse};
use crate::cpython::futures;
use crate::cpython::imports::{current_task, imports};
use crate::cpython::object::Object;
use crate::cpython::owned::Owned;
use crate::engine::state::LoopState;
use crate::hosts::foreign;
use crate::task::{self, Task};
use crate::wait::clock;

/// The task that runs now, for something called `what` that needs one. It is the loop's own: asyncio's functions
/// can make a task of ours the current one of another loop.
pub(crate) fn current(state: &LoopState, what: &str) -> Fallible<Owned> {
    let task = current_task(&state.event_loop())?;
    if task.is_none() {
        return Err(misuse(
            state.py(),
            &format!(
                "{what} must be used inside a task; a callback of the loop has none. \
                 Start a task that does it instead"
            ),
        ));
    }
    if task.object().cast::<Task>().is_some_and(|task| !task.data().home.is_at(state)) {
        // Its place is in another loop's tree.
        return Err(misuse(
            state.py(),
            &format!(
                "{what} must be used inside a task of the loop that runs; the current task is \
                 another loop's"
            ),
        ));
    }
    Ok(task)
}

/// Whether a task of either kind has ended.
#[inline]
pub(crate) fn has_ended(task: &Object) -> Fallible<bool> {
    match task.cast::<Task>() {
        Some(task) => Ok(task.data().has(task::flag::DONE)),
        None => futures::is_done(task),
    }
}

/// Cancellations of the host that were honoured.
pub(crate) fn honoured(task: &Object) -> Fallible<u32> {
    match task.cast::<Task>() {
        Some(task) => Ok(task.data().inbox.get().requests.honoured()),
        None => foreign::honoured(task),
    }
}

/// Takes back what a scope was charged (R14).
pub(crate) fn take_back(task: &Object, count: u32) -> Fallible<()> {
    let Some(task) = task.cast::<Task>() else {
        return foreign::take_back(task, count);
    };
    task.data().change_inbox(|inbox| {
        for _ in 0..count {
            inbox.take_back();
        }
    });
    Ok(())
}

/// The host has left a scope: a task that is no child leaves the tree with its last one.
pub(crate) fn left_scope(state: &LoopState, task: &Object, member: MemberId) {
    let Some(task) = task.cast::<Task>() else {
        return foreign::left_scope(state, task);
    };
    let ours = task.data();
    if ours.member.get() == Some(member)
        && !ours.has(task::flag::CHILD)
        && state.tree.borrow().innermost(member).is_none()
    {
        task::leave_tree(task);
        state.tree.touch(|tree| tree.withdraw_idle(member));
        drop(task.release());
    }
}

/// As [`left_scope`], for a host that may have left the tree already.
pub(crate) fn left_any_scope(state: &LoopState, task: &Object) {
    if let Some(member) = task::find_member(state, task) {
        left_scope(state, task, member);
    }
}

/// An error that the host raises has overtaken `overtaken` cancellations from outside. One of them is thrown at
/// the host's next await, and they count as before (R13).
pub(crate) fn rearm(state: &LoopState, task: &Object, overtaken: u32) -> Fallible<()> {
    match task.cast::<Task>() {
        Some(task) => {
            task.data().change_inbox(|inbox| inbox.requests.wait());
            Ok(())
        }
        None => foreign::rearm(state, task, overtaken),
    }
}

/// Whether a cancellation waits for the task's next await.
pub(crate) fn is_cancelled(state: &LoopState, task: &Object) -> Fallible<bool> {
    let now = clock::look(state)?;
    let Some(task) = task.cast::<Task>() else {
        return foreign::is_cancelled(state, task);
    };
    let ours = task.data();
    let Some(member) = ours.member.get() else {
        return Ok(ours.inbox.get().requests.is_waiting());
    };
    let asked = task::is_asked(state, task);
    Ok(asked || state.tree.touch(|tree| tree.suspended(member, || now)))
}

/// Whether a scope has made this `CancelledError`. Where it has come from a scope that has been left
/// and goes on for a bare cancellation that came beside it, a plain one is raised in its place:
/// the code that asked for that knows it by its type (asyncio.timeout on 3.11 does).
pub(crate) fn is_a_scopes(exception: &Object) -> bool {
    has_class(exception, imports(exception.py()).parts.cancelled)
}
