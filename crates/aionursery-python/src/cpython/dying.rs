//! Objects that CPython ends. It must never be made by anything else.

use std::ffi::{c_int, c_void};
use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::NonNull;

use pyo3::ffi;
use pyo3::prelude::*;

use super::object::{Object, Raw, Typed};
use super::owned::Owned;
use super::safe_calls::{Argument, safe_calls};

/// An object that is a `T`, in the call by which CPython ends it: nothing refers to it any more.
#[repr(transparent)]
#[derive(Debug)]
pub(crate) struct Dying<T>(Ended, PhantomData<T>);

/// An object that CPython ends: it is not counted any more, its memory is there, and it is of a class whose
/// objects the collector knows. Those of our own are.
#[repr(transparent)]
#[derive(Debug)]
struct Ended(NonNull<ffi::PyObject>);

impl Ended {
    fn object(&self) -> &Object {
        // SAFETY: its memory is there until `Dying::end`, which takes it away.
        unsafe { Object::from_ptr(self.0.as_ptr()) }
    }

    fn py(&self) -> Python<'_> {
        self.object().py()
    }
}

impl Argument for &Ended {
    type C = Raw;

    fn c(self) -> Raw {
        self.0.as_ptr()
    }
}

/// As the collector takes it.
struct Memory<'a>(&'a Ended);

impl Argument for Memory<'_> {
    type C = *mut c_void;

    fn c(self) -> *mut c_void {
        self.0.c().cast()
    }
}

safe_calls! {
    fn untrack(py: Python<'_>, object: Memory<'_>) -> () = PyObject_GC_UnTrack;
    fn finalize(object: &Ended) -> c_int = PyObject_CallFinalizerFromDealloc;
    // CPython looks whether its class has such references.
    fn clear_weak_references(object: &Ended) -> () = PyObject_ClearWeakRefs;
}

#[cfg(py_sys_config = "Py_DEBUG")]
safe_calls! {
    // CPython looks whether it is untracked, and ends the process if it is not.
    fn track(py: Python<'_>, object: Memory<'_>) -> () = PyObject_GC_Track;
}

impl<T> Dying<T> {
    pub(super) fn as_ptr(&self) -> Raw {
        self.0.c()
    }

    /// What is left of it. A reference of its own would bring it back.
    pub(crate) fn object(&self) -> &Object {
        self.0.object()
    }

    /// Calls its finaliser, if that has not been called. Returns `false` if it lives on.
    pub(crate) fn finalize(&self) -> bool {
        finalize(&self.0) >= 0
    }

    /// The collector must not come upon it any more.
    pub(crate) fn untrack(&self) {
        untrack(self.0.py(), Memory(&self.0));
    }

    /// What refers to it weakly finds it no more, and calls what was to be called then.
    pub(crate) fn clear_weak_references(&self) {
        clear_weak_references(&self.0);
    }

    /// Undoes [`Self::untrack`].
    #[cfg(py_sys_config = "Py_DEBUG")]
    pub(crate) fn track(&self) {
        track(self.0.py(), Memory(&self.0));
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
