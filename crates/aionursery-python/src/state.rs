//! One event loop's part of the library: its tree of scopes, its clock, its timers, and the way to
//! find it from the loop. The ready queue is in `ready`. It must never outlive its loop, and never
//! run Python code while the tree is borrowed.

use std::cell::{Cell, RefCell};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

use nursery_core::{Delivery, Face, Identity, MemberId, Tree};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use crate::function::real;
use crate::imports::{imports, is_debug, names, running_loop};
use crate::link::Address;
use crate::object::{Fallible, Owned, Raised, Raw, Slot, call0, getattr_opt, method0};
use crate::ready::{Ready, Ways};
use crate::{foreign, task, timers, wait};

/// A task, or a wait, by its address. The tree's owner holds the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(pub Raw);

/// An exception.
#[derive(Clone, Debug)]
pub struct Failure(pub Owned);

impl Identity for Failure {
    fn identity(&self) -> Option<NonZeroUsize> {
        NonZeroUsize::new(self.0.as_ptr() as usize)
    }
}

/// What the tree holds for Python.
pub struct PyFace;

impl Face for PyFace {
    type Key = Key;
    type Error = Failure;
    type Reason = Owned;
    type Wake = Key;
}

pub type Deliveries = Vec<Delivery<Key>>;

/// One event loop's part of the library.
///
/// Every method runs with the GIL held (the module declares that it needs it), which is what makes
/// the cells inside safe to share; no borrow is held while Python code can run.
#[pyclass(frozen, weakref, module = "aionursery._aionursery", name = "LoopState")]
pub struct LoopState {
    pub this: Cell<Raw>,
    /// What is bound to the state finds it here.
    pub address: Address,
    pub event_loop: Slot,
    pub tree: RefCell<Tree<PyFace>>,
    pub ready: Ready,
    /// The task of ours whose step runs now; borrowed.
    pub running: Cell<Raw>,
    /// Set while a drain has left its last task in place as the current one.
    pub lingering: Cell<bool>,
    /// The collector was here: the loop has gone, and the tree with every place in it.
    gone: Cell<bool>,
    /// Whether the loop is in debug mode, as of the last nursery or task that asked.
    pub debug: Cell<bool>,
    /// The loop's clock is `time.monotonic`, called through `BaseEventLoop.time`.
    base_clock: Cell<bool>,
    pub timers: timers::Armed,
    /// Tasks that are not ours and host scopes; each holds one reference.
    pub foreign: RefCell<foreign::Hosts>,
}

// SAFETY: all access is serialised by the GIL, see the type's comment.
unsafe impl Send for LoopState {}
// SAFETY: as above.
unsafe impl Sync for LoopState {}

/// How many states have died. A loop's address can be another loop's later, and a state dies in
/// whichever thread the collector runs, so what threads remember is good for one epoch only.
static EPOCH: AtomicUsize = AtomicUsize::new(0);

#[derive(Clone, Copy)]
struct Last {
    event_loop: Raw,
    state: *const LoopState,
    epoch: usize,
}

thread_local! {
    /// The loop that this thread asked for last, and its state; both borrowed.
    static LAST: Cell<Last> = const {
        Cell::new(Last { event_loop: std::ptr::null_mut(), state: std::ptr::null(), epoch: 0 })
    };
}

fn remember(event_loop: Raw, state: *const LoopState) {
    LAST.set(Last { event_loop, state, epoch: EPOCH.load(Ordering::Relaxed) });
}

/// A number that no other living thread has.
#[inline]
pub fn thread_mark() -> usize {
    LAST.with(|last| std::ptr::from_ref(last) as usize)
}

impl LoopState {
    /// The state of a loop, made at the first call. Borrowed: the loop keeps it alive.
    #[inline]
    pub unsafe fn of<'a>(event_loop: Raw) -> Fallible<&'a Self> {
        let last = LAST.get();
        if last.event_loop == event_loop && last.epoch == EPOCH.load(Ordering::Relaxed) {
            // SAFETY: no state has died since it was remembered.
            return Ok(unsafe { &*last.state });
        }
        // SAFETY: as the caller's.
        unsafe { Self::find(event_loop) }
    }

    /// The state of the loop that runs in this thread; raises if none does.
    pub unsafe fn current<'a>() -> Fallible<&'a Self> {
        // SAFETY: the running loop keeps its state alive while the caller runs in it.
        unsafe { Self::of(running_loop()?.as_ptr()) }
    }

