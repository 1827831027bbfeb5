//! `Nursery`: how a program opens one, starts children in it and joins them. Life, errors and
//! cancellation are the tree's; this drives it and raises what it decides.

use std::cell::Cell;

use nursery_core::{Close, NurseryId, Outcome, Phase, Verdict};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use crate::imports::{imports, names, running_loop};
use crate::object::{
    Aside, Fallible, Owned, Raised, Raw, Slot, call1, getattr_opt, none, raise, set_error_text,
    take_raised, type_name,
};
use crate::scope::{CancelScope, fetch, settings};
use crate::state::{Failure, Key, LoopState, thread_mark};
use crate::task::{self, flag};
use crate::wait::{self, Kind};
use crate::{foreign, host};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    New,
    Open,
    Closed,
}

/// A block that owns the tasks started in it.
///
/// Used once, by async with; it is left when body and children have ended. on_error="cancel": the
/// first failure cancels the rest; "collect": it does not. deadline is a moment on the loop's
/// clock at which it is cancelled; shield keeps out cancellation from outside; cleanup is how many
/// seconds cancelled tasks may go on awaiting (None inherits, 0 is not at all).
///
/// The block raises MultiError with all that failed, BaseMultiError if something in it is no
/// Exception, and KeyboardInterrupt and SystemExit bare. Entering it again raises RuntimeError, or
/// NurseryClosed once it has ended.
#[pyclass(frozen, weakref, subclass, module = "aionursery", name = "Nursery")]
pub struct Nursery {
    stage: Cell<Stage>,
    id: Cell<Option<NurseryId>>,
    collect: bool,
    home: Slot,
    state: Cell<*const LoopState>,
    thread: Cell<usize>,
    host: Slot,
    scope: Py<CancelScope>,
}

// SAFETY: all access is serialised by the GIL, which the module declares that it needs.
unsafe impl Send for Nursery {}
// SAFETY: as above.
unsafe impl Sync for Nursery {}

impl Nursery {
    pub fn state(&self) -> Option<&LoopState> {
        let state = self.state.get();
        // SAFETY: `home` keeps it alive.
        (!state.is_null()).then(|| unsafe { &*state }).filter(|state| !state.is_gone())
    }

    unsafe fn enter(&self) -> Fallible<()> {
        // SAFETY: attached.
        unsafe {
            match self.stage.get() {
                Stage::New => {}
                Stage::Open => {
                    return Err(host::misuse(
                        "this nursery is already entered; open a new one for each 'async with'",
                    ));
                }
                Stage::Closed => {
                    let text = "this nursery is closed and cannot be opened again; make a new one";
                    return Err(set_error_text(imports().parts.closed, text));
                }
            }
            let event_loop = running_loop()?;
            let state = LoopState::of(event_loop.as_ptr())?;
            let task = host::current(state, "a nursery")?;
            let scope = self.scope.get();
            let settings = scope.settings();
            let early = scope.early();
            let timed = settings.deadline < f64::INFINITY || early.is_some();
            let now = if timed { state.now()? } else { 0.0 };
            let honoured = host::honoured(task.as_ptr())?;
            let member = state.member_of(task.as_ptr());
            let (id, scope_id) = state.change(|tree, out| {
                let id = tree.open(member, settings, self.collect, honoured, now, out);
                let scope = tree.scope(id);
                if let Some(cause) = early {
                    tree.cancel(scope, cause, now, out);
                }
                (id, scope)
            });
            scope.bind(state, scope_id, &task);
            self.id.set(Some(id));
            self.stage.set(Stage::Open);
            self.thread.set(thread_mark());
            self.home.set(Owned::share(state.this.get()));
            self.state.set(state);
            self.host.set(task);
            Ok(())
        }
    }

    /// Where it stands in its loop's tree, while it is open or joining.
    #[inline]
    pub fn place(&self) -> Option<(&LoopState, NurseryId)> {
        Some((self.state()?, self.id.get()?))
    }

    /// Whether the caller runs in the thread of the nursery's loop.
    #[inline]
    pub fn is_here(&self) -> bool {
        self.thread.get() == thread_mark()
    }

