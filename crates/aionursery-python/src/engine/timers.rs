//! One loop timer for all of ours: deadlines, budgets and sleeps stand in the tree's heap, and the
//! loop is asked to call back at its head. It must never fire early, and never poll.

use std::cell::Cell;

use nursery_core::Alarm;
use pyo3::ffi;
use pyo3::gc::PyTraverseError;

use super::stuck;
use crate::cpython::function::Method;
use crate::cpython::guard::guard;
use crate::cpython::imports::names;
use crate::cpython::object::{
    Aside, Fallible, Owned, Raised, Raw, Slot, call_method, method0, none, raise, truth,
};
use crate::cpython::thread::thread_mark;
use crate::engine::link::Link;
use crate::engine::state::{Key, LoopState};
use crate::wait;

/// When the loop will call back.
pub struct Armed {
    at: Cell<f64>,
    /// The loop holds its handle and the handle its loop: we know it weakly, if that can be.
    weak_handle: Slot,
    handle: Slot,
    callback: Slot,
}

impl Armed {
    pub fn new() -> Self {
        Self {
            at: Cell::new(f64::INFINITY),
            weak_handle: Slot::empty(),
            handle: Slot::empty(),
            callback: Slot::empty(),
        }
    }

    pub fn traverse(
        &self,
        visit: impl Fn(Raw) -> Result<(), PyTraverseError>,
    ) -> Result<(), PyTraverseError> {
        visit(self.weak_handle.get())?;
        visit(self.handle.get())?;
        visit(self.callback.get())
    }

    pub fn clear(&self) {
        self.weak_handle.clear();
        self.handle.clear();
        self.callback.clear();
    }

    unsafe fn keep(&self, handle: Owned) {
        // SAFETY: attached.
        let reference =
            unsafe { Owned::maybe(ffi::PyWeakref_NewRef(handle.as_ptr(), std::ptr::null_mut())) };
        if let Some(reference) = reference {
            self.weak_handle.set(reference);
        } else {
            // SAFETY: attached.
            unsafe { ffi::PyErr_Clear() };
            self.handle.set(handle);
        }
    }

    /// The handle that stands for the next call; taken out.
    unsafe fn handle(&self) -> Option<Owned> {
        let Some(reference) = self.weak_handle.take() else {
            return self.handle.take();
        };
        // SAFETY: attached; a weak reference.
        unsafe {
            let mut handle = std::ptr::null_mut();
            if ffi::compat::PyWeakref_GetRef(reference.as_ptr(), &mut handle) < 0 {
                ffi::PyErr_Clear();
            }
            Owned::maybe(handle)
        }
    }
}

/// Sees to it that the loop calls back no later than the next alarm. A call that comes too early,
/// because what it was for is gone, finds nothing to do: most deadlines never pass, and leaving one
/// costs no call into the loop.
#[inline]
pub unsafe fn arm(state: &LoopState) {
    let next = state.tree.borrow().next_alarm();
    if let Some(next) = next
        && next < state.timers.at.get()
    {
        // SAFETY: attached.
        unsafe { arm_at(state, next) };
    }
}

#[cold]
unsafe fn arm_at(state: &LoopState, when: f64) {
    // SAFETY: attached; an exception on its way is put aside.
    unsafe {
        let _aside = Aside::new();
        let call = || -> Fallible<()> {
            if let Some(handle) = state.timers.handle() {
                method0(handle.as_ptr(), names().cancel)?;
            }
            let callback = match state.timers.callback.cloned() {
                Some(callback) => callback,
                None => {
                    let made = Link::bind(&state.address, &FIRE)?;
                    state.timers.callback.set(made.clone());
                    made
                }
            };
            let moment = Owned::new(ffi::PyFloat_FromDouble(when))?;
            let mut args = [std::ptr::null_mut(), moment.as_ptr(), callback.as_ptr()];
            let event_loop = state.event_loop.get();
            let handle = call_method(event_loop, names().call_at, &mut args, std::ptr::null_mut())?;
            state.timers.keep(handle);
            state.timers.at.set(when);
            Ok(())
        };
        if let Err(raised) = call() {
            let error = raised.take();
            let closed = method0(state.event_loop.get(), names().is_closed);
            if closed.and_then(|closed| truth(&closed)).unwrap_or_else(clear_and_false) {
                // Nothing happens on a closed loop any more.
                return;
            }
            let text = "A deadline could not be scheduled";
            state.report_failure(text, raise(error), std::ptr::null_mut());
        }
    }
}

/// A loop that cannot say whether it is closed counts as open.
fn clear_and_false(raised: Raised) -> bool {
    // SAFETY: attached; the call has just failed.
    drop(unsafe { raised.take() });
    false
}

static FIRE: Method = Method::no_args(c"fire_timers", fire);

unsafe extern "C" fn fire(this: Raw, _: Raw) -> Raw {
    // SAFETY: bound to a link, which the call keeps alive.
    unsafe {
        guard(std::ptr::null_mut(), |_| {
            let Some(state) = Link::of(this).state() else {
                return none().into_ptr();
            };
            let _outside = state.ready.outside_batch();
            state.thread.set(thread_mark());
            let armed = state.timers.at.replace(f64::INFINITY);
            state.timers.handle.clear();
            state.timers.weak_handle.clear();
            // The loop says it is time; its clock may lag behind by its resolution.
            let now = match state.now() {
                Ok(now) => now.max(armed),
                Err(raised) => return raised.null(),
            };
            ring(&state, now);
            arm(&state);
            match state.check_interrupt() {
                Ok(()) => none().into_ptr(),
                Err(raised) => raised.null(),
            }
        })
    }
}

/// It is now `now`: what is due is done.
unsafe fn ring(state: &LoopState, now: f64) {
    // SAFETY: attached.
    unsafe {
        loop {
            let (alarm, effects) = state.tree.change(|tree, out| tree.advance(now, out));
            if !effects.deliveries.is_empty() {
                state.deliver(effects);
            }
            match alarm {
                None => break,
                Some(Alarm::Wake(Key(waiting))) => {
                    if let Some(waiting) = Owned::maybe(waiting) {
                        wait::fire(&waiting);
                    }
                }
                Some(Alarm::Warning(id)) => stuck::warn_stuck(state, id),
                Some(Alarm::Deadline(_) | Alarm::Budget(_)) => {}
            }
        }
    }
}

/// Looks at the clock, for a deadline that has passed while the program computed (R21). Returns what
/// time it is.
pub unsafe fn look(state: &LoopState) -> Fallible<f64> {
    // SAFETY: attached.
    unsafe {
        let now = state.now()?;
        let next = state.tree.borrow().next_alarm();
        if next.is_some_and(|next| next <= now) {
            ring(state, now);
            arm(state);
        }
        Ok(now)
    }
}

/// As [`look`], where there may be nothing to look for, and an error has no way out.
#[inline]
pub unsafe fn look_if_armed(state: &LoopState) {
    if state.tree.borrow().next_alarm().is_some() {
        // SAFETY: attached; the error is taken back.
        unsafe {
            if let Err(raised) = look(state) {
                state.forget(raised);
            }
        }
    }
}
