//! A nursery's children and services, from their start to their end: the list of them, and what their end
//! is to the nursery. It must never decide what the nursery raises: that is its `Lifecycle`'s.

use crate::lifecycle::{Closed, Ended};
use crate::member::{Member, MemberId};
use crate::outcome::Outcome;
use crate::scope::{Scope, ScopeId, Settings};
use crate::slab::NONE;
use crate::tree::nurseries::Nursery;
use crate::tree::{Effects, Face, NurseryId, Tree};

/// A child that starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// Its place in the tree.
    pub member: MemberId,
    /// By how much its count of cancellations rises at once: the nursery is cancelled (R17).
    pub charges: u32,
    /// No other child of the nursery runs: from now on there is one whose end or failure its host hears of.
    pub first: bool,
}

impl<F: Face> Tree<F> {
    /// The host of the nursery that a task is a child of.
    #[must_use]
    pub fn host_of(&self, child: MemberId) -> Option<&F::Key> {
        let nursery = self.members[child.0].nursery;
        if nursery == NONE { None } else { self.host_at(nursery) }
    }

    /// The children that have not ended, in the order of starting.
    pub fn children(&self, nursery: NurseryId) -> impl Iterator<Item = &F::Key> {
        let first = self.nurseries[nursery.at].first;
        let member = |id: u32| (id != NONE).then(|| &self.members[id]);
        std::iter::successors(member(first), move |child| member(child.next))
            .map(|child| &child.key)
    }

    /// A child starts. A shielded one stands in a scope of its own that keeps cancellation out
    /// until it has ended (R19).
    ///
    /// # Errors
    /// [`Closed`] once body and children have ended, or the nursery is gone (R2).
    #[inline]
    pub fn start(
        &mut self,
        nursery: NurseryId,
        key: F::Key,
        shield: bool,
    ) -> Result<Start, Closed> {
        let owner = self.present(nursery)?;
        owner.life.child_started()?;
        let base = owner.scope;
        let id = self.members.insert(Member::new(key, NONE, base, false));
        self.list(id, nursery.at);
        let mut charges = 0;
        if shield {
            self.shield_child(id, base);
        } else if self.scopes[base].effective {
            let child = &mut self.members[id];
            child.charge.count = 1;
            child.charges = 1;
            child.pending = true;
            charges = 1;
        }
        Ok(Start { member: MemberId(id), charges, first: self.nurseries[nursery.at].first == id })
    }

    /// A service starts: a child for the use of the body and the other children. Nothing outside
    /// cancels it; it is ended once they have ended, the service that was started last first (R19a).
    ///
    /// # Errors
    /// [`Closed`] once body, children and services have ended, or the nursery is gone (R2).
    pub fn start_service(&mut self, nursery: NurseryId, key: F::Key) -> Result<Start, Closed> {
        let owner = self.present(nursery)?;
        owner.life.service_started()?;
        let base = owner.scope;
        let id = self.members.insert(Member::new(key, NONE, base, false));
        self.members[id].service = true;
        self.list(id, nursery.at);
        self.shield_child(id, base);
        Ok(Start {
            member: MemberId(id),
            charges: 0,
            first: self.nurseries[nursery.at].first == id,
        })
    }

    /// Whether the end of a child that has not failed may cancel something: its nursery's next service, or,
    /// if it was `cancelled`, a nursery that is strict.
    #[must_use]
    pub fn may_cancel(&self, child: MemberId, cancelled: bool) -> bool {
        let Nursery { life, strict, .. } = &self.nurseries[self.members[child.0].nursery];
        (*strict && cancelled) || life.has_services()
    }

    /// Puts a child into a scope of its own that keeps cancellation out.
    fn shield_child(&mut self, child: u32, base: u32) {
        let settings = Settings { shield: true, ..Settings::default() };
        let own = Scope { released: true, ..Scope::new(base, child, settings, 0) };
        let own = self.link(own, base);
        self.members[child].scope = own;
    }

    /// Whether a task is shielded until it ends (R19): what waits for it does not wait for it to be
    /// cancelled, which it cannot be.
    #[must_use]
    pub fn is_shielded_for_life(&self, task: MemberId) -> bool {
        let Member { base, scope: mut at, .. } = self.members[task.0];
        while at != base && at != NONE {
            let Scope { released, parent, ref settings, .. } = self.scopes[at];
            if released && settings.shield {
                return true;
            }
            at = parent;
        }
        false
    }

