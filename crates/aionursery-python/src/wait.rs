//! What our own waits are: one object that a coroutine yields and that knows how to wake whoever
//! yielded it. One of our tasks goes from it straight to the ready queue; a foreign task finds in
//! it the future that it expects, and `create_task` the coroutine. It must never decide what a
//! cancellation means: a withdrawn wait says that it waits no longer, no more.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_int, c_void};
use std::sync::OnceLock;

use nursery_core::{Alarm, TimerId};
use pyo3::ffi;
use pyo3::prelude::*;

use crate::args::{given, parse};
use crate::entry::guard;
use crate::imports::imports;
use crate::object::{
    Aside, Fallible, Owned, Raised, Raw, Slot, none, raise, set_error, take_raised,
};
use crate::state::{Key, LoopState};
use crate::task::{self, raise_thrown, stop};
use crate::{nursery, timers};

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
    /// A nursery's children; the payload is the nursery.
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

#[repr(C)]
pub struct Wait {
    head: ffi::PyObject,
    kind: Cell<Kind>,
    phase: Cell<Phase>,
    blocking: Cell<bool>,
    /// A child was made of it: that it was never awaited says nothing.
    claimed: Cell<bool>,
    /// A cancellation of the host came while it joined.
    held: Cell<bool>,
    /// ... and was thrown in, so that `value` is that error and not the body's.
    thrown: Cell<bool>,
    timer: Cell<Option<TimerId>>,
    when: Cell<f64>,
    home: Slot,
    state: Cell<*const LoopState>,
    /// The task of ours that waits.
    task: Slot,
    payload: Slot,
    /// What `await` returns, or the exception that the block ended with (`Join`).
    value: Slot,
    callbacks: RefCell<Vec<(Owned, Owned)>>,
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
        let alloc = (*class).tp_alloc.ok_or(Raised)?;
        let object = Owned::new(alloc(class, 0))?;
        let this = object.as_ptr().cast::<Wait>();
        (&raw mut (*this).kind).write(Cell::new(kind));
        (&raw mut (*this).phase).write(Cell::new(Phase::New));
        (&raw mut (*this).timer).write(Cell::new(None));
        (&raw mut (*this).when).write(Cell::new(when));
        (&raw mut (*this).callbacks).write(RefCell::new(Vec::new()));
        drop((*this).payload.replace(payload));
        Ok(object)
    }
}

/// Ties a wait to a loop.
pub unsafe fn settle_in(object: Raw, state: &LoopState) {
    // SAFETY: the caller's wait is alive.
    unsafe {
        let this = wait(object);
        this.home.set(Owned::share(state.this.get()));
        this.state.set(state);
    }
}

impl Wait {
    pub fn state(&self) -> Option<&LoopState> {
        let state = self.state.get();
        // SAFETY: `home` keeps it alive.
        (!state.is_null()).then(|| unsafe { &*state })
    }

    pub fn payload(&self) -> &Slot {
        &self.payload
    }

    /// What it brings; for a join, the exception that the body ended with.
    pub fn value(&self) -> &Slot {
        &self.value
    }

    /// Whether a cancellation of the host came while it joined; asked once.
    pub fn take_held(&self) -> bool {
        self.held.take()
    }

    fn clear(&self) {
        self.task.clear();
        self.payload.clear();
        self.value.clear();
        drop(self.callbacks.take());
        self.message.clear();
        self.state.set(std::ptr::null());
        self.home.clear();
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
        if this.state().is_none() {
            settle_in(object, LoopState::current()?);
        }
        let state = this.state().ok_or(Raised)?;
        let kind = this.kind.get();
        if matches!(kind, Kind::Span | Kind::Moment) {
            let moment = match kind {
                Kind::Span => state.now()? + this.when.get(),
                _ => this.when.get(),
            };
            if moment < f64::INFINITY {
                let moment = moment.max(f64::MIN);
                let alarm = Alarm::Wake(Key(Owned::share(object).into_ptr()));
                let timer = state.tree.borrow_mut().timers.insert(moment, alarm);
                this.timer.set(Some(timer));
                timers::arm(state);
            }
        }
        this.phase.set(Phase::Waiting);
        Ok(())
    }
}

