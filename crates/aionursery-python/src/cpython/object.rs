//! References to Python objects, and the two facts that they stand for. Code that has a reference to
//! an [`Object`] runs in an attached thread, and the object is alive as long as the reference: a
//! reference comes from CPython, for a call of its own, or from an [`Owned`], and can go to no other
//! thread; and nothing here ever detaches one. So what takes an `&Object` needs no other proof; what
//! takes none has `Python<'_>` for that. It must never hand out a reference that outlives what keeps it.

use std::cell::{Cell, UnsafeCell};
use std::ffi::{c_int, c_void};
use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::NonNull;
use std::rc::Rc;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::{Borrowed, PyClass, ffi};

/// Any Python object, as C has it.
pub(crate) type Raw = *mut ffi::PyObject;

/// Any Python object, behind a reference. The cell makes that one for this thread only, and says that
/// CPython changes what is behind it.
#[repr(transparent)]
#[derive(Debug)]
pub(crate) struct Object(UnsafeCell<ffi::PyObject>);

impl Object {
    /// # Safety
    /// The thread is attached, and the object alive for `'a`.
    #[inline]
    pub(crate) unsafe fn from_ptr<'a>(object: Raw) -> &'a Self {
        // SAFETY: the caller's object is alive, and `Object` is laid out as it.
        unsafe { &*object.cast_const().cast() }
    }

    /// As [`Self::from_ptr`], for what may be null.
    ///
    /// # Safety
    /// As there, if it is not null.
    #[inline]
    pub(crate) unsafe fn from_ptr_or_opt<'a>(object: Raw) -> Option<&'a Self> {
        // SAFETY: as the caller says.
        unsafe { object.cast_const().cast::<Self>().as_ref() }
    }

    #[inline]
    pub(crate) fn as_ptr(&self) -> Raw {
        self.0.get()
    }

    /// Which object it is, as a number.
    #[inline]
    pub(crate) fn address(&self) -> usize {
        self.as_ptr() as usize
    }

    /// The token of an attached thread.
    #[inline]
    pub(crate) fn py(&self) -> Python<'_> {
        // SAFETY: see the module: the reference exists in an attached thread only.
        unsafe { Python::assume_attached() }
    }

    /// Its type.
    #[inline]
    pub(crate) fn class(&self) -> &Self {
        // SAFETY: it is alive, so its type is; a type is an object.
        unsafe { Self::from_ptr(ffi::Py_TYPE(self.as_ptr()).cast()) }
    }

    /// Whether both are the same object.
    #[inline]
    pub(crate) fn is(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }

    #[inline]
    pub(crate) fn is_none(&self) -> bool {
        self.is(none_ref(self.py()))
    }

    /// The inside of it, if it is of that type.
    #[inline]
    pub(crate) fn cast<T: Typed>(&self) -> Option<&T> {
        // SAFETY: the type is looked at.
        T::is(self).then(|| unsafe { T::see(self) })
    }

    /// As PyO3 has it.
    #[inline]
    pub(crate) fn to_bound<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        // SAFETY: it is alive; the bound object has a reference of its own.
        unsafe { Bound::from_borrowed_ptr(py, self.as_ptr()) }
    }

    /// As PyO3 has it, without a reference of its own.
    #[inline]
    pub(crate) fn borrow(&self) -> Borrowed<'_, '_, PyAny> {
        // SAFETY: it is alive as long as this reference.
        unsafe { Borrowed::from_ptr(self.py(), self.as_ptr()) }
    }
}

/// An object of PyO3's, as we have it.
#[inline]
pub(crate) fn object<'a, T>(bound: &'a Bound<'_, T>) -> &'a Object {
    // SAFETY: it is held as long as the reference, in an attached thread.
    unsafe { Object::from_ptr(bound.as_ptr()) }
}

/// What Rust code sees of objects of some type.
///
/// # Safety
/// Where `is` answers yes, `see` is sound: it gives a part of the object's memory, or all of it.
pub(crate) unsafe trait Typed {
    fn is(object: &Object) -> bool;