    /// Whether its block has ended.
    pub fn is_over(&self) -> bool {
        self.stage.get() == Stage::Closed
    }
}

/// How the body has ended.
unsafe fn body_outcome(exception: Raw) -> Outcome<Failure> {
    // SAFETY: attached; the caller's exception is alive.
    unsafe {
        if exception.is_null() || exception == ffi::Py_None() {
            return Outcome::Done;
        }
        let is = |kind: Raw| ffi::PyErr_GivenExceptionMatches(exception, kind) != 0;
        if is(imports().cancelled_error) {
            return Outcome::Cancelled;
        }
        let failure = Failure(Owned::share(exception));
        let leaves =
            [ffi::PyExc_KeyboardInterrupt, ffi::PyExc_SystemExit, ffi::PyExc_GeneratorExit];
        if leaves.into_iter().any(is) { Outcome::Bare(failure) } else { Outcome::Failed(failure) }
    }
}

unsafe fn nursery<'py>(py: Python<'py>, join: Raw) -> Fallible<Bound<'py, Nursery>> {
    // SAFETY: attached; a join's payload is its nursery.
    unsafe {
        let payload = wait::wait(join).payload().cloned();
        let payload =
            payload.ok_or_else(|| host::misuse("this nursery's exit was already awaited"))?;
        let object = Bound::from_owned_ptr(py, payload.into_ptr());
        Ok(object.cast_into_unchecked::<Nursery>())
    }
}

/// The body has ended and the host begins to join. Says whether there is nobody to wait for.
pub unsafe fn begin_join(join: Raw) -> Fallible<bool> {
    // SAFETY: attached; called with the GIL by the wait.
    unsafe {
        let py = Python::assume_attached();
        let object = nursery(py, join)?;
        let this = object.get();
        let Some((state, id)) = this.place() else {
            return Err(host::misuse("this nursery is left without having been entered"));
        };
        wait::settle_in(join, state);
        let exception = wait::wait(join).value().get();
        let generator_exit = !exception.is_null()
            && ffi::PyErr_GivenExceptionMatches(exception, ffi::PyExc_GeneratorExit) != 0;
        let host = match this.check_leaving(state, id) {
            Ok(host) => host,
            Err(Raised) if generator_exit => {
                // Not the host closes the coroutine but a collector, or whoever holds it.
                ffi::PyErr_Clear();
                close_by_force(this, state, id);
                return Err(raise(Owned::share(exception)));
            }
            Err(Raised) => return Err(Raised),
        };
        let outcome = body_outcome(exception);
        let failed = !matches!(outcome, Outcome::Done);
        let (now, words) = if failed {
            let words = match &outcome {
                Outcome::Failed(Failure(error)) | Outcome::Bare(Failure(error)) => {
                    let text = format!("the nursery's body failed: {}", type_name(error.as_ptr()));
                    crate::object::string(&text).ok()
                }
                _ => None,
            };
            (state.now_or_zero(), words)
        } else {
            (0.0, None)
        };
        let spare = words.clone();
        let closed = state.change(|tree, out| tree.body_ended(id, outcome, now, || words, out));
        drop(spare);
        if closed {
            return Ok(true);
        }
        if generator_exit && finish_now(state, id) {
            return Ok(true);
        }
        if !task::is_ours(host.as_ptr()) {
            foreign::set_join(state, host.as_ptr(), Some(Owned::share(join)));
        }
        Ok(false)
    }
}

