//! Scopes of a face whose tasks branch: many scopes of one task, side by side, where each stands
//! for itself below the scope it was opened in. It must never decide what a cancellation
//! reaches: it adds ways in and views.

use crate::member::{Member, MemberId};
use crate::scope::{ScopeId, Settings};
use crate::slab::NONE;
use crate::tree::{Effects, Face, Flight, Tree};

impl<F: Face> Tree<F> {
    /// A host of scopes enters the tree below `scope`, without being a child of its nursery.
    /// [`withdraw`](Self::withdraw) it before `scope` is left.
    pub fn enroll_in(&mut self, key: F::Key, scope: ScopeId) -> MemberId {
        MemberId(self.members.insert(Member::new(key, NONE, scope.at, true)))
    }

    /// A host leaves the one scope that it has entered, and the tree: as [`exit`](Self::exit) with nothing in
    /// flight and [`withdraw`](Self::withdraw), where what the scope gives is not asked for. Most branches hold
    /// nothing, and nothing was cancelled around them: these are only taken out.
    ///
    /// # Panics
    /// If another scope is its host's innermost one.
    pub fn leave_branch(&mut self, member: MemberId, scope: ScopeId, out: &mut Effects<F>) {
        let (host, own) = (&self.members[member.0], &self.scopes[scope.at]);
        let is_quiet = own.cause.is_none()
            && own.first_child == NONE
            && (own.parent == NONE || !self.scopes[own.parent].effective)
            && own.nursery == NONE
            && !(own.watched || host.succeeds)
            && host.scope == scope.at;
        if is_quiet {
            self.silence(scope.at);
            self.unhang(scope.at);
            self.scopes.clear(scope.at);
            self.members.clear(member.0);
        } else {
            // What stands in it stands below its parent from now on, and hears of that as it did before.
            self.exit(scope, Flight::Nothing, 0, f64::NEG_INFINITY, out);
            self.withdraw(member, out);
        }
    }

    /// From which moment on the cancellation that reaches a task no longer waits for its cleanup:
    /// minus infinity for at once, infinity for never (R18).
    #[must_use]
    pub fn insists_at(&self, member: MemberId) -> f64 {
        self.insist_at(member.0)
    }

    /// Whether a host stands in its one scope, alone in the tree, as if it had just entered that with no
    /// settings: nothing was asked of either that has left a trace.
    #[must_use]
    pub fn is_as_entered(&self, member: MemberId, scope: ScopeId) -> bool {
        let (host, own) = (&self.members[member.0], &self.scopes[scope.at]);
        let never = f64::NEG_INFINITY;
        self.size() == (1, 1, 0)
            && (host.scope, host.base) == (scope.at, NONE)
            && (own.settings, own.first_child) == (Settings::default(), NONE)
            && own.cause.is_none()
            && !(own.watched || own.porous || host.pending || host.overtaken != NONE)
            && (own.raised_after, own.lifted_at, host.hears_since) == (0, never, never)
            && (host.charges, host.heard, host.insisted_times, host.insisted_at) == (0, 0, 0, None)
    }

    /// Another host takes the place of one, with what that has entered. Gives what that was called.
    pub fn succeed(&mut self, member: MemberId, key: F::Key) -> F::Key {
        std::mem::replace(&mut self.members[member.0].key, key)
    }
}
