//! A task's place in the tree: whether it has one, and whose reference stands for it.

use nursery_core::MemberId;

use super::data::{data, flag, is_ours};
use crate::cpython::object::Raw;
use crate::engine::state::{Key, LoopState};

/// Whether the tree holds a reference to a task: to children and to foreign hosts. A task of ours
/// that only hosts scopes leaves the tree when it goes, so that it can be collected.
pub unsafe fn is_held(task: Raw) -> bool {
    // SAFETY: what stands in the tree is alive.
    unsafe { !is_ours(task) || data(task).has(flag::CHILD) }
}

/// The place of a task of ours in the tree, made if it has none.
pub unsafe fn member(state: &LoopState, task: Raw) -> MemberId {
    // SAFETY: the caller's task is alive.
    unsafe {
        let ours = data(task);
        if let Some(member) = ours.member.get() {
            return member;
        }
        let member = state.tree.touch(|tree| tree.enroll(Key(task), false));
        ours.member.set(Some(member));
        member
    }
}

/// The loop's state goes: the task has no place in a tree any more.
pub unsafe fn leave_tree(task: Raw) {
    // SAFETY: the caller's task is alive.
    unsafe {
        data(task).member.set(None);
    }
}