/// One of our tasks has yielded a wait: it waits for it from now on. Says no if it must be treated
/// as any future instead (two tasks wait for one object, another loop's).
#[inline]
pub unsafe fn park(state: &LoopState, object: Raw, task: Raw) -> bool {
    // SAFETY: attached; the caller's objects are alive.
    unsafe {
        let this = wait(object);
        let same = this.state.get() == std::ptr::from_ref(state);
        if !same || !this.task.is_empty() || !this.blocking.get() {
            return false;
        }
        if this.phase.get() != Phase::Waiting {
            return false;
        }
        this.blocking.set(false);
        this.task.set(Owned::share(task));
        if this.kind.get() == Kind::Join {
            let ours = task::data(task);
            ours.raise_flags(task::flag::JOINING);
            if task::is_asked(state, task) {
                host_cancelled(state, object);
            }
        }
        true
    }
}

/// What was waited for is there.
pub unsafe fn complete(object: Raw, value: Option<Owned>) {
    // SAFETY: attached; the caller's wait is alive.
    unsafe {
        let this = wait(object);
        if !matches!(this.phase.get(), Phase::New | Phase::Waiting) {
            return;
        }
        if value.is_some() {
            drop(this.value.replace(value));
        }
        this.phase.set(Phase::Done);
        notify(object);
    }
}

/// The nursery that a host joins has closed.
pub unsafe fn join_is_over(state: &LoopState, object: Raw) {
    // SAFETY: attached; the caller's wait is alive.
    unsafe {
        let this = wait(object);
        if this.phase.get() != Phase::Waiting {
            return;
        }
        this.phase.set(Phase::Done);
        if !state.ready.take_last(object) {
            notify(object);
        }
    }
}

/// Steps the host whose join is over, here and now. Only what leaves the loop is raised.
pub unsafe fn resume(state: &LoopState, object: &Owned) -> Fallible<()> {
    // SAFETY: attached; a drain has just ended a step.
    unsafe {
        let this = wait(object.as_ptr());
        if let Some(task) = this.task.take() {
            return task::resume(state, task);
        }
        let only = this.callbacks.borrow().len() == 1;
        let Some((function, context)) = only.then(|| this.callbacks.take().pop()).flatten() else {
            notify(object.as_ptr());
            return Ok(());
        };
        // A task of asyncio's makes itself the current one, and nobody may be.
        task::leave(state);
        if ffi::PyContext_Enter(context.as_ptr()) < 0 {
            ffi::PyErr_Clear();
            this.callbacks.borrow_mut().push((function, context));
            notify(object.as_ptr());
            return Ok(());
        }
        let result = crate::object::call1(function.as_ptr(), object.as_ptr()).map(drop);
        let aside = if result.is_err() { Some(Aside::new()) } else { None };
        if ffi::PyContext_Exit(context.as_ptr()) < 0 {
            ffi::PyErr_Clear();
        }
        drop(aside);
        result
    }
}

/// Wakes whoever waits.
pub unsafe fn notify(object: Raw) {
    // SAFETY: attached; the caller's wait is alive.
    unsafe {
        let this = wait(object);
        let Some(state) = this.state() else { return };
        if let Some(task) = this.task.take() {
            task::wake(state, task);
        }
        for (function, context) in this.callbacks.take() {
            if task::call_soon(state, &function, object, &context).is_err() {
                let _aside = Aside::new();
                let exception = take_raised();
                let text = "A callback of a wait that is over could not be scheduled";
                state.report(text, Some(&exception), std::ptr::null_mut());
            }
        }
    }
}

/// The timer of a wait has fired; the heap's reference has become the caller's.
pub unsafe fn fire(object: &Owned) {
    // SAFETY: attached.
    unsafe {
        wait(object.as_ptr()).timer.set(None);
        complete(object.as_ptr(), None);
    }
}

/// The task that waits is cancelled. Says whether it waited and is to be woken.
pub unsafe fn withdraw(object: Raw) -> bool {
    // SAFETY: attached; the caller's wait is alive.
    unsafe {
        let this = wait(object);
        if this.kind.get() == Kind::Join || this.phase.get() != Phase::Waiting {
            return false;
        }
        this.phase.set(Phase::Cancelled);
        this.task.clear();
        stop_waiting(object);
        true
    }
}

