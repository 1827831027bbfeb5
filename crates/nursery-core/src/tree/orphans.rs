//! Nurseries that their host does not leave as it must (R3): one that another task leaves, one whose
//! host has ended, one that the face closes by force; and children that change their nursery while it
//! is not yet theirs (R24). It must never lose a child or an error.

use crate::lifecycle::{Closed, Phase};
use crate::member::{Member, MemberId};
use crate::outcome::{Outcome, Verdict};
use crate::scope::{Cause, Scope, ScopeId, Source};
use crate::slab::NONE;
use crate::tree::{Effects, Event, Face, NurseryId, Tree};

/// Why a child does not become another nursery's (R24).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stays {
    /// That nursery has closed (R2).
    Closed,
    /// A cancellation reaches the nursery that the child is in.
    Cancelled,
    /// The child waits for that nursery, which it leaves in its host's place: it would wait for itself.
    Waits,
}

impl<F: Face> Tree<F> {
    /// The host of a nursery no longer stands in it: another task leaves it, or the face closes it.
    /// What becomes of it from here on cancels only the nursery's children. Returns by
    /// how much the host's count of cancellations sinks (R14).
    pub fn disown(&mut self, nursery: NurseryId, now: f64, out: &mut Effects<F>) -> u32 {
        self.unstack(self.nurseries[nursery.at].scope, now, out)
    }

    /// The face will not ask for a nursery any more: it is to be [`discard`](Self::discard)ed once
    /// it has closed. Where the host has ended or ends, nothing else can end its body: one that is open then
    /// goes at once if it is empty, and closes with its last child if not.
    pub fn release(&mut self, nursery: NurseryId, out: &mut Effects<F>) {
        self.nurseries[nursery.at].released = true;
        let scope = self.nurseries[nursery.at].scope;
        // Nothing stands in it whose time to clean up could begin by that.
        self.end_forsaken(scope, f64::NEG_INFINITY, out);
    }

    /// The face will not ask for a scope any more that its host has not left: it goes when the host
    /// ends.
    pub fn release_scope(&mut self, scope: ScopeId) {
        self.scopes[scope.at].released = true;
    }

    /// Ends what has no host any more and nothing will ask for.
    pub(super) fn end_forsaken(&mut self, at: u32, now: f64, out: &mut Effects<F>) {
        let Scope { host, nursery, .. } = self.scopes[at];
        if self.is_forsaken(at) {
            self.take_forsaken(at, now, out);
        } else if host == NONE && nursery != NONE && self.nurseries[nursery].released {
            let nursery = self.nursery_id(nursery);
            if self.phase(nursery) == Phase::Open && self.running(nursery) > 0 {
                self.body_ended(nursery, Outcome::Done, now, None, out);
            }
        }
    }

    /// Whether a scope has neither a host nor anything in it, and nothing will ask for it.
    pub(super) fn is_forsaken(&self, at: u32) -> bool {
        let scope = &self.scopes[at];
        if scope.host != NONE {
            return false;
        }
        if scope.nursery == NONE {
            return scope.released;
        }
        let nursery = &self.nurseries[scope.nursery];
        nursery.released
            && nursery.life.phase() == Phase::Open
            && nursery.life.running() == 0
            && scope.first_child == NONE
    }

    /// Takes out what nothing will leave.
    pub(super) fn take_forsaken(&mut self, at: u32, now: f64, out: &mut Effects<F>) {
        let nursery = self.scopes[at].nursery;
        if nursery != NONE {
            let mut owner = self.nurseries.remove(nursery);
            let lost = owner.life.outcomes().into_iter().filter_map(Outcome::into_error);
            out.events.extend(lost.map(Event::Lost));
        }
        let cause = self.take_out(at, now, out);
        out.let_go(cause);
    }

    /// Whether the face is to discard a nursery that has closed.
    #[must_use]
    pub fn is_released(&self, nursery: NurseryId) -> bool {
        self.nurseries[nursery.at].released
    }

    /// Frees a nursery that has closed and that no host leaves: [`disown`](Self::disown) it before.
    /// Returns what it would have raised, and why it was cancelled, if it was. `misuse`: it is left as it
    /// must not be, which is raised before the rest (R3).
    pub fn discard(
        &mut self,
        nursery: NurseryId,
        misuse: Option<F::Error>,
        now: f64,
        out: &mut Effects<F>,
    ) -> (Verdict<F::Error>, Option<Cause<F::Reason>>) {
        let mut owner = self.nurseries.remove(nursery.at);
        debug_assert_eq!(owner.life.phase(), Phase::Closed, "children still run");
        let owed = self.unstack(owner.scope, now, out);
        debug_assert_eq!(owed, 0, "its host is owed something");
        let cause = self.take_out(owner.scope, now, out);
        let late = std::mem::replace(&mut owner.late, Outcome::Done);
        out.errors.extend(owner.life.error(late).again);
        (owner.verdict(misuse), cause)
    }

