//! Nurseries whose host cannot leave them as it should: closed coroutines, collected nurseries. What
//! can be done is done, and what cannot is reported; nothing is ever lost in silence.

use nursery_core::{Cause, NurseryId, Outcome, Phase, Source, Verdict};

use super::Nursery;
use crate::cpython::imports::{is_closed, running_loop};
use crate::cpython::object::{Aside, Fallible, Owned, optional};
use crate::engine::state::{Failure, Key, LoopState};
use crate::hosts::foreign;
use crate::hosts::host;
use crate::step;
use crate::task::{self, flag};

/// Steps what a cancelled nursery has below it at once, as far as it goes: for a host that may not
/// be able to await. Where its loop does not run, nothing takes a step. Returns whether the nursery is
/// closed.
pub unsafe fn finish_now(state: &LoopState, id: NurseryId) -> bool {
    // SAFETY: attached; each task is kept alive for its step.
    unsafe {
        let running = optional(running_loop());
        if running.is_none_or(|running| running.as_ptr() != state.event_loop.get()) {
            return state.tree.borrow().phase(id) == Phase::Closed;
        }
        loop {
            let scope = state.tree.borrow().scope(id);
            let below: Vec<Owned> =
                state.tree.borrow().reached(scope).iter().map(|key| Owned::share(key.0)).collect();
            let mut moved = false;
            for task in below.iter().filter(|task| task::is_ours(task.as_ptr())) {
                let ours = task::data(task.as_ptr());
                let pending =
                    ours.member.get().is_some_and(|it| state.tree.borrow().is_pending(it));
                let can = ours.has(flag::SCHEDULED) || (pending && !ours.has(flag::JOINING));
                if can && !ours.has(flag::DONE | flag::RUNNING) {
                    moved = true;
                    if !ours.has(flag::SCHEDULED) {
                        step::collect(task.as_ptr());
                    }
                    if let Err(raised) = step::run_nested(state, task.clone()) {
                        let text = "A task that was closed by force";
                        state.report_failure(text, raised, task.as_ptr());
                    }
                    if state.tree.borrow().phase(id) == Phase::Closed {
                        return true;
                    }
                }
            }
            if !moved {
                return state.tree.borrow().phase(id) == Phase::Closed;
            }
        }
    }
}

/// Ends a nursery whose host cannot join it. Its children are cancelled and end here and now, if
/// they await nothing any more; that some do not is reported, for nothing can be done about it. Where
/// the loop is closed no child can take a step: their coroutines are closed (R3).
pub unsafe fn close_by_force(this: &Nursery, state: &LoopState, id: NurseryId) {
    // SAFETY: attached.
    unsafe {
        let _aside = Aside::new();
        let left = state.tree.borrow().running(id);
        let stopped = left > 0 && is_stopped_for_good(state);
        if stopped {
            close_children(state, id);
        }
        if !state.tree.borrow().has_nursery(id) {
            return;
        }
        let host = end_without_host(state, id, Source::Host, None);
        let closed = finish_now(state, id);
        let still = state.tree.borrow().running(id);
        let_go(this, state, id, closed);
        let text = if stopped {
            format!("A nursery was closed after its loop; {left} of its children were closed")
        } else if !closed {
            format!(
                "A nursery was closed by force (its coroutine was closed) while {still} of its \
                 children still ran; they were cancelled and go on until they have cleaned up"
            )
        } else {
            return;
        };
        state.report(&text, None, host.as_ref().map_or(std::ptr::null_mut(), Owned::as_ptr));
    }
}

/// Whether a loop runs nothing any more. One that is being taken apart may not be able to say.
unsafe fn is_stopped_for_good(state: &LoopState) -> bool {
    // SAFETY: attached; an error is taken back.
    unsafe {
        is_closed(state.event_loop.get()).unwrap_or_else(|raised| {
            state.forget(raised);
            true
        })
    }
}

/// Closes the coroutines of a nursery's children, and with them what stands below.
unsafe fn close_children(state: &LoopState, id: NurseryId) {
    // SAFETY: attached; each task is kept alive while it is closed.
    unsafe {
        let children: Vec<Owned> =
            state.tree.borrow().children(id).map(|key| Owned::share(key.0)).collect();
        for child in children {
            if !task::data(child.as_ptr()).has(flag::DONE | flag::RUNNING) {
                step::give_up(state, child.as_ptr());
            }
        }
    }
}