/// Takes a wait out of wherever it stands.
unsafe fn stop_waiting(object: Raw) {
    // SAFETY: attached; the caller's wait is alive.
    unsafe {
        let this = wait(object);
        if let (Some(timer), Some(state)) = (this.timer.take(), this.state()) {
            let alarm = state.tree.borrow_mut().timers.remove(timer);
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

/// Whether what a join holds was thrown into it, and is not what the body ended with.
pub unsafe fn was_thrown(object: Raw) -> bool {
    // SAFETY: the caller's wait is alive.
    unsafe { wait(object).thrown.get() }
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

/// The host was cancelled from outside while it joins (R15).
pub unsafe fn host_cancelled(state: &LoopState, object: Raw) {
    // SAFETY: attached; the caller's wait is alive.
    unsafe {
        let this = wait(object);
        this.held.set(true);
        if let Some(nursery) = this.payload.cloned() {
            let host = this.task.get();
            let message = if host.is_null() {
                this.message.cloned()
            } else {
                task::data(host).cancel_message.cloned()
            };
            nursery::host_cancelled(state, &nursery, message);
        }
    }
}

// As an iterator

unsafe extern "C" fn send(object: Raw, _: Raw, value: *mut Raw) -> ffi::PySendResult {
    // SAFETY: CPython calls it on one of our waits.
    unsafe {
        *value = std::ptr::null_mut();
        guard(ffi::PySendResult::PYGEN_ERROR, |_| match advance(object) {
            Ok(Advance::Yield(yielded)) => {
                *value = yielded.into_ptr();
                ffi::PySendResult::PYGEN_NEXT
            }
            Ok(Advance::Return(result)) => {
                *value = result.into_ptr();
                ffi::PySendResult::PYGEN_RETURN
            }
            Err(Raised) => ffi::PySendResult::PYGEN_ERROR,
        })
    }
}

enum Advance {
    Yield(Owned),
    Return(Owned),
}

unsafe fn advance(object: Raw) -> Fallible<Advance> {
    // SAFETY: attached; the caller's wait is alive.
    unsafe {
        let this = wait(object);
        match (this.kind.get(), this.phase.get()) {
            (_, Phase::Spent) => Err(set_error(
                ffi::PyExc_RuntimeError,
                c"cannot reuse already awaited aionursery wait; make a new one",
            )),
            (Kind::Ready, _) => {
                this.phase.set(Phase::Spent);
                Ok(Advance::Return(this.payload.take().unwrap_or_else(|| none())))
            }
            (Kind::Turn, Phase::New) => {
                this.phase.set(Phase::Done);
                Ok(Advance::Yield(none()))
            }
            (Kind::Join, Phase::New) => {
                if nursery::begin_join(object)? {
                    this.phase.set(Phase::Spent);
                    return nursery::finish_join(object, false).map(Advance::Return);
                }
                this.phase.set(Phase::Waiting);
                this.blocking.set(true);
                Ok(Advance::Yield(Owned::share(object)))
            }
            (Kind::Join, Phase::Done) => {
                this.phase.set(Phase::Spent);
                nursery::finish_join(object, true).map(Advance::Return)
            }
            (_, Phase::New | Phase::Waiting) => {
                start(object)?;
                this.blocking.set(true);
                Ok(Advance::Yield(Owned::share(object)))
            }
            (_, Phase::Done) => {
                this.phase.set(Phase::Spent);
                Ok(Advance::Return(this.value.take().unwrap_or_else(|| none())))
            }
            (_, Phase::Cancelled) => {
                this.phase.set(Phase::Spent);
                Err(raise_cancelled(this))
            }
        }
    }
}

unsafe fn raise_cancelled(this: &Wait) -> Raised {
    // SAFETY: attached.
    unsafe {
        let kind = imports().cancelled_error;
        let error = match this.message.cloned() {
            Some(message) => crate::object::call1(kind, message.as_ptr()),
            None => crate::object::call0(kind),
        };
        match error {
            Ok(error) => raise(error),
            Err(raised) => raised,
        }
    }
}

unsafe extern "C" fn next(object: Raw) -> Raw {
    // SAFETY: as above.
    unsafe {
        let mut value = std::ptr::null_mut();
        match send(object, ffi::Py_None(), &mut value) {
            ffi::PySendResult::PYGEN_NEXT => value,
            ffi::PySendResult::PYGEN_ERROR => std::ptr::null_mut(),
            ffi::PySendResult::PYGEN_RETURN => {
                stop(Owned::maybe(value));
                std::ptr::null_mut()
            }
        }
    }
}

unsafe extern "C" fn method_send(object: Raw, _: Raw) -> Raw {
    // SAFETY: as above.
    unsafe { next(object) }
}

unsafe extern "C" fn method_throw(object: Raw, args: *mut Raw, count: ffi::Py_ssize_t) -> Raw {
    // SAFETY: as above; CPython's vector of arguments.
    unsafe {
        guard(std::ptr::null_mut(), |_| {
            raise_thrown(args, count);
            let this = wait(object);
            if this.kind.get() == Kind::Join {
                return throw_into_join(object);
            }
            match this.phase.get() {
                Phase::Waiting => {
                    let _aside = Aside::new();
                    this.phase.set(Phase::Cancelled);
                    this.task.clear();
                    stop_waiting(object);
                }
                // Whoever set or cancelled it can still see that.
                Phase::Cancelled => {}
                _ => this.phase.set(Phase::Spent),
            }
            std::ptr::null_mut()
        })
    }
}

/// A cancellation of the host goes on to the children and waits for the end of the join (R15);
/// the coroutine's own end cannot wait.
unsafe fn throw_into_join(object: Raw) -> Raw {
    // SAFETY: attached; an exception is set.
    unsafe {
        let this = wait(object);
        let is_cancel = ffi::PyErr_ExceptionMatches(imports().cancelled_error) != 0;
        if !is_cancel || matches!(this.phase.get(), Phase::New | Phase::Spent) {
            let _aside = Aside::new();
            this.phase.set(Phase::Spent);
            this.task.clear();
            nursery::abandon(object);
            return std::ptr::null_mut();
        }
        let cancelled = take_raised();
        this.held.set(true);
        this.thrown.set(true);
        if this.phase.get() == Phase::Waiting {
            if let (Some(nursery), Some(state)) = (this.payload.cloned(), this.state()) {
                drop(this.value.replace(Some(cancelled)));
                nursery::host_cancelled(state, &nursery, None);
            }
        } else {
            drop(this.value.replace(Some(cancelled)));
        }
        next(object)
    }
}

unsafe extern "C" fn method_close(object: Raw, _: Raw) -> Raw {
    // SAFETY: as above.
    unsafe {
        guard(std::ptr::null_mut(), |_| {
            let this = wait(object);
            match this.phase.replace(Phase::Spent) {
                Phase::Waiting if this.kind.get() == Kind::Join => nursery::abandon(object),
                Phase::Waiting => {
                    this.task.clear();
                    stop_waiting(object);
                }
                _ => {}
            }
            none().into_ptr()
        })
    }
}

// As a future

unsafe fn boolean(value: bool) -> Raw {
    // SAFETY: True and False are always alive.
    unsafe { Owned::share(if value { ffi::Py_True() } else { ffi::Py_False() }).into_ptr() }
}

unsafe extern "C" fn method_done(object: Raw, _: Raw) -> Raw {
    // SAFETY: as above.
    unsafe { boolean(!matches!(wait(object).phase.get(), Phase::New | Phase::Waiting)) }
}

unsafe extern "C" fn method_cancelled(object: Raw, _: Raw) -> Raw {
    // SAFETY: as above.
    unsafe { boolean(wait(object).phase.get() == Phase::Cancelled) }
}

unsafe extern "C" fn method_result(object: Raw, _: Raw) -> Raw {
    // SAFETY: as above.
    unsafe {
        guard(std::ptr::null_mut(), |_| {
            let this = wait(object);
            match this.phase.get() {
                Phase::Done | Phase::Spent if this.kind.get() == Kind::Join => none().into_ptr(),
                Phase::Done | Phase::Spent => {
                    this.value.cloned().unwrap_or_else(|| none()).into_ptr()
                }
                Phase::Cancelled => {
                    raise_cancelled(this);
                    std::ptr::null_mut()
                }
                Phase::New | Phase::Waiting => {
                    set_error(imports().invalid_state_error, c"Result is not set.");
                    std::ptr::null_mut()
                }
            }
        })
    }
}

/// `set_result`, for what is parked.
unsafe extern "C" fn method_set_result(object: Raw, value: Raw) -> Raw {
    // SAFETY: as above.
    unsafe {
        guard(std::ptr::null_mut(), |_| {
            let this = wait(object);
            let open = matches!(this.phase.get(), Phase::New | Phase::Waiting);
            if this.kind.get() != Kind::Parked || !open {
                set_error(imports().invalid_state_error, c"invalid state");
                return std::ptr::null_mut();
            }
            complete(object, Some(Owned::share(value)));
            none().into_ptr()
        })
    }
}

unsafe extern "C" fn method_exception(object: Raw, none_given: Raw) -> Raw {
    // SAFETY: as above. A wait ends with a result or by a cancellation.
    unsafe {
        let result = method_result(object, none_given);
        if result.is_null() {
            return result;
        }
        drop(Owned::maybe(result));
        none().into_ptr()
    }
}

unsafe extern "C" fn method_cancel(
    object: Raw,
    args: *const Raw,
    count: ffi::Py_ssize_t,
    kwnames: Raw,
) -> Raw {
    // SAFETY: as above; CPython's vector of arguments.
    unsafe {
        guard(std::ptr::null_mut(), |_| {
            let this = wait(object);
            let Ok([message]) = parse("cancel", ["msg"], 1, args, count, kwnames) else {
                return std::ptr::null_mut();
            };
            if !matches!(this.phase.get(), Phase::New | Phase::Waiting) {
                return boolean(false);
            }
            let message = given(message).map(|message| Owned::share(message));
            drop(this.message.replace(message));
            if this.kind.get() == Kind::Join {
                if let Some(state) = this.state() {
                    host_cancelled(state, object);
                }
                return boolean(true);
            }
            this.phase.set(Phase::Cancelled);
            stop_waiting(object);
            notify(object);
            boolean(true)
        })
    }
}

unsafe extern "C" fn method_add_done_callback(
    object: Raw,
    args: *const Raw,
    count: ffi::Py_ssize_t,
    kwnames: Raw,
) -> Raw {
    // SAFETY: as above; CPython's vector of arguments.
    unsafe {
        guard(std::ptr::null_mut(), |_| {
            let add = || -> Fallible<Owned> {
                let names = ["fn", "context"];
                let [function, context] =
                    parse("add_done_callback", names, 1, args, count, kwnames)?;
                if function.is_null() {
                    let text = c"add_done_callback() needs the function to call";
                    return Err(set_error(ffi::PyExc_TypeError, text));
                }
                start(object)?;
                let this = wait(object);
                let context = match given(context) {
                    Some(context) => Owned::share(context),
                    None => Owned::new(ffi::PyContext_CopyCurrent())?,
                };
                let function = Owned::share(function);
                match this.phase.get() {
                    Phase::New | Phase::Waiting => {
                        this.callbacks.borrow_mut().push((function, context));
                    }
                    _ => task::call_soon(this.state().ok_or(Raised)?, &function, object, &context)?,
                }
                Ok(none())
            };
            add().map_or(std::ptr::null_mut(), Owned::into_ptr)
        })
    }
}

unsafe extern "C" fn method_remove_done_callback(object: Raw, function: Raw) -> Raw {
    // SAFETY: as above. Comparing may run Python code, so it runs on a copy.
    unsafe {
        guard(std::ptr::null_mut(), |_| {
            let this = wait(object);
            let held: Vec<Owned> =
                this.callbacks.borrow().iter().map(|(held, _)| held.clone()).collect();
            let mut gone = Vec::new();
            for callback in &held {
                match ffi::PyObject_RichCompareBool(callback.as_ptr(), function, ffi::Py_EQ) {
                    -1 => return std::ptr::null_mut(),
                    0 => {}
                    _ => gone.push(callback.as_ptr()),
                }
            }
            let removed: Vec<_> = this
                .callbacks
                .borrow_mut()
                .extract_if(.., |(held, _)| gone.contains(&held.as_ptr()))
                .collect();
            ffi::PyLong_FromSize_t(removed.len())
        })
    }
}

unsafe extern "C" fn method_get_loop(object: Raw, _: Raw) -> Raw {
    // SAFETY: as above.
    unsafe { get_loop(object, std::ptr::null_mut()) }
}

unsafe extern "C" fn get_loop(object: Raw, _: *mut c_void) -> Raw {
    // SAFETY: as above.
    unsafe {
        guard(std::ptr::null_mut(), |_| {
            let this = wait(object);
            if this.state().is_none() {
                match LoopState::current() {
                    Ok(state) => settle_in(object, state),
                    Err(Raised) => return std::ptr::null_mut(),
                }
            }
            let event_loop = this.state().and_then(|state| state.event_loop.cloned());
            event_loop.unwrap_or_else(|| none()).into_ptr()
        })
    }
}

unsafe extern "C" fn get_blocking(object: Raw, _: *mut c_void) -> Raw {
    // SAFETY: as above.
    unsafe { boolean(wait(object).blocking.get()) }
}

unsafe extern "C" fn set_blocking(object: Raw, value: Raw, _: *mut c_void) -> c_int {
    // SAFETY: as above.
    unsafe {
        let blocking = !value.is_null() && ffi::PyObject_IsTrue(value) == 1;
        wait(object).blocking.set(blocking);
        0
    }
}

// As an object

unsafe extern "C" fn same(object: Raw) -> Raw {
    // SAFETY: as above.
    unsafe { Owned::share(object).into_ptr() }
}

unsafe extern "C" fn wait_repr(object: Raw) -> Raw {
    // SAFETY: as above.
    unsafe {
        let this = wait(object);
        let text = match this.kind.get() {
            Kind::Span => format!("sleep({})", this.when.get()),
            Kind::Moment => format!("sleep_until({})", this.when.get()),
            kind => format!("{kind:?}").to_lowercase(),
        };
        let phase = format!("{:?}", this.phase.get()).to_lowercase();
        let text = crate::object::string(&format!("<aionursery wait {text} {phase}>"));
        text.map_or(std::ptr::null_mut(), Owned::into_ptr)
    }
}

unsafe extern "C" fn traverse(object: Raw, visit: ffi::visitproc, arg: *mut c_void) -> c_int {
    // SAFETY: the collector's call. A heap type's objects keep their type.
    unsafe {
        let this = wait(object);
        let mut answer = visit(ffi::Py_TYPE(object).cast(), arg);
        let slots = [&this.home, &this.task, &this.payload, &this.value, &this.message];
        for slot in slots {
            if answer != 0 {
                return answer;
            }
            answer = slot.visit(visit, arg);
        }
        if let Ok(callbacks) = this.callbacks.try_borrow() {
            for (function, context) in callbacks.iter() {
                for held in [function, context] {
                    if answer != 0 {
                        return answer;
                    }
                    answer = visit(held.as_ptr(), arg);
                }
            }
        }
        answer
    }
}

unsafe extern "C" fn clear(object: Raw) -> c_int {
    // SAFETY: the collector's call.
    unsafe { wait(object).clear() };
    0
}

unsafe extern "C" fn dealloc(object: Raw) {
    // SAFETY: the last reference is gone; what is in a heap holds one, so no timer is left.
    unsafe {
        ffi::PyObject_GC_UnTrack(object.cast());
        let this = wait(object);
        let timed = matches!(this.kind.get(), Kind::Span | Kind::Moment | Kind::Forever);
        if this.phase.get() == Phase::New && timed && !this.claimed.get() {
            warn_unawaited();
        }
        this.clear();
        let class = ffi::Py_TYPE(object);
        if let Some(free) = (*class).tp_free {
            free(object.cast());
        }
        ffi::Py_DECREF(class.cast());
    }
}

/// As for a coroutine: a sleep that nobody awaits is a mistake.
#[cold]
unsafe fn warn_unawaited() {
    // SAFETY: attached; an exception on its way is put aside.
    unsafe {
        let _aside = Aside::new();
        let text = c"aionursery.sleep() was never awaited";
        if ffi::PyErr_WarnEx(ffi::PyExc_RuntimeWarning, text.as_ptr(), 1) < 0 {
            ffi::PyErr_WriteUnraisable(std::ptr::null_mut());
        }
    }
}

struct Table<T, const N: usize>([T; N]);

// SAFETY: constant; CPython reads it only.
unsafe impl<T, const N: usize> Sync for Table<T, N> {}

const fn none_of(
    name: &'static CStr,
    function: ffi::PyCFunction,
    flags: c_int,
) -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunction: function },
        ml_flags: flags,
        ml_doc: std::ptr::null(),
    }
}

static METHODS: Table<ffi::PyMethodDef, 13> = Table([
    none_of(c"send", method_send, ffi::METH_O),
    ffi::PyMethodDef {
        ml_name: c"throw".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFast: method_throw },
        ml_flags: ffi::METH_FASTCALL,
        ml_doc: std::ptr::null(),
    },
    none_of(c"close", method_close, ffi::METH_NOARGS),
    none_of(c"done", method_done, ffi::METH_NOARGS),
    none_of(c"cancelled", method_cancelled, ffi::METH_NOARGS),
    none_of(c"result", method_result, ffi::METH_NOARGS),
    none_of(c"exception", method_exception, ffi::METH_NOARGS),
    none_of(c"set_result", method_set_result, ffi::METH_O),
    ffi::PyMethodDef {
        ml_name: c"cancel".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: method_cancel },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: std::ptr::null(),
    },
    ffi::PyMethodDef {
        ml_name: c"add_done_callback".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: method_add_done_callback },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: std::ptr::null(),
    },
    none_of(c"remove_done_callback", method_remove_done_callback, ffi::METH_O),
    none_of(c"get_loop", method_get_loop, ffi::METH_NOARGS),
    ffi::PyMethodDef::zeroed(),
]);

