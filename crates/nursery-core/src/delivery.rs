//! How a cancellation reaches tasks: the walk down the tree, what a task is told and when again.
//! It must never tell a task twice of what it was already told, but for a spent budget (R18).

use crate::member::MemberId;
use crate::scope::{Cause, Charge, Scope, ScopeId, Source};
use crate::slab::NONE;
use crate::tree::{Alarm, Delivery, Face, Tree};

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
                found = Some((ScopeId(at), cause));
            }
            if scope.settings.shield {
                break;
            }
            at = scope.parent;
        }
        found
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

    /// A task waits. Says whether its wait is to be cancelled at once: its budget for cleaning up
    /// is spent, or something came while it ran.
    #[inline]
    pub fn suspended(&mut self, member: MemberId, now: impl FnOnce() -> f64) -> bool {
        let entry = &self.members[member.0];
        if entry.pending {
            return true;
        }
        if entry.scope == NONE {
            return false;
        }
        let level = self.scopes[entry.scope].level;
        if entry.refused < STUBBORN
            && level < f64::INFINITY
            && (level == f64::NEG_INFINITY || level <= now())
        {
            let entry = &mut self.members[member.0];
            entry.pending = true;
            entry.spent = Some(level);
            return true;
        }
        false
    }

    /// The next moment that matters.
    #[inline]
    #[must_use]
    pub fn next_alarm(&self) -> Option<f64> {
        self.timers.next()
    }

    /// It is now `now`: takes the next alarm that is due. Deadlines and budgets act here; warnings
    /// and the face's own moments are for the face.
    pub fn advance(&mut self, now: f64, out: &mut Vec<Delivery<F::Key>>) -> Option<Alarm<F::Wake>> {
        let alarm = self.timers.pop_due(now)?;
        match alarm {
            Alarm::Deadline(scope) => {
                self.scopes[scope.0].deadline = None;
                let cause = Cause { source: Source::Deadline, reason: None };
                self.cancel(scope, cause, now, out);
            }
            Alarm::Budget(scope) => {
                self.scopes[scope.0].budget = None;
                self.insist(scope, out);
            }
            Alarm::Warning(scope) => self.scopes[scope.0].warning = None,
            Alarm::Wake(_) => {}
        }
        Some(alarm)
    }

    /// The tasks that a scope's cancellation reaches and that have not ended.
    #[must_use]
    pub fn reached(&self, scope: ScopeId) -> Vec<F::Key> {
        let mut found = Vec::new();
        let mut walk = vec![scope.0];
        while let Some(at) = walk.pop() {
            self.inhabitants(at, |member| found.push(self.members[member].key.clone()));
            self.open_below(at, &mut walk);
        }
        found
    }

    /// Brings what a scope's subtree knows of cancellation up to date, after the scope was
    /// cancelled or its shield or budget was changed. Stops where nothing changes.
    pub(crate) fn spread(&mut self, root: u32, out: &mut Vec<Delivery<F::Key>>) {
        let mut walk = std::mem::take(&mut self.walk);
        walk.push(root);
        while let Some(at) = walk.pop() {
            let scope = &self.scopes[at];
            let above = self.sees_above(scope);
            let effective = above || scope.cause.is_some();
            let own = self.own_level(at);
            let scope = &self.scopes[at];
            let level = if above { own.min(self.scopes[scope.parent].level) } else { own };
            let same = effective == scope.effective && level == scope.level;
            // What was cancelled already may not have been told of this one.
            if at != root && same && (scope.settings.shield || !effective) {
                continue;
            }
            let scope = &mut self.scopes[at];
            scope.effective = effective;
            scope.level = level;
            let mut members = Vec::new();
            self.inhabitants(at, |member| members.push(member));
            for member in members {
                self.refresh(member, out);
            }
            self.below(at, &mut walk);
        }
        self.walk = walk;
    }

    /// Finds what a task is to be told, given where it stands: of each cancelled scope that it has
    /// entered and can see, once, and once of all that lies above the nursery it is a child of. So
    /// a deadline farther out ends a cleanup that hangs.
    pub(crate) fn refresh(&mut self, member: u32, out: &mut Vec<Delivery<F::Key>>) {
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
        let scope = self.members[member].scope;
        let level = if scope == NONE { f64::INFINITY } else { self.scopes[scope].level };
        let entry = &mut self.members[member];
        entry.spent = entry.spent.filter(|moment| level <= *moment);
        let pending = untold || entry.spent.is_some();
        let throw = pending && !entry.pending;
        entry.pending = pending;
        entry.charges += charges;
        if throw || charges > 0 {
            out.push(Delivery { key: entry.key.clone(), member: MemberId(member), charges, throw });
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

    /// The budget is spent: every task below that still waits is told again.
    pub(crate) fn insist(&mut self, scope: ScopeId, out: &mut Vec<Delivery<F::Key>>) {
        let mut walk = vec![scope.0];
        while let Some(at) = walk.pop() {
            let mut members = Vec::new();
            self.inhabitants(at, |member| members.push(member));
            for member in members {
                let level = self.scopes[self.members[member].scope].level;
                let entry = &mut self.members[member];
                entry.spent = Some(level);
                if !std::mem::replace(&mut entry.pending, true) {
                    let (key, member) = (entry.key.clone(), MemberId(member));
                    out.push(Delivery { key, member, charges: 0, throw: true });
                }
            }
            self.open_below(at, &mut walk);
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

    /// The scopes right below that have no budget of their own.
    pub(crate) fn heirs(&self, at: u32, walk: &mut Vec<u32>) {
        let mut child = self.scopes[at].first_child;
        while child != NONE {
            let scope = &self.scopes[child];
            if scope.settings.cleanup.is_none() {
                walk.push(child);
            }
            child = scope.next;
        }
    }

    /// From when on a scope's own cancellation insists: its budget, or the nearest one above it.
    pub(crate) fn own_level(&self, at: u32) -> f64 {
        let scope = &self.scopes[at];
        if scope.cause.is_none() {
            return f64::INFINITY;
        }
        match self.cleanup(scope) {
            Some(0.0) => f64::NEG_INFINITY,
            Some(cleanup) => scope.cancelled_at + cleanup,
            None => f64::INFINITY,
        }
    }

    fn cleanup(&self, scope: &Scope<F::Reason>) -> Option<f64> {
        let mut scope = scope;
        loop {
            if scope.settings.cleanup.is_some() || scope.parent == NONE {
                return scope.settings.cleanup;
            }
            scope = &self.scopes[scope.parent];
        }
    }

    /// Sets the alarm for the end of a cancelled scope's budget.
    pub(crate) fn set_budget(&mut self, at: u32, now: f64) {
        if let Some(timer) = self.scopes[at].budget.take() {
            self.timers.remove(timer);
        }
        let level = self.own_level(at);
        if level.is_finite() {
            let timer = self.timers.insert(level.max(now), Alarm::Budget(ScopeId(at)));
            self.scopes[at].budget = Some(timer);
        }
    }
}
