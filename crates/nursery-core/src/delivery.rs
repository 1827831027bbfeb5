//! How a cancellation reaches tasks: the walk down the tree, what a task is told and when again.
//! It must never tell a task twice of what it was already told, but for a spent budget (R18).

use crate::member::MemberId;
use crate::scope::{Cause, Charge, Cleanup, Scope, ScopeId, Source};
use crate::slab::NONE;
use crate::tree::{Alarm, Delivery, Effects, Face, Tree};

/// So many times in a row a task whose budget is spent is cancelled at its await, without entering
/// or leaving a scope between. One that waits for the same thing again and again, as
/// `asyncio.TaskGroup` does for its children, may wait for it then: nothing polls (R18).
const STUBBORN: u32 = 100;

impl<F: Face> Tree<F> {
    /// Whether a cancellation waits to be thrown at a task's next step or await.
    #[inline]
    #[must_use]
    pub fn is_pending(&self, member: MemberId) -> bool {
        self.members[member.0].pending
    }

    /// Whether a task stands below a cancelled scope with no shield between.
    #[inline]
    #[must_use]
    pub fn is_cancelled(&self, member: MemberId) -> bool {
        let scope = self.members[member.0].scope;
        scope != NONE && self.scopes[scope].effective
    }

    /// Whether a shield stands between a task and the scope it was started in: a bare
    /// cancellation of the task is held back until it has left it (R20).
    #[must_use]
    pub fn is_shielded(&self, member: MemberId) -> bool {
        let member = &self.members[member.0];
        let mut at = member.scope;
        while at != member.base && at != NONE {
            let scope = &self.scopes[at];
            if scope.settings.shield {
                return true;
            }
            at = scope.parent;
        }
        false
    }

    /// The scope whose cancellation a task is told of: the outermost visible one, which is the
    /// one that will catch it.
    #[must_use]
    pub fn catcher(&self, member: MemberId) -> Option<(ScopeId, &Cause<F::Reason>)> {
        let mut at = self.members[member.0].scope;
        let mut found = None;
        while at != NONE && self.scopes[at].effective {
            let scope = &self.scopes[at];
            if let Some(cause) = &scope.cause {
                found = Some((self.id(at), cause));
            }
            if scope.settings.shield {
                break;
            }
            at = scope.parent;
        }
        found
    }

    /// Whether the cancellation that waits to be thrown takes from a task even what it has waited
    /// for and got (R12a): that of an abrupt scope. For its host only one that was asked for:
    /// asyncio's cancels the host for a failure a turn later, and finds it gone on.
    #[must_use]
    pub fn is_abrupt(&self, member: MemberId) -> bool {
        let entry = &self.members[member.0];
        let mut at = entry.scope;
        let mut above_base = at == entry.base;
        while at != NONE && self.scopes[at].effective {
            let scope = &self.scopes[at];
            let told = if above_base { entry.charge.delivered } else { scope.charge.delivered };
            let asked = scope.cause.as_ref().is_some_and(|cause| cause.source == Source::Explicit);
            let cancelled = scope.cause.is_some() && (above_base || asked);
            if cancelled && scope.settings.abrupt && !told {
                return true;
            }
            if scope.settings.shield {
                return false;
            }
            at = scope.parent;
            above_base |= at == entry.base;
        }
        false
    }

    /// Whether a task has heard of a cancellation that still reaches it: if it ends as cancelled,
    /// that was why (R13a).
    pub(crate) fn has_heard(&mut self, member: u32) -> bool {
        let mut heard = false;
        self.visit(member, |charge| heard |= charge.delivered);
        heard
    }

    /// A task begins its first step, or has left its last shield: it could not hear of what lies
    /// above before, and its time to clean up begins (R18).
    pub fn hears_from_now(&mut self, member: MemberId, now: f64) {
        let member = &mut self.members[member.0];
        member.hears_since = now;
        let at = member.scope;
        self.set_budgets(at);
    }

    /// Sets alarms for the end of the time to clean up of whoever hears from now on of what is
    /// cancelled from a scope upwards. One that is set already is not too late.
    pub(crate) fn set_budgets(&mut self, at: u32) {
        let mut at = at;
        while at != NONE && self.scopes[at].effective {
            if self.scopes[at].budget.is_none() {
                self.set_budget(at);
            }
            if self.scopes[at].settings.shield {
                return;
            }
            at = self.scopes[at].parent;
        }
    }

