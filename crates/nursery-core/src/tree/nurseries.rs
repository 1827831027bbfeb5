//! What is done with a nursery: it is opened, its body ends, it is closed; its children are in
//! `children.rs`. Its life and its verdict are its `Lifecycle`'s; it must never decide these. One that its
//! host does not leave as it must is in `orphans.rs`.

use crate::lifecycle::{Closed, Ended, Lifecycle, Phase};
use crate::member::{Member, MemberId};
use crate::outcome::{Identity, Outcome, Verdict};
use crate::scope::{Cause, ScopeId, Settings, Source};
use crate::slab::NONE;
use crate::tree::{Effects, Event, Exit, Face, Flight, Tree};

/// A nursery in a tree, valid until it is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NurseryId {
    pub(crate) at: u32,
    /// That of its scope.
    serial: u32,
}

/// How a nursery was closed.
#[derive(Clone, Debug, PartialEq)]
pub struct Close<E, R> {
    /// What it raises.
    pub verdict: Verdict<E>,
    /// With a clean verdict: a cancellation from outside goes on.
    pub cancelled: bool,
    /// With errors: how many cancellations that were asked of the host from outside they have
    /// overtaken; if any, one is to be thrown at the host's next await.
    pub overtaken: u32,
    /// How its scope was left.
    pub exit: Exit<R>,
}

#[derive(Clone, Debug)]
pub(crate) struct Nursery<E, K> {
    pub(crate) scope: u32,
    serial: u32,
    pub(crate) life: Lifecycle<E>,
    pub(crate) first: u32,
    pub(crate) last: u32,
    pub(crate) body_cancelled: bool,
    /// That was the cancellation of a scope outside.
    pub(crate) body_heard: bool,
    /// The body has ended with an error or a cancellation.
    pub(crate) body_raised: bool,
    /// Children were left when the body had ended.
    joined: bool,
    /// How many cancellations its host had heard of when it entered.
    pub(crate) heard_before: u32,
    /// What the face wakes once it has closed.
    joiner: Option<K>,
    /// The task that leaves it in its host's place, if that is in the tree.
    pub(super) successor: u32,
    /// The nursery that joins it in its host's place.
    pub(super) heir: u32,
    /// It had an heir, that may have joined it by now.
    pub(super) adopted: bool,
    /// What its body raised after that.
    pub(super) late: Outcome<E>,
    /// The face will not ask for it any more: it goes once it has closed.
    pub(super) released: bool,
    /// A child that is cancelled by hand is a failure.
    pub(super) strict: bool,
}

impl<E: Identity, K> Nursery<E, K> {
    /// The errors it keeps.
    pub(super) fn errors(&self) -> impl Iterator<Item = &E> {
        self.life.errors().chain(self.late.error())
    }

    /// What its block raises, after `misuse` if it is left as it must not be; nothing bare if it is strict.
    pub(super) fn verdict(&mut self, misuse: Option<E>) -> Verdict<E> {
        let verdict = match misuse {
            Some(misuse) => self.life.verdict().after(misuse),
            None => self.life.verdict(),
        };
        if self.strict { verdict.together() } else { verdict }
    }

    /// The errors it keeps, taken out.
    pub(crate) fn take_errors(&mut self) -> impl Iterator<Item = E> + use<E, K> {
        let late = std::mem::replace(&mut self.late, Outcome::Done);
        self.life.outcomes().into_iter().chain([late]).filter_map(Outcome::into_error)
    }
}

