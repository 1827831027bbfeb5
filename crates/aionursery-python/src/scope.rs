//! `CancelScope` and what is made of it: deadlines, shields, budgets. It asks the tree for every
//! decision; it must never cancel a task itself.

use std::cell::Cell;

use nursery_core::{Cause, Flight, ScopeId, Settings, Source};
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use crate::host;
use crate::imports::{imports, running_loop};
use crate::object::{Fallible, Owned, Raised, Raw, Slot, raise, take_raised};
use crate::state::{LoopState, thread_mark};

/// Turns a failed CPython call into PyO3's error.
pub fn fetch(py: Python<'_>) -> PyErr {
    PyErr::take(py).unwrap_or_else(|| PyRuntimeError::new_err("a call failed without a reason"))
}

/// What brought a cancellation, in the words of the Python API.
pub fn source_name(source: Source) -> &'static str {
    match source {
        Source::Explicit => "cancel",
        Source::Failure => "failure",
        Source::Deadline => "deadline",
        Source::Host => "host",
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    New,
    Entered,
    Left,
}

/// A part of a program that can be cancelled as one, may have a deadline, and may be shielded.
///
/// Used once, by a plain with. deadline is a moment on the loop's clock at which it is cancelled;
/// shield keeps out cancellation from outside; cleanup is how many seconds cancelled tasks may go
/// on awaiting (None inherits, 0 is not at all); reason is what cancel() gives if it is given
/// none. Raises ValueError for a NaN or a negative cleanup, RuntimeError if it is entered twice,
/// outside of a task, or left in another task or another order than entered.
#[pyclass(frozen, weakref, module = "aionursery", name = "CancelScope")]
pub struct CancelScope {
    stage: Cell<Stage>,
    settings: Cell<Settings>,
    /// Seconds from entry to deadline; infinity for none.
    relative: Cell<f64>,
    /// Raises TimeoutError if its deadline ends the block.
    fails: bool,
    id: Cell<Option<ScopeId>>,
    home: Slot,
    state: Cell<*const LoopState>,
    thread: Cell<usize>,
    /// The task that entered it.
    host: Slot,
    /// Cancelled before it was entered, or how it was cancelled when it was left.
    source: Cell<Option<Source>>,
    reason: Slot,
    caught: Cell<bool>,
}

// SAFETY: all access is serialised by the GIL, which the module declares that it needs.
unsafe impl Send for CancelScope {}
// SAFETY: as above.
unsafe impl Sync for CancelScope {}

impl CancelScope {
    pub fn make(settings: Settings, relative: f64, fails: bool) -> Self {
        Self {
            stage: Cell::new(Stage::New),
            settings: Cell::new(settings),
            relative: Cell::new(relative),
            fails,
            id: Cell::new(None),
            home: Slot::empty(),
            state: Cell::new(std::ptr::null()),
            thread: Cell::new(0),
            host: Slot::empty(),
            source: Cell::new(None),
            reason: Slot::empty(),
            caught: Cell::new(false),
        }
    }

    /// What it is to be told when it is entered.
    pub fn settings(&self) -> Settings {
        self.settings.get()
    }

    /// Whether it was cancelled before it was entered, and why.
    pub fn early(&self) -> Option<Cause<Owned>> {
        Some(Cause { source: self.source.get()?, reason: self.reason.cloned() })
    }

    /// It stands in a loop's tree from now on.
    pub unsafe fn bind(&self, state: &LoopState, id: ScopeId, task: &Owned) {
        self.id.set(Some(id));
        self.stage.set(Stage::Entered);
        // SAFETY: attached; the state is alive.
        self.home.set(unsafe { Owned::share(state.this.get()) });
        self.state.set(state);
        self.thread.set(thread_mark());
        self.host.set(task.clone());
    }

    /// It has left the tree.
    pub fn settle(&self, settings: Settings, cause: Option<Cause<Owned>>, caught: bool) {
        self.id.set(None);
        self.stage.set(Stage::Left);
        self.settings.set(settings);
        self.caught.set(caught);
        if let Some(cause) = cause {
            self.source.set(Some(cause.source));
            drop(self.reason.replace(cause.reason));
        }
        self.host.clear();
        self.state.set(std::ptr::null());
        self.home.clear();
    }

