//! Scopes, nurseries and the tasks in them: the machine that both faces drive.
//! It decides who is cancelled, who takes a cancellation back and what a nursery raises; it must
//! never run anything, read a clock, or keep a task alive on its own account.

use crate::lifecycle::{Closed, Ended, Identity, Lifecycle, Outcome, Phase, Verdict};
use crate::member::{Member, MemberId};
use crate::scope::{Cause, Scope, ScopeId, Settings, Source};
use crate::slab::{NONE, Slab};
use crate::timers::Timers;

/// What a face brings.
pub trait Face {
    /// What the face calls a task.
    type Key: Clone;
    /// What a child fails with.
    type Error: Identity;
    /// Why somebody cancelled, in the face's words.
    type Reason: Clone;
    /// What the face's own timers are for.
    type Wake: Clone;
}

/// A nursery in a tree, valid until it is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NurseryId(pub(crate) u32);

/// What a timer of the tree is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alarm<W> {
    /// A scope's deadline has passed.
    Deadline(ScopeId),
    /// A cancelled scope's budget for cleaning up is spent.
    Budget(ScopeId),
    /// A cancelled scope still has tasks: time to name them.
    Warning(ScopeId),
    /// The face's own.
    Wake(W),
}

/// A task that a cancellation has reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery<K> {
    /// Which one.
    pub key: K,
    /// By how much its count of cancellations rises (tasks of the face's own kind).
    pub charges: u32,
    /// It is to be woken: [`Tree::is_pending`] says yes, and its next step throws.
    pub throw: bool,
}

/// A child that starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// Its place in the tree.
    pub member: MemberId,
    /// By how much its count of cancellations rises at once: the nursery is cancelled (R17).
    pub charges: u32,
}

/// What is in flight when a block is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flight {
    /// The block has returned.
    Nothing,
    /// A cancellation.
    Cancelled,
    /// An error.
    Error,
    /// An error that took the place of a cancellation from outside, which must not get lost.
    Superseded,
}

/// How a scope was left.
#[derive(Clone, Debug, PartialEq)]
pub struct Exit<R> {
    /// It takes the cancellation in flight back: swallow it (R13).
    pub caught: bool,
    /// By how much the host's count of cancellations sinks (R14).
    pub take_back: u32,
    /// Why it was cancelled, if it was.
    pub cause: Option<Cause<R>>,
    /// What its settings were at the end.
    pub settings: Settings,
}

/// How a nursery was closed.
#[derive(Clone, Debug, PartialEq)]
pub struct Close<E, R> {
    /// What it raises.
    pub verdict: Verdict<E>,
    /// With a clean verdict: a cancellation from outside goes on.
    pub cancelled: bool,
    /// With errors: a cancellation asked of the host from outside was overtaken by them; it is
    /// to be thrown at the host's next await.
    pub rearm: bool,
    /// How its scope was left.
    pub exit: Exit<R>,
}

#[derive(Clone, Debug)]
pub(crate) struct Nursery<E> {
    pub(crate) scope: u32,
    pub(crate) life: Lifecycle<E>,
    pub(crate) first: u32,
    pub(crate) last: u32,
    pub(crate) body_cancelled: bool,
}

/// Scopes, nurseries and tasks.
pub struct Tree<F: Face> {
    pub(crate) scopes: Slab<Scope<F::Reason>>,
    pub(crate) members: Slab<Member<F::Key>>,
    pub(crate) nurseries: Slab<Nursery<F::Error>>,
    /// Deadlines, budgets and the face's own moments.
    pub timers: Timers<Alarm<F::Wake>>,
    pub(crate) walk: Vec<u32>,
    /// After how many seconds a cancelled scope that still has tasks raises
    /// [`Alarm::Warning`]; infinity for never.
    pub warn_after: f64,
}

impl<F: Face<Error: Clone>> Clone for Tree<F> {
    fn clone(&self) -> Self {
        Self {
            scopes: self.scopes.clone(),
            members: self.members.clone(),
            nurseries: self.nurseries.clone(),
            timers: self.timers.clone(),
            walk: Vec::new(),
            warn_after: self.warn_after,
        }
    }
}