    #[cold]
    unsafe fn find<'a>(event_loop: Raw) -> Fallible<&'a Self> {
        // SAFETY: attached; the loop is alive.
        unsafe {
            let py = Python::assume_attached();
            if let Some(found) = getattr_opt(event_loop, names().state)? {
                let found = Bound::<PyAny>::from_borrowed_ptr(py, found.as_ptr());
                if let Ok(state) = found.cast::<Self>() {
                    let state: *const Self = state.get();
                    if (*state).event_loop.get() == event_loop {
                        remember(event_loop, state);
                        return Ok(&*state);
                    }
                }
            }
            let state = Self::create(py, event_loop).map_err(|error| {
                error.restore(py);
                Raised
            })?;
            if ffi::PyObject_SetAttr(event_loop, names().state, state.as_ptr()) < 0 {
                // A loop without a dict: the module keeps what the loop cannot.
                ffi::PyErr_Clear();
                KEPT.with_borrow_mut(|kept| kept.push(state.clone().unbind()));
            }
            let state: *const Self = state.get();
            remember(event_loop, state);
            Ok(&*state)
        }
    }

    unsafe fn create<'py>(py: Python<'py>, event_loop: Raw) -> PyResult<Bound<'py, Self>> {
        // SAFETY: attached; the loop is alive.
        unsafe {
            let imports = imports();
            let is_base = ffi::PyObject_IsInstance(event_loop, imports.base_loop) == 1;
            ffi::PyErr_Clear();
            let is_own = |name, function| is_base && is_base_method(event_loop, name, function);
            let base_clock = is_own(names().time, imports.base_time);
            let call_soon = is_own(names().call_soon, imports.base_call_soon);
            let run_once = is_own(names().run_once, imports.base_run_once);
            let get_debug = is_own(names().get_debug, imports.base_get_debug);
            let queue = if is_base { getattr_opt(event_loop, names().ready) } else { Ok(None) };
            ffi::PyErr_Clear();
            let queue = queue
                .ok()
                .flatten()
                .filter(|queue| ffi::Py_TYPE(queue.as_ptr()) == imports.deque_type);
            let shown = queue.is_some();
            let ways = Ways {
                plain: shown && call_soon && run_once && get_debug,
                front: shown && (call_soon || run_once),
                nests: !is_uvloop(py, event_loop),
            };
            let address = Address::default();
            let state = Bound::new(
                py,
                Self {
                    this: Cell::new(std::ptr::null_mut()),
                    event_loop: Slot::empty(),
                    tree: RefCell::new(Tree::new()),
                    ready: Ready::new(queue, ways, &address),
                    address,
                    running: Cell::new(std::ptr::null_mut()),
                    lingering: Cell::new(false),
                    gone: Cell::new(false),
                    debug: Cell::new(is_debug(event_loop)),
                    base_clock: Cell::new(base_clock),
                    timers: timers::Armed::new(),
                    foreign: RefCell::default(),
                },
            )?;
            let inner = state.get();
            inner.this.set(state.as_ptr());
            inner.address.set(inner);
            inner.event_loop.set(Owned::share(event_loop));
            inner.tree.borrow_mut().warn_after = 10.0;
            Ok(state)
        }
    }

    /// The loop's clock.
    #[inline]
    pub unsafe fn now(&self) -> Fallible<f64> {
        // SAFETY: attached.
        unsafe {
            let answer = if self.base_clock.get() {
                // What the clock is replaced with, if somebody has, is what the loop would call.
                let clock = ffi::PyDict_GetItem(imports().time_dict, names().monotonic);
                let usual = &imports().time_monotonic;
                if clock == usual.as_ptr() || clock.is_null() {
                    usual.call()?
                } else {
                    call0(clock)?
                }
            } else {
                method0(self.event_loop.get(), names().time)?
            };
            real(answer.as_ptr())
        }
    }

    /// The clock where an error has no way out: what fails counts as the beginning of time.
    pub unsafe fn now_or_zero(&self) -> f64 {
        // SAFETY: attached; the error is taken back.
        unsafe {
            self.now().unwrap_or_else(|Raised| {
                ffi::PyErr_Clear();
                0.0
            })
        }
    }

    /// Runs a change of the tree and delivers the cancellations that come of it.
    #[inline]
    pub unsafe fn change<R>(
        &self,
        change: impl FnOnce(&mut Tree<PyFace>, &mut Deliveries) -> R,
    ) -> R {
        let mut out = Deliveries::new();
        let result = change(&mut self.tree.borrow_mut(), &mut out);
        // SAFETY: attached.
        unsafe {
            if !out.is_empty() {
                self.deliver(out);
            }
            timers::arm(self);
        }
        result
    }

    /// Brings cancellations to their tasks. What one task makes of it can change what the next
    /// one's place in the tree is, so each is looked up again when its turn comes.
    #[cold]
    pub unsafe fn deliver(&self, out: Deliveries) {
        // SAFETY: attached; the references are taken before anything can run.
        unsafe {
            let held: Vec<Owned> = out.iter().map(|one| Owned::share(one.key.0)).collect();
            let _aside = crate::object::Aside::new();
            for delivery in &out {
                if task::is_ours(delivery.key.0) {
                    task::charge(delivery.key.0, delivery.charges);
                }
            }
            for delivery in out.into_iter().filter(|delivery| delivery.throw) {
                if task::is_ours(delivery.key.0) {
                    task::reach(self, delivery.key.0);
                } else {
                    foreign::reach(self, delivery.key.0);
                }
            }
            drop(held);
        }
    }

    /// Wakes the host of a nursery that has closed.
    pub unsafe fn wake_joiner(&self, nursery: nursery_core::NurseryId) {
        let host = self.tree.borrow().host(nursery).copied();
        let Some(Key(host)) = host else {
            // SAFETY: attached.
            return unsafe { crate::nursery::discard(self, nursery) };
        };
        // SAFETY: a host is alive while its nursery is.
        unsafe {
            if task::is_ours(host) {
                task::wake_from_join(self, host);
            } else {
                foreign::wake_from_join(self, host);
            }
        }
    }

    /// The place of a task in the tree.
    pub unsafe fn member_of(&self, host: Raw) -> MemberId {
        // SAFETY: the caller's task is alive.
        unsafe {
            if task::is_ours(host) { task::member(self, host) } else { foreign::member(self, host) }
        }
    }

    /// Reports what cannot be raised to the loop's exception handler.
    pub unsafe fn report(&self, message: &str, exception: Option<&Owned>, task: Raw) {
        let mut context = vec![];
        if let Some(exception) = exception {
            context.push((names().exception, exception.clone()));
        }
        if !task.is_null() {
            // Not under "task": from 3.12 on the loop would enter that task's context for its
            // handler, and most reports are made while the context is entered.
            // SAFETY: the caller's task is alive.
            context.push((names().about, unsafe { Owned::share(task) }));
        }
        // SAFETY: attached.
        unsafe { self.report_context(message, &context) };
    }

    /// `loop.call_exception_handler(context)`; what that raises is written to stderr.
    pub unsafe fn report_context(&self, message: &str, entries: &[(Raw, Owned)]) {
        // SAFETY: attached; the loop is alive.
        unsafe {
            let _aside = crate::object::Aside::new();
            let report = || -> Fallible<()> {
                let context = Owned::new(ffi::PyDict_New())?;
                let message = crate::object::string(message)?;
                ffi::PyDict_SetItem(context.as_ptr(), names().message, message.as_ptr());
                for (name, value) in entries {
                    ffi::PyDict_SetItem(context.as_ptr(), *name, value.as_ptr());
                }
                let handler = names().call_exception_handler;
                crate::object::method1(self.event_loop.get(), handler, context.as_ptr())?;
                Ok(())
            };
            if report().is_err() {
                ffi::PyErr_WriteUnraisable(self.event_loop.get());
            }
        }
    }
}