impl Nursery {
    /// The host of a nursery that is left, if it is left as it must be.
    unsafe fn check_leaving(&self, state: &LoopState, id: NurseryId) -> Fallible<Owned> {
        // SAFETY: attached.
        unsafe {
            let text = {
                let current = if self.thread.get() == thread_mark() {
                    crate::imports::current_task(state.event_loop.get())?
                } else {
                    none()
                };
                let tree = state.tree.borrow();
                let host = self.host.cloned();
                match (host, tree.host(id)) {
                    (Some(host), Some(_)) if host.as_ptr() == current.as_ptr() => {
                        drop(tree);
                        let member = state.member_of(host.as_ptr());
                        let tree = state.tree.borrow();
                        if tree.innermost(member) == Some(tree.scope(id)) {
                            return Ok(host);
                        }
                        "this nursery is left while a scope or nursery that was entered after it \
                         is still open; leave them in the reverse order"
                    }
                    _ => {
                        "this nursery is left in another task than entered it; enter and leave a \
                         nursery in one task, and do not yield inside one in an async generator \
                         (PEP 789)"
                    }
                }
            };
            // Nothing may outlive the block, so what it started is at least cancelled.
            let reason = crate::object::string(text).ok();
            let scope = state.tree.borrow().scope(id);
            let now = state.now_or_zero();
            let cause = nursery_core::Cause { source: nursery_core::Source::Failure, reason };
            state.change(|tree, out| tree.cancel(scope, cause, now, out));
            Err(host::misuse(text))
        }
    }

    /// Nobody can leave it any more: whoever entered it has let go of it. Its children are
    /// cancelled, and what they fail with is reported (R7).
    unsafe fn give_up(&self) {
        // SAFETY: attached.
        unsafe {
            let Some((state, id)) = self.place() else {
                return;
            };
            if !self.is_here() || state.tree.try_borrow_mut().is_err() {
                return;
            }
            let _aside = Aside::new();
            let Ok(running) = running_loop() else {
                ffi::PyErr_Clear();
                return;
            };
            if running.as_ptr() != state.event_loop.get() {
                // The collector may be taking the loop apart, and it must not be called then.
                return;
            }
            let _home = self.home.cloned();
            let scope = state.tree.borrow().scope(id);
            // One that has ended may be in pieces for the same reason.
            let task = state.tree.borrow().host(id).map(|Key(host)| Owned::share(*host));
            if let Some(host) = &task {
                let member = state.member_of(host.as_ptr());
                if state.tree.borrow().innermost(member) != Some(scope) {
                    return;
                }
                let count = state.tree.borrow_mut().detach(id);
                if host::take_back(host.as_ptr(), count).is_err() {
                    ffi::PyErr_Clear();
                }
                host::left_scope(state, host.as_ptr(), member);
            }
            let text = "this nursery was never left";
            let reason = crate::object::string(text).ok();
            let cause = nursery_core::Cause { source: nursery_core::Source::Failure, reason };
            let now = state.now_or_zero();
            let left = state.tree.borrow().running(id);
            let closed = state.change(|tree, out| {
                tree.cancel(scope, cause, now, out);
                if tree.phase(id) == Phase::Open {
                    tree.body_ended(id, Outcome::Cancelled, now, || None, out);
                }
                tree.phase(id) == Phase::Closed
            });
            let settings = state.tree.borrow().settings(scope);
            let cause = state.tree.borrow().cause(scope).cloned();
            self.leave(settings, cause, false);
            let text = format!(
                "A nursery was never left: the task that entered it did not call __aexit__; \
                 {left} of its children were cancelled. Write 'async with Nursery() as nursery:'"
            );
            state.report(&text, None, task.as_ref().map_or(std::ptr::null_mut(), Owned::as_ptr));
            if closed {
                discard(state, id);
            }
        }
    }

    fn leave(
        &self,
        settings: nursery_core::Settings,
        cause: Option<nursery_core::Cause<Owned>>,
        caught: bool,
    ) {
        self.stage.set(Stage::Closed);
        self.id.set(None);
        self.scope.get().settle(settings, cause, caught);
        self.host.clear();
        self.state.set(std::ptr::null());
        self.home.clear();
    }
}