impl<F: Face> Default for Tree<F> {
    fn default() -> Self {
        Self::new()
    }
}

impl<F: Face> Tree<F> {
    /// An empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self {
            scopes: Slab::new(),
            members: Slab::new(),
            nurseries: Slab::new(),
            timers: Timers::new(),
            walk: Vec::new(),
            warn_after: f64::INFINITY,
        }
    }

    // Tasks

    /// A task that is no child enters the tree, to host a scope. `foreign` tasks are not of the
    /// face's own kind and count their cancellations themselves.
    pub fn enroll(&mut self, key: F::Key, foreign: bool) -> MemberId {
        MemberId(self.members.insert(Member::new(key, NONE, NONE, foreign)))
    }

    /// A task that is no child leaves the tree. Scopes it has not left stand alone from now on.
    pub fn withdraw(&mut self, member: MemberId) {
        self.abandon(member.0);
        self.members.remove(member.0);
    }

    /// The scope a task stands in, if it has entered one since it started.
    #[must_use]
    pub fn innermost(&self, member: MemberId) -> Option<ScopeId> {
        let member = &self.members[member.0];
        (member.scope != member.base).then_some(ScopeId(member.scope))
    }

    /// The part of a task's count of cancellations that the tree has caused.
    #[must_use]
    pub fn charges(&self, member: MemberId) -> u32 {
        self.members[member.0].charges
    }

    /// Every task in the tree, for a garbage collector.
    pub fn keys(&self) -> impl Iterator<Item = &F::Key> {
        self.members.iter().map(|member| &member.key)
    }

    /// Every error the nurseries keep, for a garbage collector.
    pub fn errors(&self) -> impl Iterator<Item = &F::Error> {
        self.nurseries.iter().flat_map(|nursery| nursery.life.errors())
    }

    /// Every reason the scopes keep, for a garbage collector.
    pub fn reasons(&self) -> impl Iterator<Item = &F::Reason> {
        self.scopes.iter().filter_map(|scope| scope.cause.as_ref()?.reason.as_ref())
    }

    /// How many scopes, tasks and nurseries there are.
    #[must_use]
    pub fn size(&self) -> (usize, usize, usize) {
        (self.scopes.len(), self.members.len(), self.nurseries.len())
    }

    // Scopes

    /// A task enters a scope. `honoured` is its count of cancellations so far, without those that
    /// wait for its next step.
    pub fn enter(
        &mut self,
        host: MemberId,
        settings: Settings,
        honoured: u32,
        now: f64,
        out: &mut Vec<Delivery<F::Key>>,
    ) -> ScopeId {
        let member = &self.members[host.0];
        let parent = member.scope;
        let baseline = honoured.saturating_sub(member.charges);
        let mut scope = Scope::new(parent, host.0, settings, baseline);
        let visible = parent != NONE && self.scopes[parent].effective;
        if visible && !settings.shield {
            scope.effective = true;
            scope.level = self.scopes[parent].level;
        }
        let id = self.link(scope, parent);
        let member = &mut self.members[host.0];
        member.scope = id;
        member.refused = 0;
        if visible && settings.shield {
            // What waited for the next await waits for the end of the shield.
            self.refresh(host.0, out);
        }
        if settings.deadline < f64::INFINITY {
            if settings.deadline <= now {
                let cause = Cause { source: Source::Deadline, reason: None };
                self.cancel(ScopeId(id), cause, now, out);
            } else {
                let alarm = Alarm::Deadline(ScopeId(id));
                self.scopes[id].deadline = Some(self.timers.insert(settings.deadline, alarm));
            }
        }
        ScopeId(id)
    }

    /// Its host leaves its innermost scope.
    ///
    /// # Panics
    /// If another scope is its host's innermost one: ask [`innermost`](Self::innermost) first.
    pub fn exit(
        &mut self,
        scope: ScopeId,
        flight: Flight,
        honoured: u32,
        out: &mut Vec<Delivery<F::Key>>,
    ) -> Exit<F::Reason> {
        let id = scope.0;
        let host = self.scopes[id].host;
        assert_eq!(self.members[host].scope, id, "scopes are left in the order of entering");
        self.silence(id);
        let left = self.unlink(id);
        let outstanding = self.outstanding(&left, honoured);
        let parent = left.parent;
        let above = parent != NONE && self.scopes[parent].effective;
        let visible = above && !left.settings.shield;
        let member = &mut self.members[host];
        member.scope = parent;
        member.refused = 0;
        let own = left.cause.as_ref().is_some_and(|cause| cause.source != Source::Host);
        let mut take_back = left.charge.count;
        let mut caught = false;
        if own && !visible {
            caught = match flight {
                Flight::Cancelled => !outstanding,
                Flight::Error => std::mem::take(&mut member.superseded),
                Flight::Nothing | Flight::Superseded => false,
            };
        }
        member.charges -= take_back;
        if flight == Flight::Nothing {
            // The error that overtook a cancellation was handled.
            member.superseded = false;
        }
        if above {
            match flight {
                Flight::Cancelled if !caught => {
                    // The cancellation in flight stands for the ones above from here on.
                    let moved = self.stand_for_above(host, take_back);
                    take_back -= moved;
                }
                Flight::Superseded if visible => {
                    self.members[host].superseded = true;
                    self.forget_delivery(host);
                    self.refresh(host, out);
                }
                _ => self.refresh(host, out),
            }
        } else {
            // Nothing above: whatever waited was this scope's.
            self.members[host].pending = false;
            self.members[host].spent = None;
        }
        Exit { caught, take_back, cause: left.cause, settings: left.settings }
    }

    /// Frees a scope whose host has ended without leaving it. Says why it was cancelled, if it was.
    pub fn forget(&mut self, scope: ScopeId) -> Option<Cause<F::Reason>> {
        debug_assert_eq!(self.scopes[scope.0].host, NONE, "its host still stands in it");
        self.silence(scope.0);
        self.unlink(scope.0).cause
    }

    /// Whether the host of a scope has ended without leaving it.
    #[must_use]
    pub fn is_abandoned(&self, scope: ScopeId) -> bool {
        self.scopes[scope.0].host == NONE
    }

    /// Cancels a scope: everything below it in the same moment, up to shields (R12). Says whether
    /// it was not cancelled yet.
    pub fn cancel(
        &mut self,
        scope: ScopeId,
        cause: Cause<F::Reason>,
        now: f64,
        out: &mut Vec<Delivery<F::Key>>,
    ) -> bool {
        let id = scope.0;
        if self.scopes[id].cause.is_some() {
            return false;
        }
        if let Some(timer) = self.scopes[id].deadline.take() {
            self.timers.remove(timer);
        }
        if self.warn_after.is_finite() {
            let timer = self.timers.insert(now + self.warn_after, Alarm::Warning(scope));
            self.scopes[id].warning = Some(timer);
        }
        let entry = &mut self.scopes[id];
        entry.cause = Some(cause);
        entry.cancelled_at = now;
        self.set_budget(id, now);
        self.spread(id, out);
        true
    }

    /// Why a scope was cancelled, if it was.
    #[must_use]
    pub fn cause(&self, scope: ScopeId) -> Option<&Cause<F::Reason>> {
        self.scopes[scope.0].cause.as_ref()
    }

    /// What a scope was told.
    #[must_use]
    pub fn settings(&self, scope: ScopeId) -> Settings {
        self.scopes[scope.0].settings
    }

    /// Moves a deadline, to any moment; one that has passed acts at the next await (R21).
    pub fn set_deadline(
        &mut self,
        scope: ScopeId,
        deadline: f64,
        now: f64,
        out: &mut Vec<Delivery<F::Key>>,
    ) {
        let entry = &mut self.scopes[scope.0];
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
            self.scopes[scope.0].deadline = Some(timer);
        }
    }

    /// Raises or lowers a shield (R19). What it held back is delivered when it falls.
    pub fn set_shield(&mut self, scope: ScopeId, shield: bool, out: &mut Vec<Delivery<F::Key>>) {
        if std::mem::replace(&mut self.scopes[scope.0].settings.shield, shield) != shield {
            self.spread(scope.0, out);
        }
    }

    /// Changes a budget for cleaning up (R18), also of a scope that is already cancelled, and of
    /// those below that inherit it.
    pub fn set_cleanup(
        &mut self,
        scope: ScopeId,
        cleanup: Option<f64>,
        now: f64,
        out: &mut Vec<Delivery<F::Key>>,
    ) {
        self.scopes[scope.0].settings.cleanup = cleanup;
        let mut walk = vec![scope.0];
        while let Some(at) = walk.pop() {
            if self.scopes[at].cause.is_some() {
                self.set_budget(at, now);
                self.spread(at, out);
                if self.own_level(at) == f64::NEG_INFINITY {
                    self.insist(ScopeId(at), out);
                }
            }
            self.heirs(at, &mut walk);
        }
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

    // Nurseries

    /// A task opens a nursery and stands in its scope. With `collect`, a failing child leaves its
    /// siblings alone.
    pub fn open(
        &mut self,
        host: MemberId,
        settings: Settings,
        collect: bool,
        honoured: u32,
        now: f64,
        out: &mut Vec<Delivery<F::Key>>,
    ) -> NurseryId {
        let ScopeId(scope) = self.enter(host, settings, honoured, now, out);
        let id = self.nurseries.insert(Nursery {
            scope,
            life: Lifecycle::new(collect),
            first: NONE,
            last: NONE,
            body_cancelled: false,
        });
        self.scopes[scope].nursery = id;
        NurseryId(id)
    }

    /// A nursery's scope.
    #[must_use]
    pub fn scope(&self, nursery: NurseryId) -> ScopeId {
        ScopeId(self.nurseries[nursery.0].scope)
    }

    /// A nursery's host, unless it has ended without leaving it.
    #[must_use]
    pub fn host(&self, nursery: NurseryId) -> Option<&F::Key> {
        let host = self.scopes[self.nurseries[nursery.0].scope].host;
        (host != NONE).then(|| &self.members[host].key)
    }

    /// The host of the nursery that a task is a child of.
    #[must_use]
    pub fn host_of(&self, child: MemberId) -> Option<&F::Key> {
        let nursery = self.members[child.0].nursery;
        if nursery == NONE { None } else { self.host(NurseryId(nursery)) }
    }

    /// Where a nursery stands.
    #[must_use]
    pub fn phase(&self, nursery: NurseryId) -> Phase {
        self.nurseries[nursery.0].life.phase()
    }

    /// How many children run.
    #[must_use]
    pub fn running(&self, nursery: NurseryId) -> usize {
        self.nurseries[nursery.0].life.running()
    }

    /// The children that have not ended, in the order of starting.
    pub fn children(&self, nursery: NurseryId) -> impl Iterator<Item = &F::Key> {
        let first = self.nurseries[nursery.0].first;
        let member = |id: u32| (id != NONE).then(|| &self.members[id]);
        std::iter::successors(member(first), move |child| member(child.next))
            .map(|child| &child.key)
    }

    /// A child starts. A shielded one stands in a scope of its own that keeps cancellation out
    /// until it has ended (R19).
    ///
    /// # Errors
    /// [`Closed`] once body and children have ended (R2).
    #[inline]
    pub fn start(
        &mut self,
        nursery: NurseryId,
        key: F::Key,
        shield: bool,
    ) -> Result<Start, Closed> {
        let owner = &mut self.nurseries[nursery.0];
        owner.life.child_started()?;
        let (base, last) = (owner.scope, owner.last);
        let mut child = Member::new(key, nursery.0, base, false);
        child.prev = last;
        let id = self.members.insert(child);
        let owner = &mut self.nurseries[nursery.0];
        owner.last = id;
        if last == NONE {
            owner.first = id;
        } else {
            self.members[last].next = id;
        }
        let mut charges = 0;
        if shield {
            let settings = Settings { shield: true, ..Settings::default() };
            let wall = Scope { wall: true, ..Scope::new(base, id, settings, 0) };
            let wall = self.link(wall, base);
            self.members[id].scope = wall;
        } else if self.scopes[base].effective {
            let child = &mut self.members[id];
            child.charge.count = 1;
            child.charges = 1;
            child.pending = true;
            charges = 1;
        }
        Ok(Start { member: MemberId(id), charges })
    }

    /// A child has ended. Says which nursery has closed by it: wake its joiner. `reason` is asked
    /// for only if this is the failure that cancels the siblings (R6).
    #[inline]
    pub fn ended(
        &mut self,
        child: MemberId,
        outcome: Outcome<F::Error>,
        now: f64,
        reason: impl FnOnce() -> Option<F::Reason>,
        out: &mut Vec<Delivery<F::Key>>,
    ) -> Option<NurseryId> {
        if self.members[child.0].scope != self.members[child.0].base {
            self.abandon(child.0);
        }
        let Member { nursery, next, prev, .. } = self.members.remove(child.0);
        let owner = &mut self.nurseries[nursery];
        if prev == NONE {
            owner.first = next;
        } else {
            self.members[prev].next = next;
        }
        let owner = &mut self.nurseries[nursery];
        if next == NONE {
            owner.last = prev;
        } else {
            self.members[next].prev = prev;
        }
        let owner = &mut self.nurseries[nursery];
        let Ended { cancel, closed } = owner.life.child_ended(outcome);
        if cancel {
            let scope = ScopeId(owner.scope);
            let cause = Cause { source: Source::Failure, reason: reason() };
            self.cancel(scope, cause, now, out);
        }
        closed.then_some(NurseryId(nursery))
    }

    /// The body has ended; the host joins. Says whether the nursery has closed by it.
    pub fn body_ended(
        &mut self,
        nursery: NurseryId,
        outcome: Outcome<F::Error>,
        now: f64,
        reason: impl FnOnce() -> Option<F::Reason>,
        out: &mut Vec<Delivery<F::Key>>,
    ) -> bool {
        let owner = &mut self.nurseries[nursery.0];
        let cancelled = matches!(outcome, Outcome::Cancelled);
        owner.body_cancelled = cancelled;
        let Ended { cancel, closed } = owner.life.body_ended(outcome);
        if cancel {
            let scope = ScopeId(owner.scope);
            let source = if cancelled { Source::Host } else { Source::Failure };
            self.cancel(scope, Cause { source, reason: reason() }, now, out);
        }
        closed
    }

    /// The host was cancelled from outside while it joins: the cancellation goes on to the
    /// children, the host waits on (R15).
    pub fn host_cancelled(
        &mut self,
        nursery: NurseryId,
        reason: Option<F::Reason>,
        now: f64,
        out: &mut Vec<Delivery<F::Key>>,
    ) {
        let scope = self.scope(nursery);
        self.cancel(scope, Cause { source: Source::Host, reason }, now, out);
    }

    /// Adds an error that ended no child.
    pub fn add_error(&mut self, nursery: NurseryId, error: F::Error) {
        self.nurseries[nursery.0].life.error(error);
    }

    /// A nursery whose body and children have ended is left by its host. `honoured` is the host's
    /// count of cancellations, `held` whether one from outside came while it joined, `joined`
    /// whether it had to wait at all.
    ///
    /// # Panics
    /// If the nursery is not closed, or its scope is not its host's innermost one.
    pub fn close(
        &mut self,
        nursery: NurseryId,
        honoured: u32,
        held: bool,
        joined: bool,
        out: &mut Vec<Delivery<F::Key>>,
    ) -> Close<F::Error, F::Reason> {
        let mut owner = self.nurseries.remove(nursery.0);
        assert_eq!(owner.life.phase(), Phase::Closed, "a nursery is left once it has closed");
        let verdict = owner.life.verdict();
        let scope = &self.scopes[owner.scope];
        let outstanding = self.outstanding(scope, honoured);
        let above = self.sees_above(scope);
        let in_flight = owner.body_cancelled || held || (joined && above);
        let own = scope.cause.as_ref().is_some_and(|cause| cause.source != Source::Host);
        let flight = match (&verdict, in_flight) {
            (Verdict::Clean, true) => Flight::Cancelled,
            (Verdict::Clean, false) => Flight::Nothing,
            (_, true) if outstanding || above => Flight::Superseded,
            _ => Flight::Error,
        };
        // Children that the scope's own cancellation has ended: it was caught here.
        let swallowed = own && !above && owner.life.saw_cancellation();
        let mut exit = self.exit(ScopeId(owner.scope), flight, honoured, out);
        let cancelled = flight == Flight::Cancelled && !exit.caught;
        exit.caught |= swallowed && !cancelled;
        let rearm = flight == Flight::Superseded && outstanding;
        Close { verdict, cancelled, rearm, exit }
    }

    /// The host leaves although children still run, because it must not wait. The nursery goes on
    /// without it, and is to be [`discard`](Self::discard)ed once it has closed. Says by how much
    /// the host's count of cancellations sinks (R14); what it can see above waits for its next
    /// await.
    pub fn detach(&mut self, nursery: NurseryId) -> u32 {
        let scope = self.nurseries[nursery.0].scope;
        let Scope { host, parent, charge, .. } = self.scopes[scope];
        if host == NONE {
            return 0;
        }
        debug_assert_eq!(self.members[host].scope, scope, "it is its host's innermost scope");
        self.scopes[scope].host = NONE;
        let member = &mut self.members[host];
        member.scope = parent;
        member.charges -= charge.count;
        let mut untold = false;
        self.visit(host, |charge| untold |= !charge.delivered);
        self.members[host].pending = untold;
        self.members[host].spent = None;
        charge.count
    }

    /// Frees a nursery that has closed and that no host waits for. Says what it would have raised.
    pub fn discard(&mut self, nursery: NurseryId) -> Verdict<F::Error> {
        let mut owner = self.nurseries.remove(nursery.0);
        debug_assert_eq!(owner.life.phase(), Phase::Closed, "children still run");
        self.silence(owner.scope);
        self.unlink(owner.scope);
        owner.life.verdict()
    }

    pub(crate) fn sees_above(&self, scope: &Scope<F::Reason>) -> bool {
        scope.parent != NONE && !scope.settings.shield && self.scopes[scope.parent].effective
    }

    /// Whether a cancellation of the host from outside the scope is still to be honoured.
    fn outstanding(&self, scope: &Scope<F::Reason>, honoured: u32) -> bool {
        honoured.saturating_sub(self.members[scope.host].charges) > scope.baseline
    }

    fn link(&mut self, mut scope: Scope<F::Reason>, parent: u32) -> u32 {
        if parent == NONE {
            return self.scopes.insert(scope);
        }
        let first = self.scopes[parent].first_child;
        scope.next = first;
        let id = self.scopes.insert(scope);
        if first != NONE {
            self.scopes[first].prev = id;
        }
        self.scopes[parent].first_child = id;
        id
    }

    /// Takes a scope out. Scopes still below it (left in the wrong order, or never) stand alone.
    fn unlink(&mut self, id: u32) -> Scope<F::Reason> {
        let scope = self.scopes.remove(id);
        if scope.prev != NONE {
            self.scopes[scope.prev].next = scope.next;
        } else if scope.parent != NONE {
            self.scopes[scope.parent].first_child = scope.next;
        }
        if scope.next != NONE {
            self.scopes[scope.next].prev = scope.prev;
        }
        let mut child = scope.first_child;
        while child != NONE {
            let orphan = &mut self.scopes[child];
            child = orphan.next;
            orphan.parent = NONE;
            orphan.next = NONE;
            orphan.prev = NONE;
        }
        scope
    }

    /// Takes a scope's alarms out of the heap.
    fn silence(&mut self, id: u32) {
        let scope = &mut self.scopes[id];
        if let Some(timer) = scope.deadline.take() {
            self.timers.remove(timer);
        }
        if scope.cause.is_none() {
            // Budget and warning begin with a cancellation.
            return;
        }
        for timer in [scope.budget.take(), scope.warning.take()].into_iter().flatten() {
            self.timers.remove(timer);
        }
    }

    /// A task ends inside scopes it has entered: its shield goes with it, others wait for their
    /// owner to [`forget`](Self::forget) them.
    fn abandon(&mut self, member: u32) {
        let Member { base, mut scope, .. } = self.members[member];
        while scope != base && scope != NONE {
            let parent = self.scopes[scope].parent;
            if self.scopes[scope].wall {
                self.silence(scope);
                self.unlink(scope);
            } else {
                self.scopes[scope].host = NONE;
            }
            scope = parent;
        }
        self.members[member].scope = base;
    }
}
