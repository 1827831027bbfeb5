//! What our own waits are: one object that a coroutine yields and that knows how to wake the task that
//! yielded it. One of our tasks goes from it straight to the ready queue; a foreign task finds in
//! it the future that it expects, and `create_task` the coroutine. It must never decide what a
//! cancellation means: a withdrawn wait says that it waits no longer, no more.
//!
//! What it is and how it goes is here; `waiters` has what waits for it, `over` how it ends, `clock` what is due,
//! `coroutine` its side as a coroutine, `future` its side as a future, `class` its type.

mod class;
pub(crate) mod clock;
mod coroutine;
mod future;
mod over;
mod waiters;

use std::cell::{Cell, RefCell};

use nursery_core::{Alarm, TimerId};

use crate::cpython::call::{call0, call1};
use crate::cpython::class::{Class, Heap};
use crate::cpython::errors::{Fallible, Raised, raise};
use crate::cpython::imports::imports;
use crate::cpython::object::{Object, Typed};
use crate::cpython::owned::Owned;
use crate::cpython::slot::Slot;
use crate::engine::home::{Home, HomeSlot};
use crate::engine::state::LoopState;
use crate::engine::timers;
use crate::task::{Task, Waiter};
use pyo3::prelude::*;

pub(crate) use class::add_to;
pub(crate) use coroutine::{advance, go_on};
pub(crate) use future::check_thread;
pub(crate) use over::{cancelled_error, complete, host_ended, wake_joiner};
pub(crate) use waiters::{interrupt, notify, park, withdraw};

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum WaitKind {
    /// Nothing: it returns its payload at once.
    Ready,
    /// The next turn of the loop.
    Turn,
    /// A span of time, from the first `send` on.
    Span,
    /// A moment on the loop's clock.
    Moment,
    /// Nothing that could ever come.
    Forever,
    /// What its ops say: a nursery's children.
    Join,
    /// Whatever is set from outside: a turn at a lock, an event, an item.
    Parked,
}

/// Where a wait stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum WaitPhase {
    New,
    Waiting,
    Done,
    Cancelled,
    /// Its outcome was taken.
    Taken,
}

/// What a join does, which is above what waits are: when it begins, and what becomes of what comes to
/// it meanwhile.
pub(crate) struct Ops {
    /// The first `send`. Returns whether there is nothing to wait for.
    pub begin: fn(&WaitObject) -> Fallible<bool>,
    /// It is awaited once more while it waits: raises if that is a mistake.
    pub again: fn(&WaitObject) -> Fallible<()>,
    /// What was waited for is there: gives what `await` does. `true` if it has waited.
    pub finish: fn(&WaitObject, bool) -> Fallible<Owned>,
    /// An exception is thrown in, which has been raised: what `throw` answers.
    pub throw: fn(&WaitObject, Raised) -> Fallible<Owned>,
    /// It was closed, or goes, before its end was taken; nothing asks for that any more.
    pub abandon: fn(Python<'_>, &Wait),
    /// What waits for it was cancelled from outside.
    pub cancelled: fn(&LoopState, &WaitObject),
    /// Of several such cancellations the last one's message stands, not the first one's.
    pub takes_last: bool,
}

/// What is inside a wait.
pub(crate) struct Wait {
    kind: Cell<WaitKind>,
    phase: Cell<WaitPhase>,
    blocking: Cell<bool>,
    /// A child was made of it: that it was never awaited says nothing.
    claimed: Cell<bool>,
    /// What its ops keep here.
    notes: Cell<u8>,
    /// Of a join, and of no other.
    ops: Cell<Option<&'static Ops>>,
    timer: Cell<Option<TimerId>>,
    when: Cell<f64>,
    home: HomeSlot,
    /// The task of ours that waits.
    task: Slot<Task>,
    payload: Slot,
    /// What `await` returns; for `Join`, what its ops keep there.
    value: Slot,
    others: RefCell<Vec<Waiter<Task>>>,
    /// More than one has waited for it at a time: it keeps its outcome, as a future does.
    shared: Cell<bool>,
    /// How many have ceased to wait while others went on, and have not thrown into it yet.
    leaving: Cell<u32>,
    /// What it was cancelled with; None for no message.
    message: Slot,
}

/// A wait, as the object that it is.
pub(crate) type WaitObject = Heap<Wait>;

static CLASS: Class<Wait> = Class::new();

#[inline]
pub(crate) fn is_wait(object: &Object) -> bool {
    <WaitObject as Typed>::is(object)
}

/// Whether it is a nursery's join.
pub(crate) fn is_join(object: &Object) -> bool {
    object.cast::<WaitObject>().is_some_and(|wait| wait.kind.get() == WaitKind::Join)
}

/// A new wait. `when` is a span or a moment in seconds, for the kinds that have one.
pub(crate) fn create(
    py: Python<'_>,
    kind: WaitKind,
    when: f64,
    payload: Option<Owned>,
) -> Fallible<Owned<WaitObject>> {
    let wait = Wait {
        kind: Cell::new(kind),
        phase: Cell::new(WaitPhase::New),
        blocking: Cell::new(false),
        claimed: Cell::new(false),
        notes: Cell::new(0),
        ops: Cell::new(None),
        timer: Cell::new(None),
        when: Cell::new(when),
        home: HomeSlot::default(),
        task: Slot::empty(),
        payload: Slot::empty(),
        value: Slot::empty(),
        others: RefCell::new(Vec::new()),
        shared: Cell::new(false),
        leaving: Cell::new(0),
        message: Slot::empty(),
    };
    drop(wait.payload.replace(payload));
    CLASS.make(py, wait)
}

/// A new join, which has `ops`.
pub(crate) fn create_join(
    py: Python<'_>,
    ops: &'static Ops,
    payload: Owned,
) -> Fallible<Owned<WaitObject>> {
    let made = create(py, WaitKind::Join, 0.0, Some(payload))?;
    made.ops.set(Some(ops));
    Ok(made)
}

/// What waits for a wait was cancelled from outside while it holds cancellations back (R15).
pub(crate) fn host_cancelled(state: &LoopState, wait: &WaitObject) {
    if let Some(ops) = wait.ops.get() {
        (ops.cancelled)(state, wait);
    }
}

impl Wait {
    /// Ties it to a loop.
    pub(crate) fn attach_to(&self, state: &LoopState) {
        self.home.set(state.home());
    }