    /// A `CancelledError` was thrown into a task; it stands for every cancellation it could see.
    /// A foreign task has counted it: the scope that is to take it back is charged here.
    pub fn thrown(&mut self, member: MemberId) {
        let foreign = self.members[member.0].foreign;
        let mut charged = !foreign;
        self.visit(member.0, |charge| {
            if !charged {
                charge.count += 1;
                charged = true;
            }
            charge.delivered = true;
        });
        let entry = &mut self.members[member.0];
        entry.pending = false;
        entry.refused += u32::from(entry.spent.take().is_some());
        entry.superseded = false;
        if foreign {
            entry.charges += 1;
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
        if entry.refused >= STUBBORN {
            return false;
        }
        let moment = self.insist_at(member.0);
        if moment == f64::INFINITY || (moment > f64::NEG_INFINITY && moment > now()) {
            return false;
        }
        let entry = &mut self.members[member.0];
        entry.pending = true;
        entry.spent = Some(moment);
        true
    }

    /// The next moment that matters.
    #[inline]
    #[must_use]
    pub fn next_alarm(&self) -> Option<f64> {
        self.timers.next()
    }

    /// It is now `now`: takes the next alarm that is due. Deadlines and budgets act here; warnings
    /// and the face's own moments are for the face.
    pub fn advance(&mut self, now: f64, out: &mut Effects<F>) -> Option<Alarm<F::Wake>> {
        let alarm = self.timers.pop_due(now)?;
        match alarm {
            Alarm::Deadline(scope) => {
                self.scopes[scope.at].deadline = None;
                let cause = Cause { source: Source::Deadline, reason: None };
                self.cancel(scope, cause, now, out);
            }
            Alarm::Budget(scope) => {
                self.scopes[scope.at].budget = None;
                self.insist(scope, now, out);
            }
            Alarm::Warning(scope) => self.scopes[scope.at].warning = None,
            Alarm::Wake(_) => {}
        }
        Some(alarm)
    }

    /// The tasks that a scope's cancellation reaches and that have not ended.
    #[must_use]
    pub fn reached(&self, scope: ScopeId) -> Vec<F::Key> {
        let mut found = Vec::new();
        let mut walk = vec![scope.at];
        while let Some(at) = walk.pop() {
            self.inhabitants(at, |member| found.push(self.members[member].key.clone()));
            self.open_below(at, &mut walk);
        }
        found
    }

    /// Brings what a scope's subtree knows of cancellation up to date, after the scope was
    /// cancelled or its shield or budget was changed. Stops where nothing changes.
    pub(crate) fn spread(&mut self, root: u32, out: &mut Effects<F>) {
        let mut walk = std::mem::take(&mut self.walk);
        walk.push(root);
        while let Some(at) = walk.pop() {
            let scope = &self.scopes[at];
            let effective = scope.cause.is_some() || self.sees_above(scope);
            let same = effective == scope.effective;
            // What was cancelled already may not have been told of this one.
            if at != root && same && (scope.settings.shield || !effective) {
                continue;
            }
            let brought = Self::is_brought(scope);
            self.scopes[at].effective = effective;
            if brought && self.scopes[at].budget.is_none() {
                // It insists for itself if nothing above does any more.
                self.set_budget(at);
            }
            let mut members = Vec::new();
            self.inhabitants(at, |member| members.push(member));
            for member in members {
                self.refresh(member, out);
                let pending = self.members[member].pending;
                if effective && !pending && self.insist_at(member) == f64::NEG_INFINITY {
                    // It was told already, and what it waits for may never come.
                    self.insist_on(member, f64::NEG_INFINITY, out);
                }
            }
            self.below(at, &mut walk);
        }
        self.walk = walk;
    }

    /// Finds what a task is to be told, given where it stands: of each cancelled scope that it has
    /// entered and can see, once, and once of all that lies above the nursery it is a child of. So
    /// a deadline farther out ends a cleanup that hangs.
    pub(crate) fn refresh(&mut self, member: u32, out: &mut Effects<F>) {
        let foreign = self.members[member].foreign;
        let mut untold = false;
        let mut charges = 0;
        self.visit(member, |charge| {
            untold |= !charge.delivered;
            if !foreign && charge.count == 0 {
                charge.count = 1;
                charges += 1;
            }
        });
        if let Some(spent) = self.members[member].spent
            && self.insist_at(member) > spent
        {
            self.members[member].spent = None;
        }
        let entry = &mut self.members[member];
        let pending = untold || entry.spent.is_some();
        let throw = pending && !entry.pending;
        entry.pending = pending;
        entry.charges += charges;
        if throw || charges > 0 {
            out.deliveries.push(Delivery {
                key: entry.key.clone(),
                member: MemberId(member),
                charges,
                throw,
            });
        }
    }

    /// A cancellation in flight leaves a scope and stands for those above. Moves as much of what
    /// the scope was charged as they lack; says how much.
    pub(crate) fn stand_for_above(&mut self, member: u32, available: u32) -> u32 {
        let foreign = self.members[member].foreign;
        let mut moved = 0;
        self.visit(member, |charge| {
            if charge.count == 0 && moved < available && (moved == 0 || !foreign) {
                charge.count = 1;
                moved += 1;
            }
            charge.delivered = true;
        });
        let entry = &mut self.members[member];
        entry.charges += moved;
        entry.pending = false;
        entry.spent = None;
        moved
    }

    /// An error took the place of the cancellation: those above have not been honoured.
    pub(crate) fn forget_delivery(&mut self, member: u32) {
        self.visit(member, |charge| charge.delivered = false);
    }

    /// Visits what a task owes to the cancelled scopes that it can see, from the inside out.
    pub(crate) fn visit(&mut self, member: u32, mut each: impl FnMut(&mut Charge)) {
        let entry = &mut self.members[member];
        let mut at = entry.scope;
        while at != entry.base && at != NONE {
            let scope = &mut self.scopes[at];
            if scope.cause.is_some() {
                each(&mut scope.charge);
            }
            if scope.settings.shield {
                return;
            }
            at = scope.parent;
        }
        if at != NONE && self.scopes[at].effective {
            each(&mut entry.charge);
        }
    }

    /// It is now `now`: every task below for which the time that this scope gives has passed, and
    /// that still waits, is told again. For the others an alarm is set.
    pub(crate) fn insist(&mut self, scope: ScopeId, now: f64, out: &mut Effects<F>) {
        let mut walk = vec![scope.at];
        let mut next = f64::INFINITY;
        while let Some(at) = walk.pop() {
            let mut members = Vec::new();
            self.inhabitants(at, |member| members.push(member));
            for member in members {
                let mut moment = f64::INFINITY;
                self.moments(member, |at, its| {
                    if at == scope.at {
                        moment = its
                    }
                });
                if moment > now {
                    next = next.min(moment);
                } else {
                    self.insist_on(member, moment, out);
                }
            }
            self.open_below(at, &mut walk);
        }
        if next < f64::INFINITY && self.scopes[scope.at].budget.is_none() {
            let timer = self.timers.insert(next, Alarm::Budget(scope));
            self.scopes[scope.at].budget = Some(timer);
        }
    }

    /// Tells a task again: its time to clean up was over at that moment.
    fn insist_on(&mut self, member: u32, moment: f64, out: &mut Effects<F>) {
        let entry = &mut self.members[member];
        // What the task awaits was asked to end and has not: it is asked once more.
        let again = moment > f64::NEG_INFINITY && entry.spent != Some(moment);
        entry.spent = Some(moment);
        if !std::mem::replace(&mut entry.pending, true) || again {
            let (key, member) = (entry.key.clone(), MemberId(member));
            out.deliveries.push(Delivery { key, member, charges: 0, throw: true });
        }
    }

    /// The tasks whose innermost scope this is: its host, then its nursery's children.
    fn inhabitants(&self, at: u32, mut each: impl FnMut(u32)) {
        let scope = &self.scopes[at];
        if scope.host != NONE && self.members[scope.host].scope == at {
            each(scope.host);
        }
        if scope.nursery == NONE {
            return;
        }
        let mut child = self.nurseries[scope.nursery].first;
        while child != NONE {
            let member = &self.members[child];
            if member.scope == at {
                each(child);
            }
            child = member.next;
        }
    }

    fn below(&self, at: u32, walk: &mut Vec<u32>) {
        let mut child = self.scopes[at].first_child;
        while child != NONE {
            walk.push(child);
            child = self.scopes[child].next;
        }
    }

    fn open_below(&self, at: u32, walk: &mut Vec<u32>) {
        let mut child = self.scopes[at].first_child;
        while child != NONE {
            let scope = &self.scopes[child];
            if !scope.settings.shield {
                walk.push(child);
            }
            child = scope.next;
        }
    }

    /// What a scope has for a budget, or inherits, is another one by now, and so for those below that
    /// inherit it.
    pub(crate) fn change_budgets(&mut self, root: u32, now: f64, out: &mut Effects<F>) {
        let mut walk = vec![root];
        while let Some(at) = walk.pop() {
            if self.scopes[at].cause.is_some() {
                self.set_budget(at);
                self.spread(at, out);
                if self.seconds(at) == 0.0 {
                    self.insist(self.id(at), now, out);
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
            if scope.settings.cleanup == Cleanup::Inherited || scope.settings.abrupt {
                walk.push(child);
            }
            child = scope.next;
        }
    }

    /// From which moment on every await of a task is cancelled again: minus infinity for at once,
    /// infinity for never. Each cancelled scope that it can see insists for itself (R18).
    pub(crate) fn insist_at(&self, member: u32) -> f64 {
        let mut earliest = f64::INFINITY;
        self.moments(member, |_, moment| earliest = earliest.min(moment));
        earliest
    }

    /// The same for each of the cancelled scopes that a task can see.
    fn moments(&self, member: u32, mut each: impl FnMut(u32, f64)) {
        let entry = &self.members[member];
        let mut since = entry.hears_since;
        let mut at = entry.scope;
        while at != NONE && self.scopes[at].effective {
            let scope = &self.scopes[at];
            if scope.cause.is_some() {
                let seconds = self.seconds(at);
                let moment = match seconds {
                    0.0 => f64::NEG_INFINITY,
                    seconds => scope.cancelled_at.max(since) + seconds,
                };
                each(at, moment);
            }
            if scope.settings.shield {
                break;
            }
            since = since.max(scope.lifted_at);
            at = scope.parent;
        }
    }

    /// How many seconds a cancelled scope gives to what is below it.
    pub(crate) fn seconds(&self, at: u32) -> f64 {
        let scope = &self.scopes[at];
        if Self::is_brought(scope) && self.sees_above(scope) {
            // The one above insists.
            return f64::INFINITY;
        }
        let found = if scope.settings.abrupt { scope.settings.cleanup } else { self.given(at) };
        match found {
            Cleanup::Seconds(seconds) => seconds,
            Cleanup::Inherited | Cleanup::Never => f64::INFINITY,
        }
    }

    /// Whether a nursery's host has cancelled it: by what it had heard from above, if that reaches
    /// the nursery.
    fn is_brought(scope: &Scope<F::Reason>) -> bool {
        let by_host = |cause: &Cause<_>| cause.source == Source::Host;
        scope.nursery != NONE && scope.cause.as_ref().is_some_and(by_host)
    }

    /// The budget that a scope was given, or the nearest one above it, or the tree's.
    pub(crate) fn given(&self, at: u32) -> Cleanup {
        let mut at = at;
        while at != NONE {
            let scope = &self.scopes[at];
            if scope.settings.cleanup != Cleanup::Inherited && !scope.settings.abrupt {
                return scope.settings.cleanup;
            }
            at = scope.parent;
        }
        self.cleanup
    }

    /// What counts for a scope if it is cancelled (R18).
    #[must_use]
    pub fn cleanup_of(&self, scope: ScopeId) -> Cleanup {
        let settings = self.scopes[scope.at].settings;
        if settings.abrupt { settings.cleanup } else { self.given(scope.at) }
    }

    /// Sets the alarm for the end of a cancelled scope's budget.
    pub(crate) fn set_budget(&mut self, at: u32) {
        if let Some(timer) = self.scopes[at].budget.take() {
            self.timers.remove(timer);
        }
        if self.scopes[at].cause.is_none() {
            return;
        }
        let seconds = self.seconds(at);
        if seconds > 0.0 && seconds < f64::INFINITY {
            let moment = self.scopes[at].cancelled_at + seconds;
            if moment < f64::INFINITY {
                let timer = self.timers.insert(moment, Alarm::Budget(self.id(at)));
                self.scopes[at].budget = Some(timer);
            }
        }
    }
}
