//! What is done with a scope: it is entered and left, cancelled, given a deadline, a shield, a
//! budget. It must never leave one in another order than its host has entered them.

use crate::member::MemberId;
use crate::scope::{Cause, Charge, Cleanup, Scope, ScopeId, Settings, Source};
use crate::slab::NONE;
use crate::tree::{Alarm, Effects, Face, Tree};

/// What is in flight when a block is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flight {
    /// The block has returned.
    Nothing,
    /// A cancellation.
    Cancelled,
    /// An error.
    Error,
    /// A group of errors that carries a cancellation.
    Group,
    /// An error that took the place of a cancellation from outside, which must not get lost.
    Overtaken,
}

/// How a scope was left.
#[derive(Clone, Debug, PartialEq)]
pub struct Exit<R> {
    /// It takes the cancellation in flight back: swallow it, or take it out of the group (R13).
    pub caught: bool,
    /// The cancellation in flight goes on, though no scope asks for it any more: a bare request of the
    /// program's has come beside it, and waits for an exception that is no scope's (R13).
    pub bare: bool,
    /// A cancellation inside an error that leaves the block is its own: take that out (R13).
    pub absorbs: bool,
    /// By how much the host's count of cancellations sinks (R14).
    pub take_back: u32,
    /// Why it was cancelled, if it was.
    pub cause: Option<Cause<R>>,
    /// What its settings were at the end.
    pub settings: Settings,
    /// Something has watched it and was not called: [`Tree::uncalled`] gives it back.
    pub watched: bool,
}

impl<F: Face> Tree<F> {
    /// A task enters a scope. `honoured` is its count of cancellations so far, without those that
    /// wait for its next step.
    pub fn enter(
        &mut self,
        host: MemberId,
        settings: Settings,
        honoured: u32,
        now: f64,
        out: &mut Effects<F>,
    ) -> ScopeId {
        let member = &self.members[host.0];
        let parent = member.scope;
        let baseline = honoured.saturating_sub(member.charges);
        let mut scope = Scope::new(parent, host.0, settings, baseline);
        let visible = parent != NONE && self.scopes[parent].effective;
        if visible && !settings.shield {
            scope.effective = true;
        }
        let id = self.link(scope, parent);
        let member = &mut self.members[host.0];
        member.scope = id;
        member.insisted_times = 0;
        // Where nothing was ever cancelled there is nothing to hear of.
        if settings.shield && self.cancelled > 0 {
            self.scopes[id].raised_after = self.heard_of_outside(id, visible);
        }
        if visible && settings.shield {
            // What waited for the next await waits for the end of the shield.
            self.refresh(host.0, out);
        }
        if visible && !settings.shield && self.scopes[id].floor() > 0.0 {
            self.change_guarantee(parent);
            self.refresh(host.0, out);
        }
        if settings.deadline < f64::INFINITY {
            if settings.deadline <= now {
                let cause = Cause { source: Source::Deadline, reason: None };
                self.cancel(self.id(id), cause, now, out);
            } else {
                let alarm = Alarm::Deadline(self.id(id));
                self.scopes[id].deadline = Some(self.timers.insert(settings.deadline, alarm));
            }
        }
        self.id(id)
    }

