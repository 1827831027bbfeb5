//! What a nursery's driver, its handles and its spawned children share: the lifecycle and the
//! children that wait to be taken up, under one lock, so that closing and starting are one step.
//! Decides nothing: the core's `Lifecycle` says what an end means. It must run nobody's code
//! while it holds the lock.

use std::sync::{Arc, Mutex, MutexGuard};

use nursery_core::{Ended, Lifecycle, Outcome, Phase, Source, Verdict};

use crate::about::Stage;
use crate::adopted::AdoptedError;
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
    /// How an error leaves its type behind; keeps the value once it is known that it may be kept.
    erase: fn(E) -> AdoptedError,
    /// The driver is gone; what is spawned ends by itself.
    gone: bool,
    heir: Heir,
}

/// Who is told of the errors that are left when the driver is gone.
enum Heir {
    /// The driver gives them back, or has not left yet.
    Driver,
    /// Whoever adopted what still runs; the program, if there is nobody.
    Adopter(Option<Arc<Scope>>),
    /// They have been given to whoever it was: what comes later is the program's.
    Over,
}

/// The errors of a dropped nursery whose last child has ended, and who is told of them.
type Left<E> = Option<(Option<Arc<Scope>>, Vec<Failure<E>>, fn(E) -> AdoptedError)>;

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
            erase: AdoptedError::note,
            gone: false,
            heir: Heir::Driver,
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
            self.scope.signal.about.set_running(state.life.running());
            (id, state.inbox.len() == 1)
        };
        if first {
            self.ready.poke();
        }
        Ok(id)
    }

    /// A spawned child starts.
    #[cfg(feature = "tokio")]
    pub(crate) fn start_spawned(&self) -> Result<u32, NurseryClosed>
    where
        E: Send + 'static,
    {
        let state = &mut *self.state();
        state.erase = AdoptedError::keep;
        let id = state.admit()?;
        self.scope.signal.about.set_running(state.life.running());
        Ok(id)
    }

    /// A child has failed, was cancelled, or (spawned) ended in any way.
    pub(crate) fn ended(&self, outcome: Outcome<Failure<E>>, who: impl FnOnce() -> Reason) {
        let (Ended { cancel, closed }, left) = {
            let state = &mut *self.state();
            let ended = state.life.child_ended(outcome);
            self.scope.signal.about.set_running(state.life.running());
            (ended, if state.gone { state.settle() } else { None })
        };
        self.act(cancel, who);
        hand_over(left);
        if closed {
            self.ready.poke();
        }
    }

    /// An error of a child that has ended without it. Cancels as any other does (R6).
    pub(crate) fn fail(&self, failure: Failure<E>) {
        let reason = Reason::from(failure.label().to_string());
        let late = {
            let state = &mut *self.state();
            if matches!(state.heir, Heir::Over) {
                Some((None, vec![failure], state.erase))
            } else {
                state.life.error(failure);
                None
            }
        };
        self.act(!self.collect, || reason);
        hand_over(late);
    }

    /// The body has ended.
    pub(crate) fn body_ended(&self, outcome: Outcome<Failure<E>>) {
        let cancelled = matches!(outcome, Outcome::Cancelled);
        let ended = self.state().life.body_ended(outcome);
        if self.scope.signal.about.stage() == Stage::Open {
            self.scope.signal.about.set_stage(Stage::Joining);
        }
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
        self.scope.signal.about.set_stage(Stage::Dropped);
        inbox
    }

    /// What is left once the driver's own children are gone is adopted, with every error that
    /// nobody has seen.
    pub(crate) fn leave_orphans(&self) {
        self.scope.pass_on_orphans();
        let is_clean = {
            let state = &mut *self.state();
            let clean = state.life.running() == 0 && state.life.errors().next().is_none();
            if clean {
                state.heir = Heir::Over;
            }
            clean
        };
        if is_clean {
            return;
        }
        let adopter = self.scope.adopter();
        let left = {
            let state = &mut *self.state();
            state.heir = Heir::Adopter(adopter);
            state.settle()
        };
        hand_over(left);
    }

    /// The driver gives the errors back.
    pub(crate) fn finish(&self) -> Vec<Failure<E>> {
        self.scope.signal.about.set_stage(Stage::Closed);
        let state = &mut *self.state();
        state.heir = Heir::Over;
        state.errors()
    }
}

/// Runs the destructors of errors that cannot be kept: not to be called under the lock.
fn hand_over<E>(left: Left<E>) {
    let Some((adopter, failures, erase)) = left else { return };
    let errors = failures.into_iter().filter_map(|failure| failure.into_lost(erase)).collect();
    match adopter {
        Some(adopter) => adopter.orphans_ended(errors),
        None => crate::adopted::report(errors),
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

    /// What the last of an abandoned nursery's children tells whoever adopted it.
    fn settle(&mut self) -> Left<E> {
        if self.life.running() > 0 {
            return None;
        }
        match std::mem::replace(&mut self.heir, Heir::Over) {
            Heir::Adopter(adopter) => Some((adopter, self.errors(), self.erase)),
            heir => {
                self.heir = heir;
                None
            }
        }
    }

    fn errors(&mut self) -> Vec<Failure<E>> {
        match self.life.verdict() {
            Verdict::Clean => Vec::new(),
            Verdict::Errors(failures) => failures,
            Verdict::Bare { error, mut beside } => {
                beside.insert(0, error);
                beside
            }
        }
    }
}