/// Steps what a cancelled nursery has below it at once, as far as it goes: for a host that may not
/// be able to await. Says whether that has closed the nursery.
unsafe fn finish_now(state: &LoopState, id: NurseryId) -> bool {
    // SAFETY: attached; each task is kept alive for its step.
    unsafe {
        loop {
            let scope = state.tree.borrow().scope(id);
            let below: Vec<Owned> =
                state.tree.borrow().reached(scope).iter().map(|key| Owned::share(key.0)).collect();
            let mut moved = false;
            for task in below.iter().filter(|task| task::is_ours(task.as_ptr())) {
                let ours = task::data(task.as_ptr());
                let pending =
                    ours.member.get().is_some_and(|it| state.tree.borrow().is_pending(it));
                let can = ours.has(flag::SCHEDULED) || (pending && !ours.has(flag::JOINING));
                if can && !ours.has(flag::DONE | flag::RUNNING) {
                    moved = true;
                    if let Err(Raised) = task::run_nested(state, task.clone()) {
                        let error = take_raised();
                        let text = "A task that was closed by force";
                        state.report(text, Some(&error), task.as_ptr());
                    }
                    if state.tree.borrow().phase(id) == Phase::Closed {
                        return true;
                    }
                }
            }
            if !moved {
                return state.tree.borrow().phase(id) == Phase::Closed;
            }
        }
    }
}

/// The host's coroutine is thrown out of its join: it must not await any more.
pub unsafe fn abandon(join: Raw) {
    // SAFETY: attached; an exception on its way is put aside.
    unsafe {
        let py = Python::assume_attached();
        let _aside = Aside::new();
        match nursery(py, join) {
            Ok(object) => {
                if let Some((state, id)) = object.get().place() {
                    close_by_force(object.get(), state, id);
                }
            }
            Err(Raised) => ffi::PyErr_Clear(),
        }
    }
}

/// Ends a nursery whose host cannot join it. Its children are cancelled and end here and now, if
/// they await nothing any more; that some do not is reported, for nothing can be done about it.
unsafe fn close_by_force(this: &Nursery, state: &LoopState, id: NurseryId) {
    // SAFETY: attached.
    unsafe {
        let _aside = Aside::new();
        let Some(task) = this.host.cloned() else {
            return;
        };
        let scope = state.tree.borrow().scope(id);
        let now = state.now_or_zero();
        let cause = nursery_core::Cause { source: nursery_core::Source::Host, reason: None };
        state.change(|tree, out| {
            tree.cancel(scope, cause, now, out);
            if tree.phase(id) == Phase::Open {
                tree.body_ended(id, Outcome::Cancelled, now, || None, out);
            }
        });
        let closed = finish_now(state, id);
        if !task::is_ours(task.as_ptr()) {
            foreign::set_join(state, task.as_ptr(), None);
        }
        let (left, settings, cause, owed) = {
            let mut tree = state.tree.borrow_mut();
            let (left, settings) = (tree.running(id), tree.settings(scope));
            let cause = tree.cause(scope).cloned();
            (left, settings, cause, tree.detach(id))
        };
        this.leave(settings, cause, false);
        if let Err(Raised) = host::take_back(task.as_ptr(), owed) {
            ffi::PyErr_Clear();
        }
        if !task::is_ours(task.as_ptr()) || !task::data(task.as_ptr()).has(flag::DONE) {
            let member = state.member_of(task.as_ptr());
            host::left_scope(state, task.as_ptr(), member);
        }
        if closed {
            discard(state, id);
            return;
        }
        let text = format!(
            "A nursery was closed by force (its coroutine was closed) while {left} of its children \
             still ran; they were cancelled and go on until they have cleaned up"
        );
        state.report(&text, None, task.as_ptr());
    }
}

/// A nursery has closed that no host waits for any more: what its children failed with since then
/// is reported.
pub unsafe fn discard(state: &LoopState, id: NurseryId) {
    // SAFETY: attached.
    unsafe {
        let verdict = state.tree.borrow_mut().discard(id);
        let errors = match verdict {
            Verdict::Clean => return,
            Verdict::Errors(errors) => errors,
            Verdict::Bare { error, mut beside } => {
                beside.insert(0, error);
                beside
            }
        };
        for Failure(error) in errors {
            let text = "A child has failed after its nursery was closed by force";
            state.report(text, Some(&error), std::ptr::null_mut());
        }
    }
}

