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
//! lifecycle is told of both by what takes the lock next. The last child wakes the driver for that.

mod ends;
mod unclaimed;

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::vec::IntoIter;

use nursery_core::{Lifecycle, Outcome, Phase};

use unclaimed::{Erase, ErrorSink};

use crate::child::Running;
#[cfg(feature = "tokio")]
use crate::error::AdoptedError;
use crate::error::{Failure, NurseryClosed};
use crate::limit::Gate;
use crate::scope::Scope;
use crate::scope::info;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, MutexGuard, lock};
#[cfg(feature = "tokio")]
use crate::task::TaskRef;
use crate::task::{DriverCell, ReadyRef};

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
    state: Mutex<State<E>>,
}

/// What was started where the nursery is being driven.
struct Local<E> {
    fresh: RefCell<Vec<Running<E>>>,
    /// The number of the last of those that the lifecycle was told of beforehand.
    last: Cell<u32>,
    body: Cell<Body>,
    erase: Cell<Option<Erase<E>>>,
    #[cfg(feature = "tokio")]
    spawned: RefCell<Vec<TaskRef>>,
}

/// What the driver knows of the body.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Body {
    Runs,
    /// It has returned, and the lifecycle was not told.
    Returned,
    /// It has ended, but the children do not know.
    Ended,
    /// All know.
    Told,
}

/// How many children the lifecycle is told of at once.
pub(crate) const BATCH: u32 = 64;

pub(crate) struct State<E> {
    pub(crate) life: Lifecycle<Failure<E>>,
    inbox: Vec<Running<E>>,
    ids: u32,
    /// The driver is gone; what is spawned ends by itself.
    gone: bool,
    sink: ErrorSink,
    /// How an error leaves its type behind and keeps its value, once it is known that it may.
    erase: Option<Erase<E>>,
}

impl<E> Core<E> {
    pub(crate) fn new(
        scope: Arc<Scope>,
        ready: ReadyRef,
        collect: bool,
        limit: Option<usize>,
    ) -> Arc<Self> {
        let mut life = Lifecycle::new(collect);
        life.children_started(BATCH).expect("the body runs");
        scope.children.expect(BATCH);
        let state = State {
            life,
            inbox: Vec::new(),
            ids: BATCH,
            gone: false,
            sink: ErrorSink::Driver,
            erase: None,
        };
        let gate = limit.map(Gate::new);
        let records = info::records();
        let special = records || gate.is_some();
        let local = Local {
            fresh: RefCell::default(),
            last: Cell::new(BATCH),
            body: Cell::new(Body::Runs),
            erase: Cell::new(None),
            #[cfg(feature = "tokio")]
            spawned: RefCell::default(),
        };
        Arc::new(Self {
            local: DriverCell::new(ready, local),
            scope,
            collect,
            gate,
            records,
            special,
            waits: AtomicBool::new(false),
            state: Mutex::new(state),
        })
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
            self.show();
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
        self.show();
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
            None => self.keep_all(vec![child]),
        });
    }

    #[cfg(feature = "tokio")]
    fn keep_all(&self, children: Vec<TaskRef>) {
        let signal = &self.scope.signal;
        signal.workers.keep(children);
        if self.scope.is_hard() {
            signal.workers.abort();
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
            let spawned = local.spawned.take();
            if closed {
                drop(spawned);
                // Only a spawned child was ever there.
                if local.erase.get().is_some() {
                    self.scope.signal.workers.clear();
                }
                return;
            }
            if !spawned.is_empty() {
                self.keep_all(spawned);
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
        // 0 is the body's.
        state.ids = state.ids.checked_add(count).unwrap_or(count);
        Ok(state.ids)
    }

    /// Children have returned, and the body has ended if it `joins`: the lifecycle hears of the children, and of
    /// all that it was not told of.
    fn tell(&self, state: &mut State<E>, returned: u32, joins: bool) {
        let alive = self.scope.children.settle(returned, joins);
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

    /// One step under the lock, if there is anything to do: tells the lifecycle of the ends, hands out what was
    /// started once all that was started before has begun. Gives the errors once the nursery has closed, also
    /// to what was left below it.
    pub(crate) fn take_up(&self, fresh: &mut IntoIter<Running<E>>) -> Option<Vec<Failure<E>>> {
        self.local.with(|local| {
            let local = local.expect("only the driver drives");
            if self.has_no_news(local) {
                self.show();
                return None;
            }
            let state = &mut *self.state();
            self.catch_up(local, state);
            self.show();
            let has_inbox = !state.inbox.is_empty();
            if fresh.as_slice().is_empty() && (has_inbox || !local.fresh.borrow().is_empty()) {
                let mut started = local.fresh.take();
                if has_inbox {
                    self.scope.children.waiting.store(0, Ordering::Relaxed);
                    started.append(&mut state.inbox);
                    self.waits.store(false, Ordering::Relaxed);
                }
                *fresh = started.into_iter();
            }
            let closed = state.life.phase() == Phase::Closed && self.scope.close_to_orphans(false);
            closed.then(|| {
                state.sink = ErrorSink::Over;
                state.errors()
            })
        })
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
            let state = &mut *self.state();
            self.catch_up(local, state);
            let closed = state.life.phase() == Phase::Closed;
            local.fresh.borrow().is_empty()
                && state.inbox.is_empty()
                && !(closed && self.scope.close_to_orphans(false))
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
                Body::Returned | Body::Ended => false,
                Body::Told => self.scope.children.alive() > 0,
            }
    }

    /// Whether no child was started here since the driver's last look. While numbers are left that
    /// were not taken, the last child would not know that it is the last.
    fn is_caught_up(&self, local: &Local<E>) -> bool {
        local.fresh.borrow().is_empty() && self.scope.children.spare.load(Ordering::Relaxed) == 0
    }

    fn catch_up(&self, local: &Local<E>, state: &mut State<E>) {
        // Only this thread changes these.
        let [spare, done] = [&self.scope.children.spare, &self.scope.children.done].map(|count| {
            let before = count.load(Ordering::Relaxed);
            count.store(0, Ordering::Relaxed);
            before
        });
        let body = match local.body.get() {
            Body::Runs => Body::Runs,
            _ => local.body.replace(Body::Told),
        };
        if body == Body::Returned {
            state.life.body_ended(Outcome::Done);
        }
        self.tell(state, spare + done, matches!(body, Body::Returned | Body::Ended));
        state.erase = local.erase.get().or(state.erase);
        local.erase.set(state.erase);
        if state.ids == local.last.get() {
            // No number was taken since: these are given again.
            state.ids -= spare;
        }
    }

    /// A dump is told how many children there are.
    pub(crate) fn show(&self) {
        self.scope.signal.info.set_running(self.running());
    }
}

impl<E> State<E> {
    fn errors(&mut self) -> Vec<Failure<E>> {
        self.life.verdict().into_errors()
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
            n.core().state().ids = u32::MAX - 1000;
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
