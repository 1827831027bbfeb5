//! What has its home at a loop: tasks, waits, scopes and nurseries while they are open, and code that
//! uses the loop's part of the library just now. While there is one, the part holds its loop; without,
//! it knows the loop weakly, so that a loop that was closed goes as soon as its last user lets go.
//! It must never be had without the loop.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ops::Deref;
use std::ptr::NonNull;

use pyo3::ffi;

use crate::cpython::object::{Owned, Raw};
use crate::engine::link::Link;
use crate::engine::state::LoopState;

/// One home. Keeps the loop's part alive, and with it the loop.
pub struct Home(NonNull<LoopState>);

impl Home {
    /// At a loop that is alive, as the caller has it.
    #[inline]
    pub unsafe fn at(state: &LoopState, event_loop: Raw) -> Self {
        if state.homes.get() == 0 {
            // SAFETY: the caller's loop is alive. The slot is empty, so nothing is let go.
            state.event_loop.set(unsafe { Owned::share(event_loop) });
        }
        // SAFETY: attached; the loop is held from now on.
        unsafe { Self::beside(state) }
    }

    /// Where something else is at home already.
    #[inline]
    pub unsafe fn beside(state: &LoopState) -> Self {
        state.homes.set(state.homes.get() + 1);
        // SAFETY: attached; the state is alive.
        unsafe { ffi::Py_INCREF(state.this.get()) };
        Self(NonNull::from(state))
    }

    /// At the loop of a part that may have survived it.
    #[inline]
    pub unsafe fn of(state: &LoopState) -> Option<Self> {
        // SAFETY: attached; the caller's state is alive.
        unsafe {
            if state.is_gone() {
                return None;
            }
            if state.homes.get() > 0 {
                return Some(Self::beside(state));
            }
            let event_loop = state.find_loop()?;
            Some(Self::at(state, event_loop.as_ptr()))
        }
    }

    /// At the loop that a link is for, if that and its part are still there.
    #[inline]
    pub unsafe fn behind(link: &Link) -> Option<Self> {
        let state = link.address().cast::<LoopState>();
        // SAFETY: attached; a state that goes takes its address away first.
        unsafe { if state.is_null() { None } else { Self::of(&*state) } }
    }
}

impl Deref for Home {
    type Target = LoopState;

    #[inline]
    fn deref(&self) -> &LoopState {
        // SAFETY: the home's reference keeps it alive.
        unsafe { self.0.as_ref() }
    }
}

impl Clone for Home {
    #[inline]
    fn clone(&self) -> Self {
        // SAFETY: attached; this home keeps the loop.
        unsafe { Self::beside(self) }
    }
}

impl Drop for Home {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: attached, as for every object's owner. The reference goes last: to let go of the
        // loop may run Python code.
        unsafe {
            let this = self.this.get();
            let left = self.homes.get() - 1;
            self.homes.set(left);
            if left == 0 {
                self.event_loop.clear();
            }
            ffi::Py_DECREF(this);
        }
    }
}

/// A home that comes and goes. What was there is let go only after the slot has its new value.
#[derive(Default)]
pub struct HomeSlot(Cell<Option<Home>>);

impl HomeSlot {
    /// The state, borrowed for as long as nothing is put into the slot or taken out.
    #[inline]
    pub fn state(&self) -> Option<&LoopState> {
        // SAFETY: what is in a cell is looked at only here, and nothing else runs meanwhile.
        unsafe { (*self.0.as_ptr()).as_deref() }
    }

    /// A home of the caller's own.
    #[inline]
    pub fn cloned(&self) -> Option<Home> {
        // SAFETY: as above.
        unsafe { (*self.0.as_ptr()).clone() }
    }

    #[inline]
    pub fn set(&self, home: Home) {
        drop(self.0.replace(Some(home)));
    }

    #[inline]
    pub fn clear(&self) {
        drop(self.0.take());
    }

    /// The object that is referred to, or null.
    #[inline]
    pub fn get(&self) -> Raw {
        self.state().map_or(std::ptr::null_mut(), |state| state.this.get())
    }

    /// For `tp_traverse`.
    #[inline]
    pub unsafe fn visit(&self, visit: ffi::visitproc, arg: *mut c_void) -> c_int {
        match self.state() {
            // SAFETY: a collector's visit of a reference that is held.
            Some(state) => unsafe { visit(state.this.get(), arg) },
            None => 0,
        }
    }
}

impl LoopState {
    /// One more home, for a caller that has one.
    #[inline]
    pub unsafe fn home(&self) -> Home {
        // SAFETY: attached; the caller's home keeps the loop.
        unsafe { Home::beside(self) }
    }
}