thread_local! {
    static KEPT: RefCell<Vec<Py<LoopState>>> = const { RefCell::new(Vec::new()) };
}

/// Whether a method of the loop is `BaseEventLoop`'s own. The loop's `__dict__` is not asked for: an
/// object whose dict exists is slower to look into on CPython 3.11 and 3.12, and that object is in
/// every turn of the program.
unsafe fn is_base_method(event_loop: Raw, name: Raw, function: Raw) -> bool {
    // SAFETY: attached; errors are taken back.
    unsafe {
        let found = getattr_opt(event_loop, name).and_then(|method| match method {
            Some(method) => getattr_opt(method.as_ptr(), names().func),
            None => Ok(None),
        });
        ffi::PyErr_Clear();
        matches!(found, Ok(Some(found)) if found.as_ptr() == function)
    }
}

/// Whether nobody can run this loop inside one of its own callbacks: uvloop is not written in Python,
/// and refuses.
unsafe fn is_uvloop(py: Python<'_>, event_loop: Raw) -> bool {
    let loop_type = || -> PyResult<Option<Bound<'_, PyAny>>> {
        let modules = py.import("sys")?.getattr("modules")?;
        let module = modules.call_method1("get", ("uvloop.loop",))?;
        if module.is_none() { Ok(None) } else { module.getattr("Loop").map(Some) }
    };
    // SAFETY: attached; the caller's loop is alive, and errors are let go.
    let event_loop = unsafe { Bound::from_borrowed_ptr(py, event_loop) };
    matches!(loop_type(), Ok(Some(class)) if event_loop.is_instance(&class).unwrap_or(false))
}

