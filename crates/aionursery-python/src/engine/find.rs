//! How a loop's part of the library is found from the loop, and made where there is none. A loop has
//! one, as long as it is; it must never be taken for another loop's.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::prelude::*;

use super::state::LoopState;
use super::tree::SharedTree;
use crate::cpython::call::{call1, getattr_opt, has_class, is_instance, set_attr, weak_reference};
use crate::cpython::containers::{dict_get, item, size};
use crate::cpython::errors::{Fallible, fetch, optional, restore};
use crate::cpython::imports::{imports, is_debug, is_known_closed, names, running_loop};
use crate::cpython::myself::{Guarded, Myself, Weakly};
use crate::cpython::object::{Object, object};
use crate::cpython::owned::Owned;
use crate::cpython::slot::Slot;
use crate::cpython::thread::thread_mark;
use crate::cpython::trash::Trash;
use crate::engine::armed::Armed;
use crate::engine::called::Called;
use crate::engine::home::Home;
use crate::engine::last_name::LastName;
use crate::engine::queue::{Ready, Ways};

/// How many states have died. A state's address can be another one's later, and a state dies in
/// whichever thread the collector runs, so what threads remember is good for one epoch only.
static EPOCH: AtomicUsize = AtomicUsize::new(0);

/// What threads remember is good no longer.
pub(crate) fn forget_all() {
    EPOCH.fetch_add(1, Ordering::Relaxed);
}

/// Every state, of whatever thread's loop.
static STATES: Guarded<RefCell<Vec<Weakly>>> = Guarded::new(RefCell::new(Vec::new()));

/// Shows every state.
pub(crate) fn each_state(py: Python<'_>, mut visit: impl FnMut(&LoopState)) {
    let states: Vec<Owned> = STATES.get(py).borrow().iter().filter_map(Weakly::share).collect();
    for state in &states {
        if let Some(state) = state.object().cast::<LoopState>() {
            visit(state);
        }
    }
}

/// A state goes.
pub(crate) fn forget(state: &LoopState) {
    let address = state.this.address();
    let mut states = STATES.get(state.py()).borrow_mut();
    states.retain(|other| other.address() != address && other.address() != 0);
}

/// The states of loops that take no attribute.
static KEPT: Guarded<RefCell<Vec<Owned>>> = Guarded::new(RefCell::new(Vec::new()));

#[derive(Clone, Copy)]
struct Last {
    event_loop: usize,
    state: *const LoopState,
    epoch: usize,
}

thread_local! {
    /// The loop that this thread asked for last, by its address, and its state; both borrowed.
    static LAST: Cell<Last> = const {
        Cell::new(Last { event_loop: 0, state: std::ptr::null(), epoch: 0 })
    };
}

impl LoopState {
    /// The state of a loop, made at the first call.
    #[inline]
    #[expect(unsafe_code, reason = "what a thread remembers is good for one epoch")]
    pub(crate) fn of(event_loop: &Object) -> Fallible<Home> {
        let last = LAST.get();
        if last.event_loop == event_loop.address() && last.epoch == EPOCH.load(Ordering::Relaxed) {
            // SAFETY: no state has died since this one was remembered: where one dies, the epoch ends.
            let state = unsafe { &*last.state };
            if state.homes.get() > 0 && state.is_loop(event_loop) {
                return Ok(Home::beside(state));
            }
            if state.is_of(event_loop) {
                return Ok(Home::at(state, event_loop));
            }
        }
        Self::find(event_loop)
    }

    /// The state of the loop that runs in this thread; raises if none does.
    pub(crate) fn current(py: Python<'_>) -> Fallible<Home> {
        let event_loop = running_loop(py)?;
        let state = Self::of(&event_loop)?;
        state.thread.set(thread_mark());
        Ok(state)
    }

