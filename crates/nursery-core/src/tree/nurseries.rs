//! What is done with a nursery: it is opened, its children start and end, it is closed. Its life and
//! its verdict are its `Lifecycle`'s; it must never decide these.

use crate::lifecycle::{Closed, Ended, Lifecycle, Outcome, Phase, Verdict};
use crate::member::{Member, MemberId};
use crate::scope::{Cause, Scope, ScopeId, Settings, Source};
use crate::slab::NONE;
use crate::tree::{Delivery, Exit, Face, Flight, Tree};

/// A nursery in a tree, valid until it is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NurseryId(pub(crate) u32);

/// A child that starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// Its place in the tree.
    pub member: MemberId,
    /// By how much its count of cancellations rises at once: the nursery is cancelled (R17).
    pub charges: u32,
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

impl<F: Face> Tree<F> {
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
}
