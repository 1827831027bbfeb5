//! What a task waits for between two steps. A cancellation that came while it ran acts here (R18). It
//! must never decide whether one does: the tree and the inbox do.

use nursery_core::{Inbox, MemberId};
use pyo3::ffi;

use super::cancel::cancel_wait;
use super::future;
use crate::cpython::object::{Owned, Raw, repr, set_error_text};
use crate::engine::ready;
use crate::engine::state::LoopState;
use crate::task::{
    TaskData, Watcher, call_graph as graph, callbacks as watch, data, flag, is_asked, is_ours,
    is_shielded,
};
use crate::wait;

/// A coroutine has yielded: the task waits for what it yielded.
#[inline]
pub unsafe fn suspend(state: &LoopState, task: &Owned, ours: &TaskData, yielded: Owned) {
    // SAFETY: attached; all is alive.
    unsafe {
        let this = task.as_ptr();
        ours.lower_flags(flag::RUNNING);
        graph::begin_child(state, this, ours);
        let what = yielded.as_ptr();
        if what == ffi::Py_None() {
            ours.raise_flags(flag::SCHEDULED);
            if ours.member.get().is_some_and(|member| insist(state, member)) {
                ours.change_inbox(Inbox::tell);
            }
            ready::push_or_report(state, task.clone());
            return;
        }
        if wait::is_wait(what) {
            if wait::park(state, what, this) {
                return settle(state, this, ours, yielded);
            }
        } else if is_ours(what) && data(what).has(flag::BLOCKING) {
            data(what).lower_flags(flag::BLOCKING);
            if what == this {
                return refuse(
                    state,
                    task,
                    &format!("Task cannot await on itself: {}", repr(what)),
                );
            }
            let here = data(what).state().is_some_and(|its| std::ptr::eq(its, state));
            if here && !data(what).has(flag::DONE) {
                watch::add(data(what), Watcher::Joiner(task.clone()));
                return settle(state, this, ours, yielded);
            }
            data(what).raise_flags(flag::BLOCKING);
        }
        match future::begin(state, task, ours, yielded) {
            Ok(future) => settle(state, this, ours, future),
            Err(refused) => {
                let future::Refused { error, .. } = refused;
                refuse_with(state, task, error);
            }
        }
    }
}

/// The task waits for `what`. If a cancellation came while it ran, that is cancelled at once.
#[inline]
unsafe fn settle(state: &LoopState, task: Raw, ours: &TaskData, what: Owned) {
    // SAFETY: attached; all is alive.
    unsafe {
        if !wait::is_wait(what.as_ptr()) {
            graph::begin(what.as_ptr(), task);
        }
        ours.waiting.set(what);
        if ours.has(flag::JOINING | flag::SCHEDULED) {
            // What it waits for is there already if a step is to come; nothing is to be cancelled.
            if !ours.has(flag::JOINING) && ours.member.get().is_some_and(|it| insist(state, it)) {
                ours.change_inbox(Inbox::tell);
            }
            return;
        }
        let asked = ours.inbox.get().requests.is_waiting() && is_asked(state, task);
        if asked && cancel_wait(state, task, true) {
            let shielded = is_shielded(state, ours);
            ours.change_inbox(|inbox| inbox.handed_on_late(shielded));
            return;
        }
        if ours.member.get().is_some_and(|member| insist(state, member)) {
            ours.change_inbox(Inbox::tell);
            cancel_wait(state, task, false);
        }
    }
}

/// Whether the wait that begins is to be cancelled at once (R18).
#[inline]
unsafe fn insist(state: &LoopState, member: MemberId) -> bool {
    // SAFETY: attached. The clock may run Python code, so it is read outside the tree.
    unsafe {
        let (now, pending) = {
            let mut asked = false;
            let pending = state.tree.touch(|tree| {
                tree.suspended(member, || {
                    asked = true;
                    f64::NEG_INFINITY
                })
            });
            (asked, pending)
        };
        if !now || pending {
            return pending;
        }
        let now = state.now_or_zero();
        state.tree.touch(|tree| tree.suspended(member, || now))
    }
}

/// The task yielded something it must not: its next step throws a RuntimeError.
unsafe fn refuse(state: &LoopState, task: &Owned, text: &str) {
    // SAFETY: attached.
    unsafe {
        let error = set_error_text(ffi::PyExc_RuntimeError, text).take();
        refuse_with(state, task, error);
    }
}

unsafe fn refuse_with(state: &LoopState, task: &Owned, error: Owned) {
    // SAFETY: attached.
    unsafe {
        let ours = data(task.as_ptr());
        ours.set_incoming(error);
        ours.raise_flags(flag::SCHEDULED);
        ready::push_or_report(state, task.clone());
    }
}
