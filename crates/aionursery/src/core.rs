//! What a nursery's driver, its handles and its spawned children share: the lifecycle and the
//! children that wait to be taken up, under one lock, so that closing and starting are one step.
//! Decides nothing: the core's `Lifecycle` says what an end means. It must run no code of the program's
//! while it holds the lock.
//!
//! Where the nursery is being driven, a start needs no lock: the lifecycle has been told of a batch
//! of children beforehand, and what is left of it is taken back once a turn. What was started there
//! is older than anything that was started elsewhere and waits: once something waits, all wait
//! behind it (R4).
//!
//! A spawned child that returns only counts itself out, and a body that returns only says so to the driver; the
//! lifecycle is told of both by what takes the lock next: most often the driver, once, when all have ended. The last
//! child wakes it for that.

mod ends;
mod fresh;
mod unclaimed;

use std::cell::{Cell, RefCell};
use std::sync::{Arc, PoisonError};

use nursery_core::{Lifecycle, Phase};

pub(crate) use fresh::Fresh;
use fresh::Started;
use unclaimed::{Erase, ErrorSink};

use crate::child::Running;
#[cfg(feature = "tokio")]
use crate::error::AdoptedError;
use crate::error::{Failure, NurseryClosed};
use crate::limit::Gate;
use crate::scope::Scope;
use crate::scope::info;
use crate::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use crate::sync::{Mutex, MutexGuard, lock};
use crate::task::{Counted, DriverCell, ReadyRef};
#[cfg(feature = "tokio")]
use crate::task::{SpawnedTasks, TaskRef};

pub(crate) struct Core<E> {
    pub(crate) scope: Arc<Scope>,
    pub(crate) collect: bool,
    pub(crate) gate: Option<Arc<Gate>>,
    /// Children without a name are noted, too.
    pub(crate) records: bool,
    /// No child is a plain one: there is a gate, or all are noted.
    pub(crate) special: bool,
    local: DriverCell<Local<E>>,
    /// Something was started elsewhere.
    waits: AtomicBool,
    /// The number of the child that the lifecycle was told of last. 0 is the body's.
    ids: AtomicU32,
    state: Mutex<State<E>>,
}

/// What was started where the nursery is being driven.
struct Local<E> {
    fresh: RefCell<Started<E>>,
    /// The number of the last of those that the lifecycle was told of beforehand.
    last: Cell<u32>,
    body: Cell<Body>,
    /// The children know that the body has ended.
    joins: Cell<bool>,
    erase: Cell<Option<Erase<E>>>,
    #[cfg(feature = "tokio")]
    spawned: RefCell<SpawnedTasks>,
}

/// What the driver knows of the body.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Body {
    Runs,
    /// It has returned, and the lifecycle was not told.
    Returned,
    /// It has ended, and the lifecycle knows.
    Ended,
}

/// How a nursery has closed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closed {
    Clean,
    /// With errors.
    Failed,
}

/// How many children the lifecycle is told of at once.
pub(crate) const BATCH: u32 = 64;

/// How many have a nursery's scope that nothing else has: its core and its driver.
const OWNERS: usize = 2;

pub(crate) struct State<E> {
    pub(crate) life: Lifecycle<Failure<E>>,
    inbox: Vec<Running<E>>,
    /// The driver is gone; what is spawned ends by itself.
    gone: bool,
    sink: ErrorSink,
    /// How an error leaves its type behind and keeps its value, once it is known that it may.
    erase: Option<Erase<E>>,
}

impl<E> Core<E> {
    /// One for the driver, one for the body.
    #[inline]
    pub(crate) fn new(
        scope: Arc<Scope>,
        ready: ReadyRef,
        collect: bool,
        limit: Option<usize>,
    ) -> [Counted<Self>; 2] {
        scope.children.begin(BATCH);
        let make = || {
            let records = info::records();
            let gate = limit.map(|limit| Gate::new(limit, &scope));
            Self {
                scope,
                collect,
                records,
                special: records || gate.is_some(),
                gate,
                local: DriverCell::new(
                    ready,
                    Local {
                        fresh: RefCell::new(Started::new()),
                        last: Cell::new(BATCH),
                        body: Cell::new(Body::Runs),
                        joins: Cell::new(false),
                        erase: Cell::new(None),
                        #[cfg(feature = "tokio")]
                        spawned: RefCell::default(),
                    },
                ),
                waits: AtomicBool::new(false),
                ids: AtomicU32::new(BATCH),
                state: Mutex::new(State {
                    life: Lifecycle::new(collect),
                    inbox: Vec::new(),
                    gone: false,
                    sink: ErrorSink::Driver,
                    erase: None,
                }),
            }
        };
        Counted::new(make, |core| {
            let state = core.state.get_mut().unwrap_or_else(PoisonError::into_inner);
            state.life.children_started(BATCH).expect("the body runs");
        })
    }