    /// Its host leaves its innermost scope. `now` matters only where that is a shield.
    ///
    /// # Panics
    /// If another scope is its host's innermost one: ask [`innermost`](Self::innermost) first.
    pub fn exit(
        &mut self,
        scope: ScopeId,
        flight: Flight,
        honoured: u32,
        now: f64,
        out: &mut Effects<F>,
    ) -> Exit<F::Reason> {
        let id = scope.at;
        let host = self.scopes[id].host;
        assert_eq!(self.members[host].scope, id, "scopes are left in the order of entering");
        self.silence(id);
        let left = self.unlink(id, now, out);
        let outstanding = self.outstanding(&left, honoured) > 0;
        let parent = left.parent;
        let above = parent != NONE && self.scopes[parent].effective;
        let visible = above && !left.settings.shield;
        let member = &mut self.members[host];
        member.scope = parent;
        member.insisted_times = 0;
        member.hears_since = member.hears_since.max(left.lifted_at);
        let own = left.cause.as_ref().is_some_and(|cause| cause.source != Source::Host);
        let mut take_back = left.charge.count;
        let absorbs = own && !visible && !outstanding;
        let mut caught = false;
        if own && !visible {
            caught = match flight {
                Flight::Cancelled | Flight::Group => !outstanding,
                Flight::Error => member.overtaken == id,
                Flight::Nothing | Flight::Overtaken => false,
            };
        }
        member.charges -= take_back;
        if member.overtaken == id {
            // The error that overtook a cancellation was handled, or goes on.
            member.overtaken = if flight == Flight::Nothing || caught { NONE } else { parent };
        }
        if above {
            take_back -= self.meet_above(&left, flight, caught, now, out);
        } else {
            // Nothing above: whatever waited was this scope's.
            self.spare(host, out);
        }
        let Scope { cause, settings, watched, .. } = left;
        let bare = flight == Flight::Cancelled && !caught && !above && cause.is_some();
        Exit { caught, bare, absorbs, take_back, cause, settings, watched }
    }

    /// A host has left a scope, and a cancellation reaches the one around it. Returns how much of what the
    /// left one was charged counts for that.
    fn meet_above(
        &mut self,
        left: &Scope<F::Reason>,
        flight: Flight,
        caught: bool,
        now: f64,
        out: &mut Effects<F>,
    ) -> u32 {
        let host = left.host;
        if left.settings.shield {
            self.leaves_shield(host, left.raised_after, now);
        }
        if left.floor() > 0.0 {
            self.change_guarantee(left.parent);
        }
        match flight {
            Flight::Cancelled | Flight::Group if !caught => {
                // The cancellation in flight stands for the ones above from here on.
                return self.stand_for_above(host, left.charge.count, out);
            }
            Flight::Overtaken if !left.settings.shield => {
                self.members[host].overtaken = left.parent;
                self.forget_delivery(host);
                self.refresh(host, out);
            }
            _ => self.refresh(host, out),
        }
        0
    }

    /// A scope is left by an error that is no nursery's, or by none: the program has put that in place of
    /// what had overtaken a cancellation, and no scope catches the cancellation by it (R13).
    pub fn error_was_replaced(&mut self, scope: ScopeId) {
        let host = self.scopes[scope.at].host;
        if host != NONE && self.members[host].overtaken == scope.at {
            self.members[host].overtaken = NONE;
        }
    }

    /// Takes a scope out of the tree that is not left as it must be: by another task than entered
    /// it, out of order, or not at all. No other task is cancelled by that, or spared: what its host
    /// has entered inside it goes on below the scope around it. Returns why it was cancelled, if it
    /// was, and by how much the host's count of cancellations sinks (R14). [`uncalled`](Self::uncalled)
    /// gives back what has watched it.
    pub fn remove(
        &mut self,
        scope: ScopeId,
        now: f64,
        out: &mut Effects<F>,
    ) -> (Option<Cause<F::Reason>>, u32) {
        let owed = self.unstack(scope.at, now, out);
        self.silence(scope.at);
        (self.unlink(scope.at, now, out).cause, owed)
    }

    /// Cancels what the host of a scope has entered inside it: that scope is left too early, and what
    /// stands inside would not end by itself (R3).
    pub fn cancel_inside(
        &mut self,
        scope: ScopeId,
        reason: Option<F::Reason>,
        now: f64,
        out: &mut Effects<F>,
    ) {
        let host = self.scopes[scope.at].host;
        let inner = if host == NONE { NONE } else { self.members[host].scope };
        if inner == NONE || inner == scope.at {
            out.reasons.extend(reason);
            return;
        }
        let inner = self.next_inside(inner, scope.at);
        self.cancel(self.id(inner), Cause { source: Source::Failure, reason }, now, out);
    }

