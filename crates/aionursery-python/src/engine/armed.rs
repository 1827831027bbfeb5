//! When the loop will call back, and how it is asked not to. It must never ask the loop for a call.

use std::cell::Cell;

use pyo3::ffi;
use pyo3::gc::PyTraverseError;

use crate::cpython::object::{Owned, Raw, Slot};

/// When the loop will call back.
pub struct Armed {
    pub at: Cell<f64>,
    /// The loop holds its handle and the handle its loop: we know it weakly, if that can be.
    pub weak_handle: Slot,
    pub handle: Slot,
    pub callback: Slot,
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

    pub unsafe fn keep(&self, handle: Owned) {
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
    pub unsafe fn handle(&self) -> Option<Owned> {
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
