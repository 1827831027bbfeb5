//! What our own waits are: one object that a coroutine yields and that knows how to wake whoever
//! yielded it. One of our tasks goes from it straight to the ready queue; a foreign task finds in
//! it the future that it expects, and `create_task` the coroutine. It must never decide what a
//! cancellation means: a withdrawn wait says that it waits no longer, no more.
//!
//! What it is and how it goes is here; `waiters` has what waits for it, `over` how it ends, `clock` what is due,
//! `coroutine` its side as a coroutine, `future` its side as a future, `class` its type.

mod class;
pub mod clock;
mod coroutine;
mod future;
mod over;
mod waiter;
mod waiters;

use std::cell::{Cell, RefCell};
use std::sync::OnceLock;

use nursery_core::{Alarm, TimerId};
use pyo3::ffi;

use crate::cpython::imports::imports;
use crate::cpython::object::{Fallible, Owned, Raised, Raw, Slot, call0, call1, raise};
use crate::engine::home::{Home, HomeSlot};
use crate::engine::state::{Key, LoopState};
use crate::engine::timers;

pub use class::add_to;
pub use coroutine::go_on;
pub use over::{cancelled_error, complete, wake_joiner};
use waiter::Waiter;
pub use waiters::{interrupt, notify, park, withdraw};

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
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
    /// Whatever somebody sets: a turn at a lock, an event, an item.
    Parked,
}

/// Where a wait stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    New,
    Waiting,
    Done,
    Cancelled,
    /// Its outcome was handed over.
    Spent,
}

/// What a join does, which is above what waits are: when it begins, and what becomes of what comes to
/// it meanwhile.
pub struct Ops {
    /// The first `send`. Returns whether there is nothing to wait for.
    pub begin: unsafe fn(Raw) -> Fallible<bool>,
    /// It is awaited once more while it waits: raises if that is a mistake.
    pub again: unsafe fn(Raw) -> Fallible<()>,
    /// What was waited for is there: gives what `await` does. `true` if it has waited.
    pub finish: unsafe fn(Raw, bool) -> Fallible<Owned>,
    /// An exception is thrown in, which has been raised: what `throw` answers.
    pub throw: unsafe fn(Raw, Raised) -> Raw,
    /// It was closed, or goes, while it waited; nothing asks for its end.
    pub abandon: unsafe fn(Raw),
    /// What waits for it was cancelled from outside.
    pub cancelled: unsafe fn(&LoopState, Raw),
}

#[repr(C)]
pub struct Wait {
    head: ffi::PyObject,
    kind: Cell<Kind>,
    phase: Cell<Phase>,
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
    task: Slot,
    payload: Slot,
    /// What `await` returns; for `Join`, what its ops keep there.
    value: Slot,
    others: RefCell<Vec<Waiter>>,
    /// More than one has waited for it at a time: it keeps its outcome, as a future does.
    shared: Cell<bool>,
    /// How many have ceased to wait while others went on, and have not thrown into it yet.
    leaving: Cell<u32>,
    message: Slot,
}

static TYPE: OnceLock<usize> = OnceLock::new();

fn class() -> *mut ffi::PyTypeObject {
    *TYPE.get().expect("the module has been imported") as *mut ffi::PyTypeObject
}

#[inline]
pub unsafe fn is_wait(object: Raw) -> bool {
    // SAFETY: the caller's object is alive.
    unsafe { ffi::Py_TYPE(object) == class() }
}

/// The inside of a wait. The reference lives as long as the caller keeps the object.
#[inline]
pub unsafe fn wait<'a>(object: Raw) -> &'a Wait {
    // SAFETY: the caller has checked the type.
    unsafe { &*object.cast() }
}

/// A new wait. `when` is a span or a moment in seconds, for the kinds that have one.
pub unsafe fn create(kind: Kind, when: f64, payload: Option<Owned>) -> Fallible<Owned> {
    // SAFETY: CPython zeroes what it allocates; every field is valid as zeros or set here.
    unsafe {
        let class = class();
        let object = Owned::new(ffi::PyType_GenericAlloc(class, 0))?;
        let this = object.as_ptr().cast::<Wait>();
        (&raw mut (*this).kind).write(Cell::new(kind));
        (&raw mut (*this).phase).write(Cell::new(Phase::New));
        (&raw mut (*this).timer).write(Cell::new(None));
        (&raw mut (*this).when).write(Cell::new(when));
        (&raw mut (*this).others).write(RefCell::new(Vec::new()));
        drop((*this).payload.replace(payload));
        Ok(object)
    }
}

/// A new join, which has `ops`.
pub unsafe fn create_join(ops: &'static Ops, payload: Owned) -> Fallible<Owned> {
    // SAFETY: attached; the new wait is alive.
    unsafe {
        let made = create(Kind::Join, 0.0, Some(payload))?;
        wait(made.as_ptr()).ops.set(Some(ops));
        Ok(made)
    }
}

/// What waits for a wait was cancelled from outside while it holds cancellations back (R15).
pub unsafe fn host_cancelled(state: &LoopState, object: Raw) {
    // SAFETY: attached; the caller's wait is alive.
    unsafe {
        if let Some(ops) = wait(object).ops.get() {
            (ops.cancelled)(state, object);
        }
    }
}

