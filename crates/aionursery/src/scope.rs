//! One scope of this face: its place in the core's tree, its flags, what waits for them, and the
//! spawned children that a nursery dropped below it has left. What a cancellation reaches is
//! decided by the core's `Tree`; this only carries out.

mod cancellation;
mod children;
mod face;
pub(crate) mod info;
mod options;
mod orphans;
mod signal;
#[cfg(feature = "tokio-util")]
mod tokens;
pub(crate) mod tree;
mod waiter;

use std::sync::{Arc, PoisonError, Weak};

use nursery_core::{Cleanup, Delivery, Effects, MemberId, ScopeId, Settings, Tree};

#[cfg(feature = "tokio-util")]
use tokio_util::sync::CancellationToken;

pub use cancellation::Cancellation;
pub(crate) use children::Children;
#[cfg(feature = "tokio")]
pub(crate) use children::Left;
pub(crate) use face::{HasSignal, Tokio};
use info::{Info, Kind, OpenedAt, Stage};
pub(crate) use options::ScopeOptions;
#[cfg(feature = "tokio-util")]
use signal::LISTENS;
use signal::{ADOPTS, ALONG};
pub(crate) use signal::{HARD, LATE, LEFT, Owner, SOFT, Signal, TIMED};
#[cfg(feature = "tokio-util")]
pub(crate) use tokens::REASON;
use tree::ScopeTree;
pub(crate) use waiter::Waiter;

use crate::clock::ScopeClock;
use crate::error::{Cause, LostError, Reason};
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use crate::sync::{Mutex, lock};

/// Spawned children that a nursery dropped below this one has left behind (R28).
#[derive(Default)]
struct Orphans {
    running: usize,
    closed: bool,
    errors: Vec<LostError>,
    /// The nearest nursery above that was alive when it was last looked for: none between is.
    above: Option<Arc<Scope>>,
    /// This nursery was dropped itself, with some still running.
    left: bool,
    heir: Option<Arc<Scope>>,
}

impl Orphans {
    fn is_as_made(&self) -> bool {
        let Self { running, closed, errors, above, left, heir } = self;
        (*running, *closed, *left) == (0, false, false)
            && errors.is_empty()
            && above.is_none()
            && heir.is_none()
    }
}

/// A scope. Leaves the tree when its last owner goes.
pub(crate) struct Scope {
    /// `None` once it has left the tree.
    tree: Option<Arc<ScopeTree>>,
    parent: Option<Arc<Scope>>,
    member: MemberId,
    id: ScopeId,
    pub(crate) signal: Signal,
    /// How many children it has, if it is a nursery's.
    pub(crate) children: Children,
    orphans: Option<Mutex<Orphans>>,
    /// Something was opened below it.
    is_above: AtomicBool,
    /// Something in it hears of its cancellation.
    hears: AtomicBool,
    /// How often it was polled while something waited for it: see [`turned`](Self::turned).
    turns: AtomicUsize,
    /// It stands below another, and was given no budget.
    has_no_budget: bool,
}

impl Scope {
    /// Opens a scope below `parent`. A nursery's can take in orphans.
    pub(crate) fn open(
        parent: Option<Arc<Scope>>,
        options: &ScopeOptions,
        owner: Owner,
        info: Info,
    ) -> Arc<Self> {
        let nursery = info.kind == Kind::Nursery;
        let clock = match &parent {
            Some(parent) => parent.clock().clone(),
            None => ScopeClock::start(options.clock()),
        };
        let is_below = parent.is_some();
        let mut settings = options.settings(&clock, nursery, is_below);
        let mut flags = 0;
        if settings.deadline < f64::INFINITY {
            flags |= TIMED;
            let now = clock.now();
            if settings.deadline <= now {
                // The code runs up to its first await before that (R21).
                settings.deadline = now.next_up();
                flags |= LATE;
            }
        }
        let (tree, standing) = match &parent {
            Some(parent) => {
                parent.is_above.store(true, Ordering::Release);
                (parent.shared_tree().clone(), None)
            }
            None => tree::take().open(settings == Settings::default()),
        };
        let scope = Arc::new_cyclic(|own: &Weak<Self>| {
            let own: Weak<dyn HasSignal> = Weak::<Self>::clone(own);
            let (member, id) = {
                let tree = &mut *tree.lock();
                match (standing, &parent) {
                    (Some((member, id)), _) => {
                        drop(tree.succeed(member, own));
                        (member, id)
                    }
                    (None, Some(parent)) => {
                        let member = tree.enroll_in(own, parent.id);
                        (member, Self::enter(tree, member, settings))
                    }
                    (None, None) => {
                        let member = tree.enroll(own, true);
                        (member, Self::enter(tree, member, settings))
                    }
                }
            };
            let signal = Signal::new(flags, owner, info, clock);
            let (children, orphans) = (Children::default(), nursery.then(Mutex::default));
            Self {
                tree: Some(tree),
                parent,
                member,
                id,
                signal,
                children,
                orphans,
                is_above: AtomicBool::new(false),
                hears: AtomicBool::new(false),
                turns: AtomicUsize::new(0),
                has_no_budget: is_below && options.cleanup.is_none(),
            }
        });
        if is_below {
            // Only now, when it can be told of one that comes.
            scope.hear_from_above();
        }
        scope
    }

