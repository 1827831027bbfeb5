//! What is thrown into a task: at a step of one of the face's own, at the wait of one that is not. One
//! question decides and notes it, so that nothing can come between. It must never throw what a task has
//! heard of already, but for a spent budget (R18).

use crate::inbox::{Inbox, Step, Throw, Told, Waited};
use crate::member::MemberId;
use crate::scope::{Cause, Source};
use crate::slab::NONE;
use crate::tree::{Face, Tree};

/// What a step of a task throws.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Thrown<R> {
    /// Nothing, or what the wait has brought.
    Nothing,
    /// As `Nothing`, in a first step, behind which a cancellation waits (R17): its time to clean up begins
    /// now, with [`Tree::hears_from_now`].
    Held,
    /// A plain `CancelledError`: the program asked for it.
    Plain,
    /// A scope's `CancelledError`, for this.
    Scoped(Cause<R>),
}

/// What becomes of a task that counts for itself and waits, where a cancellation may have reached it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AtWait<R> {
    /// Nothing: no cancellation waits to be thrown.
    Nothing,
    /// It goes on with what it has waited for and got: look again once it waits for something else (R12a).
    GoesOn,
    /// It is cancelled by its own `cancel`, for this; it has heard by that.
    Cancel(Cause<R>),
}

impl<F: Face> Tree<F> {
    /// A step of a task begins: what it throws. `waited` is what its wait has ended with.
    pub fn begin_step(
        &mut self,
        member: MemberId,
        inbox: &mut Inbox,
        waited: Waited,
    ) -> Thrown<F::Reason> {
        let pending = self.is_pending(member);
        let told = Told {
            pending,
            abrupt: pending && self.is_abrupt(member),
            shielded: self.is_shielded(member),
        };
        let first = !inbox.has_started();
        let Step { throw, heard } = inbox.before_step(told, waited);
        let thrown = match throw {
            Throw::Plain => Thrown::Plain,
            Throw::Scoped => Thrown::Scoped(self.why(member)),
            Throw::Nothing if first && pending && !heard => Thrown::Held,
            Throw::Nothing => Thrown::Nothing,
        };
        if heard {
            self.thrown(member);
        } else if throw == Throw::Scoped {
            self.thrown_late(member);
        }
        thrown
    }

    /// A task that is not of the face's own kind waits: what becomes of it. `got`: what it waits for is
    /// there, and it will be stepped with that.
    pub fn at_wait(&mut self, member: MemberId, got: bool) -> AtWait<F::Reason> {
        if !self.is_pending(member) {
            return AtWait::Nothing;
        }
        if got && !self.is_abrupt(member) {
            return AtWait::GoesOn;
        }
        let cause = self.why(member);
        self.thrown(member);
        AtWait::Cancel(cause)
    }

    /// Why a task is cancelled. A shield may hide that by now from one whose wait had ended for it.
    #[must_use]
    pub fn why(&self, member: MemberId) -> Cause<F::Reason> {
        let nameless = || Cause { source: Source::Explicit, reason: None };
        self.catcher(member).map_or_else(nameless, |(_, cause)| cause.clone())
    }

    /// A `CancelledError` was thrown into a task; it stands for every cancellation it could see.
    /// A foreign task has counted it: the scope that is to take it back is charged here.
    pub fn thrown(&mut self, member: MemberId) {
        let entry = &mut self.members[member.0];
        entry.heard += 1;
        let (foreign, heard) = (entry.foreign, entry.heard);
        let mut charged = !foreign;
        self.visit(member.0, |charge| {
            if !charged {
                charge.count += 1;
                charged = true;
            }
            charge.delivered = true;
            charge.heard = heard;
        });
        let entry = &mut self.members[member.0];
        entry.pending = false;
        entry.insisted_times += u32::from(entry.insisted_at.take().is_some());
        entry.overtaken = NONE;
        if foreign {
            entry.charges += 1;
        }
    }

    /// A scope's `CancelledError` was thrown into a task whose wait had ended for it, though a shield
    /// was raised since: it has heard of what lies beyond.
    fn thrown_late(&mut self, member: MemberId) {
        let entry = &mut self.members[member.0];
        entry.heard += 1;
        let heard = entry.heard;
        let mut at = entry.scope;
        while at != entry.base && at != NONE {
            let scope = &mut self.scopes[at];
            if scope.cause.is_some() {
                scope.charge.heard = heard;
            }
            at = scope.parent;
        }
        while at != NONE {
            let scope = &self.scopes[at];
            if scope.cause.is_some() {
                entry.charge.heard = heard;
            }
            at = scope.parent;
        }
    }
}
