//! Nurseries whose host cannot leave them as it should: closed coroutines, collected nurseries. What
//! can be done is done, and what cannot is reported. It must never
//! lose anything in silence.

use nursery_core::{Cause, Effects, Event, NurseryId, Phase, Source, Tree};

use super::Nursery;
use crate::cpython::call::{method0, method1, truth_of};
use crate::cpython::called::method;
use crate::cpython::errors::{Aside, Fallible, optional, raise, string, write_unraisable};
use crate::cpython::function::{Method, This};
use crate::cpython::imports::{is_closed, names, running_loop};
use crate::cpython::owned::{Owned, none};
use crate::engine::home::Home;
use crate::engine::state::{Failure, LoopState, PyFace};
use crate::hosts::foreign;
use crate::hosts::host;
use crate::step;
use crate::task::{Task, flag};

/// So many steps a task takes at once that is ended by force: one that yields again and again goes on with
/// the loop, which must not stand still for it.
const STEPS: usize = 100;

/// Steps what a cancelled nursery has below it at once, as far as it goes: for a host that may not
/// be able to await. Where its loop does not run, nothing takes a step. Returns whether the nursery is
/// closed.
pub(super) fn finish_now(state: &LoopState, id: NurseryId) -> bool {
    let py = state.py();
    if !runs_here(state) {
        return is_closed_or_gone(state, id);
    }
    for _ in 0..STEPS {
        if is_closed_or_gone(state, id) {
            return true;
        }
        let scope = state.tree.borrow().scope(id);
        let below: Vec<Owned> =
            state.tree.borrow().reached(scope).iter().map(|key| key.share(py)).collect();
        let mut moved = false;
        for task in below.iter().filter_map(|task| task.object().cast::<Task>()) {
            let ours = task.data();
            let pending = ours.member.get().is_some_and(|it| state.tree.borrow().is_pending(it));
            let can = ours.has(flag::SCHEDULED) || (pending && !ours.has(flag::JOINING));
            if can && !ours.has(flag::DONE | flag::RUNNING) {
                moved = true;
                if !ours.has(flag::SCHEDULED) {
                    step::collect(task);
                }
                if let Err(raised) = step::run_nested(state, task) {
                    let text = "A task that was closed by force";
                    state.report_failure(text, raised, Some(task));
                }
                if is_closed_or_gone(state, id) {
                    return true;
                }
            }
        }
        if !moved {
            break;
        }
    }
    is_closed_or_gone(state, id)
}

/// Whether a loop runs in this thread.
fn runs_here(state: &LoopState) -> bool {
    optional(running_loop(state.py())).is_some_and(|running| state.is_loop(&running))
}

/// Whether all has ended in a nursery. The program's code may have run since it was found: another
/// task may have left it.
fn is_closed_or_gone(state: &LoopState, id: NurseryId) -> bool {
    let tree = state.tree.borrow();
    !tree.has_nursery(id) || tree.phase(id) == Phase::Closed
}

/// Ends a nursery whose host cannot join it. Its children are cancelled and end here and now, if
/// they await nothing any more; that some do not is reported, for nothing can be done about it. Where
/// the loop is closed no child can take a step: their coroutines are closed (R3).
pub(super) fn close_by_force(this: &Nursery, state: &LoopState, id: NurseryId) {
    let _aside = Aside::new(state.py());
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
    if !state.tree.borrow().has_nursery(id) {
        return;
    }
    let still = state.tree.borrow().running(id);
    let_go(this, state, id);
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
    state.report(&text, None, host.as_deref());
}

/// Whether a loop runs nothing any more. One that is being taken apart may not be able to say.
fn is_stopped_for_good(state: &LoopState) -> bool {
    is_closed(&state.event_loop()).unwrap_or_else(|raised| {
        state.forget(raised);
        true
    })
}

/// Closes the coroutines of a nursery's children, and with them what stands below.
fn close_children(state: &LoopState, id: NurseryId) {
    let py = state.py();
    let children: Vec<Owned> = state.tree.borrow().children(id).map(|key| key.share(py)).collect();
    for child in children.iter().filter_map(|child| child.object().cast::<Task>()) {
        if !child.data().has(flag::DONE | flag::RUNNING) {
            step::give_up(state, child);
        }
    }
}

/// Takes a nursery from its host, if that still stands in it. `disown` does that in the tree with all
/// that belongs to it, before anything can run, and returns what the host is owed. Returns the host,
/// and whether it could be given that back. A nursery that has gone by now is left alone.
pub(super) fn part_from_host(
    state: &LoopState,
    id: NurseryId,
    disown: impl FnOnce(&mut Tree<PyFace>, &mut Effects<PyFace>) -> u32,
) -> (Option<Owned>, Fallible<()>) {
    let py = state.py();
    if !state.tree.borrow().has_nursery(id) {
        return (None, Ok(()));
    }
    let host = state.tree.borrow().host(id).map(|key| key.share(py));
    let owed = state.change(disown);
    let mut given_back = Ok(());
    if let Some(host) = &host {
        if host.object().cast::<Task>().is_none() {
            foreign::set_joining(state, host, false);
        }
        given_back = host::take_back(host, owed);
        let _aside = Aside::new(py);
        host::left_any_scope(state, host);
    }
    (host, given_back)
}

/// Takes a nursery that has closed from a host that will not leave it.
fn part_from_last_host(state: &LoopState, id: NurseryId) {
    if !runs_here(state) {
        // The collector may be taking host and loop apart: neither must be called then.
        let host = state.tree.borrow().host(id).map(|key| key.share(state.py()));
        drop(state.tree.change(|tree, out| tree.disown(id, f64::NEG_INFINITY, out)));
        if let Some(host) = host {
            host::left_any_scope(state, &host);
        }
        return;
    }
    let now = state.now_or_zero();
    if let (_, Err(raised)) = part_from_host(state, id, |tree, out| tree.disown(id, now, out)) {
        state.forget(raised);
    }
}

