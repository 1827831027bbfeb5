//! Which task leaves a nursery, and what happens to one that another task leaves than its host, or its
//! host in the wrong order. It must never wait, nor raise what the nursery raises.

use nursery_core::{Cause, Effects, MemberId, NurseryId, Source, Tree};

use super::Nursery;
use super::abandoned::part_from_host;
use crate::cpython::errors::{Fallible, misuse, optional, string};
use crate::cpython::futures;
use crate::cpython::imports::current_task;
use crate::cpython::object::Object;
use crate::cpython::owned::Owned;
use crate::engine::state::{LoopState, PyFace};
use crate::hosts;
use crate::hosts::host;
use crate::task::Task;

/// How a nursery is left as it must not be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Misuse {
    /// Another task leaves it.
    Task,
    /// Its host has entered another block inside it, and not left that.
    Order,
}

impl Misuse {
    fn text(self) -> &'static str {
        match self {
            Self::Task => {
                "this nursery is left in another task than entered it; enter and leave a nursery in \
                 one task, and do not yield inside one in an async generator (PEP 789)"
            }
            Self::Order => {
                "this nursery is left while a scope or nursery that was entered after it is still \
                 open; leave them in the reverse order"
            }
        }
    }
}

/// The task that leaves a nursery.
pub(super) enum Leaver {
    /// Its host, as it must be.
    Host(Owned),
    /// Another task, after the host has ended, as asyncio allows it for its groups (R3).
    Successor(Owned),
    /// Another task, or the host in the wrong order.
    Stranger(Misuse, Owned),
    /// The host's coroutine is being closed, and must not await any more.
    Force,
}

/// Whether a nursery is still in the tree: where the program's code has run since it was found, that
/// may have left it.
pub(super) fn check_stands(state: &LoopState, id: NurseryId) -> Fallible<()> {
    if state.tree.borrow().has_nursery(id) {
        return Ok(());
    }
    let text = "this nursery was left meanwhile, by what ran while it was being left";
    Err(misuse(state.py(), text))
}

impl Leaver {
    /// The place in the tree of the task that waits in the host's place, if it has one there now.
    pub(super) fn successor(&self, state: &LoopState) -> Option<MemberId> {
        match self {
            Self::Stranger(Misuse::Order, host) => hosts::find_member(state, host),
            Self::Successor(task) | Self::Stranger(_, task) => place_of(state, task),
            Self::Host(_) | Self::Force => None,
        }
    }
}

/// The place in the tree of a task of ours.
fn place_of(state: &LoopState, task: &Object) -> Option<MemberId> {
    task.cast::<Task>().and_then(|task| hosts::find_member(state, task))
}

impl Nursery {
    /// Which task leaves it. `closes`: a GeneratorExit is on its way.
    pub(super) fn leaver(
        &self,
        state: &LoopState,
        id: NurseryId,
        closes: bool,
    ) -> Fallible<Leaver> {
        let current = current_task(&state.event_loop())?;
        self.leaver.set(current.address());
        let host = self.block.host.cloned();
        // A task of asyncio's says nothing when it ends.
        let ended = match &host {
            Some(host) => host::has_ended(host)?,
            None => true,
        };
        let alive = !ended && state.tree.borrow().host(id).is_some();
        if let Some(host) = &host
            && alive
            && host.is(&current)
        {
            let member = hosts::member_of(state, host);
            let tree = state.tree.borrow();
            if tree.innermost(member) == Some(tree.scope(id)) {
                return Ok(Leaver::Host(host.clone()));
            }
            return Ok(Leaver::Stranger(Misuse::Order, current));
        }
        let runs = match &host {
            Some(host) if alive => futures::is_running(host)?,
            _ => false,
        };
        if closes && (runs || current.is_none()) {
            return Ok(Leaver::Force);
        }
        let member = place_of(state, &current);
        let tree = state.tree.borrow();
        if member.is_some_and(|member| tree.is_awaited(member, id)) {
            drop(tree);
            return Err(misuse(
                state.py(),
                "this nursery is left by a task inside it, which would wait for itself; leave a \
                 nursery in the task that has entered it",
            ));
        }
        let scope = tree.scope(id);
        if !alive && tree.settings(scope).abrupt && tree.cause(scope).is_none() {
            drop(tree);
            return Ok(Leaver::Successor(current));
        }
        drop(tree);
        Ok(Leaver::Stranger(Misuse::Task, current))
    }

    /// Takes it from its host, and cancels its children: it is left as it must not be (R3).
    pub(super) fn disown(&self, state: &LoopState, id: NurseryId, how: Misuse) -> Fallible<()> {
        let py = state.py();
        let now = state.now_or_zero();
        let early = optional(string(py, "a nursery around it was left"));
        let reason = optional(string(py, how.text()));
        self.misuse.set(misuse(py, how.text()).take());
        let disown = |tree: &mut Tree<PyFace>, out: &mut Effects<PyFace>| {
            if how == Misuse::Order {
                tree.cancel_inside(tree.scope(id), early, now, out);
            }
            let owed = tree.disown(id, now, out);
            let cause = Cause { source: Source::Failure, reason };
            tree.cancel(tree.scope(id), cause, now, out);
            owed
        };
        part_from_host(state, id, disown).1
    }
}