    /// A nursery's host has ended without leaving it: a bare cancellation reaches those of its children that were
    /// to be shielded until they end. The program that shuts down may have no other way to end them.
    pub fn forsake_children(&mut self, nursery: NurseryId) {
        let mut child = self.nurseries[nursery.at].first;
        while child != NONE {
            let Member { base, scope: mut at, next, .. } = self.members[child];
            while at != base && at != NONE {
                let scope = &mut self.scopes[at];
                scope.porous |= scope.released;
                at = scope.parent;
            }
            child = next;
        }
    }

    /// Puts a child, with all that it has entered, into a scope of its own, in which it can be
    /// cancelled alone. The scope goes with the child.
    pub fn enclose(&mut self, child: MemberId) -> ScopeId {
        let Member { base, scope: innermost, .. } = self.members[child.0];
        let effective = self.scopes[base].effective;
        let own = Scope::new(base, child.0, Settings::default(), 0);
        let own = self.link(Scope { released: true, effective, ..own }, base);
        if innermost == base {
            self.members[child.0].scope = own;
        } else {
            let outermost = self.next_inside(innermost, base);
            self.unhang(outermost);
            self.hang(outermost, own);
        }
        self.id(own)
    }

    /// Puts a task at the end of a nursery's children.
    #[inline]
    pub(super) fn list(&mut self, child: u32, nursery: u32) {
        let last = std::mem::replace(&mut self.nurseries[nursery].last, child);
        let member = &mut self.members[child];
        member.nursery = nursery;
        member.prev = last;
        member.next = NONE;
        if last == NONE {
            self.nurseries[nursery].first = child;
        } else {
            self.members[last].next = child;
        }
    }

    /// Takes a task out of its nursery's children.
    #[inline]
    pub(super) fn unlist(&mut self, child: u32) {
        let Member { nursery, next, prev, .. } = self.members[child];
        if prev == NONE {
            self.nurseries[nursery].first = next;
        } else {
            self.members[prev].next = next;
        }
        if next == NONE {
            self.nurseries[nursery].last = prev;
        } else {
            self.members[next].prev = prev;
        }
    }

    /// A child has ended. Returns the nursery that has closed by it. `reason` is what the siblings
    /// are cancelled with if this is the failure that cancels them (R6).
    #[inline]
    pub fn ended(
        &mut self,
        child: MemberId,
        outcome: Outcome<F::Error>,
        now: f64,
        reason: Option<F::Reason>,
        out: &mut Effects<F>,
    ) -> Option<NurseryId> {
        let mut by_hand = false;
        let outcome = match outcome {
            // One that was cancelled by hand ends alone (R16, R13a).
            Outcome::Cancelled if !self.has_heard(child.0) => {
                by_hand = true;
                Outcome::Done
            }
            Outcome::Group(error) if !self.has_heard(child.0) => Outcome::Failed(error),
            outcome => outcome,
        };
        if self.members[child.0].scope != self.members[child.0].base {
            self.abandon(child.0, now, out);
        }
        self.unlist(child.0);
        let Member { nursery, service, .. } = self.take_member(child.0);
        let life = &mut self.nurseries[nursery].life;
        let ended = if service { life.service_ended(outcome) } else { life.child_ended(outcome) };
        let Ended { cancel, again, .. } = ended;
        out.errors.extend(again);
        let Nursery { scope, strict, .. } = self.nurseries[nursery];
        if cancel || (by_hand && strict && !self.scopes[scope].effective) {
            self.fail(nursery, reason, now, out);
        } else {
            out.reasons.extend(reason);
        }
        self.drained(nursery, now, out)
    }

    /// A child has returned: as [`ended`](Self::ended) with [`Outcome::Done`], for one that has left
    /// what it entered, where nothing can come of it but that its nursery closes. `None` for any
    /// other, which is still there: also for the last one before services are to end.
    #[inline]
    pub fn returned(&mut self, child: MemberId) -> Option<Option<NurseryId>> {
        let Member { nursery, scope, base, succeeds, .. } = self.members[child.0];
        let owner = &self.nurseries[nursery];
        let last = owner.life.has_one_left();
        if scope != base || succeeds || owner.heir != NONE || (last && owner.life.has_services()) {
            return None;
        }
        self.unlist(child.0);
        self.members.remove(child.0);
        self.nurseries[nursery].life.children_done(1);
        Some(last.then(|| self.nursery_id(nursery)))
    }
}
