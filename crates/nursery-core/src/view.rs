//! The tree as it stands, for whoever wants to show it. Changes nothing and decides nothing.

use crate::scope::{Cause, ScopeId, Settings};
use crate::slab::NONE;
use crate::tree::{Face, Tree};

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
