//! How a task that waits is woken: it is queued, once. It must never take a step.

use super::data::Task;
use super::flag;
use crate::cpython::owned::Owned;
use crate::engine::ready;
use crate::engine::state::LoopState;

/// As [`wake`], where nothing else is woken by what has happened: if the task would be first in the next
/// turn, it goes on when the batch that is drained has ended.
#[inline]
pub(crate) fn wake_alone(state: &LoopState, task: Owned<Task>) {
    if schedule(&task) && (state.debug.get() || !state.ready.take_last(&task)) {
        ready::push_or_report(state, task.into_object());
    }
}

/// What a task of ours has waited for is there.
#[inline]
pub(crate) fn wake(state: &LoopState, task: Owned<Task>) {
    if schedule(&task) {
        ready::push_or_report(state, task.into_object());
    }
}

/// Counts a task as queued from now on. Returns `false` if it waits no more, or is queued already.
#[inline(always)]
fn schedule(task: &Task) -> bool {
    let ours = task.data();
    let waits = !ours.has(flag::DONE | flag::SCHEDULED | flag::RUNNING);
    if waits {
        ours.raise_flags(flag::SCHEDULED);
    }
    waits
}
