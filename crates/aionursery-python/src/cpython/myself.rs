//! How an object of ours is found: by itself, by what must not keep it, by any thread that is attached. It
//! must never find one that has begun to go.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::rc::Rc;

use pyo3::PyClass;
use pyo3::prelude::*;

use super::object::{Attached, Object, Raw, object};
use super::owned::Owned;

/// Where an object of a class of PyO3's finds itself: it is a part of that object.
#[derive(Debug)]
pub(crate) struct Myself<T> {
    weakly: Weakly,
    attached: Attached,
    whole: PhantomData<*const T>,
}

impl<T: PyClass> Myself<T> {
    pub(crate) fn unknown(py: Python<'_>) -> Self {
        let nowhere = Cell::new(std::ptr::null_mut());
        let attached = Attached::new(py);
        Self { weakly: Weakly(Rc::new(nowhere)), attached, whole: PhantomData }
    }

    /// Tells it. It must lie in the object.
    pub(crate) fn set(&self, whole: &Bound<'_, T>) {
        let (start, here) = (whole.as_ptr() as usize, std::ptr::from_ref(self) as usize);
        let size = object(whole).class().part(|class| class.tp_basicsize) as usize;
        assert!((start..start + size).contains(&here), "told of another object");
        self.weakly.0.set(whole.as_ptr());
    }

    /// Which object it is, as a number.
    #[inline]
    pub(crate) fn address(&self) -> usize {
        self.weakly.address()
    }

    /// One more reference to the object, which has been told, and is not going.
    #[inline]
    pub(crate) fn share(&self) -> Owned<T> {
        // What it is a part of is alive.
        let object = self.weakly.share().expect("it was told when it was made");
        // SAFETY: `set` was given a `T`.
        unsafe { object.seen_as() }
    }

    /// What finds the object without holding it.
    pub(crate) fn weakly(&self) -> &Weakly {
        &self.weakly
    }

    /// The object goes: nothing finds it any more. Its destructor must begin with this.
    pub(crate) fn forget(&self) {
        self.weakly.0.set(std::ptr::null_mut());
    }

    #[inline]
    pub(crate) fn py(&self) -> Python<'_> {
        self.attached.py()
    }
}

impl<T> Drop for Myself<T> {
    fn drop(&mut self) {
        self.weakly.0.set(std::ptr::null_mut());
    }
}

/// Where an object was, for as long as it is. Shared by all that look for it.
#[derive(Debug, Clone)]
pub(crate) struct Weakly(Rc<Cell<Raw>>);

impl Weakly {
    /// The object, if it has not gone.
    #[inline]
    pub(crate) fn share(&self) -> Option<Owned> {
        NonNull::new(self.0.get()).map(|object| {
            // SAFETY: an object that goes takes its address away first. Not `Send`, so attached.
            Owned::share(unsafe { Object::from_ptr(object.as_ptr()) })
        })
    }

    /// Which object it is, as a number; 0 for none.
    pub(crate) fn address(&self) -> usize {
        self.0.get() as usize
    }
}

/// What only attached threads get at, one at a time; what is lent stays in the thread, which nothing here
/// ever detaches.
pub(crate) struct Guarded<T>(T);

// SAFETY: what gets at it has the token of an attached thread, and the module needs the GIL.
unsafe impl<T> Sync for Guarded<T> {}

impl<T> Guarded<T> {
    pub(crate) const fn new(inside: T) -> Self {
        Self(inside)
    }

    #[inline]
    pub(crate) fn get(&self, _: Python<'_>) -> &T {
        &self.0
    }
}