    /// Whether it is as it was opened: it has `owners` beside its tree, and nothing has left a trace in it.
    pub(crate) fn is_as_opened(self: &Arc<Self>, owners: usize) -> bool {
        let is_alone = self.is_held_by(owners) && Arc::weak_count(self) == 1;
        is_alone
            && self.signal.is_untouched()
            && self.signal.info.opener.is_none()
            && (!self.is_above.load(Ordering::Relaxed) || self.is_as_entered())
    }

    /// Whether it has just `owners`. Each scope below it would be one more.
    fn is_held_by(self: &Arc<Self>, owners: usize) -> bool {
        let is_so = Arc::strong_count(self) == owners;
        // What others have done with it, which have it no more, was before.
        fence(Ordering::Acquire);
        is_so
    }

    /// Whether what has stood below it, and does so no more, has left no trace.
    #[cold]
    fn is_as_entered(&self) -> bool {
        self.orphans.as_ref().is_some_and(|orphans| lock(orphans).is_as_made())
            && self.tree().lock().is_as_entered(self.member, self.id)
    }

    /// An outermost one that is as it was opened is opened again, by another nursery.
    pub(crate) fn open_again(&self, place: OpenedAt) {
        self.signal.info.open_again(place);
    }

    fn enter(tree: &mut Tree<Tokio>, member: MemberId, settings: Settings) -> ScopeId {
        // Its deadline lies ahead: nothing comes of it now.
        tree.enter(member, settings, 0, f64::NEG_INFINITY, &mut Effects::default())
    }

    /// It was opened below one that is cancelled, or was cancelled before there was anything to tell.
    fn hear_from_above(&self) {
        if !self.tree().lock().is_cancelled(self.member) {
            return;
        }
        // The clock may be the program's code: it is read outside the lock, and only if need be.
        let now = self.signal.clock.reading();
        let tree = &mut *self.tree().lock();
        let hard = if tree.insists_at(self.member) <= now { HARD } else { TIMED };
        self.signal.flags.fetch_or(SOFT | hard, Ordering::AcqRel);
        tree.thrown(self.member);
    }

    fn shared_tree(&self) -> &Arc<ScopeTree> {
        self.tree.as_ref().expect("only what goes has left the tree")
    }

    pub(crate) fn tree(&self) -> &ScopeTree {
        self.shared_tree()
    }

    pub(crate) fn id(&self) -> ScopeId {
        self.id
    }

    pub(crate) fn parent(&self) -> Option<&Arc<Scope>> {
        self.parent.as_ref()
    }

    pub(crate) fn is_soft(&self) -> bool {
        self.signal.flags() & SOFT != 0
    }

    /// Acts on a token that was cancelled, before its owner has had a turn to do so.
    #[inline]
    pub(crate) fn look_at_tokens(&self) {
        #[cfg(feature = "tokio-util")]
        if self.signal.flags() & (LISTENS | SOFT) == LISTENS && self.signal.tokens.has_cancelled() {
            self.cancel(nursery_core::Source::Explicit, Some(REASON.into()));
        }
    }

    pub(crate) fn is_hard(&self) -> bool {
        self.signal.flags() & HARD != 0
    }

