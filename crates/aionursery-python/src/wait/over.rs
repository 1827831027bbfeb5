//! How a wait is over: what was waited for is there, and its waiters are woken. It must never run a task.

use nursery_core::NurseryId;

use super::waiters::notify;
use super::{WaitObject, WaitPhase};
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
            if let Ok(join) = join.cast::<WaitObject>() {
                join_is_over(state, &join);
            }
        }
        None if released => (hooks().discard)(state, nursery),
        None => {}
    }
}