    /// The scope between `inner` and `outer` that stands directly in `outer`.
    pub(super) fn next_inside(&self, inner: u32, outer: u32) -> u32 {
        let mut at = inner;
        while self.scopes[at].parent != outer {
            at = self.scopes[at].parent;
        }
        at
    }

    /// Takes a scope from its host, wherever it stands among those that the host has entered.
    /// Returns by how much the host's count of cancellations sinks.
    pub(crate) fn unstack(&mut self, at: u32, now: f64, out: &mut Effects<F>) -> u32 {
        let Scope { host, parent, charge, settings, lifted_at, raised_after, .. } = self.scopes[at];
        if host == NONE {
            return 0;
        }
        self.scopes[at].host = NONE;
        self.scopes[at].charge = Charge::default();
        let member = &mut self.members[host];
        if member.overtaken == at {
            member.overtaken = parent;
        }
        member.charges -= charge.count;
        member.insisted_times = 0;
        if member.scope == at {
            member.scope = parent;
            member.hears_since = member.hears_since.max(lifted_at);
            if settings.shield {
                self.leaves_shield(host, raised_after, now);
            }
            if self.scopes[at].floor() > 0.0 && parent != NONE {
                self.change_guarantee(parent);
            }
            self.refresh(host, out);
        } else {
            let innermost = member.scope;
            let inner = self.next_inside(innermost, at);
            self.raise(inner, now, out);
        }
        charge.count
    }

    /// Whether the host of a scope has ended without leaving it.
    #[must_use]
    pub fn is_abandoned(&self, scope: ScopeId) -> bool {
        self.scopes[scope.at].host == NONE
    }

    /// Cancels a scope: everything below it in the same moment, up to shields (R12). Returns whether
    /// it was not cancelled yet.
    pub fn cancel(
        &mut self,
        scope: ScopeId,
        cause: Cause<F::Reason>,
        now: f64,
        out: &mut Effects<F>,
    ) -> bool {
        let id = scope.at;
        if self.scopes[id].cause.is_some() {
            out.let_go(Some(cause));
            return false;
        }
        if let Some(timer) = self.scopes[id].deadline.take() {
            self.timers.remove(timer);
        }
        if self.warn_after.is_finite() {
            let timer = self.timers.insert(now + self.warn_after, Alarm::Warning(scope));
            self.scopes[id].warning = Some(timer);
        }
        self.cancelled += 1;
        let entry = &mut self.scopes[id];
        entry.order = self.cancelled;
        entry.cause = Some(cause);
        entry.cancelled_at = now;
        self.set_budget(id);
        let Scope { host, .. } = self.scopes[id];
        if !self.hands_on(&self.scopes[id]) {
            self.spread(id, now, out);
        } else if host != NONE {
            self.refresh(host, out);
        }
        true
    }

    /// Why a scope was cancelled, if it was.
    #[must_use]
    pub fn cause(&self, scope: ScopeId) -> Option<&Cause<F::Reason>> {
        self.scopes[scope.at].cause.as_ref()
    }

    /// Why a scope is cancelled: by itself, if that came first; or by the outermost one that reaches
    /// it, which is the one that catches.
    #[must_use]
    pub fn first_cause(&self, scope: ScopeId) -> Option<&Cause<F::Reason>> {
        let mut at = scope.at;
        let own = self.scopes[at].cause.as_ref();
        let order = self.scopes[at].order;
        let (mut is_first, mut outermost) = (true, None);
        while at != NONE && self.scopes[at].effective {
            let scope = &self.scopes[at];
            if scope.cause.is_some() {
                is_first &= order <= scope.order;
                outermost = scope.cause.as_ref();
            }
            at = if scope.settings.shield { NONE } else { scope.parent };
        }
        own.filter(|_| is_first).or(outermost)
    }

    /// What a scope was told.
    #[must_use]
    pub fn settings(&self, scope: ScopeId) -> Settings {
        self.scopes[scope.at].settings
    }