    /// The nurseries that a child has entered and not left, the innermost first. Once the child has
    /// ended no task can leave them: they are to be [`adopt`](Self::adopt)ed before.
    #[must_use]
    pub fn unleft(&self, child: MemberId) -> Vec<NurseryId> {
        let member = &self.members[child.0];
        let mut found = Vec::new();
        let mut at = member.scope;
        while at != member.base && at != NONE {
            let scope = &self.scopes[at];
            if scope.nursery != NONE {
                found.push(self.nursery_id(scope.nursery));
            }
            at = scope.parent;
        }
        found
    }

    /// A child ends without having left a nursery, its innermost one: that is cancelled, and the
    /// child's own nursery joins it and raises what it would have raised, with `error`, which says so
    /// (R3). The child itself stands in it no more.
    pub fn adopt(
        &mut self,
        nursery: NurseryId,
        error: F::Error,
        reason: Option<F::Reason>,
        now: f64,
        out: &mut Effects<F>,
    ) {
        let host = match self.has_nursery(nursery) {
            true => self.scopes[self.nurseries[nursery.at].scope].host,
            false => NONE,
        };
        if host == NONE {
            // It was taken from the child in the meantime, or has gone.
            out.errors.push(error);
            out.reasons.extend(reason);
            return;
        }
        let scope = self.nurseries[nursery.at].scope;
        let host = &mut self.members[host];
        let heir = host.nursery;
        debug_assert_ne!(heir, NONE, "its host is a child");
        let mut at = std::mem::replace(&mut host.scope, self.scopes[scope].parent);
        while at != self.scopes[scope].parent {
            self.scopes[at].host = NONE;
            at = self.scopes[at].parent;
        }
        // It was open, for the child runs.
        let _ = self.nurseries[heir].life.child_started();
        self.nurseries[nursery.at].heir = heir;
        self.nurseries[nursery.at].adopted = true;
        self.cancel(self.id(scope), Cause { source: Source::Failure, reason }, now, out);
        self.add_error(heir, Outcome::Failed(error), now, out);
        let over = match self.phase(nursery) {
            Phase::Open => self.body_ended(nursery, Outcome::Cancelled, now, None, out),
            // It may have closed, and the child has ended before it could leave it.
            phase => phase == Phase::Closed,
        };
        if over {
            // The child still counts in its own nursery, so that cannot close here.
            self.drained(nursery.at, now, out);
        }
    }

    /// Takes a task out: no nursery is left by it any more.
    pub(super) fn take_member(&mut self, at: u32) -> Member<F::Key> {
        let member = self.members.remove(at);
        if member.succeeds {
            for nursery in self.nurseries.iter_mut().filter(|nursery| nursery.successor == at) {
                nursery.successor = NONE;
            }
        }
        member
    }

    /// Whether a nursery waits for a task: for its child, for the host of what stands in it, or for
    /// what leaves that in the host's place. Such a task would wait for itself if it left the nursery.
    #[must_use]
    pub fn is_awaited(&self, task: MemberId, nursery: NurseryId) -> bool {
        self.nurseries_above(task).any(|(_, above)| above == nursery.at)
    }

    /// The nurseries that wait for a task, from its own outwards, each with the task that stands in it.
    fn nurseries_above(&self, task: MemberId) -> impl Iterator<Item = (u32, u32)> {
        let own = |task: u32| {
            let nursery = self.members.get(task)?.nursery;
            (nursery != NONE).then_some((task, nursery))
        };
        std::iter::successors(own(task.0), move |&(task, nursery)| {
            match self.nurseries[nursery].heir {
                NONE => own(self.waits_in(nursery)),
                heir => Some((task, heir)),
            }
        })
    }

    /// Whether a task waits for a nursery, as what leaves it or by a nursery further in.
    fn waits_for(&self, task: MemberId, nursery: u32) -> bool {
        let mut at = nursery;
        loop {
            at = match self.nurseries[at].heir {
                NONE => {
                    let waits = self.waits_in(at);
                    if waits == task.0 {
                        return true;
                    }
                    match self.members.get(waits) {
                        Some(waits) if waits.nursery != NONE => waits.nursery,
                        _ => return false,
                    }
                }
                heir => heir,
            };
        }
    }

    /// The task that waits for the end of a nursery: its host, or another in the host's place.
    fn waits_in(&self, nursery: u32) -> u32 {
        let owner = &self.nurseries[nursery];
        if owner.successor == NONE { self.scopes[owner.scope].host } else { owner.successor }
    }

