//! What watches a scope: the face hands it in, and gets it back to be called in the moment in which a
//! cancellation reaches the scope (R12b). It must never give one back twice, or keep one of a scope that
//! was left.

use crate::scope::ScopeId;
use crate::slab::NONE;
use crate::tree::{Effects, Event, Face, Tree};

impl<F: Face> Tree<F> {
    /// Watches a scope. If a cancellation reaches it already, `watch` comes back to be called at once.
    pub fn watch(&mut self, scope: ScopeId, watch: F::Watch, out: &mut Effects<F>) {
        if self.scopes[scope.at].effective {
            out.events.push(Event::Called(watch));
            return;
        }
        self.scopes[scope.at].watched = true;
        self.watches.push((scope.at, watch));
    }

    /// Takes out a watch of a scope, the first for which `is_it` holds. Returns `None` if there is none
    /// any more.
    pub fn unwatch(
        &mut self,
        scope: ScopeId,
        mut is_it: impl FnMut(&F::Watch) -> bool,
    ) -> Option<F::Watch> {
        if !self.has(scope) {
            return None;
        }
        let found = self.watches.iter().position(|(at, watch)| *at == scope.at && is_it(watch))?;
        let (at, watch) = self.watches.remove(found);
        self.scopes[at].watched = self.watches.iter().any(|(other, _)| *other == at);
        Some(watch)
    }

    /// Everything that watches, for a garbage collector.
    pub fn watches(&self) -> impl Iterator<Item = &F::Watch> {
        self.watches.iter().map(|(_, watch)| watch)
    }

    /// Takes out what has watched scopes that were left, and was not called. To be asked for where one is
    /// left by [`exit`](Self::exit), [`close`](Self::close) or [`remove`](Self::remove), once the face can
    /// drop a value of the program's; otherwise it comes with the effects.
    pub fn uncalled(&mut self) -> Vec<F::Watch> {
        self.watches_of(NONE)
    }

    /// A cancellation has reached a scope: hands back what watches it, to be called.
    #[cold]
    pub(crate) fn call_watches(&mut self, at: u32, out: &mut Effects<F>) {
        self.scopes[at].watched = false;
        out.events.extend(self.watches_of(at).into_iter().map(Event::Called));
    }

    /// A scope is left: what watches it, watches nothing any more.
    #[cold]
    pub(crate) fn part_watches(&mut self, at: u32) {
        for (watched, _) in &mut self.watches {
            if *watched == at {
                *watched = NONE;
            }
        }
    }

    fn watches_of(&mut self, at: u32) -> Vec<F::Watch> {
        let found = self.watches.extract_if(.., |(watched, _)| *watched == at);
        found.map(|(_, watch)| watch).collect()
    }
}
