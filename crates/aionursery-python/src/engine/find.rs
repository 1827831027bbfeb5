//! How a loop's part of the library is found from the loop, and made where there is none. A loop has
//! one, as long as it is; it must never be taken for another loop's.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::ffi;
use pyo3::prelude::*;

use super::state::LoopState;
use super::tree::SharedTree;
use crate::cpython::errors::{fetch, restore};
use crate::cpython::imports::{imports, is_closed, is_debug, names, running_loop};
use crate::cpython::object::{Fallible, Owned, Raw, Slot, getattr_opt, optional};
use crate::cpython::thread::thread_mark;
use crate::cpython::trash::Trash;
use crate::engine::armed::Armed;
use crate::engine::home::Home;
use crate::engine::link::Address;
use crate::engine::queue::{Ready, Ways};

/// How many states have died. A state's address can be another one's later, and a state dies in
/// whichever thread the collector runs, so what threads remember is good for one epoch only.
static EPOCH: AtomicUsize = AtomicUsize::new(0);

/// What threads remember is good no longer.
pub fn forget_all() {
    EPOCH.fetch_add(1, Ordering::Relaxed);
}

/// Every state, of whatever thread's loop.
struct States(RefCell<Vec<*const LoopState>>);

// SAFETY: all access is serialised by the GIL, which the module declares that it needs.
unsafe impl Sync for States {}

static STATES: States = States(RefCell::new(Vec::new()));

/// Shows every state.
pub unsafe fn each_state(mut visit: impl FnMut(&LoopState)) {
    // SAFETY: attached; a state in the list is alive, for it leaves the list before it goes.
    unsafe {
        let states: Vec<Owned> =
            STATES.0.borrow().iter().map(|state| Owned::share((**state).this.get())).collect();
        for state in &states {
            if let Some(state) = inside(state) {
                visit(state);
            }
        }
    }
}

/// A state goes.
pub fn forget(state: &LoopState) {
    STATES.0.borrow_mut().retain(|other| !std::ptr::eq(*other, state));
}

/// The states of loops that take no attribute.
struct Kept(RefCell<Vec<Owned>>);

// SAFETY: all access is serialised by the GIL, which the module declares that it needs.
unsafe impl Sync for Kept {}

static KEPT: Kept = Kept(RefCell::new(Vec::new()));

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

/// The inside of a state. The reference lives as long as the caller keeps the object.
unsafe fn inside<'a>(object: &Owned) -> Option<&'a LoopState> {
    // SAFETY: attached; the type is looked at.
    unsafe {
        let object = Bound::<PyAny>::from_borrowed_ptr(Python::assume_attached(), object.as_ptr());
        object.cast::<LoopState>().ok().map(|state| &*std::ptr::from_ref(state.get()))
    }
}

impl LoopState {
    /// The state of a loop, made at the first call.
    #[inline]
    pub unsafe fn of(event_loop: Raw) -> Fallible<Home> {
        let last = LAST.get();
        // SAFETY: attached; the loop is alive, and no state has died since this one was remembered.
        unsafe {
            if last.event_loop == event_loop && last.epoch == EPOCH.load(Ordering::Relaxed) {
                let state = &*last.state;
                if state.homes.get() > 0 && state.event_loop.get() == event_loop {
                    return Ok(Home::beside(state));
                }
                if state.is_of(event_loop) {
                    return Ok(Home::at(state, event_loop));
                }
            }
            Self::find(event_loop)
        }
    }

    /// The state of the loop that runs in this thread; raises if none does.
    pub unsafe fn current() -> Fallible<Home> {
        // SAFETY: attached; the loop is kept for the call.
        unsafe {
            let state = Self::of(running_loop()?.as_ptr())?;
            state.thread.set(thread_mark());
            Ok(state)
        }
    }

    /// Whether this is the state of a loop that is alive.
    #[inline]
    unsafe fn is_of(&self, event_loop: Raw) -> bool {
        if self.homes.get() > 0 {
            return self.event_loop.get() == event_loop;
        }
        // SAFETY: attached. Another loop can have the address of one that has gone.
        unsafe { self.find_loop().is_some_and(|found| found.as_ptr() == event_loop) }
    }