/// Ties a wait to a loop.
pub unsafe fn settle_in(object: Raw, state: &LoopState) {
    // SAFETY: the caller's wait is alive.
    unsafe {
        let this = wait(object);
        this.home.set(state.home());
    }
}

impl Wait {
    pub fn state(&self) -> Option<&LoopState> {
        self.home.state()
    }

    pub fn payload(&self) -> &Slot {
        &self.payload
    }

    /// What it brings; a join's ops keep an exception there.
    pub fn value(&self) -> &Slot {
        &self.value
    }

    /// What a join does.
    fn join_ops(&self) -> &'static Ops {
        self.ops.get().expect("a join was made with its ops")
    }

    /// What its ops keep in it.
    pub fn notes(&self) -> &Cell<u8> {
        &self.notes
    }

    /// Where it stands; its ops may end it.
    pub fn phase(&self) -> &Cell<Phase> {
        &self.phase
    }

    /// The task of ours that waits.
    pub fn task(&self) -> &Slot {
        &self.task
    }

    /// Raises the `CancelledError` of a wait that was cancelled, with its message.
    unsafe fn raise_cancelled(&self) -> Raised {
        // SAFETY: attached.
        unsafe {
            let kind = imports().cancelled_error;
            let error = match self.message.cloned() {
                Some(message) => call1(kind, message.as_ptr()),
                None => call0(kind),
            };
            match error {
                Ok(error) => raise(error),
                Err(raised) => raised,
            }
        }
    }

    /// Takes the task of ours that waits out.
    pub fn take_task(&self) -> Option<Owned> {
        self.task.take()
    }

    /// Takes a callback out that is all there is: the function and its context.
    pub fn take_only_callback(&self) -> Option<(Owned, Owned)> {
        if !matches!(self.others.borrow().as_slice(), [Waiter::Callback(..)]) {
            return None;
        }
        match self.others.borrow_mut().pop() {
            Some(Waiter::Callback(function, context)) => Some((function, context)),
            _ => None,
        }
    }

    /// Puts back what [`Self::take_only_callback`] has taken.
    pub fn put_back(&self, function: Owned, context: Owned) {
        self.others.borrow_mut().push(Waiter::Callback(function, context));
    }

    fn clear(&self) {
        self.task.clear();
        self.payload.clear();
        self.value.clear();
        drop(self.others.take());
        self.message.clear();
        self.home.clear();
    }
}

/// The loop of a wait; the one that runs if it has none yet.
unsafe fn at_home(object: Raw) -> Fallible<Home> {
    // SAFETY: attached; the caller's wait is alive.
    unsafe {
        if let Some(home) = wait(object).home.cloned() {
            return Ok(home);
        }
        let state = LoopState::current()?;
        settle_in(object, &state);
        Ok(state)
    }
}

/// Starts what is waited for: sets the timer.
unsafe fn start(object: Raw) -> Fallible<()> {
    // SAFETY: attached; the caller's wait is alive.
    unsafe {
        let this = wait(object);
        if this.phase.get() != Phase::New {
            return Ok(());
        }
        let state = &*at_home(object)?;
        let kind = this.kind.get();
        if matches!(kind, Kind::Span | Kind::Moment) {
            let moment = match kind {
                Kind::Span => state.now()? + this.when.get(),
                _ => this.when.get(),
            };
            if moment < f64::INFINITY {
                let moment = moment.max(f64::MIN);
                let alarm = Alarm::Wake(Key(Owned::share(object).into_ptr()));
                let timer = state.tree.touch(|tree| tree.timers.insert(moment, alarm));
                this.timer.set(Some(timer));
                timers::arm(state);
            }
        }
        this.phase.set(Phase::Waiting);
        Ok(())
    }
}

/// Whether a wait was cut short or cancelled.
#[inline]
pub unsafe fn is_cancelled(object: Raw) -> bool {
    // SAFETY: the caller's wait is alive.
    unsafe { wait(object).phase.get() == Phase::Cancelled }
}

/// Takes a wait out of wherever it stands.
unsafe fn stop_waiting(object: Raw) {
    // SAFETY: attached; the caller's wait is alive.
    unsafe {
        let this = wait(object);
        if let (Some(timer), Some(state)) = (this.timer.take(), this.state()) {
            let alarm = state.tree.touch(|tree| tree.timers.remove(timer));
            if let Alarm::Wake(Key(held)) = alarm {
                drop(Owned::maybe(held));
            }
        }
    }
}

/// The heap has gone with its loop.
pub unsafe fn forget_timer(object: Raw) {
    // SAFETY: the caller's wait is alive.
    unsafe { wait(object).timer.set(None) }
}

/// What a wait was cancelled with.
pub unsafe fn message(object: Raw) -> Option<Owned> {
    // SAFETY: the caller's wait is alive.
    unsafe { wait(object).message.cloned() }
}

/// A child is made of a wait, and may be cancelled before it begins.
pub unsafe fn claim(object: Raw) {
    // SAFETY: the caller's wait is alive.
    unsafe { wait(object).claimed.set(true) }
}

/// A wait is refused before it began.
pub unsafe fn close(object: Raw) {
    // SAFETY: the caller's wait is alive.
    unsafe {
        if wait(object).phase.get() == Phase::New {
            wait(object).phase.set(Phase::Spent);
        }
    }
}