    /// It stays in the tree without an owner, because its nursery does.
    pub fn let_go(&self) {
        self.id.set(None);
    }

    fn state(&self) -> Option<&LoopState> {
        let state = self.state.get();
        // SAFETY: `home` keeps it alive.
        (!state.is_null()).then(|| unsafe { &*state }).filter(|state| !state.is_gone())
    }

    /// The loop's part and the place in its tree while it is entered. A scope is not for other
    /// threads.
    fn place(&self, what: &str) -> PyResult<Option<(&LoopState, ScopeId)>> {
        let (Some(state), Some(id)) = (self.state(), self.id.get()) else {
            return Ok(None);
        };
        if self.thread.get() != thread_mark() {
            return Err(PyRuntimeError::new_err(format!(
                "{what} was used from another thread than the one whose loop the scope belongs \
                 to; use loop.call_soon_threadsafe({what}) instead"
            )));
        }
        Ok(Some((state, id)))
    }

    pub fn request(&self, py: Python<'_>, reason: Option<Owned>) -> PyResult<()> {
        match self.place("scope.cancel")? {
            Some((state, id)) => {
                // SAFETY: attached. The caller's reference outlives the change of the tree.
                unsafe {
                    let now = state.now().map_err(|Raised| fetch(py))?;
                    let kept = reason.clone();
                    let cause = Cause { source: Source::Explicit, reason };
                    state.change(|tree, out| tree.cancel(id, cause, now, out));
                    drop(kept);
                }
            }
            None if self.stage.get() == Stage::New && self.source.get().is_none() => {
                self.source.set(Some(Source::Explicit));
                drop(self.reason.replace(reason));
            }
            None => {}
        }
        Ok(())
    }

    fn change_settings(&self, change: impl FnOnce(&mut Settings)) {
        let mut settings = self.settings.get();
        change(&mut settings);
        self.settings.set(settings);
    }

    unsafe fn enter(&self) -> Fallible<()> {
        // SAFETY: attached.
        unsafe {
            match self.stage.get() {
                Stage::New => {}
                Stage::Entered => {
                    return Err(host::misuse(
                        "this CancelScope is already entered; make a new one for each 'with'",
                    ));
                }
                Stage::Left => {
                    return Err(host::misuse(
                        "this CancelScope was already used; make a new one for each 'with'",
                    ));
                }
            }
            let event_loop = running_loop()?;
            let state = LoopState::of(event_loop.as_ptr())?;
            let task = host::current(state, "a CancelScope")?;
            let mut settings = self.settings.get();
            let relative = self.relative.get();
            let timed = relative < f64::INFINITY || settings.deadline < f64::INFINITY;
            let now = if timed || self.source.get().is_some() { state.now()? } else { 0.0 };
            if relative < f64::INFINITY {
                settings.deadline = now + relative;
                self.settings.set(settings);
            }
            let honoured = host::honoured(task.as_ptr())?;
            let member = state.member_of(task.as_ptr());
            let early = self.early();
            let id = state.change(|tree, out| {
                let id = tree.enter(member, settings, honoured, now, out);
                if let Some(cause) = early {
                    tree.cancel(id, cause, now, out);
                }
                id
            });
            self.bind(state, id, &task);
            Ok(())
        }
    }