    /// What it has that knows nothing of its errors.
    #[inline]
    pub(crate) fn into_parts(self) -> (Arc<Scope>, ReadyRef) {
        (self.scope, self.local.into_list())
    }

    /// The list of its woken children.
    #[inline]
    pub(crate) fn ready(&self) -> &ReadyRef {
        self.local.list()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State<E>> {
        lock(&self.state)
    }

    pub(crate) fn is_closed(&self) -> bool {
        let state = self.state();
        state.gone || state.life.phase() == Phase::Closed
    }

    /// How many children have not ended. Exact where the nursery is driven; elsewhere as of a
    /// moment ago.
    pub(crate) fn running(&self) -> usize {
        self.scope.children.running() as usize
    }

    /// A child of this task starts, or is handed back.
    #[inline]
    pub(crate) fn start(&self, task: Running<E>) -> Result<(), Running<E>> {
        self.local.with(|local| {
            if let Some(local) = local
                && !self.waits.load(Ordering::Acquire)
                && let Some(id) = self.next(local)
            {
                task.admit(id);
                local.fresh.borrow_mut().push(task);
                return Ok(());
            }
            self.start_elsewhere(task)
        })
    }

    #[cold]
    fn start_elsewhere(&self, task: Running<E>) -> Result<(), Running<E>> {
        let first = {
            let state = &mut *self.state();
            let Ok(id) = self.admit(state, 1) else { return Err(task) };
            task.admit(id);
            state.inbox.push(task);
            self.scope.children.waiting.fetch_add(1, Ordering::Relaxed);
            self.waits.store(true, Ordering::Release);
            state.inbox.len() == 1
        };
        if first {
            self.ready().notify_driver();
        }
        Ok(())
    }

    /// A spawned child starts.
    #[cfg(feature = "tokio")]
    #[inline]
    pub(crate) fn start_spawned(&self) -> Result<u32, NurseryClosed>
    where
        E: Send + 'static,
    {
        let next = |local: &Local<E>| {
            local.erase.set(Some(AdoptedError::keep));
            self.next(local)
        };
        match self.local.with(|local| local.and_then(next)) {
            Some(id) => Ok(id),
            None => self.start_spawned_elsewhere(),
        }
    }

    #[cfg(feature = "tokio")]
    #[cold]
    fn start_spawned_elsewhere(&self) -> Result<u32, NurseryClosed>
    where
        E: Send + 'static,
    {
        let id = {
            let state = &mut *self.state();
            state.erase = Some(AdoptedError::keep);
            self.admit(state, 1)?
        };
        if self.scope.children.spawned() == 1 {
            // The driver has a turn to say that there is a spawned child now (R27a).
            self.ready().notify_driver();
        }
        Ok(id)
    }

    /// A cancellation is to reach a spawned child: at once, or after this turn of the driver's.
    #[cfg(feature = "tokio")]
    #[inline]
    pub(crate) fn keep(&self, child: TaskRef) {
        self.local.with(|local| match local {
            Some(local) => local.spawned.borrow_mut().push(child),
            None => {
                let mut one = SpawnedTasks::default();
                one.push(child);
                self.keep_all(one);
            }
        });
    }

    #[cfg(feature = "tokio")]
    fn keep_all(&self, children: SpawnedTasks) {
        self.scope.signal.workers.keep(children);
        self.stop_if_hard();
        self.let_go_of_ended(self.scope.children.alive());
    }

    /// If most of what was spawned has ended, its memory goes (R5).
    #[cfg(feature = "tokio")]
    #[inline]
    fn let_go_of_ended(&self, alive: u32) {
        let workers = &self.scope.signal.workers;
        if workers.are_most_over(alive) {
            workers.sweep();
            self.stop_if_hard();
        }
    }

    /// A cancellation may have come before these could be reached.
    #[cfg(feature = "tokio")]
    #[inline]
    fn stop_if_hard(&self) {
        if self.scope.is_hard() {
            self.scope.signal.workers.abort();
        }
    }

    /// The driver's turn is over, and it holds `held` children: a cancellation reaches what was
    /// spawned in it from now on. A nursery that has closed has none left to reach.
    #[cfg(feature = "tokio")]
    pub(crate) fn end_turn(&self, closed: bool, held: usize) {
        self.local.with(|local| {
            let local = local.expect("only the driver drives");
            let held = held + local.fresh.borrow().len();
            self.scope.children.set_held(held as u32);
            if !local.spawned.borrow().is_empty() {
                let spawned = local.spawned.take();
                if !closed {
                    self.keep_all(spawned);
                }
            }
            if closed {
                return self.scope.signal.workers.clear();
            }
            if !self.is_caught_up(local) || !local.spawned.borrow().is_empty() {
                // What was ended there has started a child, after the driver's last look.
                self.ready().notify_driver();
            }
        });
    }

    /// The number of a child that the lifecycle was told of. `None` if it refuses.
    #[inline]
    fn next(&self, local: &Local<E>) -> Option<u32> {
        let mut spare = self.scope.children.spare.load(Ordering::Relaxed);
        if spare == 0 {
            spare = self.tell_of_more(local)?;
        }
        self.scope.children.spare.store(spare - 1, Ordering::Relaxed);
        Some(local.last.get() - (spare - 1))
    }

    #[cold]
    fn tell_of_more(&self, local: &Local<E>) -> Option<u32> {
        let last = self.admit(&mut self.state(), BATCH).ok()?;
        local.last.set(last);
        Some(BATCH)
    }

    /// `count` children start. Returns the number of the last.
    fn admit(&self, state: &mut State<E>, count: u32) -> Result<u32, NurseryClosed> {
        if state.gone {
            return Err(NurseryClosed);
        }
        state.life.children_started(count).map_err(|_| NurseryClosed)?;
        self.scope.children.add(count);
        let relaxed = Ordering::Relaxed;
        let next = |last: u32| last.checked_add(count).unwrap_or(count);
        let before = self.ids.fetch_update(relaxed, relaxed, |last| Some(next(last)));
        Ok(before.map_or(count, next))
    }

    /// The lifecycle hears how many children have not ended.
    fn tell(&self, state: &mut State<E>, alive: u32) {
        state.life.children_done(state.life.running() as u32 - alive);
    }

    /// A child of the driver's has returned.
    #[inline]
    pub(crate) fn returned(&self) {
        self.scope
            .children
            .done
            .store(self.scope.children.done.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Takes up what has come, if anything has: counts the ends, hands out what was started once all that was
    /// started before has begun. Says how the nursery has closed, once it has, also to what was left below it.
    pub(crate) fn take_up(&self, fresh: &mut Fresh<E>) -> Option<Closed> {
        self.local.with(|local| {
            let local = local.expect("only the driver drives");
            if self.has_no_news(local) {
                return None;
            }
            let alive = self.settle(local);
            let is_over = alive == 0 && local.body.get() != Body::Runs;
            if !is_over && !self.waits.load(Ordering::Acquire) {
                if fresh.is_over() && !local.fresh.borrow().is_empty() {
                    *fresh = local.fresh.borrow_mut().take();
                }
                return None;
            }
            let state = &mut *self.state();
            self.catch_up(local, state);
            let has_inbox = !state.inbox.is_empty();
            if fresh.is_over() && (has_inbox || !local.fresh.borrow().is_empty()) {
                let started = &mut *local.fresh.borrow_mut();
                if has_inbox {
                    self.scope.children.waiting.store(0, Ordering::Relaxed);
                    state.inbox.drain(..).for_each(|child| started.push(child));
                    self.waits.store(false, Ordering::Relaxed);
                }
                *fresh = started.take();
            }
            let closed = state.life.phase() == Phase::Closed && self.scope.close_to_orphans(OWNERS);
            if !closed {
                return None;
            }
            state.sink = ErrorSink::Over;
            Some(if state.has_errors() { Closed::Failed } else { Closed::Clean })
        })
    }

    /// The errors of a nursery that has closed.
    pub(crate) fn take_errors(&self) -> Vec<Failure<E>> {
        self.state().take_errors()
    }

    /// Whether children were started since the last look.
    pub(crate) fn has_new(&self) -> bool {
        self.local.with(|local| {
            local.is_none_or(|local| !local.fresh.borrow().is_empty())
                || self.waits.load(Ordering::Acquire)
        })
    }

    /// Whether nothing has come since [`take_up`](Self::take_up), and the nursery has not closed.
    pub(crate) fn is_idle(&self) -> bool {
        self.local.with(|local| {
            let local = local.expect("only the driver drives");
            if self.has_no_news(local) {
                return true;
            }
            let is_over = self.settle(local) == 0 && local.body.get() != Body::Runs;
            local.fresh.borrow().is_empty()
                && !self.waits.load(Ordering::Acquire)
                && !(is_over && self.scope.close_to_orphans(OWNERS))
        })
    }

    /// Whether there is nothing to tell the lifecycle that could close the nursery, and nothing to take up. What
    /// changes that on another thread wakes the driver afterwards.
    #[inline]
    fn has_no_news(&self, local: &Local<E>) -> bool {
        self.is_caught_up(local)
            && self.scope.children.done.load(Ordering::Relaxed) == 0
            && !self.waits.load(Ordering::Acquire)
            && match local.body.get() {
                Body::Runs => true,
                Body::Returned | Body::Ended => {
                    local.joins.get() && self.scope.children.alive() > 0
                }
            }
    }

    /// Whether no child was started here since the driver's last look. While numbers are left that
    /// were not taken, the last child would not know that it is the last.
    fn is_caught_up(&self, local: &Local<E>) -> bool {
        local.fresh.borrow().is_empty() && self.scope.children.spare.load(Ordering::Relaxed) == 0
    }

    /// Counts what has come since, and gives back the numbers that were not taken. Returns how many children have
    /// not ended.
    fn settle(&self, local: &Local<E>) -> u32 {
        let children = &self.scope.children;
        // Only this thread changes these.
        let [spare, done] = [&children.spare, &children.done].map(|count| {
            let before = count.load(Ordering::Relaxed);
            count.store(0, Ordering::Relaxed);
            before
        });
        let joins = local.body.get() != Body::Runs && !local.joins.replace(true);
        if spare > 0 {
            // Unless others were taken since: these are given again.
            let last = local.last.get();
            let relaxed = Ordering::Relaxed;
            _ = self.ids.compare_exchange(last, last - spare, relaxed, relaxed);
        }
        children.settle(spare + done, joins).0
    }

    /// The lifecycle hears of all that it was not told of.
    fn catch_up(&self, local: &Local<E>, state: &mut State<E>) {
        let alive = self.settle(local);
        if local.body.get() == Body::Returned {
            local.body.set(Body::Ended);
            state.life.body_returned();
        }
        self.tell(state, alive);
        state.erase = local.erase.get().or(state.erase);
        local.erase.set(state.erase);
    }
}

impl<E> State<E> {
    fn has_errors(&self) -> bool {
        self.life.errors().next().is_some()
    }

    fn take_errors(&mut self) -> Vec<Failure<E>> {
        if self.has_errors() { self.life.verdict().into_errors() } else { Vec::new() }
    }
}

#[cfg(all(test, feature = "tokio", not(aionursery_loom)))]
mod tests {
    use crate::nursery;

    /// No program could start them all in its time.
    #[test]
    fn a_nursery_that_has_used_up_all_numbers_begins_again_at_1() {
        futures::executor::block_on(nursery(async |n| {
            (0..super::BATCH).for_each(|_| drop(n.start_soon(async { Ok(()) })));
            n.core().ids.store(u32::MAX - 1000, super::Ordering::Relaxed);
            let mut last = u32::MAX - 1000;
            for _ in 0..2000 {
                let child = n.start_soon(async { Ok::<_, String>(()) });
                assert!(child.id() == last + 1 || (child.id() == 1 && last > u32::MAX - 100));
                last = child.id();
            }
            assert!(last < 2000);
            Ok(())
        }))
        .unwrap();
    }
}
