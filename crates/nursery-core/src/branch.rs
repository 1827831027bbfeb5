//! Scopes of a face whose tasks branch: many scopes of one task, side by side, where each stands
//! for itself below the scope it was opened in. It must never decide what a cancellation
//! reaches: it adds ways in and views.

use crate::member::{Member, MemberId};
use crate::scope::ScopeId;
use crate::slab::NONE;
use crate::tree::{Face, Tree};

impl<F: Face> Tree<F> {
    /// A host of scopes enters the tree below `scope`, without being a child of its nursery.
    /// [`withdraw`](Self::withdraw) it before `scope` is left.
    pub fn enroll_in(&mut self, key: F::Key, scope: ScopeId) -> MemberId {
        MemberId(self.members.insert(Member::new(key, NONE, scope.at, true)))
    }

    /// From which moment on the cancellation that reaches a task no longer waits for its cleanup:
    /// minus infinity for at once, infinity for never (R18).
    #[must_use]
    pub fn insists_at(&self, member: MemberId) -> f64 {
        self.insist_at(member.0)
    }
}
