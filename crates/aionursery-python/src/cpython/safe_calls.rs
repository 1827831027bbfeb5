//! Functions of CPython's C API with types that say what it asks for, by a table: a reference to an object is
//! alive, and so attached is the thread; an [`Owned`] is a reference that CPython takes over; a place for
//! one is a place for a new reference, or null; and an answer that is owned is a new reference, one that is
//! lent a borrowed one. A function may stand in a table as a safe one only if this is all that CPython asks of
//! its caller: it looks at what the types do not say, and keeps a reference of its own to what it keeps. One
//! that asks for more must never stand there as a safe one: it is an unsafe one, and each call of it has its
//! reason.

use std::ffi::{CStr, c_char, c_int, c_ulong, c_ulonglong, c_void};
use std::ptr::NonNull;

use pyo3::ffi;
use pyo3::prelude::*;

use super::object::{Object, Raw, Type};
use super::owned::Owned;

/// An argument, as C takes it.
pub(crate) trait Argument {
    type C;

    fn c(self) -> Self::C;
}

impl Argument for &Object {
    type C = Raw;

    #[inline]
    fn c(self) -> Raw {
        self.as_ptr()
    }
}

/// Null for none.
impl Argument for Option<&Object> {
    type C = Raw;

    #[inline]
    fn c(self) -> Raw {
        self.map_or(std::ptr::null_mut(), Object::as_ptr)
    }
}

impl Argument for &Type {
    type C = *mut ffi::PyTypeObject;

    #[inline]
    fn c(self) -> *mut ffi::PyTypeObject {
        self.as_type_ptr()
    }
}

/// The reference is given away.
impl<T> Argument for Owned<T> {
    type C = Raw;

    #[inline]
    fn c(self) -> Raw {
        self.into_ptr()
    }
}

/// As that; null for none.
impl Argument for Option<Owned> {
    type C = Raw;

    #[inline]
    fn c(self) -> Raw {
        self.map_or(std::ptr::null_mut(), Owned::into_ptr)
    }
}

/// A place for a new reference. What is in it before is the place's to give: it is read and written as
/// one word, which is null for none.
impl Argument for &mut Option<Owned> {
    type C = *mut Raw;

    #[inline]
    fn c(self) -> *mut Raw {
        std::ptr::from_mut(self).cast()
    }
}

/// A place for a number.
impl Argument for &mut ffi::Py_ssize_t {
    type C = *mut ffi::Py_ssize_t;

    #[inline]
    fn c(self) -> *mut ffi::Py_ssize_t {
        self
    }
}

impl Argument for &CStr {
    type C = *const c_char;

    #[inline]
    fn c(self) -> *const c_char {
        self.as_ptr()
    }
}

macro_rules! plain_arguments {
    ($($number:ty),*) => {$(
        impl Argument for $number {
            type C = Self;

            #[inline]
            fn c(self) -> Self {
                self
            }
        }
    )*};
}

plain_arguments!(c_int, c_ulonglong, ffi::Py_ssize_t, f64, usize);

/// What the types say nothing of: only an unsafe function takes one.
impl<T> Argument for *mut T {
    type C = Self;

    #[inline]
    fn c(self) -> Self {
        self
    }
}

/// As above.
impl<T> Argument for *const T {
    type C = Self;

    #[inline]
    fn c(self) -> Self {
        self
    }
}

