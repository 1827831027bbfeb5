//! The tree as it stands, to be shown. It must never change or decide anything.

use crate::member::MemberId;
use crate::scope::{Cause, ScopeId, Settings};
use crate::slab::NONE;
use crate::tree::{Face, Tree};

/// A moment in the life of a tree: how many scopes have been entered by then. Counts anew after 2³².
pub type Moment = u32;

/// One scope, as it stands.
pub struct View<'a, F: Face> {
    /// The task that entered it; `None` if that has ended without leaving it.
    pub host: Option<&'a F::Key>,
    /// What it was told.
    pub settings: Settings,
    /// Why it was cancelled itself, and when.
    pub cause: Option<(&'a Cause<F::Reason>, f64)>,
    /// Whether a cancellation reaches it: its own, or one from above.
    pub is_cancelled: bool,
}

/// Shows what needs no text of a face's values.
impl<F: Face> std::fmt::Debug for View<'_, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View")
            .field("settings", &self.settings)
            .field("is_cancelled", &self.is_cancelled)
            .finish_non_exhaustive()
    }
}

impl<F: Face> Tree<F> {
    /// One scope, as it stands.
    #[must_use]
    pub fn view(&self, scope: ScopeId) -> View<'_, F> {
        let scope = &self.scopes[scope.at];
        View {
            host: (scope.host != NONE).then(|| &self.members[scope.host].key),
            settings: scope.settings,
            cause: scope.cause.as_ref().map(|cause| (cause, scope.cancelled_at)),
            is_cancelled: scope.effective,
        }
    }

    /// It is now this moment: what is entered from now on bears a later one.
    #[must_use]
    pub fn moment(&self) -> Moment {
        self.serial
    }

    /// The host of the nursery that a task is a child of, and when that nursery was entered.
    #[must_use]
    pub fn parent(&self, child: MemberId) -> Option<(&F::Key, Moment)> {
        let nursery = self.members[child.0].nursery;
        if nursery == NONE {
            return None;
        }
        let scope = &self.scopes[self.nurseries[nursery].scope];
        (scope.host != NONE).then(|| (&self.members[scope.host].key, scope.serial))
    }

    /// When the nurseries were entered that a task has entered and not left, the latest first.
    #[must_use]
    pub fn entered(&self, host: MemberId) -> Vec<Moment> {
        self.unleft(host).into_iter().map(|nursery| self.scope(nursery).serial).collect()
    }

    /// The scopes that have none above them, in no order.
    pub fn roots(&self) -> impl Iterator<Item = ScopeId> {
        self.scopes.entries().filter(|(_, scope)| scope.parent == NONE).map(|(at, _)| self.id(at))
    }

    /// The scopes right below one, the latest first.
    pub fn scopes_below(&self, scope: ScopeId) -> impl Iterator<Item = ScopeId> {
        let next = move |id: u32| (id != NONE).then_some(id);
        let first = next(self.scopes[scope.at].first_child);
        std::iter::successors(first, move |at| next(self.scopes[*at].next)).map(|at| self.id(at))
    }
}