impl<F: Face> Tree<F> {
    /// A task opens a nursery and stands in its scope. With `collect`, a failing child leaves its
    /// siblings alone. An abrupt one that is opened amid the cleanup after an abrupt cancellation is a
    /// shield that lets a bare one in, until something else is cancelled around it: as asyncio has it, that
    /// cancellation was for the tasks of its moment (R18).
    pub fn open(
        &mut self,
        host: MemberId,
        mut settings: Settings,
        collect: bool,
        honoured: u32,
        now: f64,
        out: &mut Effects<F>,
    ) -> NurseryId {
        let cleans_up = settings.abrupt && !settings.shield && self.has_heard_of_abrupt_only(host);
        settings.shield |= cleans_up;
        let ScopeId { at: scope, serial } = self.enter(host, settings, honoured, now, out);
        let id = self.nurseries.insert(Nursery {
            scope,
            serial,
            life: Lifecycle::new(collect),
            first: NONE,
            last: NONE,
            body_cancelled: false,
            body_heard: false,
            joined: false,
            body_raised: false,
            heard_before: self.members[host.0].heard,
            joiner: None,
            successor: NONE,
            heir: NONE,
            adopted: false,
            late: Outcome::Done,
            released: false,
            strict: false,
        });
        self.scopes[scope].nursery = id;
        self.scopes[scope].cleans_up = cleans_up;
        NurseryId { at: id, serial }
    }

    /// From now on a nursery acts as anyio's groups: a child that is cancelled by hand cancels it, and does
    /// not end alone; no error leaves it bare; and its scope is [porous](Self::be_porous).
    pub fn be_strict(&mut self, nursery: NurseryId) {
        self.nurseries[nursery.at].strict = true;
        self.be_porous(self.scope(nursery));
    }

    pub(super) fn nursery_id(&self, at: u32) -> NurseryId {
        NurseryId { at, serial: self.nurseries[at].serial }
    }

    /// The nursery that a task is a child of.
    #[must_use]
    pub fn nursery_of(&self, member: MemberId) -> Option<NurseryId> {
        let at = self.members.get(member.0)?.nursery;
        (at != NONE).then(|| self.nursery_id(at))
    }

    /// Whether a nursery is still in the tree.
    #[must_use]
    pub fn has_nursery(&self, nursery: NurseryId) -> bool {
        self.nurseries.get(nursery.at).is_some_and(|found| found.serial == nursery.serial)
    }

    /// The nursery that a child is to be started in, if it is still in the tree.
    #[inline]
    pub(super) fn present(
        &mut self,
        nursery: NurseryId,
    ) -> Result<&mut Nursery<F::Error, F::Key>, Closed> {
        self.nurseries
            .get_mut(nursery.at)
            .filter(|found| found.serial == nursery.serial)
            .ok_or(Closed)
    }

    /// A nursery's scope.
    #[must_use]
    pub fn scope(&self, nursery: NurseryId) -> ScopeId {
        self.id(self.nurseries[nursery.at].scope)
    }

    /// Whether a cancellation reaches a nursery's scope: its own, or one from outside.
    #[must_use]
    pub fn is_scope_cancelled(&self, nursery: NurseryId) -> bool {
        self.scopes[self.nurseries[nursery.at].scope].effective
    }

    /// A nursery's host, unless it has ended without leaving it.
    #[must_use]
    pub fn host(&self, nursery: NurseryId) -> Option<&F::Key> {
        self.host_at(nursery.at)
    }

    #[inline]
    pub(super) fn host_at(&self, nursery: u32) -> Option<&F::Key> {
        let host = self.scopes[self.nurseries[nursery].scope].host;
        (host != NONE).then(|| &self.members[host].key)
    }

    /// Whether a nursery has a host that has left all that it had entered inside it.
    #[must_use]
    pub fn is_innermost(&self, nursery: NurseryId) -> bool {
        let scope = self.nurseries[nursery.at].scope;
        let host = self.scopes[scope].host;
        host != NONE && self.members[host].scope == scope
    }

    /// Where a nursery stands.
    #[must_use]
    pub fn phase(&self, nursery: NurseryId) -> Phase {
        self.nurseries[nursery.at].life.phase()
    }

    /// How many children run.
    #[must_use]
    pub fn running(&self, nursery: NurseryId) -> usize {
        self.nurseries[nursery.at].life.running()
    }

    /// Whether a nursery has services: then the time matters when its body or a child ends.
    #[must_use]
    pub fn has_services(&self, nursery: NurseryId) -> bool {
        self.nurseries[nursery.at].life.has_services()
    }