    /// Whether it is `other`, or below it.
    pub(crate) fn is_below(&self, other: &Self) -> bool {
        let mut at = Some(self);
        while let Some(scope) = at {
            if std::ptr::eq(scope, other) {
                return true;
            }
            at = scope.parent.as_deref();
        }
        false
    }

    /// Whether no cancellation from above reaches it.
    pub(crate) fn is_shield(&self) -> bool {
        self.tree().lock().settings(self.id).shield
    }

    /// The future that this nursery stands in is dropped as soon as it has ended: so it is cancelled
    /// (R27a).
    pub(crate) fn take_along(&self) {
        let before = self.signal.flags.fetch_or(ALONG, Ordering::AcqRel);
        if before & (ALONG | SOFT) == 0 {
            self.cancel(nursery_core::Source::Host, None);
        }
    }

    /// Whether an owner waits for this nursery, to drop what it stands in.
    #[inline]
    pub(crate) fn is_held(&self) -> bool {
        self.signal.flags() & ALONG != 0
    }

    /// This nursery is being polled, and what waits for it is to see that.
    #[cold]
    pub(crate) fn turned(&self) {
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn turns(&self) -> usize {
        self.turns.load(Ordering::Relaxed)
    }

    /// Whether this nursery has ended, or was dropped.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.signal.info.stage(), Stage::Closed | Stage::Dropped)
    }

    /// Whether it has children that do not end by being dropped with it: its own spawned ones, and
    /// those that it has adopted.
    pub(crate) fn has_tasks(&self) -> bool {
        self.children.spawned() > 0 || (self.adopts() && self.has_orphans())
    }

    /// Whether it waits, or has waited, for what others have left behind.
    #[inline]
    pub(crate) fn adopts(&self) -> bool {
        self.signal.flags() & ADOPTS != 0
    }

    fn has_orphans(&self) -> bool {
        self.orphans.as_ref().is_some_and(|orphans| lock(orphans).running > 0)
    }

    /// Cancels it and what is below, up to shields (R12). Returns whether it was not cancelled yet.
    pub(crate) fn cancel(&self, source: nursery_core::Source, reason: Option<Reason>) -> bool {
        let cause = nursery_core::Cause { source, reason };
        self.change(|tree, now, out| tree.cancel(self.id, cause, now, out))
    }

    /// Cancels it with no time left for cleaning up: its owner is gone.
    pub(crate) fn abort(&self) {
        if self.is_hard() {
            // What is below has none left either; a tree that falls is not walked at each of its
            // levels.
            return;
        }
        let cause = nursery_core::Cause { source: nursery_core::Source::Host, reason: None };
        self.change(|tree, now, out| {
            tree.set_cleanup(self.id, Cleanup::Limited(0.0), now, out);
            tree.cancel(self.id, cause, now, out);
        });
    }

    /// Why it is cancelled: by itself, if that came first, or by a scope above that reaches it. The tree knows before
    /// the flags say so.
    pub(crate) fn cause(&self) -> Option<Cause> {
        self.tree().lock().first_cause(self.id).cloned().map(Cause)
    }

    /// Why it was cancelled itself, not by a scope above.
    pub(crate) fn own_cause(&self) -> Option<Cause> {
        self.is_soft().then(|| self.tree().lock().cause(self.id).cloned().map(Cause)).flatten()
    }

    /// Lets a deadline act that had passed when the scope was opened.
    pub(crate) fn be_late(&self) {
        self.set_deadline(f64::NEG_INFINITY);
    }

    pub(crate) fn set_deadline(&self, deadline: f64) {
        self.signal.flags.fetch_and(!LATE, Ordering::AcqRel);
        self.signal.flags.fetch_or(TIMED, Ordering::AcqRel);
        // Where the time is not known its owner looks, which is woken for that.
        let known = self.clock().is_known_here();
        self.change(|tree, now, out| {
            tree.set_deadline(self.id, deadline, if known { now } else { f64::MIN }, out);
        });
        self.signal.owner.notify_driver();
    }