    /// Whether this is the state of a loop that is alive.
    #[inline]
    fn is_of(&self, event_loop: &Object) -> bool {
        if self.homes.get() > 0 {
            return self.is_loop(event_loop);
        }
        // Another loop can have the address of one that has gone.
        self.find_loop().is_some_and(|found| found.is(event_loop))
    }

    #[cold]
    fn find(event_loop: &Object) -> Fallible<Home> {
        let py = event_loop.py();
        let attribute = getattr_opt(event_loop, names(py).state)?;
        let mut taken = false;
        if let Some(object) = &attribute
            && let Some(state) = object.object().cast::<Self>()
        {
            if state.is_of(event_loop) {
                return Ok(state.remember(event_loop));
            }
            // What stands in for another loop shows that one's attributes as its own.
            taken = state.find_loop().is_some();
        }
        // It is one of those that the module keeps; or the program has taken the attribute away
        // while tasks have places in the tree.
        if let Some(home) = Self::find_kept(event_loop, None) {
            if attribute.is_none() {
                let _ = set_attr(event_loop, names(py).state, home.this.share().object());
            }
            return Ok(home);
        }
        let made = Self::create(py, event_loop).map_err(|error| restore(py, error))?;
        // What ran meanwhile, as a destructor in a collection, may have made one, and tasks in it.
        if let Some(home) = Self::find_kept(event_loop, Some(made.get())) {
            return Ok(home);
        }
        let home = made.get().remember(event_loop);
        if taken || set_attr(event_loop, names(py).state, object(&made)).is_err() {
            keep(Owned::share(object(&made)));
        }
        match home.now() {
            Ok(now) => home.born.set(now),
            Err(raised) if raised.is_exit() => return Err(raised),
            // What needs the clock is told that it fails.
            Err(raised) => raised.forget(),
        }
        Ok(home)
    }

    /// The state of a loop among all that there are, but for one that is just being made.
    fn find_kept(event_loop: &Object, new: Option<&Self>) -> Option<Home> {
        let mut found = None;
        each_state(event_loop.py(), |state| {
            let is_new = new.is_some_and(|new| std::ptr::eq(state, new));
            if found.is_none() && !is_new && state.is_of(event_loop) {
                found = Some(state.remember(event_loop));
            }
        });
        found
    }

    fn remember(&self, event_loop: &Object) -> Home {
        let epoch = EPOCH.load(Ordering::Relaxed);
        LAST.set(Last { event_loop: event_loop.address(), state: self, epoch });
        Home::at(self, event_loop)
    }

    fn create<'py>(py: Python<'py>, event_loop: &Object) -> PyResult<Bound<'py, Self>> {
        let imports = imports(py);
        let names = &imports.names;
        let is_base = optional(is_instance(event_loop, imports.base_loop)).unwrap_or(false);
        let is_own = |name, function| is_base && is_base_method(event_loop, name, function);
        let base_clock = is_own(names.time, imports.base_time);
        let call_soon = is_own(names.call_soon, imports.base_call_soon);
        let run_once = is_own(names.run_once, imports.base_run_once);
        let get_debug = is_own(names.get_debug, imports.base_get_debug);
        let base_factory = is_own(names.get_task_factory, imports.base_get_task_factory);
        let queue = if is_base { optional(getattr_opt(event_loop, names.ready)) } else { None };
        let queue = queue.flatten().filter(|queue| has_class(queue, imports.deque_type));
        let shown = queue.is_some();
        let is_uvloop = is_uvloop(event_loop);
        let hidden = if is_uvloop { optional(hidden_queue(event_loop)).flatten() } else { None };
        let ways = Ways {
            plain: shown && call_soon && run_once && get_debug,
            front: shown && (call_soon || run_once),
            nests: !is_uvloop,
        };
        let debug = is_debug(event_loop).map_err(|raised| fetch(py, raised))?;
        let this = Myself::unknown(py);
        let state = Bound::new(
            py,
            Self {
                event_loop: Slot::empty(),
                weak_loop: Slot::empty(),
                homes: Cell::new(0),
                tree: SharedTree::new(),
                ready: Ready::new(py, queue, hidden, ways, this.weakly()),
                this,
                thread: Cell::new(0),
                running: Cell::new(0),
                lingering: Cell::new(false),
                gone: Cell::new(false),
                finalized: Cell::new(false),
                debug: Cell::new(debug),
                base_clock: Cell::new(base_clock),
                base_factory,
                born: Cell::new(f64::NEG_INFINITY),
                timers: Armed::new(),
                called: Called::new(),
                trash: Trash::default(),
                interrupt: Slot::empty(),
                last_name: LastName::default(),
                foreign: RefCell::default(),
                unleft: RefCell::default(),
            },
        )?;
        let inner = state.get();
        inner.this.set(&state);
        STATES.get(py).borrow_mut().push(inner.this.weakly().clone());
        match weak_reference(event_loop, None) {
            Ok(reference) => inner.weak_loop.set(reference),
            Err(raised) => {
                // A loop that cannot be known weakly is held, as if something were at home there.
                raised.forget();
                inner.event_loop.set(Owned::share(event_loop));
                inner.homes.set(1);
            }
        }
        Ok(state)
    }

    /// Whether this state can be asked for no more.
    fn is_over(&self) -> bool {
        if !self.weak_loop.is_empty() {
            return self.homes.get() == 0 && self.find_loop().is_none();
        }
        if self.homes.get() > 1 {
            return false;
        }
        self.event_loop.cloned().is_none_or(|event_loop| is_known_closed(&event_loop))
    }
}