    /// # Safety
    /// `is` answers yes.
    unsafe fn see(object: &Object) -> &Self;
}

// SAFETY: every object is one.
unsafe impl Typed for Object {
    #[inline]
    fn is(_: &Object) -> bool {
        true
    }

    #[inline]
    unsafe fn see(object: &Object) -> &Self {
        object
    }
}

/// What [`Typed`] sees as the object itself, and nothing inside of it.
///
/// # Safety
/// A reference to it is a reference to the object: `see` changes the type only.
pub(crate) unsafe trait Whole: Typed {}

// SAFETY: `see` gives back what it was given.
unsafe impl Whole for Object {}

/// Says that a class of PyO3's can be seen inside, and that the GIL keeps its objects for one thread at
/// a time: the module declares that it needs the GIL, makes no threads and never detaches.
macro_rules! class {
    ($class:ty) => {
        // SAFETY: every access is an attached thread's, see the macro.
        #[allow(unsafe_code, reason = "written once for every class")]
        unsafe impl Send for $class {}
        // SAFETY: as above.
        #[allow(unsafe_code, reason = "written once for every class")]
        unsafe impl Sync for $class {}
        // SAFETY: PyO3 looks at the type, and knows where the inside lies.
        #[allow(unsafe_code, reason = "written once for every class")]
        unsafe impl $crate::cpython::object::Typed for $class {
            #[inline]
            fn is(object: &$crate::cpython::object::Object) -> bool {
                object.borrow().cast::<Self>().is_ok()
            }

            #[inline]
            unsafe fn see(object: &$crate::cpython::object::Object) -> &Self {
                // SAFETY: as the caller says. PyO3's reference is alive as long as the object's.
                unsafe { &*std::ptr::from_ref(object.borrow().cast_unchecked::<Self>().get()) }
            }
        }
    };
}
pub(crate) use class;

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
        if T::is(&self) { Ok(Owned(self.into_non_null(), PhantomData)) } else { Err(self) }
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

/// A slot for an object, as a struct of CPython's would have it: null or one strong reference.
/// What was there is let go only after the slot has its new value: that may run Python code. So what is
/// in it is never lent, but to the collector: it is shared, or compared.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Slot<T = Object>(Cell<Option<NonNull<ffi::PyObject>>>, PhantomData<*const T>);

impl<T> Slot<T> {
    pub(crate) const fn empty() -> Self {
        Self(Cell::new(None), PhantomData)
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.get().is_none()
    }

    /// Whether it holds just this object.
    #[inline]
    pub(crate) fn holds(&self, object: &Object) -> bool {
        self.address() == object.address()
    }

    /// Which object it holds, as a number; 0 for none.
    #[inline]
    pub(crate) fn address(&self) -> usize {
        self.0.get().map_or(0, |object| object.as_ptr() as usize)
    }

    /// A reference of the caller's own.
    #[inline]
    pub(crate) fn cloned(&self) -> Option<Owned<T>> {
        self.traverse(|object| Owned(Owned::share(object).into_non_null(), PhantomData))
    }

    #[inline]
    pub(crate) fn take(&self) -> Option<Owned<T>> {
        self.0.take().map(|object| Owned(object, PhantomData))
    }

    #[inline]
    pub(crate) fn set(&self, object: Owned<T>) {
        drop(self.replace(Some(object)));
    }

    #[inline]
    pub(crate) fn replace(&self, object: Option<Owned<T>>) -> Option<Owned<T>> {
        let before = self.0.replace(object.map(Owned::into_non_null));
        before.map(|object| Owned(object, PhantomData))
    }

    #[inline]
    pub(crate) fn clear(&self) {
        drop(self.take());
    }

