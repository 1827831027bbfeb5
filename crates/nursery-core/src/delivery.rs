//! How a cancellation reaches tasks: the walk down the tree, what a task is told and when again.
//! It must never tell a task twice of what it was already told, but for a spent budget (R18).

use crate::budget::end_of;
use crate::member::MemberId;
use crate::scope::{Cause, Charge, Cleanup, Scope, ScopeId, Source};
use crate::slab::NONE;
use crate::tree::{Alarm, Delivery, Effects, Face, Tree};

/// A change on its way down the tree.
#[derive(Clone, Copy)]
pub(crate) struct Wave {
    at: u32,
    /// The budget that is given to what is here.
    given: Cleanup,
    /// What is cancelled above, up to shields, gives no time at all.
    hard: bool,
    /// The outermost scope above, up to shields, that is cancelled itself; for a face that is told why.
    catcher: u32,
}

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
            if scope.holds_bare() {
                return true;
            }
            at = scope.parent;
        }
        false
    }

    /// Whether a scope is one of the shields that hold a bare cancellation of a task back.
    #[must_use]
    pub fn shields(&self, scope: ScopeId, member: MemberId) -> bool {
        let member = &self.members[member.0];
        let mut at = member.scope;
        while at != member.base && at != NONE && at != scope.at {
            at = self.scopes[at].parent;
        }
        at != member.base && self.scopes.get(at).is_some_and(Scope::holds_bare)
    }

    /// The scope whose cancellation a task is told of: the outermost visible one, which is the
    /// one that will catch it.
    #[must_use]
    pub fn catcher(&self, member: MemberId) -> Option<(ScopeId, &Cause<F::Reason>)> {
        let at = self.catcher_from(self.members[member.0].scope);
        let cause = self.scopes.get(at)?.cause.as_ref()?;
        Some((self.id(at), cause))
    }

    /// The scopes from one outwards to which a cancellation is visible, up to the first shield.
    fn visible(&self, at: u32) -> impl Iterator<Item = (u32, &Scope<F::Reason>)> {
        let next = |at: u32| self.scopes.get(at).filter(|scope| scope.effective);
        let mut at = at;
        std::iter::from_fn(move || {
            let (here, scope) = (at, next(at)?);
            at = if scope.settings.shield { NONE } else { scope.parent };
            Some((here, scope))
        })
    }

    /// The outermost cancelled scope that can be seen from a scope.
    fn catcher_from(&self, at: u32) -> u32 {
        let cancelled = self.visible(at).filter(|(_, scope)| scope.cause.is_some());
        cancelled.last().map_or(NONE, |(at, _)| at)
    }

    /// The scopes that are cancelled around a task, each with whether the task is a child below it, and whether it has
    /// been told of that one.
    fn reaching(
        &self,
        member: MemberId,
    ) -> impl Iterator<Item = (&Scope<F::Reason>, &Cause<F::Reason>, bool, bool)> {
        let entry = &self.members[member.0];
        let mut above_base = false;
        self.visible(entry.scope).filter_map(move |(at, scope)| {
            above_base |= at == entry.base;
            let charge = if above_base { &entry.charge } else { &scope.charge };
            Some((scope, scope.cause.as_ref()?, above_base, charge.delivered))
        })
    }

    /// Whether the cancellation that waits to be thrown takes from a task even what it has waited
    /// for and got (R12a): that of an abrupt scope that was asked for or, for its children, that came with its
    /// host's. After a failure asyncio's acts a turn later, when a task that had got something has gone on.
    #[must_use]
    pub fn is_abrupt(&self, member: MemberId) -> bool {
        self.reaching(member).any(|(scope, cause, above_base, is_told)| {
            let by_hand = match cause.source {
                Source::Explicit => true,
                Source::Host => above_base,
                Source::Failure | Source::Deadline => false,
            };
            by_hand && scope.settings.abrupt && !is_told
        })
    }

    /// Whether the host of a nursery is to hear from above it of an abrupt cancellation: as `Task.cancel()` of a host
    /// that joins, it is raised once the nursery has been left (R15).
    pub(crate) fn hears_abruptly_above(&self, scope: &Scope<F::Reason>) -> bool {
        self.reaching(MemberId(scope.host)).any(|(other, cause, above_base, is_told)| {
            let is_asked = cause.source != Source::Host || above_base;
            is_asked && other.settings.abrupt && !is_told && other.serial != scope.serial
        })
    }

    /// Whether something around a task is cancelled, and all of that was abrupt and has been thrown into it.
    pub(crate) fn has_heard_of_abrupt_only(&self, member: MemberId) -> bool {
        let mut asking =
            self.reaching(member).filter(|(scope, ..)| !self.hands_on(scope)).peekable();
        asking.peek().is_some()
            && asking.all(|(scope, .., is_told)| scope.settings.abrupt && is_told)
    }

    /// Whether a cancellation that is not abrupt reaches a scope.
    fn is_reached_by_more_than_abrupt(&self, at: u32) -> bool {
        self.visible(at).any(|(_, scope)| {
            scope.cause.is_some() && !scope.settings.abrupt && !self.hands_on(scope)
        })
    }

    /// Whether a child has heard of a cancellation from above its nursery, or of one that reaches it
    /// now: if it ends as cancelled, that was why (R13a).
    pub(crate) fn has_heard(&mut self, child: u32) -> bool {
        let mut heard = self.members[child].charge.heard > 0;
        self.visit(child, |charge| heard |= charge.heard > 0);
        heard
    }

    /// Whether a host has heard of a cancellation from outside a scope since its count of those that it
    /// has heard of was `before`, also if a shield keeps that out by now.
    pub(crate) fn has_heard_since(&self, scope: u32, before: u32) -> bool {
        let Scope { host, parent, .. } = self.scopes[scope];
        if host == NONE {
            return false;
        }
        let member = &self.members[host];
        let mut at = parent;
        let mut heard = member.charge.heard > before;
        while !heard && at != member.base && at != NONE {
            heard = self.scopes[at].charge.heard > before;
            at = self.scopes[at].parent;
        }
        heard
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
    pub(crate) fn spread(&mut self, root: u32, now: f64, out: &mut Effects<F>) {
        let mut walk = std::mem::take(&mut self.walk);
        walk.push(self.wave(root));
        while let Some(Wave { at, given, hard, catcher }) = walk.pop() {
            if self.scopes[at].cleans_up {
                self.let_in(at, now);
            }
            let scope = &self.scopes[at];
            let effective = scope.cause.is_some() || self.sees_above(scope);
            let same = effective == scope.effective;
            // What was cancelled already may not have been told of this one.
            if at != root && same && (scope.settings.shield || !effective) {
                continue;
            }
            let allowed = self.allowed_with(scope, given);
            let guarantees = scope.floor() > 0.0 && self.sees_above(scope);
            let hard = hard && !scope.settings.shield && !guarantees
                || scope.cause.is_some() && allowed == 0.0;
            let given = scope.gives().unwrap_or(given);
            let brought = Self::is_brought(scope);
            let above = if scope.settings.shield { NONE } else { catcher };
            let catcher = if above == NONE && scope.cause.is_some() { at } else { above };
            self.scopes[at].effective = effective;
            if effective && self.scopes[at].watched {
                self.call_watches(at, out);
            }
            if brought {
                // It insists for itself if nothing above does any more.
                self.look_by(at, end_of(allowed, self.scopes[at].cancelled_at));
            }
            if guarantees {
                self.change_guarantee(self.scopes[at].parent);
            }
            let mut members = Vec::new();
            self.inhabitants(at, |member| members.push(member));
            for member in members {
                self.refresh_below(member, Some(catcher), out);
                if hard && !self.members[member].pending {
                    // It was told already, and what it waits for may never come.
                    self.insist_on(member, f64::NEG_INFINITY, out);
                }
            }
            let mut below = self.scopes[at].first_child;
            while below != NONE {
                walk.push(Wave { at: below, given, hard, catcher });
                below = self.scopes[below].next;
            }
        }
        self.walk = walk;
    }

    /// A scope that was opened in the cleanup after an abrupt cancellation hears of any other: what has changed
    /// above it may have brought one.
    #[cold]
    fn let_in(&mut self, at: u32, now: f64) {
        let parent = self.scopes[at].parent;
        if !self.is_reached_by_more_than_abrupt(parent) {
            return;
        }
        let scope = &mut self.scopes[at];
        (scope.cleans_up, scope.settings.shield, scope.lifted_at) = (false, false, now);
        self.set_budgets(parent, now);
    }

    /// How a change comes to a scope from above.
    fn wave(&self, at: u32) -> Wave {
        let parent = self.scopes[at].parent;
        let given = if parent == NONE { self.cleanup } else { self.given(parent) };
        let mut hard = false;
        let mut above = parent;
        while !hard && above != NONE && self.scopes[above].effective {
            let scope = &self.scopes[above];
            hard = scope.cause.is_some() && self.allowed(above) == 0.0;
            let ends = scope.settings.shield || scope.floor() > 0.0;
            above = if ends { NONE } else { scope.parent };
        }
        let catcher = if F::TELLS_WHY { self.catcher_from(parent) } else { NONE };
        Wave { at, given, hard, catcher }
    }

    /// Finds what a task is to be told, given where it stands: of each cancelled scope that it has
    /// entered and can see, once, and once of all that lies above the nursery it is a child of. So
    /// a deadline farther out ends a cleanup that hangs.
    pub(crate) fn refresh(&mut self, member: u32, out: &mut Effects<F>) {
        self.refresh_below(member, None, out);
    }

    /// As [`refresh`](Self::refresh), where the scope is known that would catch: `NONE` for none.
    fn refresh_below(&mut self, member: u32, catcher: Option<u32>, out: &mut Effects<F>) {
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
        if let Some(insisted_at) = self.members[member].insisted_at
            && self.insist_at(member) > insisted_at
        {
            self.members[member].insisted_at = None;
        }
        let entry = &mut self.members[member];
        let pending = untold || entry.insisted_at.is_some();
        let before = std::mem::replace(&mut entry.pending, pending);
        entry.charges += charges;
        if pending != before || charges > 0 {
            self.deliver(member, charges, before, catcher, out);
        }
    }

    /// Has the face tell a task what has become of it. `before`: what it was last told waits to be thrown.
    /// `catcher` as above.
    pub(crate) fn deliver(
        &self,
        member: u32,
        charges: u32,
        before: bool,
        catcher: Option<u32>,
        out: &mut Effects<F>,
    ) {
        let entry = &self.members[member];
        let (throw, spared) = (entry.pending && !before, before && !entry.pending);
        let reason =
            if throw && F::TELLS_WHY { self.reason_below(entry.scope, catcher) } else { None };
        let (key, member) = (entry.key.clone(), MemberId(member));
        out.deliveries.push(Delivery { key, member, charges, throw, spared, reason });
    }

    fn reason_below(&self, scope: u32, catcher: Option<u32>) -> Option<F::Reason> {
        let catcher = catcher.unwrap_or_else(|| self.catcher_from(scope));
        debug_assert_eq!(catcher, self.catcher_from(scope), "it is the one that catches");
        self.scopes.get(catcher)?.cause.as_ref()?.reason.clone()
    }

    /// Nothing waits to be thrown into a task any more, though it takes no step.
    #[inline]
    pub(crate) fn spare(&mut self, member: u32, out: &mut Effects<F>) {
        let entry = &mut self.members[member];
        entry.insisted_at = None;
        if std::mem::take(&mut entry.pending) {
            self.deliver(member, 0, true, None, out);
        }
    }

    /// A cancellation in flight leaves a scope and stands for those above. Moves as much of what
    /// the scope was charged as they lack. Returns how much.
    pub(crate) fn stand_for_above(
        &mut self,
        member: u32,
        available: u32,
        out: &mut Effects<F>,
    ) -> u32 {
        let entry = &mut self.members[member];
        entry.heard += 1;
        let (foreign, heard) = (entry.foreign, entry.heard);
        let mut moved = 0;
        self.visit(member, |charge| {
            if charge.count == 0 && moved < available && (moved == 0 || !foreign) {
                charge.count = 1;
                moved += 1;
            }
            charge.delivered = true;
            charge.heard = heard;
        });
        self.members[member].charges += moved;
        self.spare(member, out);
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

    /// The tasks whose innermost scope this is: its host, then its nursery's children.
    pub(crate) fn inhabitants(&self, at: u32, mut each: impl FnMut(u32)) {
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
}