/// Return the state of an event loop.
#[pyfunction]
fn loop_state<'py>(r#loop: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = r#loop.py();
    // SAFETY: attached; the loop keeps its state alive.
    unsafe {
        let state = LoopState::of(r#loop.as_ptr()).map_err(|Raised| crate::scope::fetch(py))?;
        Ok(Bound::from_borrowed_ptr(py, state.this.get()))
    }
}

/// Set after how many seconds a cancelled task that has not ended is named in a warning.
///
/// For the running loop, and for cancellations from now on. 10 unless set; math.inf for never.
/// Raises RuntimeError if no loop runs, ValueError if seconds is negative.
#[pyfunction]
fn warn_stuck_after(py: Python<'_>, seconds: f64) -> PyResult<()> {
    if seconds.is_nan() || seconds < 0.0 {
        return Err(PyValueError::new_err("seconds must be a number that is not negative"));
    }
    // SAFETY: attached.
    let state = unsafe { LoopState::current() }.map_err(|Raised| crate::scope::fetch(py))?;
    state.tree.borrow_mut().warn_after = seconds;
    Ok(())
}

pub fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<LoopState>()?;
    module.add_function(wrap_pyfunction!(warn_stuck_after, module)?)?;
    module.add_function(wrap_pyfunction!(loop_state, module)?)
}

#[pymethods]
impl LoopState {
    /// The event loop.
    #[getter(r#loop)]
    fn event_loop(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let event_loop = self.event_loop.cloned();
        let event_loop = event_loop.ok_or_else(|| PyRuntimeError::new_err("the loop is gone"))?;
        // SAFETY: a reference of ours is given away.
        Ok(unsafe { Bound::from_owned_ptr(py, event_loop.into_ptr()) }.unbind())
    }

    /// Make a waiter that somebody sets: what a lock or a queue asks its loop for.
    fn create_future<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        // SAFETY: attached; the new object is given away.
        unsafe {
            let made = wait::create(wait::Kind::Parked, 0.0, None)
                .map_err(|Raised| crate::scope::fetch(py))?;
            wait::settle_in(made.as_ptr(), self);
            Ok(Bound::from_owned_ptr(py, made.into_ptr()))
        }
    }

    /// How many scopes, tasks and nurseries the loop has: for tests of what is left behind.
    fn size(&self) -> (usize, usize, usize) {
        self.tree.borrow().size()
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // SAFETY: the collector's visit; nothing is borrowed while Python code runs, so the cells
        // are free, and where one is not there is nothing to say.
        unsafe {
            let py_visit = |object: Raw| -> Result<(), PyTraverseError> {
                if object.is_null() {
                    return Ok(());
                }
                let object: &Py<PyAny> = &*std::ptr::from_ref(&object).cast();
                visit.call(object)
            };
            py_visit(self.event_loop.get())?;
            self.ready.traverse(py_visit)?;
            self.timers.traverse(py_visit)?;
            if let Ok(tree) = self.tree.try_borrow() {
                for Key(task) in tree.keys().filter(|key| task::is_held(key.0)) {
                    py_visit(*task)?;
                }
                for Failure(error) in tree.errors() {
                    py_visit(error.as_ptr())?;
                }
                for reason in tree.reasons() {
                    py_visit(reason.as_ptr())?;
                }
                for alarm in tree.timers.values() {
                    if let nursery_core::Alarm::Wake(Key(wait)) = alarm {
                        py_visit(*wait)?;
                    }
                }
            }
            if let Ok(foreign) = self.foreign.try_borrow() {
                for host in foreign.values() {
                    py_visit(host.join.get())?;
                }
            }
        }
        Ok(())
    }

    fn __clear__(&self) {
        self.forget_everything();
    }
}

impl LoopState {
    /// Whether a place in the tree still means something.
    #[inline]
    pub fn is_gone(&self) -> bool {
        self.gone.get()
    }

    /// Lets go of every reference; the loop is gone.
    fn forget_everything(&self) {
        self.gone.set(true);
        self.address.set(std::ptr::null());
        EPOCH.fetch_add(1, Ordering::Relaxed);
        let tree = self.tree.replace(Tree::new());
        // SAFETY: the references that the tree's keys stood for are let go once each.
        unsafe {
            for Key(task) in tree.keys() {
                let held = task::is_held(*task);
                if task::is_ours(*task) {
                    task::leave_tree(*task);
                }
                if held {
                    drop(Owned::maybe(*task));
                }
            }
            for alarm in tree.timers.values() {
                if let nursery_core::Alarm::Wake(Key(wait)) = alarm {
                    wait::forget_timer(*wait);
                    drop(Owned::maybe(*wait));
                }
            }
        }
        drop(tree);
        drop(self.foreign.take());
        self.ready.clear();
        self.timers.clear();
        self.event_loop.clear();
    }
}

impl Drop for LoopState {
    fn drop(&mut self) {
        self.forget_everything();
    }
}