static GETSET: Table<ffi::PyGetSetDef, 3> = Table([
    ffi::PyGetSetDef {
        name: c"_asyncio_future_blocking".as_ptr(),
        get: Some(get_blocking),
        set: Some(set_blocking),
        doc: std::ptr::null(),
        closure: std::ptr::null_mut(),
    },
    ffi::PyGetSetDef {
        name: c"_loop".as_ptr(),
        get: Some(get_loop),
        set: None,
        doc: std::ptr::null(),
        closure: std::ptr::null_mut(),
    },
    // SAFETY: a table ends with an entry of zeros.
    unsafe { std::mem::zeroed() },
]);

/// Makes the type and adds it to the module.
pub fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let made = *TYPE.get_or_init(|| {
        let slot = |slot: c_int, pfunc: *mut c_void| ffi::PyType_Slot { slot, pfunc };
        let mut slots = [
            slot(ffi::Py_tp_traverse, traverse as *mut c_void),
            slot(ffi::Py_tp_clear, clear as *mut c_void),
            slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
            slot(ffi::Py_tp_repr, wait_repr as *mut c_void),
            slot(ffi::Py_tp_iter, same as *mut c_void),
            slot(ffi::Py_am_await, same as *mut c_void),
            slot(ffi::Py_tp_iternext, next as *mut c_void),
            slot(ffi::Py_am_send, send as *mut c_void),
            slot(ffi::Py_tp_methods, METHODS.0.as_ptr().cast_mut().cast()),
            slot(ffi::Py_tp_getset, GETSET.0.as_ptr().cast_mut().cast()),
            slot(0, std::ptr::null_mut()),
        ];
        let flags = ffi::Py_TPFLAGS_DEFAULT
            | ffi::Py_TPFLAGS_HAVE_GC
            | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION;
        let mut spec = ffi::PyType_Spec {
            name: c"aionursery._aionursery.Wait".as_ptr(),
            basicsize: size_of::<Wait>() as c_int,
            itemsize: 0,
            flags: flags as u32,
            slots: slots.as_mut_ptr(),
        };
        // SAFETY: every slot is a function of the right signature, and the tables live for ever.
        unsafe { ffi::PyType_FromSpec(&mut spec) as usize }
    });
    if made == 0 {
        return Err(PyErr::fetch(module.py()));
    }
    // SAFETY: a type is an object.
    module.add("Wait", unsafe { Bound::from_borrowed_ptr(module.py(), made as Raw) })
}