/// An answer of C's, as we have it.
pub(crate) trait Answer<C> {
    /// # Safety
    /// A function of CPython's has answered so just now; an object that it answers is a new reference if it
    /// becomes an owned one, and a borrowed one if it becomes a lent one.
    unsafe fn of(py: Python<'_>, answer: C) -> Self;
}

/// Of a function that answers nothing.
impl Answer<()> for () {
    #[inline]
    unsafe fn of(_: Python<'_>, (): ()) -> Self {}
}

/// Of a function that cannot fail.
impl Answer<c_int> for bool {
    #[inline]
    unsafe fn of(_: Python<'_>, answer: c_int) -> Self {
        answer != 0
    }
}

/// A new reference, or null for none: no failure.
impl Answer<Raw> for Option<Owned> {
    #[inline]
    unsafe fn of(_: Python<'_>, answer: Raw) -> Self {
        // SAFETY: as the caller says.
        unsafe { Owned::from_ptr(answer) }
    }
}

/// A reference that CPython has lent, shared at once; or none.
pub(crate) struct Lent(pub Option<Owned>);

impl Answer<Raw> for Lent {
    #[inline]
    unsafe fn of(_: Python<'_>, answer: Raw) -> Self {
        // SAFETY: as the caller says: what lends it keeps it until other code runs.
        let share = |lent: NonNull<_>| Owned::share(unsafe { Object::from_ptr(lent.as_ptr()) });
        Self(NonNull::new(answer).map(share))
    }
}

/// Whether there is an object, which is not looked at.
impl Answer<Raw> for bool {
    #[inline]
    unsafe fn of(_: Python<'_>, answer: Raw) -> Self {
        !answer.is_null()
    }
}

macro_rules! plain_answers {
    ($($answer:ty),*) => {$(
        impl Answer<$answer> for $answer {
            #[inline]
            unsafe fn of(_: Python<'_>, answer: Self) -> Self {
                answer
            }
        }
    )*};
}

plain_answers!(
    c_int,
    c_ulong,
    ffi::Py_ssize_t,
    *const c_char,
    *mut c_void,
    ffi::PySendResult,
    *mut ffi::PyInterpreterState
);

/// `fn name(object: &Object, ...) -> Answer = PyFunction;`, or with `py: Python<'_>` in place of a first
/// object. And `unsafe fn`, with the token.
macro_rules! safe_calls {
    () => {};
    (
        $(#[$text:meta])*
        $seen:vis fn $name:ident(py: Python<'_>$(, $arg:ident: $type:ty)*) -> $answer:ty = $($function:ident)::+;
        $($rest:tt)*
    ) => {
        safe_calls! {
            @one $(#[$text])* ($seen) $name (py: pyo3::Python<'_>$(, $arg: $type)*) (py) ($($arg)*)
            $answer, $($function)::+
        }
        safe_calls! { $($rest)* }
    };
    (
        $(#[$text:meta])*
        $seen:vis fn $name:ident($first:ident: &$kind:ident$(, $arg:ident: $type:ty)*) -> $answer:ty = $($function:ident)::+;
        $($rest:tt)*
    ) => {
        safe_calls! {
            @one $(#[$text])* ($seen) $name ($first: &$kind$(, $arg: $type)*) ($first.py()) ($first $($arg)*)
            $answer, $($function)::+
        }
        safe_calls! { $($rest)* }
    };
    (
        $(#[$text:meta])*
        $seen:vis unsafe fn $name:ident(py: Python<'_>$(, $arg:ident: $type:ty)*) -> $answer:ty = $($function:ident)::+;
        $($rest:tt)*
    ) => {
        safe_calls! {
            @one $(#[$text])* ($seen unsafe) $name (py: pyo3::Python<'_>$(, $arg: $type)*) (py) ($($arg)*)
            $answer, $($function)::+
        }
        safe_calls! { $($rest)* }
    };
    (
        @one $(#[$text:meta])* ($($seen:tt)*) $name:ident ($($parameters:tt)*) ($py:expr) ($($arg:ident)*)
        $answer:ty, $($function:ident)::+
    ) => {
        $(#[$text])*
        #[inline]
        $($seen)* fn $name($($parameters)*) -> $answer {
            let py = $py;
            // SAFETY: each argument is what its type says, and attached is the thread that has a reference to an
            // object, or the token. A safe function of the table asks for no more; what else an unsafe one
            // asks for its caller answers for.
            let answer = unsafe {
                pyo3::ffi::$($function)::+($($crate::cpython::safe_calls::Argument::c($arg)),*)
            };
            // SAFETY: CPython has answered so just now: where that is owned, with a new reference; where it is
            // lent, with one of what it was given.
            unsafe { $crate::cpython::safe_calls::Answer::of(py, answer) }
        }
    };
}
pub(crate) use safe_calls;