    /// Says whether the exception in flight is swallowed.
    unsafe fn exit(&self, exception: Raw) -> Fallible<bool> {
        // SAFETY: attached.
        unsafe {
            let (Some(state), Some(id)) = (self.state(), self.id.get()) else {
                return Err(host::misuse("this CancelScope is left without having been entered"));
            };
            if self.thread.get() != thread_mark() {
                return Err(host::misuse(
                    "a CancelScope is left in another thread than entered it",
                ));
            }
            if state.tree.borrow().is_abandoned(id) {
                self.drop_abandoned(state, id);
                return Err(host::misuse(
                    "the task that entered this CancelScope has ended without leaving it; enter \
                     and leave a scope in one task, and do not yield inside one in an async \
                     generator or a pytest fixture",
                ));
            }
            let Some(task) = self.host.cloned() else {
                return Ok(false);
            };
            let current = host::current(state, "a CancelScope")?;
            if current.as_ptr() != task.as_ptr() {
                return Err(host::misuse(
                    "this CancelScope is left in another task than entered it; enter and leave a \
                     scope in one task, and do not yield inside one in an async generator (PEP 789)",
                ));
            }
            let member = state.member_of(task.as_ptr());
            if state.tree.borrow().innermost(member) != Some(id) {
                return Err(host::misuse(
                    "this CancelScope is left while a scope or nursery that was entered after it \
                     is still open; leave them in the reverse order, and do not yield inside one \
                     in an async generator (PEP 789)",
                ));
            }
            let flight = flight(exception);
            let honoured = host::honoured(task.as_ptr())?;
            let exit = state.change(|tree, out| tree.exit(id, flight, honoured, out));
            let timed_out = exit.cause.as_ref().map(|cause| cause.source) == Some(Source::Deadline);
            let caught = exit.caught;
            self.settle(exit.settings, exit.cause, caught);
            host::left_scope(state, task.as_ptr(), member);
            host::take_back(task.as_ptr(), exit.take_back)?;
            if self.fails && caught && timed_out && flight == Flight::Cancelled {
                return Err(timeout(exception));
            }
            Ok(caught && flight == Flight::Cancelled)
        }
    }

    unsafe fn drop_abandoned(&self, state: &LoopState, id: ScopeId) {
        let settings = state.tree.borrow().settings(id);
        let cause = state.tree.borrow_mut().forget(id);
        self.settle(settings, cause, false);
    }
}

/// What is in flight when a block is left with `exception`, or None.
pub unsafe fn flight(exception: Raw) -> Flight {
    // SAFETY: attached; the caller's object is alive.
    unsafe {
        if exception.is_null() || exception == ffi::Py_None() {
            Flight::Nothing
        } else if ffi::PyErr_GivenExceptionMatches(exception, imports().cancelled_error) != 0 {
            Flight::Cancelled
        } else {
            Flight::Error
        }
    }
}

/// Raises `TimeoutError` from the cancellation that the deadline caused.
unsafe fn timeout(cancelled: Raw) -> Raised {
    // SAFETY: attached; the caller's exception is alive.
    unsafe {
        match crate::object::call0(ffi::PyExc_TimeoutError) {
            Ok(error) => {
                let cause = Owned::share(cancelled);
                ffi::PyException_SetCause(error.as_ptr(), cause.into_ptr());
                raise(error)
            }
            Err(raised) => raised,
        }
    }
}

fn finite(name: &str, seconds: f64) -> PyResult<f64> {
    if seconds.is_nan() {
        return Err(PyValueError::new_err(format!("{name} must not be NaN")));
    }
    Ok(seconds)
}

fn budget(cleanup: Option<f64>) -> PyResult<Option<f64>> {
    match cleanup {
        Some(cleanup) if cleanup.is_nan() || cleanup < 0.0 => Err(PyValueError::new_err(
            "cleanup must be None or a number of seconds that is not negative",
        )),
        cleanup => Ok(cleanup),
    }
}

/// Settings from the arguments that nurseries and scopes share.
pub fn settings(deadline: f64, shield: bool, cleanup: Option<f64>) -> PyResult<Settings> {
    Ok(Settings { deadline: finite("deadline", deadline)?, shield, cleanup: budget(cleanup)? })
}