/// The host was cancelled from outside while it joins (R15).
pub unsafe fn host_cancelled(state: &LoopState, nursery: &Owned, reason: Option<Owned>) {
    // SAFETY: attached; the payload of a join is a nursery.
    unsafe {
        let py = Python::assume_attached();
        let object = Bound::from_borrowed_ptr(py, nursery.as_ptr());
        let Some(id) = object.cast_unchecked::<Nursery>().get().id.get() else {
            return;
        };
        let now = state.now_or_zero();
        let kept = reason.clone();
        state.change(|tree, out| tree.host_cancelled(id, reason, now, out));
        drop(kept);
    }
}

/// Body and children have ended: the host leaves. Says whether the body's exception is swallowed,
/// or raises what the nursery raises.
pub unsafe fn finish_join(join: Raw, joined: bool) -> Fallible<Owned> {
    // SAFETY: attached; called with the GIL by the wait.
    unsafe {
        let py = Python::assume_attached();
        let object = nursery(py, join)?;
        wait::wait(join).payload().clear();
        let this = object.get();
        let Some((state, id)) = this.place() else {
            return Err(host::misuse("this nursery is left without having been entered"));
        };
        let Some(task) = this.host.cloned() else {
            return Err(Raised);
        };
        let own = task::is_ours(task.as_ptr());
        let mut held = wait::wait(join).take_held();
        if !own {
            foreign::set_join(state, task.as_ptr(), None);
        } else if joined && task::is_asked(state, task.as_ptr()) {
            task::data(task.as_ptr()).change_requests(|requests| requests.deliver());
            held = true;
        }
        let member = state.member_of(task.as_ptr());
        // Where nothing was cancelled, the host's count decides nothing.
        let matters = held
            || !wait::wait(join).value().is_empty()
            || state.tree.borrow().is_cancelled(member);
        let honoured = if matters { host::honoured(task.as_ptr())? } else { 0 };
        let cancelled = if own && !held && state.tree.borrow().is_pending(member) {
            Some(task::cancelled_by_scope(state, member))
        } else {
            None
        };
        let Close { verdict, cancelled: goes_on, rearm, exit } =
            state.change(|tree, out| tree.close(id, honoured, held, joined, out));
        // What was cancelled above a foreign host while it joined has not reached it yet.
        let behind = !own && state.tree.borrow().is_pending(member);
        this.leave(exit.settings, exit.cause, exit.caught);
        host::left_scope(state, task.as_ptr(), member);
        host::take_back(task.as_ptr(), exit.take_back)?;
        if rearm {
            host::rearm(task.as_ptr())?;
        }
        if behind {
            foreign::reach(state, task.as_ptr());
        }
        let thrown = wait::wait(join).value().take();
        match verdict {
            Verdict::Clean if !goes_on => {
                let swallow = thrown.is_some() && exit.caught;
                Ok(Owned::share(if swallow { ffi::Py_True() } else { ffi::Py_False() }))
            }
            Verdict::Clean => {
                if thrown.is_some() && !wait::was_thrown(join) {
                    // The body's own goes on.
                    return Ok(Owned::share(ffi::Py_False()));
                }
                let error = thrown.or(cancelled);
                Err(raise(error.unwrap_or_else(|| {
                    if own { task::cancelled_error(task.as_ptr()) } else { plain_cancelled(join) }
                })))
            }
            Verdict::Errors(errors) => Err(raise_together(&object, errors)),
            Verdict::Bare { error: Failure(error), beside } => {
                for Failure(other) in beside {
                    let text = "A nursery was left by KeyboardInterrupt or SystemExit; \
                                this error was beside it";
                    state.report(text, Some(&other), task.as_ptr());
                }
                if thrown.is_some_and(|thrown| thrown.as_ptr() == error.as_ptr()) {
                    return Ok(Owned::share(ffi::Py_False()));
                }
                Err(raise(error))
            }
        }
    }
}

/// The `CancelledError` of a foreign host, with the message it was cancelled with.
unsafe fn plain_cancelled(join: Raw) -> Owned {
    // SAFETY: attached.
    unsafe {
        let kind = imports().cancelled_error;
        let error = match wait::message(join) {
            Some(message) => call1(kind, message.as_ptr()),
            None => crate::object::call0(kind),
        };
        error.unwrap_or_else(|Raised| take_raised())
    }
}