    /// Body and children of a nursery have ended: ends the service that was started last.
    fn end_service(&mut self, nursery: u32, now: f64, out: &mut Effects<F>) {
        let last = self.nurseries[nursery].last;
        debug_assert!(self.members[last].service, "a child is left beside the services");
        let Member { base, mut scope, .. } = self.members[last];
        while self.scopes[scope].parent != base {
            scope = self.scopes[scope].parent;
        }
        self.cancel(self.id(scope), Cause { source: Source::Explicit, reason: None }, now, out);
    }

    /// Cancels a nursery because something in it has failed (R6).
    pub(super) fn fail(
        &mut self,
        nursery: u32,
        reason: Option<F::Reason>,
        now: f64,
        out: &mut Effects<F>,
    ) {
        let scope = self.id(self.nurseries[nursery].scope);
        self.cancel(scope, Cause { source: Source::Failure, reason }, now, out);
    }

    /// Something of a nursery's has ended. If body and children have, its next service is ended; if no
    /// service is left, it has closed. One that another joins in its host's place then hands its errors
    /// over, and goes if the face has released it. Returns the nursery that waits for its joiner by now.
    pub(super) fn drained(
        &mut self,
        nursery: u32,
        now: f64,
        out: &mut Effects<F>,
    ) -> Option<NurseryId> {
        let mut at = nursery;
        while self.nurseries[at].life.is_drained() {
            if self.nurseries[at].life.has_services() {
                self.end_service(at, now, out);
                return None;
            }
            let owner = &mut self.nurseries[at];
            let heir = std::mem::replace(&mut owner.heir, NONE);
            if heir == NONE {
                return Some(self.nursery_id(at));
            }
            let outcomes = owner.life.outcomes();
            if owner.released {
                let scope = self.nurseries.remove(at).scope;
                let cause = self.take_out(scope, now, out);
                out.let_go(cause);
            } else {
                out.events.push(Event::Joined(self.nursery_id(at)));
            }
            for outcome in outcomes {
                self.add_error(heir, outcome, now, out);
            }
            self.nurseries[heir].life.children_done(1);
            at = heir;
        }
        None
    }

    /// Adds an error that ended no child.
    pub(super) fn add_error(
        &mut self,
        nursery: u32,
        outcome: Outcome<F::Error>,
        now: f64,
        out: &mut Effects<F>,
    ) {
        let Ended { cancel, again, .. } = self.nurseries[nursery].life.error(outcome);
        out.errors.extend(again);
        if cancel {
            self.fail(nursery, None, now, out);
        }
    }

    /// The body has ended; the host joins. Returns whether the nursery has closed. A body that is told of
    /// after its nursery was closed without it adds what it has raised: if another nursery joins this one,
    /// [`discard`](Self::discard) raises that, and not the other.
    pub fn body_ended(
        &mut self,
        nursery: NurseryId,
        outcome: Outcome<F::Error>,
        now: f64,
        reason: Option<F::Reason>,
        out: &mut Effects<F>,
    ) -> bool {
        if self.phase(nursery) != Phase::Open {
            out.reasons.extend(reason);
            self.add_late(nursery.at, outcome, now, out);
            return self.phase(nursery) == Phase::Closed;
        }
        let cancelled = matches!(outcome, Outcome::Cancelled);
        let ended = cancelled || matches!(outcome, Outcome::Group(_));
        let raised = !matches!(outcome, Outcome::Done);
        let Nursery { scope, heard_before, .. } = self.nurseries[nursery.at];
        let heard = ended && self.has_heard_since(scope, heard_before);
        let owner = &mut self.nurseries[nursery.at];
        owner.body_cancelled = ended;
        owner.body_heard = heard;
        owner.body_raised = raised;
        let Ended { cancel, closed, again } = owner.life.body_ended(outcome);
        owner.joined = !closed;
        out.errors.extend(again);
        if cancel {
            let source = if cancelled { Source::Host } else { Source::Failure };
            self.cancel(self.id(scope), Cause { source, reason }, now, out);
        } else {
            out.reasons.extend(reason);
        }
        let life = &self.nurseries[nursery.at].life;
        if life.is_drained() && life.has_services() {
            self.end_service(nursery.at, now, out);
        }
        closed
    }