#[pymethods]
impl CancelScope {
    #[new]
    #[pyo3(
        signature = (*, deadline = f64::INFINITY, shield = false, cleanup = None, reason = None),
        text_signature = "(*, deadline=1e999, shield=False, cleanup=None, reason=None)"
    )]
    fn new(
        deadline: f64,
        shield: bool,
        cleanup: Option<f64>,
        reason: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let scope = Self::make(settings(deadline, shield, cleanup)?, f64::INFINITY, false);
        if let Some(reason) = reason {
            // SAFETY: a reference of ours.
            scope.reason.set(unsafe { Owned::share(reason.as_ptr()) });
        }
        Ok(scope)
    }

    fn __enter__<'py>(slf: Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
        // SAFETY: attached.
        unsafe { slf.get().enter().map_err(|Raised| fetch(slf.py()))? };
        Ok(slf)
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        _kind: &Bound<'_, PyAny>,
        exception: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        // SAFETY: attached.
        unsafe { self.exit(exception.as_ptr()).map_err(|Raised| fetch(py)) }
    }

    /// Cancel everything in the scope, up to shields.
    ///
    /// The first cancellation counts; before entry it acts at the first await. Raises RuntimeError
    /// from another thread.
    #[pyo3(signature = (reason = None))]
    fn cancel(&self, py: Python<'_>, reason: Option<Bound<'_, PyAny>>) -> PyResult<()> {
        let reason = match reason {
            // SAFETY: a reference of ours.
            Some(reason) => Some(unsafe { Owned::share(reason.as_ptr()) }),
            None => self.reason.cloned(),
        };
        self.request(py, reason)
    }

    /// Whether the scope was cancelled, by whatever means.
    #[getter]
    fn cancel_called(&self) -> bool {
        match (self.state(), self.id.get()) {
            (Some(state), Some(id)) => state.tree.borrow().cause(id).is_some(),
            _ => self.source.get().is_some(),
        }
    }

    /// Whether the scope has swallowed the cancellation that it caused.
    #[getter]
    fn cancelled_caught(&self) -> bool {
        self.caught.get()
    }

    /// Why the scope was cancelled, in the words of whoever did.
    #[getter]
    fn reason(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        let reason = match (self.state(), self.id.get()) {
            (Some(state), Some(id)) => {
                let tree = state.tree.borrow();
                tree.cause(id).map_or_else(|| self.reason.cloned(), |cause| cause.reason.clone())
            }
            _ => self.reason.cloned(),
        };
        // SAFETY: a reference of ours is given away.
        reason.map(|reason| unsafe { Bound::from_owned_ptr(py, reason.into_ptr()) }.unbind())
    }

    /// What cancelled the scope: "cancel", "failure", "deadline" or "host"; None if nothing has.
    #[getter]
    fn source(&self) -> Option<&'static str> {
        let source = match (self.state(), self.id.get()) {
            (Some(state), Some(id)) => state.tree.borrow().cause(id).map(|cause| cause.source),
            _ => self.source.get(),
        };
        source.map(source_name)
    }

    /// When the scope is cancelled by itself: seconds on the loop's clock, infinity for never.
    /// It can be set at any time.
    #[getter]
    fn deadline(&self) -> f64 {
        match (self.state(), self.id.get()) {
            (Some(state), Some(id)) => state.tree.borrow().settings(id).deadline,
            _ => self.settings.get().deadline,
        }
    }

    #[setter]
    fn set_deadline(&self, py: Python<'_>, deadline: f64) -> PyResult<()> {
        let deadline = finite("deadline", deadline)?;
        match self.place("scope.deadline")? {
            Some((state, id)) => {
                // SAFETY: attached.
                unsafe {
                    let now = state.now().map_err(|Raised| fetch(py))?;
                    state.change(|tree, out| tree.set_deadline(id, deadline, now, out));
                }
            }
            None => {
                self.relative.set(f64::INFINITY);
                self.change_settings(|settings| settings.deadline = deadline);
            }
        }
        Ok(())
    }

    /// Whether the scope keeps out cancellation from outside. It can be set at any time.
    #[getter]
    fn shield(&self) -> bool {
        match (self.state(), self.id.get()) {
            (Some(state), Some(id)) => state.tree.borrow().settings(id).shield,
            _ => self.settings.get().shield,
        }
    }

    #[setter]
    fn set_shield(&self, shield: &Bound<'_, PyAny>) -> PyResult<()> {
        if !shield.is_instance_of::<pyo3::types::PyBool>() {
            return Err(PyTypeError::new_err("shield must be True or False"));
        }
        let shield = shield.is_truthy()?;
        match self.place("scope.shield")? {
            // SAFETY: attached.
            Some((state, id)) => unsafe {
                state.change(|tree, out| tree.set_shield(id, shield, out));
            },
            None => self.change_settings(|settings| settings.shield = shield),
        }
        Ok(())
    }

    /// For how many seconds a cancelled task in the scope may still await; None inherits, 0 is
    /// not at all. It can be set at any time.
    #[getter]
    fn cleanup(&self) -> Option<f64> {
        match (self.state(), self.id.get()) {
            (Some(state), Some(id)) => state.tree.borrow().settings(id).cleanup,
            _ => self.settings.get().cleanup,
        }
    }

    #[setter]
    fn set_cleanup(&self, py: Python<'_>, cleanup: Option<f64>) -> PyResult<()> {
        let cleanup = budget(cleanup)?;
        match self.place("scope.cleanup")? {
            // SAFETY: attached.
            Some((state, id)) => unsafe {
                let now = state.now().map_err(|Raised| fetch(py))?;
                state.change(|tree, out| tree.set_cleanup(id, cleanup, now, out));
            },
            None => self.change_settings(|settings| settings.cleanup = cleanup),
        }
        Ok(())
    }

    fn __repr__(&self) -> String {
        let stage = match self.stage.get() {
            Stage::New => "not entered",
            Stage::Entered => "entered",
            Stage::Left => "left",
        };
        let mut text = format!("<CancelScope {stage}");
        if self.cancel_called() {
            text.push_str(" cancelled");
        }
        if self.shield() {
            text.push_str(" shielded");
        }
        let deadline = self.deadline();
        if deadline < f64::INFINITY {
            text.push_str(&format!(" deadline={deadline}"));
        }
        text.push('>');
        text
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        for slot in [&self.home, &self.host, &self.reason] {
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
        self.reason.clear();
        self.home.clear();
    }
}

