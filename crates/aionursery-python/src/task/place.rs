//! A task's place in the tree: whether it has one, and whose reference stands for it. It must never
//! keep a place that the tree has not.
//!
//! The tree holds children and foreign hosts. A host of ours it holds while a child or a deadline may
//! still wake it, as asyncio's tasks and timers hold what waits for them; one that only hosts scopes leaves
//! the tree when it goes, so that it can be collected.

use nursery_core::{MemberId, NurseryId};

use super::data::Task;
use super::flag;
use crate::cpython::object::Object;
use crate::engine::state::{Key, LoopState};

/// Whether the tree holds a reference to a task.
pub(crate) fn is_held(task: &Object) -> bool {
    task.cast::<Task>().is_none_or(Task::is_held)
}

/// The place of a task of ours in the tree, made if it has none.
pub(crate) fn member(state: &LoopState, task: &Task) -> MemberId {
    let ours = task.data();
    if let Some(member) = ours.member.get() {
        return member;
    }
    let member = state.tree.touch(|tree| tree.enroll(Key::of(task), false));
    ours.member.set(Some(member));
    member
}

/// The place of a task of either kind in this loop's tree, if it has one there.
pub(crate) fn find_member(state: &LoopState, task: &Object) -> Option<MemberId> {
    match task.cast::<Task>() {
        Some(task) => task.data().member.get().filter(|_| task.data().home.is_at(state)),
        None => state.foreign_member(task),
    }
}

/// What is in the tree may wake this host, if it has a place there: the tree holds it until it has left all
/// that it had entered. One that has ended nothing wakes.
#[inline]
pub(crate) fn keep(host: &Object) {
    if let Some(task) = host.cast::<Task>()
        && !task.data().has(flag::DONE)
        && task.data().member.get().is_some()
    {
        task.hold();
    }
}

/// As [`keep`], for the host of a nursery.
#[cold]
pub(crate) fn keep_host(state: &LoopState, nursery: NurseryId) {
    let host = state.tree.borrow().host(nursery).map(|key| key.share(state.py()));
    if let Some(host) = host {
        keep(&host);
    }
}

/// The loop's state goes: the task has no place in a tree any more.
pub(crate) fn leave_tree(task: &Task) {
    task.data().member.set(None);
}
