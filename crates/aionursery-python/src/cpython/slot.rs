//! Where objects of ours have references, and how the collector sees them. It must never lend what is in
//! a slot to code that could take it out.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::marker::PhantomData;

use pyo3::gc::{PyTraverseError, PyVisit};

use super::object::Object;
use super::owned::Owned;

/// A slot for an object, as a struct of CPython's would have it: null or one strong reference.
/// What was there is let go only after the slot has its new value: that may run Python code. So what is
/// in it is never lent, but to the collector: it is shared, or compared.
#[repr(transparent)]
pub(crate) struct Slot<T = Object>(Cell<Option<Owned<T>>>);

impl<T> Slot<T> {
    pub(crate) const fn empty() -> Self {
        Self(Cell::new(None))
    }

    /// What is there, for what changes no slot.
    #[inline]
    fn look(&self) -> Option<&Owned<T>> {
        // SAFETY: only attached threads have a slot, and what this module does with the reference runs no
        // code that could change one.
        unsafe { &*self.0.as_ptr() }.as_ref()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.look().is_none()
    }

    /// Whether it holds just this object.
    #[inline]
    pub(crate) fn holds(&self, object: &Object) -> bool {
        self.address() == object.address()
    }

    /// Which object it holds, as a number; 0 for none.
    #[inline]
    pub(crate) fn address(&self) -> usize {
        self.look().map_or(0, |held| held.object().address())
    }

    /// A reference of the caller's own.
    #[inline]
    pub(crate) fn cloned(&self) -> Option<Owned<T>> {
        self.look().cloned()
    }

    #[inline]
    pub(crate) fn take(&self) -> Option<Owned<T>> {
        self.0.take()
    }

    #[inline]
    pub(crate) fn set(&self, object: Owned<T>) {
        drop(self.replace(Some(object)));
    }

    #[inline]
    pub(crate) fn replace(&self, object: Option<Owned<T>>) -> Option<Owned<T>> {
        self.0.replace(object)
    }

    #[inline]
    pub(crate) fn clear(&self) {
        drop(self.take());
    }

    /// For what changes no slot, as the collector and a new reference.
    #[inline]
    pub(crate) fn traverse<R>(&self, visit: impl FnOnce(&Object) -> R) -> Option<R> {
        self.look().map(|held| visit(held.object()))
    }

    /// Shows the collector what it holds.
    #[inline]
    pub(crate) fn show<E>(&self, visit: impl FnOnce(&Object) -> Result<(), E>) -> Result<(), E> {
        self.traverse(visit).unwrap_or(Ok(()))
    }
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self::empty()
    }
}

impl<T> Drop for Slot<T> {
    fn drop(&mut self) {
        self.clear();
    }
}

impl<T> std::fmt::Debug for Slot<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Slot").field(&self.look()).finish()
    }
}

/// Shows the collector a reference that is held, for a class of PyO3's.
pub(crate) fn show(visit: &PyVisit<'_>, object: &Object) -> Result<(), PyTraverseError> {
    visit.call(object.borrow().as_unbound())
}

/// The collector's function, for the length of its call. It takes any object that is alive.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Visit<'a>(
    unsafe extern "C" fn(&Object, VisitArg<'a>) -> c_int,
    PhantomData<Cell<&'a ()>>,
);

/// What the collector's function is given beside the object, for the length of the same call.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct VisitArg<'a>(*mut c_void, PhantomData<Cell<&'a ()>>);

/// The collector's visit of an object of ours.
#[derive(Debug)]
pub(crate) struct Visitor<'a> {
    visit: Visit<'a>,
    arg: VisitArg<'a>,
    answer: c_int,
}

impl<'a> Visitor<'a> {
    /// What CPython has given to `tp_traverse`.
    pub(crate) fn new(visit: Visit<'a>, arg: VisitArg<'a>) -> Self {
        Self { visit, arg, answer: 0 }
    }

    /// Shows a reference that the visited object holds.
    #[inline]
    pub(crate) fn show(&mut self, object: &Object) {
        if self.answer == 0 {
            // SAFETY: only CPython makes the two, and both are of one call, which lasts.
            self.answer = unsafe { (self.visit.0)(object, self.arg) };
        }
    }

    /// Shows what a slot of it holds.
    #[inline]
    pub(crate) fn slot<T>(&mut self, slot: &Slot<T>) {
        slot.traverse(|object| self.show(object));
    }

    /// What the collector is to be answered.
    pub(crate) fn answer(&self) -> c_int {
        self.answer
    }
}
