//! Functions of CPython's C API as safe ones, by a table. A function may stand in one only if CPython asks
//! of its caller no more than a thread that is attached and arguments that are alive, looks at their
//! types itself, keeps a reference of its own to what it keeps, and answers with a new reference where it
//! answers with an object. What asks for more is called by hand, with its reason.

use std::ffi::{CStr, c_char, c_int, c_ulonglong};

use pyo3::ffi;
use pyo3::prelude::*;

use super::object::{Object, Raw};

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

plain_arguments!(c_int, c_ulonglong, ffi::Py_ssize_t, f64);

/// An answer of C's, as we have it.
pub(crate) trait Answer<C> {
    /// # Safety
    /// A function of CPython's has answered so just now; an object that it answers is a new reference.
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

/// `pub fn name(object: &Object, ...) -> Answer = PyFunction;`, or with `py: Python<'_>` in the place of a first
/// object.
macro_rules! safe_calls {
    () => {};
    (
        $(#[$text:meta])*
        $seen:vis fn $name:ident(py: Python<'_>$(, $arg:ident: $type:ty)*) -> $answer:ty = $function:ident;
        $($rest:tt)*
    ) => {
        safe_calls! {
            @one $(#[$text])* ($seen) $name (py: pyo3::Python<'_>$(, $arg: $type)*) (py) ($($arg)*)
            $answer, $function
        }
        safe_calls! { $($rest)* }
    };
    (
        $(#[$text:meta])*
        $seen:vis fn $name:ident($first:ident: &Object$(, $arg:ident: $type:ty)*) -> $answer:ty = $function:ident;
        $($rest:tt)*
    ) => {
        safe_calls! {
            @one $(#[$text])* ($seen) $name ($first: &Object$(, $arg: $type)*) ($first.py()) ($first $($arg)*)
            $answer, $function
        }
        safe_calls! { $($rest)* }
    };
    (
        @one $(#[$text:meta])* ($seen:vis) $name:ident ($($parameters:tt)*) ($py:expr) ($($arg:ident)*)
        $answer:ty, $function:ident
    ) => {
        $(#[$text])*
        #[inline]
        $seen fn $name($($parameters)*) -> $answer {
            // SAFETY: each object is alive, as the reference to it says, and attached is the thread that has
            // one, or the token; a function of the table asks for no more.
            unsafe {
                let answer = pyo3::ffi::$function($($crate::cpython::safe_calls::Argument::c($arg)),*);
                $crate::cpython::safe_calls::Answer::of($py, answer)
            }
        }
    };
}
pub(crate) use safe_calls;