    /// Whether what a task awaits does not end on account of the task's cancellation: it is shielded until it
    /// ends (R19), or it waits for the end of the task itself.
    #[must_use]
    pub fn outlasts(&self, awaited: MemberId, task: Option<MemberId>) -> bool {
        let waits = |(_, nursery)| self.waits_in(nursery) == awaited.0;
        task.is_some_and(|task| self.nurseries_above(task).any(waits))
            || (self.is_shielded_for_life(awaited) && !self.is_cancelled(awaited))
    }

    /// Whether another nursery raises what this one would have raised.
    #[must_use]
    pub fn is_adopted(&self, nursery: NurseryId) -> bool {
        self.nurseries[nursery.at].adopted
    }

    /// The body of a nursery that was closed without it has raised after all.
    pub(super) fn add_late(
        &mut self,
        nursery: u32,
        outcome: Outcome<F::Error>,
        now: f64,
        out: &mut Effects<F>,
    ) {
        if self.nurseries[nursery].adopted {
            self.nurseries[nursery].late = outcome;
        } else {
            self.add_error(nursery, outcome, now, out);
        }
    }

    /// Ends a nursery that its host will not leave: its children are cancelled, its body has ended, and
    /// nothing is woken by its end. Returns by how much the host's count of cancellations sinks (R14).
    pub fn close_by_force(
        &mut self,
        nursery: NurseryId,
        cause: Cause<F::Reason>,
        now: f64,
        out: &mut Effects<F>,
    ) -> u32 {
        let owed = self.disown(nursery, now, out);
        self.set_joiner(nursery, None, None);
        self.cancel(self.scope(nursery), cause, now, out);
        if self.phase(nursery) == Phase::Open {
            self.body_ended(nursery, Outcome::Cancelled, now, None, out);
        }
        owed
    }

    /// A child is to be started in a nursery later on: the nursery does not close before that. Returns `false`
    /// if nothing is to be taken back for it: `by`, which starts the child, is in a service of the nursery. That
    /// keeps the nursery open by itself, and is to be ended though it starts something (R19a).
    ///
    /// # Errors
    /// [`Closed`] once body and children have ended (R2).
    pub fn reserve(&mut self, nursery: NurseryId, by: Option<MemberId>) -> Result<bool, Closed> {
        let is_service = |(task, at): (u32, u32)| {
            let task = &self.members[task];
            at == nursery.at && task.nursery == at && task.service
        };
        let serves = by.is_some_and(|by| self.nurseries_above(by).any(is_service));
        if !serves {
            self.nurseries[nursery.at].life.child_started()?;
        }
        Ok(!serves)
    }

    /// What was reserved is no longer needed. Returns the nursery that has closed by it.
    pub fn unreserve(
        &mut self,
        nursery: NurseryId,
        now: f64,
        out: &mut Effects<F>,
    ) -> Option<NurseryId> {
        self.one_less(nursery.at, now, out)
    }

    /// A child becomes another nursery's, with all that it has entered (R24). Returns the nursery
    /// that has closed by it.
    ///
    /// # Errors
    /// [`Stays`] says why the child stays where it is.
    pub fn move_child(
        &mut self,
        child: MemberId,
        to: NurseryId,
        now: f64,
        out: &mut Effects<F>,
    ) -> Result<Option<NurseryId>, Stays> {
        let (from, before) = (self.members[child.0].nursery, self.members[child.0].base);
        if self.scopes[before].effective {
            return Err(Stays::Cancelled);
        }
        if self.waits_for(child, to.at) {
            return Err(Stays::Waits);
        }
        self.nurseries[to.at].life.child_started().map_err(|Closed| Stays::Closed)?;
        let base = self.nurseries[to.at].scope;
        self.unlist(child.0);
        self.list(child.0, to.at);
        let member = &mut self.members[child.0];
        member.base = base;
        // What it has heard was the caller's; of what reaches it here it can hear from now on.
        member.charge.delivered = false;
        member.charge.heard = 0;
        let mut outermost = member.scope;
        if outermost == before {
            member.scope = base;
            self.hears_from_now(child, now);
            self.refresh(child.0, out);
        } else {
            while self.scopes[outermost].parent != before {
                outermost = self.scopes[outermost].parent;
            }
            self.unhang(outermost);
            self.hang(outermost, base);
            self.scopes[outermost].lifted_at = now;
            self.spread(outermost, now, out);
            self.set_budgets(outermost, now);
            self.change_budgets(outermost, now, out);
        }
        Ok(self.one_less(from, now, out))
    }

    fn one_less(&mut self, nursery: u32, now: f64, out: &mut Effects<F>) -> Option<NurseryId> {
        self.nurseries[nursery].life.children_done(1);
        self.drained(nursery, now, out)
    }
}
