//! What a task waits for between two steps. A cancellation that came while it ran acts here (R18). It
//! must never decide whether one does: the tree and the inbox do.

use nursery_core::Inbox;

use super::cancel::{By, cancel_wait};
use super::future;
use crate::cpython::call::repr;
use crate::cpython::errors::misuse;
use crate::cpython::owned::Owned;
use crate::engine::ready;
use crate::engine::state::LoopState;
use crate::task::{Task, TaskData, Waiter, call_graph, callbacks, flag, is_asked, is_shielded};
use crate::wait::{self, WaitObject};

/// A coroutine has yielded: the task waits for what it yielded.
#[inline]
pub(super) fn suspend(state: &LoopState, task: &Task, yielded: Owned) {
    let ours = task.data();
    ours.lower_flags(flag::RUNNING);
    call_graph::begin_child(state, task);
    if yielded.is_none() {
        ours.raise_flags(flag::SCHEDULED);
        if insist(state, ours) {
            ours.change_inbox(Inbox::tell);
        }
        ready::push_or_report(state, Owned::share(task).into_object());
        return;
    }
    if let Some(what) = yielded.object().cast::<WaitObject>() {
        if wait::park(state, what, task) {
            return begin_wait(state, task, yielded);
        }
    } else if let Some(what) = yielded.object().cast::<Task>()
        && what.data().has(flag::BLOCKING)
    {
        what.data().lower_flags(flag::BLOCKING);
        if what.is(task) {
            return refuse(state, task, &format!("Task cannot await on itself: {}", repr(what)));
        }
        if what.data().home.is_at(state) && !what.data().has(flag::DONE) {
            callbacks::add(what.data(), Waiter::Task(Owned::share(task)));
            return begin_wait(state, task, yielded);
        }
        what.data().raise_flags(flag::BLOCKING);
    }
    match future::begin(state, task, yielded) {
        Ok(future) => begin_wait(state, task, future),
        Err(refused) => {
            let future::Refused { error, .. } = refused;
            refuse_with(state, task, error);
        }
    }
}

/// The task waits for `what`. If a cancellation came while it ran, that is cancelled at once.
#[inline]
fn begin_wait(state: &LoopState, task: &Task, what: Owned) {
    let ours = task.data();
    if !wait::is_wait(&what) {
        call_graph::begin(&what, task);
    }
    ours.waiting.set(what);
    if ours.has(flag::JOINING | flag::SCHEDULED) {
        // What it waits for is there already if a step is to come; nothing is to be cancelled.
        if !ours.has(flag::JOINING) && insist(state, ours) {
            ours.change_inbox(Inbox::tell);
        }
        return;
    }
    if ours.inbox.get().requests.is_waiting() && is_asked(state, task) {
        if cancel_wait(state, task, By::Request) {
            let shielded = is_shielded(state, ours);
            ours.change_inbox(|inbox| inbox.handed_on_late(shielded));
            return;
        }
        if ours.has(flag::SCHEDULED) {
            ours.change_inbox(Inbox::answered);
        }
    }
    if insist(state, ours) {
        ours.change_inbox(Inbox::tell);
        let why = ours.member.get().map(|member| state.tree.borrow().why(member));
        let reason = why.and_then(|why| why.reason);
        cancel_wait(state, task, By::Scope(reason.as_deref()));
    }
}

/// Whether the wait that begins is to be cancelled at once (R18). The clock may run Python code, so it
/// is read outside the tree, and the task's place is asked for again after it.
#[inline]
fn insist(state: &LoopState, ours: &TaskData) -> bool {
    let Some(member) = ours.member.get() else {
        return false;
    };
    let mut asked = false;
    let pending = state.tree.touch(|tree| {
        tree.suspended(member, || {
            asked = true;
            f64::NEG_INFINITY
        })
    });
    if !asked || pending {
        return pending;
    }
    let now = state.now_or_zero();
    ours.member.get().is_some_and(|member| state.tree.touch(|tree| tree.suspended(member, || now)))
}

/// The task yielded something it must not: its next step throws a RuntimeError.
fn refuse(state: &LoopState, task: &Task, text: &str) {
    refuse_with(state, task, misuse(task.py(), text).take());
}

fn refuse_with(state: &LoopState, task: &Task, error: Owned) {
    task.data().set_incoming(error);
    task.data().raise_flags(flag::SCHEDULED);
    ready::push_or_report(state, Owned::share(task).into_object());
}
