//! Scopes, nurseries and the tasks in them: the machine that both faces drive.
//! It decides what is cancelled, where a cancellation is taken back and what a nursery raises; it must
//! never run anything, read a clock, or keep a task alive on its own account. Here are its parts,
//! its tasks and the links between scopes; what is done with a scope is in `scopes.rs`,
//! with a nursery in `nurseries.rs` and `orphans.rs`, with its children in `children.rs`, what watches a
//! scope in `watches.rs`; how a cancellation reaches tasks is in `delivery.rs`, how long they may go on then
//! in `budget.rs`.

mod children;
mod nurseries;
mod orphans;
mod scopes;
mod watches;

use std::fmt;

use crate::delivery::Wave;
use crate::member::{Member, MemberId};
use crate::outcome::Identity;
use crate::scope::{Cause, Cleanup, Scope, ScopeId, Settings};
use crate::slab::{NONE, Slab};
use crate::timers::Timers;

pub use children::Start;
pub use nurseries::{Close, NurseryId};
pub use orphans::Stays;
pub use scopes::{Exit, Flight};

use nurseries::Nursery;

/// What a face brings.
pub trait Face {
    /// What the face calls a task.
    type Key: Clone;
    /// What a child fails with.
    type Error: Identity;
    /// Why a scope was cancelled, in the face's words.
    type Reason: Clone;
    /// What the face's own timers are for.
    type Wake: Clone;
    /// What is to be called when a cancellation reaches a scope (R12b).
    type Watch: Clone;
    /// Whether a [`Delivery`] has its reason with it: for a face whose tasks await what is told of it, too.
    const TELLS_WHY: bool = false;
}

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

/// A task for which it is another one by now whether a cancellation waits to be thrown, or how many count.
/// Between two of them only the task's own steps and waits change [`Tree::is_pending`], so a face that tells
/// the task's [`Inbox`](crate::Inbox) of each need not ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery<K, R> {
    /// Which one.
    pub key: K,
    /// Its place in the tree.
    pub member: MemberId,
    /// By how much its count of cancellations rises (tasks of the face's own kind).
    pub charges: u32,
    /// A cancellation has reached it, and it is to be woken: [`Tree::is_pending`] is true, and its next step
    /// throws.
    pub throw: bool,
    /// What waited to be thrown waits no more: a shield keeps it out, its scope has gone, or one that is on
    /// its way stands for it.
    pub spared: bool,
    /// Why it is to throw, if [`Face::TELLS_WHY`].
    pub reason: Option<R>,
}

/// What seldom comes of a change of the tree.
pub enum Event<F: Face> {
    /// A nursery has closed that another has joined in its host's place: what still waits for it is to
    /// be woken.
    Joined(NurseryId),
    /// Nothing will raise this error any more: the face reports it (R7).
    Lost(F::Error),
    /// A cancellation has reached what this watches: it is to be called, once no borrow is held (R12b).
    Called(F::Watch),
    /// What this watches is gone, and no cancellation has reached it.
    Uncalled(F::Watch),
}

/// Shows which kind it is: a face's values need no text.
impl<F: Face> fmt::Debug for Event<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Joined(nursery) => f.debug_tuple("Joined").field(nursery).finish(),
            Self::Lost(_) => f.write_str("Lost(..)"),
            Self::Called(_) => f.write_str("Called(..)"),
            Self::Uncalled(_) => f.write_str("Uncalled(..)"),
        }
    }
}

/// What comes of a change of the tree: what to tell, and what the tree no longer keeps. The tree
/// never drops a value of the face: that may run the program's code, and the face has the tree borrowed.
pub struct Effects<F: Face> {
    /// Tasks that a cancellation has reached, or no longer reaches, in the order in which that came.
    pub deliveries: Vec<Delivery<F::Key, F::Reason>>,
    /// Reasons that the tree does not keep.
    pub reasons: Vec<F::Reason>,
    /// Errors that the tree does not keep, because they were reported before (R7).
    pub errors: Vec<F::Error>,
    /// What else the face is to do, in order.
    pub events: Vec<Event<F>>,
}

impl<F: Face> Default for Effects<F> {
    fn default() -> Self {
        Self { deliveries: Vec::new(), reasons: Vec::new(), errors: Vec::new(), events: Vec::new() }
    }
}