    pub(crate) fn state(&self) -> Option<Home> {
        self.home.cloned()
    }

    pub(crate) fn payload(&self) -> &Slot {
        &self.payload
    }

    /// What it brings; a join's ops keep an exception there.
    pub(crate) fn value(&self) -> &Slot {
        &self.value
    }

    /// What a join does.
    fn join_ops(&self) -> &'static Ops {
        self.ops.get().expect("a join was made with its ops")
    }

    /// Nothing asks for the end of a join any more: it lets go of its nursery.
    #[cold]
    fn abandon(&self, py: Python<'_>) {
        self.phase.set(WaitPhase::Taken);
        (self.join_ops().abandon)(py, self);
    }

    /// What its ops keep in it.
    pub(crate) fn notes(&self) -> &Cell<u8> {
        &self.notes
    }

    /// Where it stands; its ops may end it.
    pub(crate) fn phase(&self) -> &Cell<WaitPhase> {
        &self.phase
    }

    /// The task of ours that waits.
    pub(crate) fn task(&self) -> &Slot<Task> {
        &self.task
    }

    /// Raises the `CancelledError` of a wait that was cancelled, with its message.
    fn raise_cancelled(&self, py: Python<'_>) -> Raised {
        let kind = imports(py).cancelled_error;
        let error = match self.message() {
            Some(message) => call1(kind, &message),
            None => call0(kind),
        };
        match error {
            Ok(error) => raise(error),
            Err(raised) => raised,
        }
    }

    /// Takes the task of ours that waits out.
    pub(crate) fn take_task(&self) -> Option<Owned<Task>> {
        self.task.take()
    }

    /// Takes a callback out that is all there is: the function and its context.
    pub(crate) fn take_only_callback(&self) -> Option<(Owned, Owned)> {
        if !matches!(self.others.borrow().as_slice(), [Waiter::Callback(..)]) {
            return None;
        }
        match self.others.borrow_mut().pop() {
            Some(Waiter::Callback(function, context)) => Some((function, context)),
            _ => None,
        }
    }

    /// Puts back what [`Self::take_only_callback`] has taken.
    pub(crate) fn put_back(&self, function: Owned, context: Owned) {
        self.others.borrow_mut().push(Waiter::Callback(function, context));
    }

    /// The loop of a wait; the one that runs if it has none yet.
    fn at_home(&self, py: Python<'_>) -> Fallible<Home> {
        if let Some(home) = self.home.cloned() {
            return Ok(home);
        }
        let state = LoopState::current(py)?;
        self.attach_to(&state);
        Ok(state)
    }

    /// Takes it out of wherever it stands.
    fn stop_waiting(&self) {
        if let (Some(timer), Some(state)) = (self.timer.take(), self.home.cloned()) {
            // The heap's reference goes after the tree is free again.
            drop(state.tree.touch(|tree| tree.timers.remove(timer)));
        }
    }

    /// The heap has gone with its loop.
    pub(crate) fn forget_timer(&self) {
        self.timer.set(None);
    }

    /// Whether it takes the message of a cancellation that comes after others.
    pub(crate) fn takes_last(&self) -> bool {
        self.ops.get().is_some_and(|ops| ops.takes_last)
    }

    /// The message that it was cancelled with, if there was one.
    pub(crate) fn message(&self) -> Option<Owned> {
        self.message.cloned().filter(|message| !message.is_none())
    }

    /// Whether what is waited for may still come.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.phase.get(), WaitPhase::New | WaitPhase::Waiting)
    }

    /// Whether it was cut short or cancelled.
    #[inline]
    pub(crate) fn is_cancelled(&self) -> bool {
        self.phase.get() == WaitPhase::Cancelled
    }

    /// A child is made of it, and may be cancelled before it begins.
    pub(crate) fn claim(&self) {
        self.claimed.set(true);
    }

    /// It is refused before it began.
    pub(crate) fn close(&self) {
        if self.phase.get() == WaitPhase::New {
            self.phase.set(WaitPhase::Taken);
        }
    }
}

/// Starts what is waited for: sets the timer.
fn start(this: &WaitObject) -> Fallible<()> {
    if this.phase.get() != WaitPhase::New {
        return Ok(());
    }
    let state = &*this.at_home(this.py())?;
    let kind = this.kind.get();
    if matches!(kind, WaitKind::Span | WaitKind::Moment) {
        let moment = match kind {
            WaitKind::Span => state.now()? + this.when.get(),
            _ => this.when.get(),
        };
        let moment = moment.max(f64::MIN);
        timers::arm_by(state, moment).inspect_err(|_| this.phase.set(WaitPhase::Taken))?;
        // The loop's code has run, and may have begun this wait for another.
        if this.phase.get() != WaitPhase::New {
            return Ok(());
        }
        // One without end stands there, too: as with asyncio, the loop keeps a task that sleeps.
        let alarm = Alarm::Wake(Owned::share(this.object()));
        let timer = state.tree.touch(|tree| tree.timers.insert(moment, alarm));
        this.timer.set(Some(timer));
    }
    this.phase.set(WaitPhase::Waiting);
    Ok(())
}
