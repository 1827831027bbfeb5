//! References that are counted. It must never give one back twice.

use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::NonNull;

use pyo3::prelude::*;
use pyo3::{PyClass, ffi};

use super::object::{Object, Raw, Typed, Whole, boolean_ref, none_ref};

/// One strong reference to an object that Rust code sees as `T`. Unlike `Py<T>` it counts at once, and
/// may be dropped where PyO3 does not know that the thread is attached.
#[repr(transparent)]
pub(crate) struct Owned<T = Object>(NonNull<ffi::PyObject>, PhantomData<*const T>);

impl Owned {
    /// Takes over a new reference.
    ///
    /// # Safety
    /// The thread is attached, and the reference, if there is one, the caller's to give.
    #[inline]
    pub(crate) unsafe fn from_ptr(object: Raw) -> Option<Self> {
        NonNull::new(object).map(|object| Self(object, PhantomData))
    }

    /// The same reference, if the object is of that type.
    #[inline]
    pub(crate) fn cast<T: Typed>(self) -> Result<Owned<T>, Self> {
        // SAFETY: the type is looked at.
        if T::is(&self) { Ok(unsafe { self.seen_as() }) } else { Err(self) }
    }

    /// As [`Self::cast`], for what needs no look.
    ///
    /// # Safety
    /// The object is of that type.
    #[inline]
    pub(crate) unsafe fn seen_as<T>(self) -> Owned<T> {
        Owned(self.into_non_null(), PhantomData)
    }
}

impl<T: Whole> Owned<T> {
    /// One more reference to a borrowed object.
    #[inline]
    pub(crate) fn share(object: &T) -> Self {
        let object = NonNull::from(object).cast::<ffi::PyObject>();
        // SAFETY: `T` is the whole object, and that is alive.
        unsafe { ffi::Py_INCREF(object.as_ptr()) };
        Self(object, PhantomData)
    }
}

impl<T: PyClass + Typed> Owned<T> {
    /// A reference of PyO3's, taken over.
    #[inline]
    pub(crate) fn of(bound: Bound<'_, T>) -> Self {
        Self(NonNull::new(bound.into_ptr()).expect("PyO3 refers to an object"), PhantomData)
    }
}

impl<T> Owned<T> {
    /// How many references there are to the object, of which this is one.
    #[inline]
    pub(crate) fn count(&self) -> isize {
        // SAFETY: an object that is alive has a count.
        unsafe { ffi::Py_REFCNT(self.0.as_ptr()) }
    }

    /// The object.
    #[inline]
    pub(crate) fn object(&self) -> &Object {
        // SAFETY: we hold a reference; only attached threads have this type, which is not `Send`.
        unsafe { Object::from_ptr(self.0.as_ptr()) }
    }

    /// The same reference, to any object.
    #[inline]
    pub(crate) fn into_object(self) -> Owned {
        Owned(self.into_non_null(), PhantomData)
    }

    /// Gives the reference away.
    #[inline]
    pub(crate) fn into_ptr(self) -> Raw {
        self.into_non_null().as_ptr()
    }

    /// Gives the reference to PyO3.
    #[inline]
    pub(crate) fn into_bound(self, py: Python<'_>) -> Bound<'_, PyAny> {
        // SAFETY: our reference is handed on.
        unsafe { Bound::from_owned_ptr(py, self.into_ptr()) }
    }

    #[inline]
    fn into_non_null(self) -> NonNull<ffi::PyObject> {
        let object = self.0;
        std::mem::forget(self);
        object
    }
}

impl<T: Typed> Deref for Owned<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: what makes this type has looked at the object's.
        unsafe { T::see(self.object()) }
    }
}

impl<T> Clone for Owned<T> {
    #[inline]
    fn clone(&self) -> Self {
        Owned(Owned::share(self.object()).into_non_null(), PhantomData)
    }
}

impl<T> Drop for Owned<T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: we own one reference, and only attached threads have this type.
        unsafe { ffi::Py_DECREF(self.0.as_ptr()) }
    }
}

impl<T> std::fmt::Debug for Owned<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Owned").field(&self.0).finish()
    }
}

impl Object {
    /// As PyO3 has it.
    #[inline]
    pub(crate) fn to_bound<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        Owned::share(self).into_bound(py)
    }
}

/// An object that is kept for ever.
pub(crate) fn forever<T: Typed + 'static>(object: Owned<T>) -> &'static T {
    let kept: &'static Owned<T> = Box::leak(Box::new(object));
    kept
}

#[inline]
pub(crate) fn none(py: Python<'_>) -> Owned {
    Owned::share(none_ref(py))
}

/// True or False.
#[inline]
pub(crate) fn boolean(py: Python<'_>, value: bool) -> Owned {
    Owned::share(boolean_ref(py, value))
}