impl<F: Face> Effects<F> {
    /// Whether the face has nothing to do but to drop what is in it.
    #[inline]
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.deliveries.is_empty() && self.events.is_empty()
    }

    fn let_go(&mut self, cause: Option<Cause<F::Reason>>) {
        self.reasons.extend(cause.and_then(|cause| cause.reason));
    }
}

/// Shows how many there are of each: a face's values need no text.
impl<F: Face> fmt::Debug for Effects<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Effects")
            .field("deliveries", &self.deliveries.len())
            .field("reasons", &self.reasons.len())
            .field("errors", &self.errors.len())
            .field("events", &self.events)
            .finish()
    }
}

/// Scopes, nurseries and tasks.
pub struct Tree<F: Face> {
    pub(crate) scopes: Slab<Scope<F::Reason>>,
    pub(crate) members: Slab<Member<F::Key>>,
    pub(crate) nurseries: Slab<Nursery<F::Error, F::Key>>,
    /// Deadlines, budgets and the face's own moments.
    pub timers: Timers<Alarm<F::Wake>>,
    pub(crate) walk: Vec<Wave>,
    /// What watches which scope, in the order of coming: few scopes are watched. `NONE` stands for one
    /// that was left, by a host that will take what has watched it.
    pub(crate) watches: Vec<(u32, F::Watch)>,
    pub(crate) serial: u32,
    /// How many scopes have been cancelled.
    cancelled: u64,
    /// The budget of a scope with none above it that says anything (R18).
    pub cleanup: Cleanup,
    /// After how long a cancelled scope that still has tasks raises
    /// [`Alarm::Warning`]; infinity for never.
    pub warn_after: f64,
}

/// Shows its settings and how often it has cancelled: a face's values need no text.
impl<F: Face> fmt::Debug for Tree<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tree")
            .field("cleanup", &self.cleanup)
            .field("warn_after", &self.warn_after)
            .field("cancelled", &self.cancelled)
            .finish_non_exhaustive()
    }
}

impl<F: Face<Error: Clone>> Clone for Tree<F> {
    fn clone(&self) -> Self {
        Self {
            scopes: self.scopes.clone(),
            members: self.members.clone(),
            nurseries: self.nurseries.clone(),
            timers: self.timers.clone(),
            walk: Vec::new(),
            watches: self.watches.clone(),
            serial: self.serial,
            cancelled: self.cancelled,
            cleanup: self.cleanup,
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
            watches: Vec::new(),
            serial: 0,
            cancelled: 0,
            cleanup: Cleanup::Never,
            warn_after: f64::INFINITY,
        }
    }

    /// A task that is no child enters the tree, to host a scope. `foreign` tasks are not of the
    /// face's own kind and count their cancellations themselves.
    pub fn enroll(&mut self, key: F::Key, foreign: bool) -> MemberId {
        MemberId(self.members.insert(Member::new(key, NONE, NONE, foreign)))
    }

    /// A task that is no child leaves the tree. Scopes it has not left stand alone from now on.
    pub fn withdraw(&mut self, member: MemberId, out: &mut Effects<F>) {
        // It is no child: no shield ends with it.
        self.abandon(member.0, f64::NEG_INFINITY, out);
        self.take_member(member.0);
    }

    /// As [`withdraw`](Self::withdraw), for a task that has left all that it had entered.
    pub fn withdraw_idle(&mut self, member: MemberId) {
        let member = self.take_member(member.0);
        debug_assert_eq!(member.scope, member.base, "it has left what it had entered");
    }

    /// The scope a task stands in, if it has entered one since it started.
    #[must_use]
    pub fn innermost(&self, member: MemberId) -> Option<ScopeId> {
        let member = &self.members[member.0];
        (member.scope != member.base).then(|| self.id(member.scope))
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
        self.nurseries.iter().flat_map(Nursery::errors)
    }

