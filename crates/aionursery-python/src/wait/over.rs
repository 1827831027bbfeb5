//! How a wait is over: what was waited for is there, and its waiters are woken. It must never run a task.

use nursery_core::{MemberId, NurseryId, Phase};

use super::waiters::{has_any, notify};
use super::{WaitObject, WaitPhase};
use crate::cpython::errors::optional;
use crate::cpython::futures::is_done;
use crate::cpython::owned::Owned;
use crate::engine::hooks::hooks;
use crate::engine::state::LoopState;

/// What was waited for is there.
pub(crate) fn complete(this: &WaitObject, value: Option<Owned>) {
    if !this.is_open() {
        return;
    }
    if value.is_some() {
        drop(this.value.replace(value));
    }
    this.phase.set(WaitPhase::Done);
    notify(this);
}

/// The nursery that a host joins has closed.
pub(super) fn join_is_over(state: &LoopState, this: &WaitObject) {
    if this.phase.get() != WaitPhase::Waiting {
        return;
    }
    this.phase.set(WaitPhase::Done);
    if !state.ready.take_last(this.object()) {
        notify(this);
    }
}

/// The timer of a wait has fired; the heap's reference has become the caller's.
pub(super) fn fire(this: &WaitObject) {
    this.forget_timer();
    complete(this, None);
}

/// What a wait that was cancelled brings.
pub(crate) fn cancelled_error(this: &WaitObject) -> Owned {
    this.raise_cancelled(this.py()).take()
}

/// A nursery has closed: wakes the join that waits for it, or lets go of it if nothing of the
/// program's has to do with it any more.
pub(crate) fn wake_joiner(state: &LoopState, nursery: NurseryId) {
    let (joiner, released) = {
        let tree = state.tree.borrow();
        // What was told of its end may have left it.
        if !tree.has_nursery(nursery) {
            return;
        }
        let joiner = tree.joiner(nursery).map(|key| key.share(state.py()));
        (joiner, tree.is_released(nursery))
    };
    match joiner {
        Some(join) => {
            let Ok(join) = join.cast::<WaitObject>() else { return };
            if !has_any(&join) && has_lost_its_host(state, nursery) {
                join.abandon(join.py());
            } else {
                join_is_over(state, &join);
            }
        }
        None if released => (hooks().discard)(state, nursery),
        None => {}
    }
}

/// A task that is no child has ended: it leaves the tree. It takes up no join again that it had begun:
/// until 3.12, CPython's generators leave one suspended where what awaits it is closed.
pub(crate) fn host_ended(state: &LoopState, member: MemberId) {
    let unleft = state.tree.borrow().unleft(member);
    state.change(|tree, out| tree.withdraw(member, out));
    for nursery in unleft {
        state.tree.touch(|tree| {
            if tree.has_nursery(nursery) {
                tree.forsake_children(nursery);
            }
        });
        let joiner = {
            let tree = state.tree.borrow();
            let closed = tree.has_nursery(nursery) && tree.phase(nursery) == Phase::Closed;
            closed.then(|| tree.joiner(nursery).map(|key| key.share(state.py()))).flatten()
        };
        if let Some(join) = joiner.and_then(|join| join.cast::<WaitObject>().ok())
            && !has_any(&join)
        {
            join.abandon(join.py());
        }
    }
}

/// Whether the host of a nursery that has closed can leave it no more. A task of asyncio's says nothing
/// when it ends, so it is asked.
#[cold]
fn has_lost_its_host(state: &LoopState, nursery: NurseryId) -> bool {
    let host = state.tree.borrow().host(nursery).map(|key| key.share(state.py()));
    host.is_none_or(|host| optional(is_done(&host)).unwrap_or(false))
}