    /// The next moment at which something happens to it, on the clock of its root: its deadline, also where it
    /// is cancelled from above and has time to clean up, or the end of that time.
    pub(crate) fn next_moment(&self) -> f64 {
        let tree = self.tree().lock();
        let deadline = match tree.cause(self.id) {
            Some(_) => f64::INFINITY,
            None => tree.settings(self.id).deadline,
        };
        match tree.is_cancelled(self.member) {
            true => tree.insists_at(self.member).min(deadline),
            false => deadline,
        }
    }

    /// The earliest moment at which a deadline cancels it, on the clock of its root.
    pub(crate) fn effective_deadline(&self) -> f64 {
        self.tree().lock().effective_deadline(self.member)
    }

    pub(crate) fn clock(&self) -> &ScopeClock {
        &self.signal.clock
    }

    /// Whether one of the tokens that it listens to was cancelled just now, and so it was.
    #[inline]
    pub(crate) fn poll_tokens(&self, _cx: &mut std::task::Context<'_>) -> bool {
        #[cfg(feature = "tokio-util")]
        return self.signal.flags() & LISTENS != 0
            && self.signal.tokens.poll(_cx)
            && self.cancel(nursery_core::Source::Explicit, Some(REASON.into()));
        #[cfg(not(feature = "tokio-util"))]
        false
    }

    /// From now on `token` is cancelled when this scope is, or the one that already was to be.
    #[cfg(feature = "tokio-util")]
    pub(crate) fn tell(&self, token: &CancellationToken) -> &CancellationToken {
        self.hear();
        let token = self.signal.tokens.tell(token);
        if self.is_soft() {
            token.cancel();
        }
        token
    }

    /// From now on this scope is cancelled when `token` is.
    #[cfg(feature = "tokio-util")]
    pub(crate) fn listen_to(&self, token: &CancellationToken) {
        self.signal.tokens.listen_to(token);
        self.signal.listen();
    }

    /// As [`listen_to`](Self::listen_to); of one that is cancelled already it hears at once.
    #[cfg(feature = "tokio-util")]
    pub(crate) fn cancel_on(&self, token: &CancellationToken) {
        if token.is_cancelled() {
            self.cancel(nursery_core::Source::Explicit, Some(REASON.into()));
        } else {
            self.listen_to(token);
        }
    }

    /// It is now: lets deadlines and budgets act that have passed.
    pub(crate) fn advance(&self) {
        self.change(|tree, now, out| while tree.advance(now, out).is_some() {});
    }

    /// Changes the tree and carries out what it says.
    fn change<R>(&self, act: impl FnOnce(&mut Tree<Tokio>, f64, &mut Effects<Tokio>) -> R) -> R {
        let now = self.clock().reading();
        let mut out = Effects::default();
        let mut raise = Vec::new();
        let result = {
            let tree = &mut *self.tree().lock();
            let result = act(tree, now, &mut out);
            for Delivery { key: scope, member, throw, .. } in out.deliveries {
                if !throw || !tree.is_cancelled(member) {
                    continue;
                }
                tree.thrown(member);
                let level = tree.insists_at(member);
                let flags = match level {
                    _ if level <= now => SOFT | HARD,
                    f64::INFINITY => SOFT,
                    _ => SOFT | TIMED,
                };
                raise.extend(scope.upgrade().map(|scope| (scope, flags)));
            }
            result
        };
        for (scope, flags) in raise {
            scope.signal().raise(flags);
        }
        result
    }

    /// Leaves the tree, once. Gives the scope above.
    fn leave(&mut self) -> Option<Arc<Self>> {
        let tree = self.tree.take()?;
        let parent = self.parent.take();
        match parent {
            None => tree::give(tree, (self.member, self.id), Weak::<Self>::new()),
            Some(_) => tree::leave(&mut tree.lock(), self.member, self.id),
        }
        if let Some(orphans) = &mut self.orphans {
            // Both are above it, and so held by its parent, too, which must be the last to go.
            let orphans = orphans.get_mut().unwrap_or_else(PoisonError::into_inner);
            (orphans.above, orphans.heir) = (None, None);
        }
        parent
    }
}

impl HasSignal for Scope {
    fn signal(&self) -> &Signal {
        &self.signal
    }

    fn running(&self) -> usize {
        self.children.running() as usize
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        let mut above = self.leave();
        // One after the other: a tree may be deeper than the stack.
        while let Some(mut last) = above.and_then(Arc::into_inner) {
            above = last.leave();
        }
    }
}
