//! How long a cancelled task may go on awaiting (R18): which budget counts for it, from when on, and
//! what happens once it is spent. It must never poll: each end has an alarm, or is told at once.

use crate::member::{Member, MemberId};
use crate::scope::{Cause, Cleanup, Scope, ScopeId, Source};
use crate::slab::NONE;
use crate::tree::{Alarm, Effects, Face, Tree};

/// After this many awaits in a row that were cancelled because its budget was spent, with no scope entered
/// or left in between, a task is let wait. So one that waits for the same thing again and again, as
/// `asyncio.TaskGroup` does for its children, gets to wait for it, and nothing polls (R18).
const STUBBORN: u32 = 100;

impl<F: Face> Tree<F> {
    /// A task begins its first step, or has left its last shield: it could not hear of what lies
    /// above before, and its time to clean up begins (R18).
    pub fn hears_from_now(&mut self, member: MemberId, now: f64) {
        let member = &mut self.members[member.0];
        member.hears_since = now;
        let at = member.scope;
        self.set_budgets(at, now);
    }

    /// A task has left a shield that was raised after that many cancellations. What it was told of before
    /// goes on: a shield in its cleanup does not begin its time to clean up again.
    pub(crate) fn leaves_shield(&mut self, member: u32, raised_after: u64, now: f64) {
        let mut news = false;
        self.visit(member, |charge| news |= !charge.delivered);
        let mut at = self.members[member].scope;
        while !news && at != NONE && self.scopes[at].effective {
            let scope = &self.scopes[at];
            news = scope.cause.is_some() && scope.order > raised_after;
            at = if scope.settings.shield { NONE } else { scope.parent };
        }
        if news {
            self.hears_from_now(MemberId(member), now);
        } else {
            let Member { scope, hears_since, .. } = self.members[member];
            self.set_budgets(scope, hears_since);
        }
    }

    /// Sets alarms for the end of the time to clean up, for tasks that hear from that moment on of what
    /// is cancelled from a scope upwards.
    pub(crate) fn set_budgets(&mut self, at: u32, heard: f64) {
        let mut at = at;
        let mut floor = 0.0_f64;
        while at != NONE && self.scopes[at].effective {
            let scope = &self.scopes[at];
            let heard = heard.max(scope.cancelled_at);
            self.look_by(at, end_of(self.allowed(at).max(floor), heard));
            let scope = &self.scopes[at];
            if scope.settings.shield {
                return;
            }
            floor = floor.max(scope.floor());
            at = scope.parent;
        }
    }

    /// A task waits. Returns whether its wait is to be cancelled at once: something came while it
    /// ran, or its budget for cleaning up is spent.
    #[inline]
    pub fn suspended(&mut self, member: MemberId, now: impl FnOnce() -> f64) -> bool {
        let entry = &self.members[member.0];
        if entry.pending {
            return true;
        }
        if entry.scope == NONE || !self.scopes[entry.scope].effective {
            return false;
        }
        if entry.insisted_times >= STUBBORN {
            return false;
        }
        let moment = self.insist_at(member.0);
        if moment == f64::INFINITY || (moment > f64::NEG_INFINITY && moment > now()) {
            return false;
        }
        let entry = &mut self.members[member.0];
        entry.pending = true;
        entry.insisted_at = Some(moment);
        true
    }

    /// It is now `now`: every task below for which the time that this scope gives has passed, and
    /// that still waits, is told again. For the others an alarm is set.
    pub(crate) fn insist(&mut self, scope: ScopeId, now: f64, out: &mut Effects<F>) {
        self.insist_from(scope, now, true, out);
    }

    /// As [`insist`](Self::insist); for what has a guarantee, which may be told of several scopes, only
    /// the alarm is set if `all` is not.
    fn insist_from(&mut self, scope: ScopeId, now: f64, all: bool, out: &mut Effects<F>) {
        let allowed = self.allowed(scope.at);
        let mut next = f64::INFINITY;
        // Where tasks stand, since when they can hear of this scope there, and for how long they
        // have at the least.
        let mut walk = vec![(scope.at, self.scopes[scope.at].cancelled_at, 0.0)];
        while let Some((at, since, floor)) = walk.pop() {
            let allowed = allowed.max(floor);
            let mut members = Vec::new();
            self.inhabitants(at, |member| members.push(member));
            for member in members {
                let moment = end_of(allowed, since.max(self.members[member].hears_since));
                if moment > now || !(all || floor == 0.0) {
                    next = next.min(moment);
                } else {
                    self.insist_on(member, moment, out);
                }
            }
            let mut below = self.scopes[at].first_child;
            while below != NONE {
                let scope = &self.scopes[below];
                if !scope.settings.shield {
                    walk.push((below, since.max(scope.lifted_at), floor.max(scope.floor())));
                }
                below = scope.next;
            }
        }
        self.look_by(scope.at, next);
    }

    /// Tells a task again: its time to clean up was over at that moment.
    pub(crate) fn insist_on(&mut self, member: u32, moment: f64, out: &mut Effects<F>) {
        let entry = &mut self.members[member];
        // What the task awaits was asked to end and has not: it is asked once more.
        let again = moment > f64::NEG_INFINITY && entry.insisted_at != Some(moment);
        entry.insisted_at = Some(moment);
        if !std::mem::replace(&mut entry.pending, true) || again {
            self.deliver(member, 0, false, None, out);
        }
    }

