//! References to Python objects, and the two facts that they stand for. Code that has a reference to
//! an [`Object`] runs in an attached thread, and the object is alive as long as the reference: a
//! reference comes from CPython, for a call of its own, or from an [`Owned`], and can go to no other
//! thread; and nothing here ever detaches one. So what takes an `&Object` needs no other proof; what
//! takes none has `Python<'_>` for that. It must never hand out a reference that outlives what keeps it.

use std::cell::UnsafeCell;
use std::marker::PhantomData;

use pyo3::prelude::*;
use pyo3::types::PyType;
use pyo3::{Borrowed, ffi};

/// Any Python object, as C has it.
pub(crate) type Raw = *mut ffi::PyObject;

/// Stands for being attached: it comes from a token, goes to no other thread, and lies only where attached
/// threads get. It takes no room.
#[derive(Debug)]
pub(crate) struct Attached(PhantomData<*mut ()>);

impl Attached {
    #[inline]
    pub(crate) const fn new(_: Python<'_>) -> Self {
        Self(PhantomData)
    }

    /// The token.
    #[inline]
    pub(crate) fn py(&self) -> Python<'_> {
        // SAFETY: this was made from a token, in this thread or where only an attached one gets; and nothing
        // here detaches.
        unsafe { Python::assume_attached() }
    }
}

/// Any Python object, behind a reference. The cell makes that one for this thread only, and says that
/// CPython changes what is behind it.
#[repr(transparent)]
#[derive(Debug)]
pub(crate) struct Object(UnsafeCell<ffi::PyObject>, Attached);

impl Object {
    /// # Safety
    /// The thread is attached, and the object alive for `'a`.
    #[inline]
    pub(crate) unsafe fn from_ptr<'a>(object: Raw) -> &'a Self {
        // SAFETY: the caller's object is alive, and `Object` is laid out as it.
        unsafe { &*object.cast_const().cast() }
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
        self.1.py()
    }

    /// Its type.
    #[inline]
    pub(crate) fn class(&self) -> &Type {
        // SAFETY: an object keeps its type, which CPython has as a `PyTypeObject`.
        unsafe { Type::from_ptr(self.borrow().get_type_ptr()) }
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
/// Where `is` is true, `see` is sound: it gives a part of the object's memory, or all of it.
pub(crate) unsafe trait Typed {
    fn is(object: &Object) -> bool;

    /// # Safety
    /// `is` is true.
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

/// Objects of some kind, by a look at each: `kind! { /// Text. pub(crate) struct Name = is; }`, where `is`
/// says of an object whether it is one. They are seen as no more than objects.
macro_rules! kind {
    ($(#[$text:meta])* $seen:vis struct $name:ident = $is:expr;) => {
        $(#[$text])*
        #[repr(transparent)]
        #[derive(Debug)]
        $seen struct $name($crate::cpython::object::Object);

        impl std::ops::Deref for $name {
            type Target = $crate::cpython::object::Object;

            #[inline]
            fn deref(&self) -> &$crate::cpython::object::Object {
                &self.0
            }
        }

        // SAFETY: it is laid out as an object is, and all of it.
        unsafe impl $crate::cpython::object::Typed for $name {
            #[inline]
            fn is(object: &$crate::cpython::object::Object) -> bool {
                ($is)(object)
            }

            #[inline]
            unsafe fn see(object: &$crate::cpython::object::Object) -> &Self {
                // SAFETY: a reference to an object is one to this, which is laid out so.
                unsafe { &*std::ptr::from_ref(object).cast() }
            }
        }

        // SAFETY: `see` changes the type only.
        unsafe impl $crate::cpython::object::Whole for $name {}
    };
}
pub(crate) use kind;

kind! {
    /// A type, which is an object, too.
    pub(crate) struct Type = |object: &Object| object.borrow().cast::<PyType>().is_ok();
}

impl Type {
    /// # Safety
    /// The thread is attached, and the type alive for `'a`.
    #[inline]
    pub(crate) unsafe fn from_ptr<'a>(class: *mut ffi::PyTypeObject) -> &'a Self {
        // SAFETY: the caller's type is alive, and begins as any object does.
        unsafe { &*class.cast_const().cast() }
    }

    #[inline]
    pub(crate) fn as_type_ptr(&self) -> *mut ffi::PyTypeObject {
        self.as_ptr().cast()
    }

    /// A part of what C sees of it, which CPython may change: so it is copied.
    #[inline]
    pub(crate) fn part<R: Copy>(&self, read: impl FnOnce(&ffi::PyTypeObject) -> R) -> R {
        // SAFETY: it is alive and a type, and what reads runs no code that could change it.
        read(unsafe { &*self.as_type_ptr() })
    }
}

/// Objects whose layout CPython publishes, told by their type, of which there are no subclasses.
macro_rules! laid_out {
    ($($struct:ident = $type:ident),*) => {$(
        // SAFETY: objects of this type are laid out so.
        unsafe impl $crate::cpython::object::Typed for pyo3::ffi::$struct {
            #[inline]
            fn is(object: &$crate::cpython::object::Object) -> bool {
                object.class().as_type_ptr() == &raw mut pyo3::ffi::$type
            }

            #[inline]
            unsafe fn see(object: &$crate::cpython::object::Object) -> &Self {
                // SAFETY: as the caller says.
                unsafe { &*object.as_ptr().cast_const().cast() }
            }
        }
    )*};
}
pub(crate) use laid_out;

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
                // SAFETY: as the caller says: PyO3 was asked.
                unsafe { object.borrow().cast_unchecked::<Self>() }.get()
            }
        }
    };
}
pub(crate) use class;

/// References to what the interpreter keeps for as long as it is.
macro_rules! kept {
    ($($(#[$text:meta])* $name:ident = $object:expr),* $(,)?) => {$(
        $(#[$text])*
        #[inline]
        pub(crate) fn $name(_: pyo3::Python<'_>) -> &'static $crate::cpython::object::Object {
            // SAFETY: attached, as the token says: the interpreter has made what stands there.
            let object = unsafe { $object };
            // SAFETY: the interpreter keeps it.
            unsafe { $crate::cpython::object::Object::from_ptr(object) }
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

/// True or False.
#[inline]
pub(crate) fn boolean_ref(py: Python<'_>, value: bool) -> &'static Object {
    if value { true_ref(py) } else { false_ref(py) }
}
