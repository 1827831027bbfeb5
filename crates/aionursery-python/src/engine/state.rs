//! One event loop's part of the library: its tree of scopes, its ready queue, its timers. `find` is the
//! way to it from the loop, `report` what has failed where no caller can be
//! told, `ready` how a task gets its turn. It must never hold its loop while nothing is at home there
//! (`home`), and never run Python code while the tree is borrowed.

use std::cell::{Cell, RefCell};

use nursery_core::{MemberId, NurseryId};
use pyo3::prelude::*;

use super::foreign::Hosts;
pub(crate) use super::tree::{CLEANUP, Failure, Key, PyFace, SharedTree};
use crate::cpython::call::{call0, getattr, method0, real, referent};
use crate::cpython::containers::dict_get;
use crate::cpython::errors::{Fallible, optional};
use crate::cpython::imports::{imports, names};
use crate::cpython::myself::Myself;
use crate::cpython::object::{Object, class};
use crate::cpython::owned::{Owned, none};
use crate::cpython::slot::Slot;
use crate::cpython::trash::Trash;
use crate::engine::armed::Armed;
use crate::engine::called::Called;
use crate::engine::last_name::LastName;
use crate::engine::queue::Ready;

/// One event loop's part of the library.
///
/// Every method runs with the GIL held (the module declares that it needs it), which is what makes
/// the cells inside safe to share; no borrow is held while Python code can run.
#[pyclass(frozen, weakref, module = "aionursery._aionursery", name = "LoopState")]
#[derive(Debug)]
pub(crate) struct LoopState {
    /// What is bound to the state finds it by this.
    pub this: Myself<Self>,
    /// The loop, while something is at home here; nothing gets here without a home.
    pub(super) event_loop: Slot,
    /// The loop, weakly. Empty if it cannot be known so; then it is held all the time.
    pub weak_loop: Slot,
    /// How many homes there are.
    pub homes: Cell<usize>,
    pub tree: SharedTree,
    pub ready: Ready,
    /// The thread in which the loop has called us last.
    pub thread: Cell<usize>,
    /// The address of the task of ours whose step runs now; 0 for none.
    pub running: Cell<usize>,
    /// Set while a drain has left its last task in place as the current one.
    pub lingering: Cell<bool>,
    /// The collector was here: the loop has gone, and the tree with every place in it.
    pub gone: Cell<bool>,
    /// What failed in nurseries that nothing leaves any more has been reported.
    pub finalized: Cell<bool>,
    /// Whether the loop is in debug mode, as of the last nursery or task that asked.
    pub debug: Cell<bool>,
    /// The loop's clock is `time.monotonic`, called through `BaseEventLoop.time`.
    pub base_clock: Cell<bool>,
    /// The loop keeps its task factory where `BaseEventLoop.get_task_factory` finds it.
    pub base_factory: bool,
    /// What the clock showed when this was made, near enough to when the loop was.
    pub born: Cell<f64>,
    pub timers: Armed,
    pub called: Called,
    pub trash: Trash,
    /// What is to leave the loop.
    pub interrupt: Slot,
    pub last_name: LastName,
    /// Tasks that are not ours and host scopes; each holds one reference.
    pub foreign: RefCell<Hosts>,
    /// Nurseries that were let go of in another thread, and that this loop's is to end.
    pub unleft: RefCell<Vec<NurseryId>>,
}

class!(LoopState);

impl LoopState {
    /// The place of a task that is not ours in the tree, if it has one.
    pub(crate) fn foreign_member(&self, task: &Object) -> Option<MemberId> {
        self.foreign.borrow().get(&task.address()).map(|host| host.member)
    }

    #[inline]
    pub(crate) fn py(&self) -> Python<'_> {
        self.this.py()
    }

    /// The loop; None where nothing is at home here.
    #[inline]
    pub(crate) fn event_loop(&self) -> Owned {
        self.event_loop.cloned().unwrap_or_else(|| none(self.py()))
    }

    /// Whether this is the loop that something is at home at here.
    #[inline]
    pub(crate) fn is_loop(&self, event_loop: &Object) -> bool {
        self.event_loop.holds(event_loop)
    }

    /// The loop's clock.
    #[inline]
    pub(crate) fn now(&self) -> Fallible<f64> {
        let imports = imports(self.py());
        let answer = if self.base_clock.get() {
            // What the clock was replaced with, if it was, is what the loop would call.
            let clock = optional(dict_get(imports.time_dict, imports.names.monotonic)).flatten();
            let usual = &imports.time_monotonic;
            match clock {
                Some(clock) if !clock.is(usual.object()) => call0(&clock)?,
                _ => usual.call()?,
            }
        } else {
            method0(&self.event_loop(), imports.names.time)?
        };
        real(&answer)
    }

    /// The loop's task factory, or None.
    #[inline]
    pub(crate) fn task_factory(&self) -> Fallible<Owned> {
        let (event_loop, names) = (self.event_loop(), names(self.py()));
        match self.base_factory {
            true => getattr(&event_loop, names.task_factory),
            false => method0(&event_loop, names.get_task_factory),
        }
    }

    /// Whether a deadline lies more than a minute before the loop was first used here. Such a one is of
    /// no use as a moment, so a number of seconds is meant.
    #[inline]
    pub(crate) fn precedes(&self, deadline: f64) -> bool {
        0.0 < deadline && deadline < self.born.get() - 60.0
    }

    /// The clock where an error has no way out: what fails counts as the beginning of time.
    pub(crate) fn now_or_zero(&self) -> f64 {
        self.now().unwrap_or_else(|raised| {
            self.forget(raised);
            0.0
        })
    }

    /// The loop, if it still lives, where nothing holds it.
    pub(crate) fn find_loop(&self) -> Option<Owned> {
        self.weak_loop.cloned().and_then(|reference| referent(&reference))
    }

    /// Whether a place in the tree still means something.
    #[inline]
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.get()
    }

    /// Shows the collector what its own slots hold.
    pub(crate) fn traverse_slots<E>(
        &self,
        visit: impl Fn(&Object) -> Result<(), E>,
    ) -> Result<(), E> {
        self.event_loop.show(&visit)?;
        self.weak_loop.show(&visit)?;
        self.interrupt.show(&visit)?;
        self.last_name.show(&visit)
    }

    /// The loop has gone: code that still asks it for something gets an error.
    pub(crate) fn clear_slots(&self) {
        self.interrupt.clear();
        self.last_name.clear();
        self.weak_loop.clear();
        self.event_loop.set(none(self.py()));
    }
}