    /// Moves a deadline, to any moment; one that has passed acts at the next await (R21).
    pub fn set_deadline(&mut self, scope: ScopeId, deadline: f64, now: f64, out: &mut Effects<F>) {
        let entry = &mut self.scopes[scope.at];
        entry.settings.deadline = deadline;
        if entry.cause.is_some() {
            return;
        }
        if let Some(timer) = entry.deadline.take() {
            self.timers.remove(timer);
        }
        if deadline <= now {
            let cause = Cause { source: Source::Deadline, reason: None };
            self.cancel(scope, cause, now, out);
        } else if deadline < f64::INFINITY {
            let timer = self.timers.insert(deadline, Alarm::Deadline(scope));
            self.scopes[scope.at].deadline = Some(timer);
        }
    }

    /// How many of the tree's cancellations there had been when the host of a scope that it enters now
    /// could last hear of what lies outside; 0 if it never could, or has nothing to hear of.
    fn heard_of_outside(&self, scope: u32, visible: bool) -> u64 {
        if visible {
            return self.cancelled;
        }
        let Scope { host, mut parent, .. } = self.scopes[scope];
        while parent != NONE && self.scopes[parent].host == host {
            let outer = &self.scopes[parent];
            if outer.settings.shield {
                return outer.raised_after;
            }
            parent = outer.parent;
        }
        0
    }

    /// How many of the tree's cancellations there had been when the host of a scope could last hear of
    /// what lies above that: it may stand in shields that it has entered inside.
    fn heard_of_until(&self, scope: u32) -> u64 {
        let host = self.scopes[scope].host;
        let mut until = self.cancelled;
        let mut at = if host == NONE { scope } else { self.members[host].scope };
        while at != scope {
            let inner = &self.scopes[at];
            if inner.settings.shield {
                until = until.min(inner.raised_after);
            }
            at = inner.parent;
        }
        until
    }

    /// A scope's shield lets a bare cancellation of a task in it in from now on, as anyio's do, and keeps
    /// out what scopes cancel only. Before a task is asked to cancel in it.
    pub fn be_porous(&mut self, scope: ScopeId) {
        self.scopes[scope.at].porous = true;
    }

    /// Raises or lowers a shield (R19). What it held back is delivered when it falls.
    pub fn set_shield(&mut self, scope: ScopeId, shield: bool, now: f64, out: &mut Effects<F>) {
        self.scopes[scope.at].cleans_up = false;
        if std::mem::replace(&mut self.scopes[scope.at].settings.shield, shield) == shield {
            return;
        }
        if shield {
            self.scopes[scope.at].raised_after = self.heard_of_until(scope.at);
        } else {
            self.scopes[scope.at].lifted_at = now;
        }
        self.spread(scope.at, now, out);
        if !shield {
            self.set_budgets(self.scopes[scope.at].parent, now);
        }
    }

    /// Changes a budget for cleaning up (R18), also of a scope that is already cancelled, and of
    /// those below that inherit it.
    pub fn set_cleanup(
        &mut self,
        scope: ScopeId,
        cleanup: Cleanup,
        now: f64,
        out: &mut Effects<F>,
    ) {
        let scope = scope.at;
        let before = self.scopes[scope].floor();
        self.scopes[scope].settings.cleanup = cleanup;
        if self.scopes[scope].floor().total_cmp(&before).is_ne() {
            if self.scopes[scope].cause.is_none() {
                self.spread(scope, now, out);
            }
            self.change_guarantee(scope);
        }
        self.change_budgets(scope, now, out);
    }

    /// The earliest deadline that can reach a task: minus infinity if it is already cancelled.
    #[must_use]
    pub fn effective_deadline(&self, member: MemberId) -> f64 {
        let mut at = self.members[member.0].scope;
        let mut earliest = f64::INFINITY;
        while at != NONE {
            let scope = &self.scopes[at];
            if scope.effective {
                return f64::NEG_INFINITY;
            }
            earliest = earliest.min(scope.settings.deadline);
            if scope.settings.shield {
                break;
            }
            at = scope.parent;
        }
        earliest
    }
}
