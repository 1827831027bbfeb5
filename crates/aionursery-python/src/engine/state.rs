//! One event loop's part of the library: its tree of scopes, its ready queue, its timers. `find` is the
//! way to it from the loop, `report` what has failed where no caller can be
//! told, `ready` how a task gets its turn. It must never hold its loop while nothing is at home there
//! (`home`), and never run Python code while the tree is borrowed.

use std::cell::{Cell, RefCell};

use pyo3::ffi;
use pyo3::prelude::*;

use super::guests::Hosts;
pub use super::tree::{CLEANUP, Failure, Key, PyFace, SharedTree};
use crate::cpython::function::real;
use crate::cpython::imports::{imports, names};
use crate::cpython::object::{Fallible, Owned, Raw, Slot, call0, method0};
use crate::cpython::trash::Trash;
use crate::engine::armed::Armed;
use crate::engine::link::Address;
use crate::engine::queue::Ready;

/// One event loop's part of the library.
///
/// Every method runs with the GIL held (the module declares that it needs it), which is what makes
/// the cells inside safe to share; no borrow is held while Python code can run.
#[pyclass(frozen, weakref, module = "aionursery._aionursery", name = "LoopState")]
pub struct LoopState {
    pub this: Cell<Raw>,
    /// What is bound to the state finds it here.
    pub address: Address,
    /// The loop, while something is at home here; nothing gets here without a home.
    pub event_loop: Slot,
    /// The loop, weakly. Empty if it cannot be known so; then it is held all the time.
    pub weak_loop: Slot,
    /// How many homes there are.
    pub homes: Cell<usize>,
    pub tree: SharedTree,
    pub ready: Ready,
    /// The thread in which the loop has called us last.
    pub thread: Cell<usize>,
    /// The task of ours whose step runs now; borrowed.
    pub running: Cell<Raw>,
    /// Set while a drain has left its last task in place as the current one.
    pub lingering: Cell<bool>,
    /// The collector was here: the loop has gone, and the tree with every place in it.
    pub gone: Cell<bool>,
    /// Whether the loop is in debug mode, as of the last nursery or task that asked.
    pub debug: Cell<bool>,
    /// The loop's clock is `time.monotonic`, called through `BaseEventLoop.time`.
    pub base_clock: Cell<bool>,
    pub timers: Armed,
    pub trash: Trash,
    /// What is to leave the loop.
    pub interrupt: Slot,
    /// Tasks that are not ours and host scopes; each holds one reference.
    pub foreign: RefCell<Hosts>,
}

// SAFETY: all access is serialised by the GIL, see the type's comment.
unsafe impl Send for LoopState {}
// SAFETY: as above.
unsafe impl Sync for LoopState {}

impl LoopState {
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
            self.now().unwrap_or_else(|raised| {
                self.forget(raised);
                0.0
            })
        }
    }
}

impl LoopState {
    /// The loop, if it still lives, where nothing holds it.
    pub unsafe fn find_loop(&self) -> Option<Owned> {
        let reference = self.weak_loop.get();
        if reference.is_null() {
            return None;
        }
        // SAFETY: attached; a weak reference.
        unsafe {
            let mut event_loop = std::ptr::null_mut();
            if ffi::compat::PyWeakref_GetRef(reference, &mut event_loop) < 0 {
                ffi::PyErr_Clear();
            }
            Owned::maybe(event_loop)
        }
    }

    /// Whether a place in the tree still means something.
    #[inline]
    pub fn is_gone(&self) -> bool {
        self.gone.get()
    }
}
