//! What a task was asked, as far as its inbox in the core says. It must never act on it.

use super::data::{Task, TaskData};
use crate::engine::state::LoopState;

/// Whether a bare cancellation waits to be thrown and no shield holds it back.
pub(crate) fn is_asked(state: &LoopState, task: &Task) -> bool {
    let ours = task.data();
    ours.inbox.get().is_asked(|| is_shielded(state, ours))
}

/// Whether a bare cancellation is held back (R20).
pub(crate) fn is_shielded(state: &LoopState, ours: &TaskData) -> bool {
    ours.member.get().is_some_and(|member| state.tree.borrow().is_shielded(member))
}

/// The tree has cancelled a task: its count of cancellations rises.
pub(crate) fn charge(task: &Task, charges: u32) {
    task.data().change_inbox(|inbox| {
        for _ in 0..charges {
            inbox.requests.ask();
        }
    });
}
