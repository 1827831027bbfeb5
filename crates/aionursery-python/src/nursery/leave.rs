//! How a nursery is left once body and children have ended: its host, or what stands in for that, raises
//! what the tree decides. It must never wait.

use nursery_core::{Close, MemberId, NurseryId, Verdict};

use super::Nursery;
use super::leaver::{Misuse, check_stands};
use super::notes::{self, leave_tree, take_held, was_thrown};
use super::raise::{plain_cancelled, raise_verdict, without_cancellations};
use crate::cpython::errors::{Fallible, misuse, raise, raise_in_context};
use crate::cpython::imports::current_task;
use crate::cpython::object::Object;
use crate::cpython::owned::{Owned, boolean};
use crate::cpython::raised;
use crate::engine::state::{Failure, LoopState};
use crate::hosts::{self, foreign, host};
use crate::step;
use crate::task::{self, Task, is_shielded};
use crate::wait::WaitObject;

/// Body and children have ended: the block is left. Returns whether the body's exception is
/// swallowed, or raises what the nursery raises.
pub(super) fn finish_join(join: &WaitObject, joined: bool) -> Fallible<Owned> {
    let nursery = notes::nursery(join)?;
    join.payload().clear();
    let Some((home, id)) = nursery.place() else {
        return Err(misuse(join.py(), "this nursery is left without having been entered"));
    };
    leave_tree(join, &home, id);
    let misuse = nursery.misuse.take();
    match nursery.block.host.cloned() {
        Some(host) if misuse.is_none() && home.tree.borrow().host(id).is_some() => {
            leave(&nursery, &home, id, join, &host, joined)
        }
        _ => leave_without_host(&nursery, &home, id, join, misuse),
    }
}

/// What a host has heard of cancellations when it leaves its nursery.
struct Heard {
    /// One from outside came while it joined.
    held: bool,
    /// How many were honoured, where that decides anything.
    honoured: u32,
    /// The error of a scope's that waits to be thrown.
    cancelled: Option<Owned>,
}

impl Heard {
    #[inline(always)]
    fn of(
        state: &LoopState,
        host: &Object,
        member: MemberId,
        join: &WaitObject,
        joined: bool,
    ) -> Fallible<Self> {
        let mut held = take_held(join);
        let own = host.cast::<Task>();
        match own {
            None => foreign::set_joining(state, host, false),
            Some(own) if joined => {
                let ours = own.data();
                held |= ours.change_inbox(|inbox| inbox.joined(|| is_shielded(state, ours)));
            }
            Some(_) => {}
        }
        // Where nothing was cancelled, the host's count decides nothing.
        let matters = held || !join.value().is_empty() || state.tree.borrow().is_cancelled(member);
        let honoured = if matters { host::honoured(host)? } else { 0 };
        let cause = {
            let tree = state.tree.borrow();
            (own.is_some() && !held && tree.is_pending(member)).then(|| tree.why(member))
        };
        let cancelled = cause.map(|cause| step::cancelled_for(state.py(), &cause));
        Ok(Self { held, honoured, cancelled })
    }
}

/// What time it is, where that decides anything: the end of a shield. The clock may be the program's code.
#[inline(always)]
fn time_of_end(state: &LoopState, id: NurseryId) -> Fallible<f64> {
    check_stands(state, id)?;
    let shield = {
        let tree = state.tree.borrow();
        tree.settings(tree.scope(id)).shield
    };
    let now = if shield { state.now_or_zero() } else { 0.0 };
    check_stands(state, id)?;
    Ok(now)
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
    let own = host.cast::<Task>();
    let member = hosts::member_of(state, host);
    let Heard { held, honoured, cancelled } = Heard::of(state, host, member, join, joined)?;
    let now = time_of_end(state, id)?;
    // What ran since the join began may have entered something, or have parted the nursery from its host.
    if !state.tree.borrow().is_innermost(id) {
        if state.tree.borrow().host(id).is_some() {
            nursery.disown(state, id, Misuse::Order)?;
            check_stands(state, id)?;
        }
        let misuse = nursery.misuse.take();
        return leave_without_host(nursery, state, id, join, misuse);
    }
    let Close { verdict, cancelled: goes_on, overtaken, exit } = state.change(|tree, out| {
        nursery.retire();
        tree.close(id, honoured, held, now, out)
    });
    // What was cancelled above a foreign host while it joined has not reached it yet.
    let behind = own.is_none()
        && hosts::find_member(state, host).is_some_and(|it| state.tree.borrow().is_pending(it));
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
    if overtaken > 0 {
        host::rearm(state, host, overtaken)?;
    }
    if behind {
        foreign::reach(state, host);
    }
    let thrown = join.value().take();
    match verdict {
        Verdict::Clean if !goes_on => Ok(boolean(state.py(), thrown.is_some() && caught)),
        Verdict::Clean => raise_cancellation(join, own, thrown, cancelled, exit.bare),
        verdict => raise_verdict(nursery, state, host, verdict, thrown),
    }
}

/// A cancellation goes on from a block in which nothing has failed. `own`: its host, if that is a task of
/// ours; `thrown`: what the join holds; `bare`: no scope asks for it any more.
#[cold]
fn raise_cancellation(
    join: &WaitObject,
    own: Option<&Task>,
    thrown: Option<Owned>,
    cancelled: Option<Owned>,
    bare: bool,
) -> Fallible<Owned> {
    let py = join.py();
    if let Some(body) = thrown.as_ref()
        && !was_thrown(join)
    {
        let cancellation = raised::innermost(body);
        if let Some(own) = own
            && bare
            && host::is_a_scopes(&cancellation)
        {
            return Err(raise_in_context(task::cancelled_error(own)));
        }
        if !cancellation.is(body) {
            // It was in a group of nothing but cancellations.
            return Err(raise(cancellation));
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
    let misuse = misuse.map(Failure::unnamed);
    let (verdict, cause) = state.change(|tree, out| {
        nursery.retire();
        tree.discard(id, misuse, now, out)
    });
    nursery.leave(settings, cause, false);
    let (verdict, _) = without_cancellations(verdict);
    let held = take_held(join);
    let thrown = join.value().take();
    let was_thrown = was_thrown(join);
    let current = current_task(&state.event_loop())?;
    match verdict {
        Verdict::Clean if was_thrown => match thrown {
            Some(cancelled) => Err(raise(cancelled)),
            None => Ok(boolean(py, false)),
        },
        Verdict::Clean => Ok(boolean(py, false)),
        verdict => {
            if held && was_thrown && !task::is_ours(&current) {
                // The leaving task was cancelled: that acts after the error.
                host::rearm(state, &current, 1)?;
            }
            raise_verdict(nursery, state, &current, verdict, thrown)
        }
    }
}
