//! Scopes, nurseries and the tasks in them: the machine that both faces drive.
//! It decides who is cancelled, who takes a cancellation back and what a nursery raises; it must
//! never run anything, read a clock, or keep a task alive on its own account. Here are its parts,
//! its tasks and the links between scopes; what is done with a scope is in `scopes.rs`, with a
//! nursery in `nurseries.rs`, how a cancellation reaches tasks in `delivery.rs`.

mod nurseries;
mod scopes;

use crate::lifecycle::Identity;
use crate::member::{Member, MemberId};
use crate::scope::{Scope, ScopeId};
use crate::slab::{NONE, Slab};
use crate::timers::Timers;

pub use nurseries::{Close, NurseryId, Start};
pub use scopes::{Exit, Flight};

use nurseries::Nursery;

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
    /// Its place in the tree.
    pub member: MemberId,
    /// By how much its count of cancellations rises (tasks of the face's own kind).
    pub charges: u32,
    /// It is to be woken: [`Tree::is_pending`] says yes, and its next step throws.
    pub throw: bool,
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

    /// For how many scopes it has room, for whoever keeps an empty one.
    #[must_use]
    pub fn room(&self) -> usize {
        self.scopes.room()
    }

    /// Whether a cancellation above a scope reaches it.
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