    /// What the face wakes once a nursery has closed, in place of what it was before. `successor` is
    /// the task that waits for that in the host's place, if it does not
    /// [wait for itself](Self::is_awaited).
    pub fn set_joiner(
        &mut self,
        nursery: NurseryId,
        joiner: Option<F::Key>,
        successor: Option<MemberId>,
    ) {
        if let Some(successor) = successor {
            self.members[successor.0].succeeds = true;
        }
        let nursery = &mut self.nurseries[nursery.at];
        nursery.joiner = joiner;
        nursery.successor = successor.map_or(NONE, |member| member.0);
    }

    /// What the face is to wake when a nursery has closed.
    #[must_use]
    pub fn joiner(&self, nursery: NurseryId) -> Option<&F::Key> {
        self.nurseries[nursery.at].joiner.as_ref()
    }

    /// The host was cancelled from outside while it joins: the cancellation goes on to the
    /// children, the host waits on (R15).
    pub fn host_cancelled(
        &mut self,
        nursery: NurseryId,
        reason: Option<F::Reason>,
        now: f64,
        out: &mut Effects<F>,
    ) {
        let scope = self.scope(nursery);
        self.cancel(scope, Cause { source: Source::Host, reason }, now, out);
    }

    /// A nursery whose body and children have ended is left by its host. `honoured` is the host's
    /// count of cancellations, `held` whether one from outside came while it joined. It is left by a
    /// cancellation if the body or a child ended as cancelled and one is visible outside (R13a).
    /// `now` matters only if its scope is a shield.
    ///
    /// # Panics
    /// If the nursery is not closed, or its scope is not its host's innermost one.
    pub fn close(
        &mut self,
        nursery: NurseryId,
        honoured: u32,
        held: bool,
        now: f64,
        out: &mut Effects<F>,
    ) -> Close<F::Error, F::Reason> {
        let mut owner = self.nurseries.remove(nursery.at);
        assert_eq!(owner.life.phase(), Phase::Closed, "a nursery is left once it has closed");
        let verdict = owner.verdict(None);
        let scope = &self.scopes[owner.scope];
        let outstanding = self.outstanding(scope, honoured);
        let above = self.sees_above(scope);
        let cancelled = owner.life.saw_cancellation();
        let own = scope.cause.as_ref().is_some_and(|cause| cause.source != Source::Host);
        // What has ended the body reaches this place no more: a shield was raised meanwhile.
        let kept_out = owner.body_heard && !own && !above && outstanding == 0;
        let held = held || owner.joined && above && self.hears_abruptly_above(scope);
        let in_flight = owner.body_cancelled && !kept_out || held || (above && cancelled);
        // As asyncio's groups: beside an error acts again whatever its host has been asked for and has not taken
        // back, heard or not.
        let insists = scope.settings.abrupt && matches!(verdict, Verdict::Errors(_));
        let asked = if insists { self.bare_requests(scope, honoured) } else { 0 };
        let flight = match (&verdict, in_flight) {
            (Verdict::Clean, true) => Flight::Cancelled,
            (Verdict::Clean, false) => Flight::Nothing,
            (_, true) if outstanding > 0 || above => Flight::Overtaken,
            _ => Flight::Error,
        };
        // The scope's own cancellation has ended children, or one that is kept out has ended the
        // body: it was caught here.
        let swallowed = (own || kept_out) && !above && cancelled;
        let (id, host) = (self.id(owner.scope), scope.host);
        if !owner.body_raised {
            self.error_was_replaced(id);
        }
        let on_its_way = self.members[host].overtaken;
        let mut exit = self.exit(id, flight, honoured, now, out);
        if flight == Flight::Overtaken && matches!(verdict, Verdict::Bare { .. }) {
            // What leaves bare ends the program or a generator: no scope catches by it.
            self.members[host].overtaken = if on_its_way == id.at { NONE } else { on_its_way };
        }
        let cancelled = flight == Flight::Cancelled && !exit.caught;
        exit.caught |= swallowed && !cancelled;
        let overtaken = if flight == Flight::Overtaken { outstanding } else { 0 }.max(asked);
        Close { verdict, cancelled, overtaken, exit }
    }
}
