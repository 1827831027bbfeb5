//! One event loop's part of the library: its tree of scopes, its clock, its timers. `find` is the way
//! to it from the loop, `object` what Python sees of it, `report` what has failed and nobody can be
//! told; the ready queue is in `ready`. It must never hold its loop while nothing is at home there
//! (`home`), and never run Python code while the tree is borrowed.

use std::cell::{Cell, RefCell};
use std::num::NonZeroUsize;

use nursery_core::{Effects, Face, Identity, MemberId, Tree};
use pyo3::ffi;
use pyo3::prelude::*;

use super::guests::Hosts;
pub use super::tree::{CLEANUP, SharedTree};
use crate::cpython::function::real;
use crate::cpython::imports::{imports, names};
use crate::cpython::object::{Fallible, Owned, Raw, Slot, call0, method0, none};
use crate::cpython::trash::Trash;
use crate::engine::home::Home;
use crate::engine::link::Address;
use crate::engine::ready::Ready;
use crate::engine::timers;
use crate::hosts::foreign;
use crate::step;
use crate::task;
use crate::wait;

/// A task, or a wait, by its address. The tree's owner holds the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(pub Raw);

/// An exception, and what the child is called that has raised it.
#[derive(Clone, Debug)]
pub struct Failure {
    pub error: Owned,
    pub name: Option<Owned>,
}

impl Failure {
    /// An error that no child has raised.
    pub fn unnamed(error: Owned) -> Self {
        Self { error, name: None }
    }
}

impl Identity for Failure {
    fn identity(&self) -> Option<NonZeroUsize> {
        NonZeroUsize::new(self.error.as_ptr() as usize)
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
    pub timers: timers::Armed,
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
    /// One more home, for a caller that has one.
    #[inline]
    pub unsafe fn home(&self) -> Home {
        // SAFETY: attached; the caller's home keeps the loop.
        unsafe { Home::beside(self) }
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
            self.now().unwrap_or_else(|raised| {
                self.forget(raised);
                0.0
            })
        }
    }

    /// Runs a change of the tree and delivers the cancellations that come of it.
    #[inline]
    pub unsafe fn change<R>(
        &self,
        change: impl FnOnce(&mut Tree<PyFace>, &mut Effects<PyFace>) -> R,
    ) -> R {
        let (result, effects) = self.tree.change(change);
        // SAFETY: attached.
        unsafe {
            if !effects.deliveries.is_empty() || !effects.joined.is_empty() {
                self.deliver(effects);
            }
            timers::arm(self);
        }
        result
    }

    /// Brings cancellations to their tasks. What one task makes of it can change what the next
    /// one's place in the tree is, so each is looked up again when its turn comes.
    #[cold]
    pub unsafe fn deliver(&self, effects: Effects<PyFace>) {
        // SAFETY: attached; the references are taken before anything can run.
        unsafe {
            let out = effects.deliveries;
            let held: Vec<Owned> = out.iter().map(|one| Owned::share(one.key.0)).collect();
            let _aside = crate::cpython::object::Aside::new();
            for delivery in &out {
                if task::is_ours(delivery.key.0) {
                    task::charge(delivery.key.0, delivery.charges);
                }
            }
            for delivery in out.into_iter().filter(|delivery| delivery.throw) {
                if task::is_ours(delivery.key.0) {
                    step::reach(self, delivery.key.0);
                } else {
                    foreign::reach(self, delivery.key.0);
                }
            }
            drop(held);
            for nursery in effects.joined {
                if self.tree.borrow().has_nursery(nursery) {
                    self.wake_joiner(nursery);
                }
            }
        }
    }

    /// A nursery has closed: wakes the join that waits for it, or lets go of it if nothing of the
    /// program's has to do with it any more.
    pub unsafe fn wake_joiner(&self, nursery: nursery_core::NurseryId) {
        let (joiner, released) = {
            let tree = self.tree.borrow();
            (tree.joiner(nursery).copied(), tree.is_released(nursery))
        };
        // SAFETY: attached; a join that the tree knows is alive.
        unsafe {
            match joiner {
                Some(Key(join)) => wait::join_is_over(self, join),
                None if released => crate::nursery::discard(self, nursery),
                None => {}
            }
        }
    }

    /// The place of a task in the tree, made if it has none.
    pub unsafe fn member_of(&self, host: Raw) -> MemberId {
        // SAFETY: the caller's task is alive.
        unsafe {
            if task::is_ours(host) { task::member(self, host) } else { foreign::member(self, host) }
        }
    }

    /// The place of a task in the tree, if it has one.
    pub unsafe fn find_member(&self, host: Raw) -> Option<MemberId> {
        // SAFETY: the caller's task is alive.
        unsafe {
            if task::is_ours(host) {
                task::data(host).member.get()
            } else {
                foreign::find_member(self, host)
            }
        }
    }
}

impl LoopState {
    /// Whether a place in the tree still means something.
    #[inline]
    pub fn is_gone(&self) -> bool {
        self.gone.get()
    }

    /// Lets go of every reference; the loop is gone.
    pub fn forget_everything(&self) {
        self.gone.set(true);
        super::find::forget(self);
        self.address.set(std::ptr::null());
        super::find::forget_all();
        let tree = self.tree.take();
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
        self.interrupt.clear();
        self.weak_loop.clear();
        // Code that still asks the loop for something gets an error.
        // SAFETY: attached.
        self.event_loop.set(unsafe { none() });
    }
}

impl Drop for LoopState {
    fn drop(&mut self) {
        self.forget_everything();
    }
}
