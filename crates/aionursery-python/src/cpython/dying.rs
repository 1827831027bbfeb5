//! Objects that CPython ends. It must never be made by anything else.

use std::ffi::{c_int, c_void};
use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::NonNull;

use pyo3::ffi;

use super::object::{Object, Raw, Typed};
use super::owned::Owned;
use super::safe_calls::safe_calls;

/// An object that is a `T`, in the call by which CPython ends it: nothing refers to it any more.
#[repr(transparent)]
#[derive(Debug)]
pub(crate) struct Dying<T>(NonNull<ffi::PyObject>, PhantomData<T>);

safe_calls! {
    // What is ended is not counted any more, and of a class whose objects the collector knows.
    unsafe fn untrack(py: Python<'_>, object: *mut c_void) -> () = PyObject_GC_UnTrack;
    unsafe fn finalize(py: Python<'_>, object: Raw) -> c_int = PyObject_CallFinalizerFromDealloc;
    // Of an object that nothing counts any more.
    unsafe fn clear_weak_references(py: Python<'_>, object: Raw) -> () = PyObject_ClearWeakRefs;
}

#[cfg(py_sys_config = "Py_DEBUG")]
safe_calls! {
    unsafe fn track(py: Python<'_>, object: *mut c_void) -> () = PyObject_GC_Track;
}

impl<T> Dying<T> {
    pub(super) fn as_ptr(&self) -> Raw {
        self.0.as_ptr()
    }

    /// What is left of it. A reference of its own would bring it back.
    pub(crate) fn object(&self) -> &Object {
        // SAFETY: its memory is there until `end`.
        unsafe { Object::from_ptr(self.0.as_ptr()) }
    }

    /// Calls its finaliser, if that has not been called. Returns `false` if it lives on.
    pub(crate) fn finalize(&self) -> bool {
        // SAFETY: only CPython makes this, for an object of which nothing is gone.
        unsafe { finalize(self.object().py(), self.0.as_ptr()) >= 0 }
    }

    /// The collector must not come upon it any more.
    pub(crate) fn untrack(&self) {
        // SAFETY: the collector knows every object that is ended so.
        unsafe { untrack(self.object().py(), self.0.as_ptr().cast()) };
    }

    /// What refers to it weakly finds it no more, and calls what was to be called then.
    pub(crate) fn clear_weak_references(&self) {
        // SAFETY: it is counted no more, and CPython looks whether its class has such references.
        unsafe { clear_weak_references(self.object().py(), self.0.as_ptr()) };
    }

    /// Undoes [`Self::untrack`].
    #[cfg(py_sys_config = "Py_DEBUG")]
    pub(crate) fn track(&self) {
        // SAFETY: it has been untracked.
        unsafe { track(self.object().py(), self.0.as_ptr().cast()) };
    }

    /// It goes as this says, and then its reference to its class.
    pub(crate) fn end(self, end: impl FnOnce(Self)) {
        let class = self.object().class().as_ptr();
        end(self);
        // SAFETY: the object had the reference.
        drop(unsafe { Owned::from_ptr(class) });
    }
}

impl<T: Typed> Deref for Dying<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: CPython ends an object so whose class has the function that takes this.
        unsafe { T::see(self.object()) }
    }
}