/// Takes a nursery from its host, cancels its children and ends its body. Returns the host.
fn end_without_host(
    state: &LoopState,
    id: NurseryId,
    source: Source,
    reason: Option<Owned>,
) -> Option<Owned> {
    let now = state.now_or_zero();
    let (host, given_back) = part_from_host(state, id, |tree, out| {
        tree.close_by_force(id, Cause { source, reason }, now, out)
    });
    if let Err(raised) = given_back {
        state.forget(raised);
    }
    host
}

/// Nothing of the program's has to do with a nursery any more.
fn let_go(this: &Nursery, state: &LoopState, id: NurseryId) {
    let (settings, cause, closed) = {
        let tree = state.tree.borrow();
        let scope = tree.scope(id);
        let closed = tree.phase(id) == Phase::Closed;
        (tree.settings(scope), tree.cause(scope).cloned(), closed)
    };
    drop(state.tree.change(|tree, out| tree.release(id, out)).1);
    this.retire();
    this.leave(settings, cause, false);
    if closed && state.tree.borrow().has_nursery(id) {
        discard(state, id);
    }
}

/// A nursery has closed that no host waits for any more: what it would have raised is reported.
pub(crate) fn discard(state: &LoopState, id: NurseryId) {
    let now = state.now_or_zero();
    // A loop's own clock may be Python code that has brought this about.
    if !state.tree.borrow().has_nursery(id) {
        return;
    }
    let (verdict, _cause) = state.change(|tree, out| tree.discard(id, None, now, out));
    for Failure { error, .. } in verdict.into_errors() {
        let text = "A nursery that was closed by force has failed";
        state.report_error(text, error, None);
    }
}

impl Nursery {
    /// It can be left no more: what entered it has let go of it. Its children are
    /// cancelled, and what they fail with is reported (R7).
    pub(super) fn give_up(&self) {
        let Some((home, id)) = self.place() else {
            return;
        };
        let state = &*home;
        let _aside = Aside::new(state.py());
        if state.tree.borrow().phase(id) == Phase::Closed {
            // Another has joined it, or nothing was in it any more; or its host was about to leave it when the
            // loop stopped for good, and goes with it.
            part_from_last_host(state, id);
            if state.tree.borrow().has_nursery(id) {
                let_go(self, state, id);
            }
            return;
        }
        if !runs_here(state) {
            // The collector may be taking the loop apart, and it must not be called then. A task
            // of asyncio's has said nothing when it ended.
            let host = self.block.host.cloned();
            let ended = |host: &Owned| optional(host::has_ended(host)).unwrap_or(false);
            let ended = host.as_ref().is_some_and(ended);
            let ((), effects) = state.tree.change(|tree, out| {
                if !tree.has_nursery(id) {
                    return;
                }
                if ended {
                    tree.disown(id, f64::NEG_INFINITY, out);
                }
                tree.release(id, out);
            });
            for event in effects.events {
                if let Event::Lost(Failure { error, .. }) = event {
                    write_unraisable(raise(error), None);
                }
            }
            match host {
                Some(host) if ended => host::left_any_scope(state, &host),
                Some(host) => foreign::leave_at_end(state, &host),
                None => {}
            }
            if !self.is_here() {
                self.retire();
                end_in_its_thread(state, id);
            }
            return;
        }
        if self.left.get() {
            // What has begun to leave it goes with it, in a cycle.
            close_by_force(self, state, id);
            return;
        }
        end_unleft(state, id, || let_go(self, state, id));
    }
}

/// A nursery that is open will not be left: its children are cancelled, and that is reported. `part` has it go,
/// or has it go once they have ended.
fn end_unleft(state: &LoopState, id: NurseryId, part: impl FnOnce()) {
    let left = state.tree.borrow().running(id);
    let reason = optional(string(state.py(), "this nursery was never left"));
    let host = end_without_host(state, id, Source::Failure, reason);
    if state.tree.borrow().has_nursery(id) {
        part();
    }
    let text = format!(
        "A nursery was never left: the task that entered it did not call __aexit__; \
         {left} of its children were cancelled. Write 'async with Nursery() as nursery:'"
    );
    state.report(&text, None, host.as_deref());
}

/// A nursery was let go of in another thread than its loop's, by the collector as a rule: it ends in its own, if
/// the loop runs there.
fn end_in_its_thread(state: &LoopState, id: NurseryId) {
    let (event_loop, names) = (state.event_loop(), names(state.py()));
    let runs = optional(truth_of(method0(&event_loop, names.is_running))).unwrap_or(false);
    if !runs || !state.tree.borrow().has_nursery(id) {
        return;
    }
    state.unleft.borrow_mut().push(id);
    let told = END_UNLEFT
        .bind(&state.this.share())
        .and_then(|end| method1(&event_loop, names.call_soon_threadsafe, &end));
    if let Err(raised) = told {
        state.forget(raised);
    }
}

static END_UNLEFT: Method<LoopState> = method!(no_args LoopState, c"end_unleft", |this: &This<'_, LoopState>| {
    let unleft = this.unleft.take();
    let Some(home) = Home::of(this) else { return Ok(none(this.py())) };
    let state = &*home;
    for id in unleft {
        if !is_closed_or_gone(state, id) {
            end_unleft(state, id, || ());
        }
        if state.tree.borrow().has_nursery(id) && state.tree.borrow().phase(id) == Phase::Closed {
            part_from_last_host(state, id);
            discard(state, id);
        }
    }
    Ok(none(this.py()))
});