    #[cold]
    unsafe fn find(event_loop: Raw) -> Fallible<Home> {
        // SAFETY: attached; the loop is alive, and every state is kept while it is looked at.
        unsafe {
            let attribute = getattr_opt(event_loop, names().state)?;
            let mut taken = false;
            if let Some(object) = &attribute
                && let Some(state) = inside(object)
            {
                if state.is_of(event_loop) {
                    return Ok(state.remember(event_loop));
                }
                // What stands in for another loop shows that one's attributes as its own.
                taken = state.find_loop().is_some();
            }
            // It is one of those that the module keeps; or the program has taken the attribute away
            // while tasks have places in the tree.
            let mut found = None;
            each_state(|state| {
                if found.is_none() && state.is_of(event_loop) {
                    found = Some(state.remember(event_loop));
                }
            });
            if let Some(home) = found {
                if attribute.is_none() {
                    let this = home.this.get();
                    if ffi::PyObject_SetAttr(event_loop, names().state, this) < 0 {
                        ffi::PyErr_Clear();
                    }
                }
                return Ok(home);
            }
            let py = Python::assume_attached();
            let made = Self::create(py, event_loop).map_err(|error| restore(error))?;
            let home = made.get().remember(event_loop);
            if taken || ffi::PyObject_SetAttr(event_loop, names().state, made.as_ptr()) < 0 {
                ffi::PyErr_Clear();
                keep(Owned::share(made.as_ptr()));
            }
            Ok(home)
        }
    }

    unsafe fn remember(&self, event_loop: Raw) -> Home {
        LAST.set(Last { event_loop, state: self, epoch: EPOCH.load(Ordering::Relaxed) });
        // SAFETY: attached; the loop is alive.
        unsafe { Home::at(self, event_loop) }
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
            let debug = is_debug(event_loop).map_err(|raised| fetch(py, raised))?;
            let address = Address::new(Cell::new(std::ptr::null()));
            let state = Bound::new(
                py,
                Self {
                    this: Cell::new(std::ptr::null_mut()),
                    event_loop: Slot::empty(),
                    weak_loop: Slot::empty(),
                    homes: Cell::new(0),
                    tree: SharedTree::new(),
                    ready: Ready::new(queue, ways, &address),
                    address,
                    thread: Cell::new(0),
                    running: Cell::new(std::ptr::null_mut()),
                    lingering: Cell::new(false),
                    gone: Cell::new(false),
                    debug: Cell::new(debug),
                    base_clock: Cell::new(base_clock),
                    timers: Armed::new(),
                    trash: Trash::default(),
                    interrupt: Slot::empty(),
                    foreign: RefCell::default(),
                },
            )?;
            let inner = state.get();
            inner.this.set(state.as_ptr());
            inner.address.set(std::ptr::from_ref(inner).cast());
            STATES.0.borrow_mut().push(inner);
            match Owned::maybe(ffi::PyWeakref_NewRef(event_loop, std::ptr::null_mut())) {
                Some(reference) => inner.weak_loop.set(reference),
                None => {
                    // A loop that cannot be known weakly is held, as if something were at home there.
                    ffi::PyErr_Clear();
                    inner.event_loop.set(Owned::share(event_loop));
                    inner.homes.set(1);
                }
            }
            Ok(state)
        }
    }
}

/// The module keeps what a loop cannot. What it kept for loops that are gone goes, and for loops that
/// are closed where it holds them itself.
unsafe fn keep(state: Owned) {
    // SAFETY: attached; the list is not borrowed while Python code can run.
    unsafe {
        KEPT.0.borrow_mut().push(state);
        let kept = KEPT.0.borrow().clone();
        let over: Vec<Raw> = kept
            .iter()
            .filter(|object| inside(object).is_none_or(|state| state.is_over()))
            .map(Owned::as_ptr)
            .collect();
        let gone: Vec<Owned> =
            KEPT.0.borrow_mut().extract_if(.., |it| over.contains(&it.as_ptr())).collect();
        drop(gone);
        drop(kept);
    }
}

impl LoopState {
    /// Whether nobody can ask for this state any more.
    unsafe fn is_over(&self) -> bool {
        // SAFETY: attached; errors are taken back.
        unsafe {
            if !self.weak_loop.is_empty() {
                return self.homes.get() == 0 && self.find_loop().is_none();
            }
            if self.homes.get() > 1 {
                return false;
            }
            let Some(event_loop) = self.event_loop.cloned() else { return true };
            optional(is_closed(event_loop.as_ptr())).unwrap_or(false)
        }
    }
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