/// Raises the errors as a `MultiError` (R8). A subclass may have a group of its own.
unsafe fn raise_together(nursery: &Bound<'_, Nursery>, errors: Vec<Failure>) -> Raised {
    // SAFETY: attached.
    unsafe {
        let make = || -> Fallible<Owned> {
            let list = Owned::new(ffi::PyList_New(0))?;
            for Failure(error) in errors {
                if ffi::PyList_Append(list.as_ptr(), error.as_ptr()) < 0 {
                    return Err(Raised);
                }
            }
            match getattr_opt(nursery.as_ptr(), names().make_group)? {
                None => call1(imports().parts.multi_error, list.as_ptr()),
                Some(make) => call1(make.as_ptr(), list.as_ptr()),
            }
        };
        match make() {
            Ok(error) => {
                ffi::PyException_SetCause(error.as_ptr(), std::ptr::null_mut());
                raise(error)
            }
            Err(raised) => raised,
        }
    }
}

#[pymethods]
impl Nursery {
    #[new]
    #[pyo3(
        signature = (*, on_error = "cancel", deadline = f64::INFINITY, shield = false, cleanup = None),
        text_signature = "(*, on_error='cancel', deadline=1e999, shield=False, cleanup=None)"
    )]
    fn new(
        py: Python<'_>,
        on_error: &str,
        deadline: f64,
        shield: bool,
        cleanup: Option<f64>,
    ) -> PyResult<Self> {
        let collect = match on_error {
            "cancel" => false,
            "collect" => true,
            other => {
                return Err(PyValueError::new_err(format!(
                    "on_error must be \"cancel\" or \"collect\", not {other:?}"
                )));
            }
        };
        let scope = CancelScope::make(settings(deadline, shield, cleanup)?, f64::INFINITY, false);
        Ok(Self {
            stage: Cell::new(Stage::New),
            id: Cell::new(None),
            collect,
            home: Slot::empty(),
            state: Cell::new(std::ptr::null()),
            thread: Cell::new(0),
            host: Slot::empty(),
            scope: Py::new(py, scope)?,
        })
    }

    fn __aenter__<'py>(slf: Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        // SAFETY: attached.
        unsafe {
            slf.get().enter().map_err(|Raised| fetch(py))?;
            let this = Owned::share(slf.as_ptr());
            let ready = wait::create(Kind::Ready, 0.0, Some(this)).map_err(|Raised| fetch(py))?;
            Ok(Bound::from_owned_ptr(py, ready.into_ptr()))
        }
    }

    fn __aexit__<'py>(
        slf: Bound<'py, Self>,
        _kind: &Bound<'py, PyAny>,
        exception: &Bound<'py, PyAny>,
        _traceback: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        // SAFETY: attached.
        unsafe {
            let this = Owned::share(slf.as_ptr());
            let join = wait::create(Kind::Join, 0.0, Some(this)).map_err(|Raised| fetch(py))?;
            if !exception.is_none() {
                wait::wait(join.as_ptr()).value().set(Owned::share(exception.as_ptr()));
            }
            Ok(Bound::from_owned_ptr(py, join.into_ptr()))
        }
    }

    /// Start a child and wait until it calls task_status.started(value); return that value.
    ///
    /// Calls fn(*args, task_status=...). What fails before that is raised here and not by the
    /// nursery; RuntimeError if the child ends without having said that it is ready.
    #[pyo3(signature = (fn_, /, *args, name = None, shield = false))]
    fn start<'py>(
        slf: &Bound<'py, Self>,
        fn_: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        name: Option<Bound<'py, PyAny>>,
        shield: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        // SAFETY: attached; borrowed from the imports, which keep it.
        let start = unsafe { Bound::from_borrowed_ptr(py, imports().parts.start) };
        start.call1((slf, fn_, args, name, shield))
    }

    /// Cancel the nursery: children, body and all below, up to shields.
    ///
    /// reason is shown by the Cancelled that they get. Raises RuntimeError from another thread.
    #[pyo3(signature = (reason = None))]
    fn cancel(&self, py: Python<'_>, reason: Option<Bound<'_, PyAny>>) -> PyResult<()> {
        // SAFETY: a reference of ours.
        let reason = reason.map(|reason| unsafe { Owned::share(reason.as_ptr()) });
        self.scope.get().request(py, reason)
    }

    /// Cancel the children that have not ended; neither the body nor the caller.
    ///
    /// Raises RuntimeError before entry and from another thread.
    fn cancel_remaining(&self, py: Python<'_>) -> PyResult<()> {
        // SAFETY: attached; the children are kept alive while they are cancelled.
        unsafe {
            let Some((state, id)) = self.place() else {
                return if self.stage.get() == Stage::New { self.not_entered() } else { Ok(()) };
            };
            if self.thread.get() != thread_mark() {
                return Err(PyRuntimeError::new_err(
                    "cancel_remaining() was called from another thread than the nursery's; use \
                     loop.call_soon_threadsafe(nursery.cancel_remaining)",
                ));
            }
            let children: Vec<Owned> =
                state.tree.borrow().children(id).map(|Key(child)| Owned::share(*child)).collect();
            for child in children {
                if child.as_ptr() != state.running.get() {
                    task::cancel(child.as_ptr(), None).map_err(|Raised| fetch(py))?;
                }
            }
            Ok(())
        }
    }

    /// Whether body and children have ended.
    #[getter]
    fn closed(&self) -> bool {
        match (self.state(), self.id.get()) {
            (Some(state), Some(id)) => state.tree.borrow().phase(id) == Phase::Closed,
            _ => self.stage.get() == Stage::Closed,
        }
    }

    /// The children that have not ended, in the order of starting.
    #[getter]
    fn children<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let children: Vec<Bound<'py, PyAny>> = match (self.state(), self.id.get()) {
            (Some(state), Some(id)) => state
                .tree
                .borrow()
                .children(id)
                // SAFETY: the tree keeps its children alive.
                .map(|Key(child)| unsafe { Bound::from_borrowed_ptr(py, *child) })
                .collect(),
            _ => Vec::new(),
        };
        PyList::new(py, children)
    }

    /// The nursery's scope: its deadline, its shield, its budget for cleaning up.
    #[getter]
    fn cancel_scope(&self, py: Python<'_>) -> Py<CancelScope> {
        self.scope.clone_ref(py)
    }

    fn __repr__(&self) -> String {
        match (self.stage.get(), self.state(), self.id.get()) {
            (_, Some(state), Some(id)) => {
                let tree = state.tree.borrow();
                let phase = match tree.phase(id) {
                    Phase::Open => "open",
                    Phase::Joining => "joining",
                    Phase::Closed => "closed",
                };
                format!("<Nursery {phase} children={}>", tree.running(id))
            }
            (Stage::New, ..) => "<Nursery not entered>".to_owned(),
            _ => "<Nursery closed>".to_owned(),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.scope)?;
        for slot in [&self.home, &self.host] {
            let object = slot.get();
            if !object.is_null() {
                // SAFETY: `Py` is a pointer; the slot holds the reference that is visited.
                let object: &Py<PyAny> = unsafe { &*std::ptr::from_ref(&object).cast() };
                visit.call(object)?;
            }
        }
        Ok(())
    }

    fn __clear__(&self) {
        self.id.set(None);
        self.state.set(std::ptr::null());
        self.host.clear();
        self.home.clear();
    }
}

impl Drop for Nursery {
    fn drop(&mut self) {
        // SAFETY: CPython frees the object, so the thread is attached.
        unsafe { self.give_up() };
        if self.id.get().is_some() {
            self.scope.get().let_go();
        }
    }
}

impl Nursery {
    fn not_entered(&self) -> PyResult<()> {
        Err(PyRuntimeError::new_err(
            "this nursery has not been entered; write 'async with Nursery() as nursery:'",
        ))
    }
}
