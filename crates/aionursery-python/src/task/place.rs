//! A task's place in the tree: whether it has one, and whose reference stands for it. It must never
//! keep a place that the tree has not.

use nursery_core::MemberId;

use super::data::Task;
use crate::cpython::object::Object;
use crate::engine::state::{Key, LoopState};

/// Whether the tree holds a reference to a task: to children and to foreign hosts. A task of ours
/// that only hosts scopes leaves the tree when it goes, so that it can be collected.
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

/// The loop's state goes: the task has no place in a tree any more.
pub(crate) fn leave_tree(task: &Task) {
    task.data().member.set(None);
}