impl Drop for CancelScope {
    fn drop(&mut self) {
        if let (Some(state), Some(id)) = (self.state(), self.id.get())
            && state.tree.borrow().is_abandoned(id)
        {
            drop(state.tree.borrow_mut().forget(id));
        }
    }
}

fn seconds(name: &str, value: f64) -> PyResult<f64> {
    if value.is_nan() {
        return Err(PyValueError::new_err(format!("{name} must not be NaN")));
    }
    if value < 0.0 {
        return Err(PyValueError::new_err(format!("{name} must not be negative")));
    }
    Ok(value)
}

/// A scope that raises TimeoutError if it is not left within `delay` seconds; None for never.
///
/// shield keeps out cancellation from outside; cleanup is how many seconds cancelled tasks may go
/// on awaiting (None inherits, 0 is not at all). Raises ValueError if delay is negative or NaN.
#[pyfunction]
#[pyo3(signature = (delay, *, shield = false, cleanup = None))]
fn fail_after(delay: Option<f64>, shield: bool, cleanup: Option<f64>) -> PyResult<CancelScope> {
    let delay = seconds("delay", delay.unwrap_or(f64::INFINITY))?;
    Ok(CancelScope::make(settings(f64::INFINITY, shield, cleanup)?, delay, true))
}

/// A scope that raises TimeoutError if it is not left by `deadline`, on the loop's clock.
///
/// shield keeps out cancellation from outside; cleanup is how many seconds cancelled tasks may go
/// on awaiting (None inherits, 0 is not at all). Raises ValueError if deadline is NaN.
#[pyfunction]
#[pyo3(signature = (deadline, *, shield = false, cleanup = None))]
fn fail_at(deadline: Option<f64>, shield: bool, cleanup: Option<f64>) -> PyResult<CancelScope> {
    let deadline = deadline.unwrap_or(f64::INFINITY);
    Ok(CancelScope::make(settings(deadline, shield, cleanup)?, f64::INFINITY, true))
}

/// A scope that is left quietly after `delay` seconds; None for never.
///
/// shield keeps out cancellation from outside; cleanup is how many seconds cancelled tasks may go
/// on awaiting (None inherits, 0 is not at all). cancelled_caught tells
/// whether it was. Raises ValueError if delay is negative or NaN.
#[pyfunction]
#[pyo3(signature = (delay, *, shield = false, cleanup = None))]
fn move_on_after(delay: Option<f64>, shield: bool, cleanup: Option<f64>) -> PyResult<CancelScope> {
    let delay = seconds("delay", delay.unwrap_or(f64::INFINITY))?;
    Ok(CancelScope::make(settings(f64::INFINITY, shield, cleanup)?, delay, false))
}

