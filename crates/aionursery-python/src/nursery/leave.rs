//! How a nursery is left once body and children have ended: its host, or what stands in for that, raises
//! what the tree decides. It must never wait.

use nursery_core::{Close, NurseryId, Verdict};

use super::Nursery;
use super::leaver::{Misuse, check_stands};
use super::notes::{self, take_held, was_thrown};
use super::raise::{plain_cancelled, raise_verdict, without_cancellations};
use crate::cpython::errors::{Fallible, misuse, raise, raise_in_context};
use crate::cpython::imports::current_task;
use crate::cpython::object::Object;
use crate::cpython::owned::{Owned, boolean};
use crate::cpython::raised;
use crate::engine::state::{Failure, LoopState};
use crate::hosts::{self, foreign, host};
use crate::step;
use crate::task::{self, Task};
use crate::wait::WaitObject;

/// Body and children have ended: the block is left. Returns whether the body's exception is
/// swallowed, or raises what the nursery raises.
pub(super) fn finish_join(join: &WaitObject, joined: bool) -> Fallible<Owned> {
    let nursery = notes::nursery(join)?;
    join.payload().clear();
    let Some((home, id)) = nursery.place() else {
        return Err(misuse(join.py(), "this nursery is left without having been entered"));
    };
    let misuse = nursery.misuse.take();
    match nursery.host.cloned() {
        Some(host) if misuse.is_none() && home.tree.borrow().host(id).is_some() => {
            leave(&nursery, &home, id, join, &host, joined)
        }
        _ => leave_without_host(&nursery, &home, id, join, misuse),
    }
}

/// The host leaves its nursery.
fn leave(
    nursery: &Owned<Nursery>,
    state: &LoopState,
    id: NurseryId,
    join: &WaitObject,
    host: &Object,
    joined: bool,
) -> Fallible<Owned> {
    let py = state.py();
    let own = host.cast::<Task>();
    let mut held = take_held(join);
    match own {
        None => foreign::set_joining(state, host, false),
        Some(own) if joined && task::is_asked(state, own) => {
            own.data().change_inbox(|inbox| inbox.requests.deliver());
            held = true;
        }
        Some(_) => {}
    }
    let member = hosts::member_of(state, host);
    // Where nothing was cancelled, the host's count decides nothing.
    let matters = held || !join.value().is_empty() || state.tree.borrow().is_cancelled(member);
    let honoured = if matters { host::honoured(host)? } else { 0 };
    let cause = {
        let tree = state.tree.borrow();
        (own.is_some() && !held && tree.is_pending(member)).then(|| tree.why(member))
    };
    let cancelled = cause.map(|cause| step::cancelled_for(py, &cause));
    check_stands(state, id)?;
    let shield = {
        let tree = state.tree.borrow();
        tree.settings(tree.scope(id)).shield
    };
    let now = if shield { state.now_or_zero() } else { 0.0 };
    check_stands(state, id)?;
    let misplaced = {
        let tree = state.tree.borrow();
        tree.innermost(member) != Some(tree.scope(id))
    };
    if misplaced {
        // What ran since the join began has entered something.
        nursery.disown(state, id, Misuse::Order)?;
        check_stands(state, id)?;
        let misuse = nursery.misuse.take();
        return leave_without_host(nursery, state, id, join, misuse);
    }
    let Close { verdict, cancelled: goes_on, rearm, exit } = state.change(|tree, out| {
        nursery.retire();
        tree.close(id, honoured, held, now, out)
    });
    // What was cancelled above a foreign host while it joined has not reached it yet.
    let behind = own.is_none() && state.tree.borrow().is_pending(member);
    let cancelled_here = exit.cause.is_some();
    // Looked at before the host may leave the tree.
    let above = state.tree.borrow().is_cancelled(member);
    host::left_scope(state, host, member);
    nursery.leave(exit.settings, exit.cause, exit.caught);
    let taken = host::take_back(host, exit.take_back);
    if exit.watched {
        state.drop_uncalled();
    }
    taken?;
    let (verdict, found) = without_cancellations(verdict);
    let absorbed = found && exit.absorbs;
    let caught = absorbed || exit.caught;
    if absorbed {
        nursery.has_caught();
    }
    if rearm {
        host::rearm(host)?;
    }
    if behind {
        foreign::reach(state, host);
    }
    let thrown = join.value().take();
    match verdict {
        Verdict::Clean if !goes_on => Ok(boolean(py, thrown.is_some() && caught)),
        Verdict::Clean => {
            if let Some(body) = thrown.as_ref()
                && !was_thrown(join)
            {
                let bare = raised::innermost(body);
                if let Some(own) = own
                    && cancelled_here
                    && !above
                    && host::is_a_scopes(&bare)
                {
                    return Err(raise_in_context(task::cancelled_error(own)));
                }
                if !bare.is(body) {
                    // It was in a group of nothing but cancellations.
                    return Err(raise(bare));
                }
                // The body's own goes on.
                return Ok(boolean(py, false));
            }
            let error = thrown.or(cancelled);
            Err(raise(error.unwrap_or_else(|| match own {
                Some(own) => task::cancelled_error(own),
                None => plain_cancelled(py, join),
            })))
        }
        verdict => raise_verdict(nursery, state, host, verdict, thrown),
    }
}

/// A task that is not the host leaves a nursery, or the host does in the wrong order.
fn leave_without_host(
    nursery: &Owned<Nursery>,
    state: &LoopState,
    id: NurseryId,
    join: &WaitObject,
    misuse: Option<Owned>,
) -> Fallible<Owned> {
    let py = state.py();
    let now = state.now_or_zero();
    // A loop's own clock may be Python code that has brought this about.
    check_stands(state, id)?;
    let settings = {
        let tree = state.tree.borrow();
        tree.settings(tree.scope(id))
    };
    let (verdict, cause) = state.change(|tree, out| {
        nursery.retire();
        tree.discard(id, now, out)
    });
    nursery.leave(settings, cause, false);
    let (verdict, _) = without_cancellations(verdict);
    let held = take_held(join);
    let thrown = join.value().take();
    let was_thrown = was_thrown(join);
    let current = current_task(&state.event_loop())?;
    let verdict = match (misuse, verdict) {
        (None, verdict) => verdict,
        (Some(misuse), Verdict::Clean) => {
            Verdict::Bare { error: Failure::unnamed(misuse), beside: Vec::new() }
        }
        (Some(misuse), Verdict::Errors(mut errors)) => {
            errors.insert(0, Failure::unnamed(misuse));
            Verdict::Errors(errors)
        }
        (Some(misuse), Verdict::Bare { error, mut beside }) => {
            beside.insert(0, Failure::unnamed(misuse));
            Verdict::Bare { error, beside }
        }
    };
    match verdict {
        Verdict::Clean if was_thrown => match thrown {
            Some(cancelled) => Err(raise(cancelled)),
            None => Ok(boolean(py, false)),
        },
        Verdict::Clean => Ok(boolean(py, false)),
        verdict => {
            if held && was_thrown && !task::is_ours(&current) {
                // The leaving task was cancelled: that acts after the error.
                host::rearm(&current)?;
            }
            raise_verdict(nursery, state, &current, verdict, thrown)
        }
    }
}
