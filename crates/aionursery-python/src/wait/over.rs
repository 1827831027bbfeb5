//! How a wait is over: what was waited for is there, and its waiters are woken. It must never run a task.

use nursery_core::NurseryId;

use super::waiters::notify;
use super::{Phase, wait};
use crate::cpython::object::{Owned, Raw};
use crate::engine::hooks::hooks;
use crate::engine::state::{Key, LoopState};

/// What was waited for is there.
pub unsafe fn complete(object: Raw, value: Option<Owned>) {
    // SAFETY: attached; the caller's wait is alive.
    unsafe {
        let this = wait(object);
        if !matches!(this.phase.get(), Phase::New | Phase::Waiting) {
            return;
        }
        if value.is_some() {
            drop(this.value.replace(value));
        }
        this.phase.set(Phase::Done);
        notify(object);
    }
}

/// The nursery that a host joins has closed.
pub unsafe fn join_is_over(state: &LoopState, object: Raw) {
    // SAFETY: attached; the caller's wait is alive.
    unsafe {
        let this = wait(object);
        if this.phase.get() != Phase::Waiting {
            return;
        }
        this.phase.set(Phase::Done);
        if !state.ready.take_last(object) {
            notify(object);
        }
    }
}

/// The timer of a wait has fired; the heap's reference has become the caller's.
pub unsafe fn fire(object: &Owned) {
    // SAFETY: attached.
    unsafe {
        wait(object.as_ptr()).timer.set(None);
        complete(object.as_ptr(), None);
    }
}

/// What a wait that was cancelled brings.
pub unsafe fn cancelled_error(object: Raw) -> Owned {
    // SAFETY: attached; the caller's wait is alive.
    unsafe { wait(object).raise_cancelled().take() }
}

/// A nursery has closed: wakes the join that waits for it, or lets go of it if nothing of the
/// program's has to do with it any more.
pub unsafe fn wake_joiner(state: &LoopState, nursery: NurseryId) {
    let (joiner, released) = {
        let tree = state.tree.borrow();
        (tree.joiner(nursery).copied(), tree.is_released(nursery))
    };
    // SAFETY: attached; a join that the tree knows is alive.
    unsafe {
        match joiner {
            Some(Key(join)) => join_is_over(state, join),
            None if released => (hooks().discard)(state, nursery),
            None => {}
        }
    }
}