/// A scope that is left quietly at `deadline`, on the loop's clock.
///
/// shield keeps out cancellation from outside; cleanup is how many seconds cancelled tasks may go
/// on awaiting (None inherits, 0 is not at all). cancelled_caught tells
/// whether it was. Raises ValueError if deadline is NaN.
#[pyfunction]
#[pyo3(signature = (deadline, *, shield = false, cleanup = None))]
fn move_on_at(deadline: Option<f64>, shield: bool, cleanup: Option<f64>) -> PyResult<CancelScope> {
    let deadline = deadline.unwrap_or(f64::INFINITY);
    Ok(CancelScope::make(settings(deadline, shield, cleanup)?, f64::INFINITY, false))
}

/// A scope that keeps out cancellation from outside.
///
/// deadline and cleanup are its own, as CancelScope's. Against a bare Task.cancel() it holds where
/// the task is one of ours.
#[pyfunction]
#[pyo3(
    signature = (*, deadline = f64::INFINITY, cleanup = None),
    text_signature = "(*, deadline=1e999, cleanup=None)"
)]
fn shield(deadline: f64, cleanup: Option<f64>) -> PyResult<CancelScope> {
    Ok(CancelScope::make(settings(deadline, true, cleanup)?, f64::INFINITY, false))
}

/// The earliest deadline that can reach the caller; minus infinity if it is already cancelled.
///
/// Seconds on the loop's clock, infinity for none. Raises RuntimeError outside of a task.
#[pyfunction]
fn current_effective_deadline(py: Python<'_>) -> PyResult<f64> {
    // SAFETY: attached.
    let deadline = unsafe {
        (|| -> Fallible<f64> {
            let state = LoopState::current()?;
            let task = host::current(state, "current_effective_deadline()")?;
            let member = state.member_of(task.as_ptr());
            let deadline = state.tree.borrow().effective_deadline(member);
            host::left_scope(state, task.as_ptr(), member);
            Ok(deadline)
        })()
    };
    deadline.map_err(|Raised| fetch(py))
}

/// A scope was cancelled a while ago and still has tasks: they are named, with where they wait.
pub unsafe fn warn_stuck(state: &LoopState, id: ScopeId) {
    // SAFETY: attached; what the tree holds is shared before Python runs.
    unsafe {
        let (tasks, source, reason): (Vec<Owned>, _, _) = {
            let tree = state.tree.borrow();
            let tasks = tree.reached(id).iter().map(|key| Owned::share(key.0)).collect();
            let cause = tree.cause(id);
            let source = cause.map_or("cancel", |cause| source_name(cause.source));
            (tasks, source, cause.and_then(|cause| cause.reason.clone()))
        };
        let warn = || -> Fallible<()> {
            let list = Owned::new(ffi::PyList_New(0))?;
            for task in &tasks {
                if ffi::PyList_Append(list.as_ptr(), task.as_ptr()) < 0 {
                    return Err(Raised);
                }
            }
            let source = crate::object::string(source)?;
            let reason = reason.as_ref().map_or(ffi::Py_None(), Owned::as_ptr);
            let seconds = ffi::PyFloat_FromDouble(state.tree.borrow().warn_after);
            let seconds = Owned::new(seconds)?;
            let args = [
                std::ptr::null_mut(),
                state.event_loop.get(),
                list.as_ptr(),
                source.as_ptr(),
                reason,
                seconds.as_ptr(),
            ];
            let count = 5 | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET;
            let function = imports().parts.warn_stuck;
            let nothing = std::ptr::null_mut();
            Owned::new(ffi::PyObject_Vectorcall(function, args.as_ptr().add(1), count, nothing))?;
            Ok(())
        };
        if warn().is_err() {
            let error = take_raised();
            state.report("Naming stuck tasks has failed", Some(&error), std::ptr::null_mut());
        }
    }
}

pub fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<CancelScope>()?;
    module.add_function(wrap_pyfunction!(fail_after, module)?)?;
    module.add_function(wrap_pyfunction!(fail_at, module)?)?;
    module.add_function(wrap_pyfunction!(move_on_after, module)?)?;
    module.add_function(wrap_pyfunction!(move_on_at, module)?)?;
    module.add_function(wrap_pyfunction!(shield, module)?)?;
    module.add_function(wrap_pyfunction!(current_effective_deadline, module)?)
}