/// The module keeps what a loop cannot. What it kept for loops that are gone goes, and for loops that
/// are closed where it holds them itself. The list is not borrowed while Python code can run.
fn keep(state: Owned) {
    let py = state.py();
    KEPT.get(py).borrow_mut().push(state.clone());
    let kept = KEPT.get(py).borrow().clone();
    let over: Vec<usize> = kept
        .iter()
        .filter(|object| object.object().cast::<LoopState>().is_none_or(LoopState::is_over))
        .map(|object| object.address())
        .collect();
    let gone: Vec<Owned> = KEPT
        .get(py)
        .borrow_mut()
        .extract_if(.., |object| over.contains(&object.address()))
        .collect();
    drop(gone);
    drop(kept);
}

/// Whether a method of the loop is `BaseEventLoop`'s own. The loop's `__dict__` is not asked for: an
/// object whose dict exists is slower to look into on CPython 3.11 and 3.12, and that object is in
/// every turn of the program.
fn is_base_method(event_loop: &Object, name: &Object, function: &Object) -> bool {
    let found = getattr_opt(event_loop, name).and_then(|method| match method {
        Some(method) => getattr_opt(&method, names(name.py()).func),
        None => Ok(None),
    });
    optional(found).flatten().is_some_and(|found| found.is(function))
}

/// Whether this loop cannot run inside one of its own callbacks: uvloop is not written in Python,
/// and refuses.
fn is_uvloop(event_loop: &Object) -> bool {
    let py = event_loop.py();
    let loop_type = || -> Fallible<Option<Owned>> {
        match dict_get(imports(py).modules, names(py).uvloop_loop)? {
            Some(module) => getattr_opt(&module, names(py).loop_class),
            None => Ok(None),
        }
    };
    let class = optional(loop_type()).flatten();
    class.is_some_and(|class| optional(is_instance(event_loop, &class)).unwrap_or(false))
}

/// The one queue that uvloop shows to the collector. It is asked by `gc.get_referents`.
fn hidden_queue(event_loop: &Object) -> Fallible<Option<Owned>> {
    let imports = imports(event_loop.py());
    let referents = call1(imports.get_referents, event_loop)?;
    let mut only = None;
    for place in 0..size(&referents)? {
        let found = item(&referents, place)?;
        if has_class(&found, imports.deque_type) && only.replace(found).is_some() {
            return Ok(None);
        }
    }
    Ok(only)
}