    /// For what changes no slot, as the collector and a new reference.
    #[inline]
    pub(crate) fn traverse<R>(&self, visit: impl FnOnce(&Object) -> R) -> Option<R> {
        // SAFETY: the slot holds a reference; a visit runs no code that could take it out.
        self.0.get().map(|object| visit(unsafe { Object::from_ptr(object.as_ptr()) }))
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

/// Where an object of a class of PyO3's finds itself: it is a part of that object.
#[derive(Debug)]
pub(crate) struct Myself<T> {
    weakly: Weakly,
    whole: PhantomData<*const T>,
}

impl<T: PyClass> Myself<T> {
    pub(crate) fn unknown() -> Self {
        let nowhere = Cell::new(std::ptr::null_mut());
        Self { weakly: Weakly(Rc::new(nowhere)), whole: PhantomData }
    }

    /// Tells it. It must lie in the object.
    pub(crate) fn set(&self, whole: &Bound<'_, T>) {
        let (start, here) = (whole.as_ptr() as usize, std::ptr::from_ref(self) as usize);
        // SAFETY: the object is alive, and so is its type.
        let size = unsafe { (*ffi::Py_TYPE(whole.as_ptr())).tp_basicsize as usize };
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
        Owned(object.into_non_null(), PhantomData)
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
        // SAFETY: a part of an object, which only attached threads reach.
        unsafe { Python::assume_attached() }
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

/// What only attached threads get at, one at a time.
pub(crate) struct Guarded<T>(T);

// SAFETY: what gets at it has the token of an attached thread, and the module needs the GIL.
unsafe impl<T> Sync for Guarded<T> {}

impl<T> Guarded<T> {
    pub(crate) const fn new(inside: T) -> Self {
        Self(inside)
    }

    #[inline]
    pub(crate) fn get<'a>(&'a self, _: Python<'a>) -> &'a T {
        &self.0
    }
}

/// Shows the collector a reference that is held, for a class of PyO3's.
pub(crate) fn show(visit: &PyVisit<'_>, object: &Object) -> Result<(), PyTraverseError> {
    let object = object.as_ptr();
    // SAFETY: `Py` is a pointer to an object, and this one is alive.
    let object: &Py<PyAny> = unsafe { &*std::ptr::from_ref(&object).cast() };
    visit.call(object)
}

/// The collector's visit of an object of ours.
#[derive(Debug)]
pub(crate) struct Visitor {
    visit: ffi::visitproc,
    arg: *mut c_void,
    answer: c_int,
}

impl Visitor {
    /// # Safety
    /// What CPython has given to `tp_traverse`, for the length of that call.
    pub(crate) unsafe fn new(visit: ffi::visitproc, arg: *mut c_void) -> Self {
        Self { visit, arg, answer: 0 }
    }

    /// Shows a reference that the visited object holds.
    #[inline]
    pub(crate) fn show(&mut self, object: &Object) {
        if self.answer == 0 {
            // SAFETY: the collector's function, with its own argument.
            self.answer = unsafe { (self.visit)(object.as_ptr(), self.arg) };
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

/// References to what the interpreter keeps for as long as it is.
macro_rules! kept {
    ($($(#[$text:meta])* $name:ident = $object:expr),* $(,)?) => {$(
        $(#[$text])*
        #[inline]
        pub(crate) fn $name(_: pyo3::Python<'_>) -> &'static $crate::cpython::object::Object {
            // SAFETY: the interpreter keeps it; attached, as the token says.
            unsafe { $crate::cpython::object::Object::from_ptr($object) }
        }
    )*};
}
pub(crate) use kept;

kept! {
    /// None.
    none_ref = ffi::Py_None(),
    true_ref = ffi::Py_True(),
    false_ref = ffi::Py_False(),
}

#[inline]
pub(crate) fn none(py: Python<'_>) -> Owned {
    Owned::share(none_ref(py))
}

/// True or False.
#[inline]
pub(crate) fn boolean_ref(py: Python<'_>, value: bool) -> &'static Object {
    if value { true_ref(py) } else { false_ref(py) }
}

#[inline]
pub(crate) fn boolean(py: Python<'_>, value: bool) -> Owned {
    Owned::share(boolean_ref(py, value))
}