    /// What a scope has for a budget, or inherits, is another one by now, and so for those below that
    /// inherit it.
    pub(crate) fn change_budgets(&mut self, root: u32, now: f64, out: &mut Effects<F>) {
        let mut walk = vec![root];
        while let Some(at) = walk.pop() {
            if self.scopes[at].cause.is_some() {
                self.set_budget(at);
                self.spread(at, now, out);
                if self.allowed(at) == 0.0 {
                    self.insist_from(self.id(at), now, false, out);
                }
            }
            self.heirs(at, &mut walk);
        }
    }

    /// The scopes right below that have no budget of their own.
    fn heirs(&self, at: u32, walk: &mut Vec<u32>) {
        let mut child = self.scopes[at].first_child;
        while child != NONE {
            let scope = &self.scopes[child];
            if scope.gives().is_none() {
                walk.push(child);
            }
            child = scope.next;
        }
    }

    /// From which moment on every await of a task is cancelled again: minus infinity for at once,
    /// infinity for never. Each cancelled scope that it can see insists for itself (R18).
    pub(crate) fn insist_at(&self, member: u32) -> f64 {
        let entry = &self.members[member];
        let mut since = entry.hears_since;
        let mut earliest = f64::INFINITY;
        let mut floor = 0.0_f64;
        let mut at = entry.scope;
        while at != NONE && self.scopes[at].effective {
            let scope = &self.scopes[at];
            if scope.cause.is_some() {
                let allowed = self.allowed(at).max(floor);
                earliest = earliest.min(end_of(allowed, since.max(scope.cancelled_at)));
            }
            if scope.settings.shield || earliest == f64::NEG_INFINITY {
                break;
            }
            floor = floor.max(scope.floor());
            since = since.max(scope.lifted_at);
            at = scope.parent;
        }
        earliest
    }

    /// For how long a cancelled scope lets what is below it await.
    pub(crate) fn allowed(&self, at: u32) -> f64 {
        let scope = &self.scopes[at];
        // The way up to what gives a budget may be long.
        let given = if self.hands_on(scope) { Cleanup::Never } else { self.given(at) };
        self.allowed_with(scope, given)
    }

    /// The same, where it is known what it has from above.
    pub(crate) fn allowed_with(&self, scope: &Scope<F::Reason>, given: Cleanup) -> f64 {
        if self.hands_on(scope) {
            return f64::INFINITY;
        }
        match scope.cleanup(given) {
            Cleanup::Limited(allowed) | Cleanup::Guaranteed(allowed) => allowed,
            Cleanup::Inherited | Cleanup::Never => f64::INFINITY,
        }
    }

    /// Whether a scope's cancellation is only what lies above, handed on: that has told what is below, and
    /// insists.
    pub(crate) fn hands_on(&self, scope: &Scope<F::Reason>) -> bool {
        Self::is_brought(scope) && self.sees_above(scope)
    }

    /// Whether a nursery's host has cancelled it: by what it had heard from above, if that reaches
    /// the nursery.
    pub(crate) fn is_brought(scope: &Scope<F::Reason>) -> bool {
        let by_host = |cause: &Cause<_>| cause.source == Source::Host;
        scope.nursery != NONE && scope.cause.as_ref().is_some_and(by_host)
    }

    /// The budget that a scope gives, or the nearest one above it, or the tree.
    pub(crate) fn given(&self, at: u32) -> Cleanup {
        let mut at = at;
        while at != NONE {
            let scope = &self.scopes[at];
            if let Some(cleanup) = scope.gives() {
                return cleanup;
            }
            at = scope.parent;
        }
        self.cleanup
    }

    /// What counts for a scope if it is cancelled (R18).
    #[must_use]
    pub fn cleanup_of(&self, scope: ScopeId) -> Cleanup {
        self.scopes[scope.at].cleanup(self.given(scope.at))
    }

    /// A guarantee in a scope is another one by now (R27a): each cancelled scope that reaches it counts
    /// anew at the next look at the clock.
    pub(crate) fn change_guarantee(&mut self, at: u32) {
        let mut at = at;
        while at != NONE && self.scopes[at].effective {
            self.look_by(at, self.scopes[at].cancelled_at);
            let scope = &self.scopes[at];
            at = if scope.settings.shield { NONE } else { scope.parent };
        }
    }

    /// Sets the alarm for the end of a cancelled scope's budget.
    pub(crate) fn set_budget(&mut self, at: u32) {
        self.part_alarm(at);
        self.look_by(at, end_of(self.allowed(at), self.scopes[at].cancelled_at));
    }

    /// A scope looks at that moment at the latest whose time is over, if that is a moment. An alarm that
    /// is set already may be later: for tasks that heard later, or to which more time is guaranteed.
    pub(crate) fn look_by(&mut self, at: u32, moment: f64) {
        let in_time = |budget| self.timers.when(budget) <= moment;
        if moment.is_finite() && !self.scopes[at].budget.is_some_and(in_time) {
            self.part_alarm(at);
            let timer = self.timers.insert(moment, Alarm::Budget(self.id(at)));
            self.scopes[at].budget = Some(timer);
        }
    }

    fn part_alarm(&mut self, at: u32) {
        if let Some(timer) = self.scopes[at].budget.take() {
            self.timers.remove(timer);
        }
    }
}

/// When the time to clean up of a task is over that could first hear at that moment: minus infinity
/// if there is none.
pub(crate) fn end_of(allowed: f64, heard: f64) -> f64 {
    if allowed == 0.0 { f64::NEG_INFINITY } else { heard + allowed }
}
