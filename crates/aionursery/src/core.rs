//! What a nursery's driver, its handles and its spawned children share: the lifecycle and the
//! children that wait to be taken up, under one lock, so that closing and starting are one step.
//! Decides nothing: the core's `Lifecycle` says what an end means. It must run nobody's code
//! while it holds the lock.

use std::sync::{Arc, Mutex, MutexGuard};

use nursery_core::{Ended, Lifecycle, Outcome, Phase, Source};

use crate::error::{Failure, NurseryClosed};
use crate::limit::Gate;
use crate::ready::{Share, Stock};
use crate::scope::{Reason, Scope, lock};
use crate::task::Running;

pub(crate) struct Core<E> {
    pub(crate) scope: Arc<Scope>,
    pub(crate) ready: Share,
    pub(crate) collect: bool,
    pub(crate) gate: Option<Arc<Gate>>,
    state: Mutex<State<E>>,
}

pub(crate) struct State<E> {
    pub(crate) life: Lifecycle<Failure<E>>,
    pub(crate) inbox: Vec<Running<E>>,
    pub(crate) stock: Stock,
    #[cfg(feature = "tokio-util")]
    pub(crate) links: Vec<std::pin::Pin<Box<dyn Future<Output = ()> + Send>>>,
    ids: u32,
    /// The driver is gone; what is spawned ends by itself.
    gone: bool,
    #[cfg(feature = "tokio")]
    adopter: Option<Arc<Scope>>,
}

impl<E> Core<E> {
    pub(crate) fn new(
        scope: Arc<Scope>,
        ready: Share,
        collect: bool,
        limit: Option<usize>,
    ) -> Arc<Self> {
        let state = State {
            life: Lifecycle::new(collect),
            inbox: Vec::new(),
            stock: Stock::new(ready.clone()),
            #[cfg(feature = "tokio-util")]
            links: Vec::new(),
            ids: 0,
            gone: false,
            #[cfg(feature = "tokio")]
            adopter: None,
        };
        let gate = limit.map(Gate::new);
        Arc::new(Self { scope, ready, collect, gate, state: Mutex::new(state) })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State<E>> {
        lock(&self.state)
    }

    pub(crate) fn is_closed(&self) -> bool {
        let state = self.state();
        state.gone || state.life.phase() == Phase::Closed
    }

    /// A child of this task starts, or is handed back.
    pub(crate) fn start(&self, task: Running<E>) -> Result<u32, Running<E>> {
        let (id, first) = {
            let state = &mut *self.state();
            let Ok(id) = state.admit() else { return Err(task) };
            task.admit(id, state.stock.take());
            state.inbox.push(task);
            (id, state.inbox.len() == 1)
        };
        if first {
            self.ready.poke();
        }
        Ok(id)
    }

    /// A spawned child starts.
    #[cfg(feature = "tokio")]
    pub(crate) fn start_spawned(&self) -> Result<u32, NurseryClosed> {
        self.state().admit()
    }

    /// A child has failed, was cancelled, or (spawned) ended in any way.
    pub(crate) fn ended(&self, outcome: Outcome<Failure<E>>, who: impl FnOnce() -> Reason) {
        let Ended { cancel, closed } = {
            let state = &mut *self.state();
            let ended = state.life.child_ended(outcome);
            #[cfg(feature = "tokio")]
            if state.gone {
                state.settle_orphans();
            }
            ended
        };
        self.act(cancel, who);
        if closed {
            self.ready.poke();
        }
    }

    /// The body has ended.
    pub(crate) fn body_ended(&self, outcome: Outcome<Failure<E>>) {
        let cancelled = matches!(outcome, Outcome::Cancelled);
        let ended = self.state().life.body_ended(outcome);
        if ended.cancel && cancelled {
            self.scope.cancel(Source::Host, None);
        } else {
            self.act(ended.cancel, || "the body failed".into());
        }
    }

    fn act(&self, cancel: bool, who: impl FnOnce() -> Reason) {
        if cancel {
            self.scope.cancel(Source::Failure, Some(who()));
        }
    }

    /// The driver goes. Hands out what nobody has taken up; spawned children that are left are
    /// given to the nearest nursery above that is alive (R28).
    pub(crate) fn abandon(&self) -> Vec<Running<E>> {
        let inbox = {
            let state = &mut *self.state();
            state.gone = true;
            std::mem::take(&mut state.inbox)
        };
        self.scope.close_to_orphans(true);
        inbox
    }

    /// What is left once the driver's own children are gone is adopted.
    pub(crate) fn leave_orphans(&self) {
        #[cfg(feature = "tokio")]
        {
            let adopter = self.scope.adopter();
            let state = &mut *self.state();
            state.adopter = adopter;
            state.settle_orphans();
        }
    }
}

impl<E> State<E> {
    fn admit(&mut self) -> Result<u32, NurseryClosed> {
        if self.gone {
            return Err(NurseryClosed);
        }
        self.life.child_started().map_err(|_| NurseryClosed)?;
        self.ids += 1;
        Ok(self.ids)
    }

    /// The last of an abandoned nursery's children tells whoever adopted it.
    #[cfg(feature = "tokio")]
    fn settle_orphans(&mut self) {
        if self.life.running() == 0
            && let Some(adopter) = self.adopter.take()
        {
            let failures = match self.life.verdict() {
                nursery_core::Verdict::Errors(failures) => failures,
                _ => Vec::new(),
            };
            adopter.orphans_ended(failures.into_iter().filter_map(Failure::into_panic).collect());
        }
    }
}
