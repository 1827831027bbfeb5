//! What the methods of an iterator of ours answer, and what is thrown into one.

use pyo3::ffi;

use super::object::{Owned, Raised, Raw, call0, call1, raise, set_error};

/// The answer of a method that is called `send` or `throw`: without an exception set, null is no
/// answer there.
pub unsafe fn sent(answer: Raw) -> Raw {
    // SAFETY: attached.
    unsafe {
        if answer.is_null() && ffi::PyErr_Occurred().is_null() {
            ffi::PyErr_SetNone(ffi::PyExc_StopIteration);
        }
    }
    answer
}

/// Raises `StopIteration(value)`, as what `tp_iternext` answers.
pub unsafe fn stop(value: Option<Owned>) -> Raw {
    // SAFETY: attached.
    unsafe {
        let value = value.as_ref().map_or(ffi::Py_None(), Owned::as_ptr);
        if value == ffi::Py_None() {
            // Without an exception set, null says the same.
            return std::ptr::null_mut();
        }
        match call1(ffi::PyExc_StopIteration, value) {
            Ok(stop) => raise(stop).null(),
            Err(raised) => raised.null(),
        }
    }
}

/// Raises what was given to a `throw` method: an exception, or the older class, value, traceback.
pub unsafe fn raise_thrown(args: *const Raw, count: ffi::Py_ssize_t) -> Raised {
    // SAFETY: CPython's vector of arguments.
    unsafe {
        let arg = |index: isize| {
            if index < count { *args.offset(index) } else { ffi::Py_None() }
        };
        let (first, second, traceback) = (arg(0), arg(1), arg(2));
        let is_exception =
            |object: Raw| ffi::PyObject_IsInstance(object, ffi::PyExc_BaseException) == 1;
        let exception = if count > 0 && is_exception(first) {
            Ok(Owned::share(first))
        } else if count > 1 && is_exception(second) {
            Ok(Owned::share(second))
        } else if count > 0 && ffi::PyExceptionClass_Check(first) != 0 {
            if second == ffi::Py_None() { call0(first) } else { call1(first, second) }
        } else {
            return set_error(
                ffi::PyExc_TypeError,
                c"exceptions must be classes or instances deriving from BaseException",
            );
        };
        let exception = match exception {
            Ok(exception) => exception,
            Err(raised) => return raised,
        };
        if traceback != ffi::Py_None() {
            ffi::PyException_SetTraceback(exception.as_ptr(), traceback);
        }
        raise(exception)
    }
}
