//! What a task was asked, as far as its inbox in the core says. It must never act on it.

use super::data::{TaskData, data};
use crate::cpython::object::Raw;
use crate::engine::state::LoopState;

/// Whether a bare cancellation waits to be thrown and no shield holds it back.
pub unsafe fn is_asked(state: &LoopState, task: Raw) -> bool {
    // SAFETY: the caller's task is alive.
    let ours = unsafe { data(task) };
    ours.inbox.get().is_asked(|| is_shielded(state, ours))
}

/// Whether a bare cancellation is held back (R20).
pub fn is_shielded(state: &LoopState, ours: &TaskData) -> bool {
    ours.member.get().is_some_and(|member| state.tree.borrow().is_shielded(member))
}

/// The tree has cancelled a task: its count of cancellations rises.
pub unsafe fn charge(task: Raw, charges: u32) {
    // SAFETY: the caller's task is alive.
    unsafe {
        data(task).change_inbox(|inbox| {
            for _ in 0..charges {
                inbox.requests.ask();
            }
        });
    }
}
