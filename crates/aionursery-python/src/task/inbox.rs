//! What a task was asked, as far as its inbox in the core says. It must never act on it.

use nursery_core::{Delivery, Inbox};

use super::data::{Task, TaskData};
use crate::cpython::owned::Owned;
use crate::engine::state::{Key, LoopState};

/// Whether a bare cancellation waits to be thrown and no shield holds it back.
pub(crate) fn is_asked(state: &LoopState, task: &Task) -> bool {
    let ours = task.data();
    ours.inbox.get().is_asked(|| is_shielded(state, ours))
}

/// Whether a bare cancellation is held back (R20).
pub(crate) fn is_shielded(state: &LoopState, ours: &TaskData) -> bool {
    ours.member.get().is_some_and(|member| state.tree.borrow().is_shielded(member))
}

/// Whether a task is shielded until it ends: what waits for it can be cancelled without it (R19).
pub(crate) fn is_shielded_for_life(task: &Task) -> bool {
    let ours = task.data();
    match (ours.state(), ours.member.get()) {
        (Some(state), Some(member)) => state.tree.borrow().is_shielded_for_life(member),
        _ => false,
    }
}

/// What a change of the tree has made of a task: its inbox has it, and its count of cancellations rises.
pub(crate) fn tell(task: &Task, delivery: &Delivery<Key, Owned>) {
    charge(task, delivery.charges);
    if delivery.throw {
        task.data().change_inbox(Inbox::tell);
    } else if delivery.spared {
        task.data().change_inbox(Inbox::spare);
    }
}

/// A task's count of cancellations rises by what the tree charges it.
pub(crate) fn charge(task: &Task, charges: u32) {
    task.data().change_inbox(|inbox| {
        for _ in 0..charges {
            inbox.requests.ask();
        }
    });
}
