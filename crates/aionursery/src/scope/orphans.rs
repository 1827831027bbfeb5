//! Spawned children that a nursery dropped below another has left behind: the nearest nursery above that
//! is alive waits for them, and gets their errors (R28). It must never lose an error.

use std::sync::Arc;

use super::Scope;
use super::signal::{ADOPTS, LEFT};
use crate::error::LostError;
use crate::ignore_panics::ignore_panics;
use crate::sync::atomic::Ordering;
use crate::sync::lock;

impl Scope {
    /// The nearest nursery above that is still alive takes in what is left of one that was
    /// dropped. `None` if there is no such nursery.
    pub(crate) fn adopter(&self) -> Option<Arc<Scope>> {
        let mut at = self.parent.clone()?;
        loop {
            let above = match at.orphans.as_ref().map(lock) {
                Some(mut orphans) if !orphans.closed => {
                    orphans.running += 1;
                    break;
                }
                Some(orphans) if orphans.above.is_some() => orphans.above.clone(),
                _ => at.parent.clone(),
            };
            at = above?;
        }
        at.signal.flags.fetch_or(ADOPTS, Ordering::AcqRel);
        if let Some(orphans) = &self.orphans {
            lock(orphans).above = Some(at.clone());
        }
        Some(at)
    }

    /// The last spawned child of an adopted nursery has ended.
    pub(crate) fn orphans_ended(&self, errors: Vec<LostError>) {
        let mut next = self.end_orphan(errors);
        // One after the other: a nursery that was dropped itself has an heir, and that may be so, too.
        while let Some((heir, errors)) = next {
            next = heir.end_orphan(errors);
        }
    }

    /// Which nursery gets what this leaves, if this nursery was dropped itself.
    fn end_orphan(&self, errors: Vec<LostError>) -> Option<(Arc<Scope>, Vec<LostError>)> {
        let orphans = self.orphans.as_ref()?;
        let (last, left) = {
            let orphans = &mut *lock(orphans);
            orphans.running -= 1;
            if !errors.is_empty() {
                orphans.errors.extend(errors);
                self.signal.flags.fetch_or(LEFT, Ordering::AcqRel);
            }
            (orphans.running == 0 || !orphans.errors.is_empty(), orphans.left)
        };
        if left {
            return self.settle_orphans();
        }
        if last {
            ignore_panics(|| self.signal.owner.notify_driver());
            self.signal.tell_holders();
        }
        None
    }

    /// This nursery is dropped itself: what it had adopted goes to the nursery above it.
    pub(crate) fn pass_on_orphans(&self) {
        let Some(orphans) = &self.orphans else { return };
        {
            let orphans = lock(orphans);
            if orphans.running == 0 && orphans.errors.is_empty() {
                return;
            }
        }
        let heir = self.adopter();
        {
            let orphans = &mut *lock(orphans);
            orphans.left = true;
            orphans.heir = heir;
        }
        if let Some((heir, errors)) = self.settle_orphans() {
            heir.orphans_ended(errors);
        }
    }

    /// Once the last orphan has ended: what a dropped nursery leaves to its heir. Without one the
    /// program is told.
    fn settle_orphans(&self) -> Option<(Arc<Scope>, Vec<LostError>)> {
        let (heir, errors) = {
            let orphans = &mut *lock(self.orphans.as_ref()?);
            if orphans.running > 0 {
                return None;
            }
            (orphans.heir.take(), std::mem::take(&mut orphans.errors))
        };
        match heir {
            Some(heir) => Some((heir, errors)),
            None => {
                crate::error::report(errors);
                None
            }
        }
    }

    /// Whether there are errors of adopted nurseries.
    #[inline]
    pub(crate) fn has_orphan_errors(&self) -> bool {
        self.signal.flags() & LEFT != 0
    }

    /// Errors of adopted nurseries that are to be reported here.
    pub(crate) fn take_orphan_errors(&self) -> Vec<LostError> {
        match &self.orphans {
            Some(orphans) => {
                let orphans = &mut *lock(orphans);
                self.signal.flags.fetch_and(!LEFT, Ordering::AcqRel);
                std::mem::take(&mut orphans.errors)
            }
            None => Vec::new(),
        }
    }

    /// Takes in no more, if none is left.
    /// `owners` are those that the caller knows of.
    pub(crate) fn close_to_orphans(self: &Arc<Self>, owners: usize) -> bool {
        let Some(orphans) = &self.orphans else { return true };
        if !self.is_above.load(Ordering::Acquire) || (self.is_held_by(owners) && !self.adopts()) {
            // Only what is in the nursery opens anything below it, and that has ended.
            return true;
        }
        let orphans = &mut *lock(orphans);
        orphans.closed = orphans.running == 0 && orphans.errors.is_empty();
        orphans.closed
    }

    /// Takes in no more, whatever is left.
    pub(crate) fn refuse_orphans(&self) {
        if let Some(orphans) = &self.orphans {
            lock(orphans).closed = true;
        }
    }
}