    /// Every error the nurseries keep, taken out: the tree goes, and nothing will raise them.
    pub fn take_errors(&mut self) -> Vec<F::Error> {
        self.nurseries.iter_mut().flat_map(Nursery::take_errors).collect()
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

    /// For how many scopes it has room, for a face that keeps an empty one.
    #[must_use]
    pub fn room(&self) -> usize {
        self.scopes.room()
    }

    /// Whether a cancellation above a scope reaches it.
    pub(crate) fn sees_above(&self, scope: &Scope<F::Reason>) -> bool {
        scope.parent != NONE && !scope.settings.shield && self.scopes[scope.parent].effective
    }

    /// How many cancellations of the host from outside the scope are still to be honoured.
    fn outstanding(&self, scope: &Scope<F::Reason>, honoured: u32) -> u32 {
        self.bare_requests(scope, honoured).saturating_sub(scope.baseline)
    }

    /// How many cancellations that its host has honoured no scope has asked for, those from before it too.
    fn bare_requests(&self, scope: &Scope<F::Reason>, honoured: u32) -> u32 {
        honoured.saturating_sub(self.members[scope.host].charges)
    }

    /// The name of the scope that stands at a place.
    #[inline]
    pub(crate) fn id(&self, at: u32) -> ScopeId {
        ScopeId { at, serial: self.scopes[at].serial }
    }

    /// Whether a scope is still in the tree.
    #[must_use]
    pub fn has(&self, scope: ScopeId) -> bool {
        self.scopes.get(scope.at).is_some_and(|found| found.serial == scope.serial)
    }

    #[inline]
    fn link(&mut self, mut scope: Scope<F::Reason>, parent: u32) -> u32 {
        self.serial = self.serial.wrapping_add(1);
        scope.serial = self.serial;
        scope.parent = NONE;
        let at = self.scopes.insert(scope);
        self.hang(at, parent);
        at
    }

    /// Hangs a scope that stands alone below another.
    #[inline]
    fn hang(&mut self, at: u32, parent: u32) {
        if parent == NONE {
            return;
        }
        let first = std::mem::replace(&mut self.scopes[parent].first_child, at);
        if first != NONE {
            self.scopes[first].prev = at;
        }
        let scope = &mut self.scopes[at];
        scope.parent = parent;
        scope.next = first;
    }

    /// Takes a scope, with what is below it, from the one that it hangs below.
    pub(crate) fn unhang(&mut self, at: u32) {
        let Scope { parent, prev, next, .. } = self.scopes[at];
        if prev != NONE {
            self.scopes[prev].next = next;
        } else if parent != NONE {
            self.scopes[parent].first_child = next;
        }
        if next != NONE {
            self.scopes[next].prev = prev;
        }
        let scope = &mut self.scopes[at];
        (scope.parent, scope.prev, scope.next) = (NONE, NONE, NONE);
    }

    /// Takes a scope out. Scopes still below it (left in the wrong order, or never) stand below the
    /// one around it from now on.
    fn unlink(&mut self, id: u32, now: f64, out: &mut Effects<F>) -> Scope<F::Reason> {
        let parent = self.scopes[id].parent;
        while self.scopes[id].first_child != NONE {
            self.raise(self.scopes[id].first_child, now, out);
        }
        self.unhang(id);
        if self.scopes[id].watched {
            self.part_watches(id);
        }
        let mut scope = self.scopes.remove(id);
        scope.parent = parent;
        scope
    }

    /// Takes a scope out that its host does not leave. Returns why it was cancelled, if it was.
    fn take_out(&mut self, id: u32, now: f64, out: &mut Effects<F>) -> Option<Cause<F::Reason>> {
        self.silence(id);
        let scope = self.unlink(id, now, out);
        if scope.watched {
            out.events.extend(self.uncalled().into_iter().map(Event::Uncalled));
        }
        scope.cause
    }

    /// Hangs a scope below the one around that which it hangs below. If that is a shield, what is
    /// inside can hear of what lies above from now on (R18).
    fn raise(&mut self, id: u32, now: f64, out: &mut Effects<F>) {
        let above = &self.scopes[self.scopes[id].parent];
        let guaranteed = above.floor() > 0.0;
        let &Scope { parent, settings: Settings { shield, .. }, lifted_at, .. } = above;
        self.unhang(id);
        self.hang(id, parent);
        let hears = if shield { now } else { lifted_at };
        self.scopes[id].lifted_at = self.scopes[id].lifted_at.max(hears);
        self.spread(id, now, out);
        if shield {
            self.set_budgets(parent, now);
        }
        self.change_budgets(id, now, out);
        if guaranteed {
            self.change_guarantee(id);
        }
    }

    /// Takes a scope's alarms out of the heap.
    pub(crate) fn silence(&mut self, id: u32) {
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
    /// owner to [`remove`](Self::remove) them.
    fn abandon(&mut self, member: u32, now: f64, out: &mut Effects<F>) {
        let Member { base, mut scope, .. } = self.members[member];
        self.members[member].scope = base;
        while scope != base && scope != NONE {
            let parent = self.scopes[scope].parent;
            self.scopes[scope].host = NONE;
            self.end_forsaken(scope, now, out);
            scope = parent;
        }
    }
}