/// Takes a nursery from its host, if that still stands in it. Returns the host, and whether it could
/// be given back what the nursery's scope was charged.
pub unsafe fn part_from_host(
    state: &LoopState,
    id: NurseryId,
    now: f64,
) -> (Option<Owned>, Fallible<()>) {
    // SAFETY: attached.
    unsafe {
        let host = state.tree.borrow().host(id).map(|Key(host)| Owned::share(*host));
        let owed = state.change(|tree, out| tree.disown(id, now, out));
        let mut given_back = Ok(());
        if let Some(host) = &host {
            if !task::is_ours(host.as_ptr()) {
                foreign::set_joining(state, host.as_ptr(), false);
            }
            given_back = host::take_back(host.as_ptr(), owed);
            let _aside = Aside::new();
            host::left_any_scope(state, host.as_ptr());
        }
        (host, given_back)
    }
}

/// Takes a nursery from its host, cancels its children and ends its body. Returns the host.
unsafe fn end_without_host(
    state: &LoopState,
    id: NurseryId,
    source: Source,
    reason: Option<Owned>,
) -> Option<Owned> {
    // SAFETY: attached.
    unsafe {
        let now = state.now_or_zero();
        let (host, given_back) = part_from_host(state, id, now);
        if let Err(raised) = given_back {
            state.forget(raised);
        }
        state.change(|tree, out| {
            tree.set_joiner(id, None);
            tree.cancel(tree.scope(id), Cause { source, reason }, now, out);
            if tree.phase(id) == Phase::Open {
                tree.body_ended(id, Outcome::Cancelled, now, None, out);
            }
        });
        host
    }
}

/// Nothing of the program's has to do with a nursery any more.
unsafe fn let_go(this: &Nursery, state: &LoopState, id: NurseryId, closed: bool) {
    // SAFETY: attached.
    unsafe {
        let (settings, cause) = {
            let tree = state.tree.borrow();
            let scope = tree.scope(id);
            (tree.settings(scope), tree.cause(scope).cloned())
        };
        drop(state.tree.change(|tree, out| tree.release(id, out)).1);
        this.retire();
        this.leave(settings, cause, false);
        if closed {
            discard(state, id);
        }
    }
}

/// A nursery has closed that no host waits for any more: what its children failed with since then
/// is reported.
pub unsafe fn discard(state: &LoopState, id: NurseryId) {
    // SAFETY: attached.
    unsafe {
        let (verdict, _cause) = state.change(|tree, out| tree.discard(id, out));
        let errors = match verdict {
            Verdict::Clean => return,
            Verdict::Errors(errors) => errors,
            Verdict::Bare { error, mut beside } => {
                beside.insert(0, error);
                beside
            }
        };
        for Failure { error, .. } in errors {
            let text = "A child has failed after its nursery was closed by force";
            state.report_error(text, error, std::ptr::null_mut());
        }
    }
}

impl Nursery {
    /// Nobody can leave it any more: whoever entered it has let go of it. Its children are
    /// cancelled, and what they fail with is reported (R7).
    pub(super) unsafe fn give_up(&self) {
        // SAFETY: attached.
        unsafe {
            let Some((home, id)) = self.place() else {
                return;
            };
            let state = &*home;
            if !self.is_here() {
                return;
            }
            let _aside = Aside::new();
            if state.tree.borrow().phase(id) == Phase::Closed {
                // Another has joined it, or nothing was in it any more.
                let_go(self, state, id, true);
                return;
            }
            let Some(running) = optional(running_loop()) else {
                drop(state.tree.change(|tree, out| tree.release(id, out)).1);
                return;
            };
            if running.as_ptr() != state.event_loop.get() {
                // The collector may be taking the loop apart, and it must not be called then.
                drop(state.tree.change(|tree, out| tree.release(id, out)).1);
                return;
            }
            let text = "this nursery was never left";
            let left = state.tree.borrow().running(id);
            let reason = optional(crate::cpython::object::string(text));
            let host = end_without_host(state, id, Source::Failure, reason);
            let closed = state.tree.borrow().phase(id) == Phase::Closed;
            let_go(self, state, id, closed);
            let text = format!(
                "A nursery was never left: the task that entered it did not call __aexit__; \
                 {left} of its children were cancelled. Write 'async with Nursery() as nursery:'"
            );
            state.report(&text, None, host.as_ref().map_or(std::ptr::null_mut(), Owned::as_ptr));
        }
    }
}
