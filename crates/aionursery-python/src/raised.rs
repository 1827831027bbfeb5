//! What an exception is, as far as the rules tell exceptions apart, and groups that carry a
//! cancellation. What that means is the core's to say.

use nursery_core::Kind;
use pyo3::ffi;

use crate::imports::{imports, names};
use crate::object::{Fallible, Owned, Raw, method1, optional};

/// Whether an exception is a cancellation.
#[inline]
pub unsafe fn is_cancellation(exception: Raw) -> bool {
    // SAFETY: the caller's exception is alive.
    unsafe { ffi::PyErr_GivenExceptionMatches(exception, imports().cancelled_error) != 0 }
}

/// What an exception is.
pub unsafe fn kind(exception: Raw) -> Kind {
    // SAFETY: the caller's exception is alive.
    unsafe {
        let is = |class: Raw| ffi::PyErr_GivenExceptionMatches(exception, class) != 0;
        if is_cancellation(exception) {
            Kind::Cancellation
        } else if is(ffi::PyExc_KeyboardInterrupt) || is(ffi::PyExc_SystemExit) {
            Kind::Exit
        } else if is(ffi::PyExc_GeneratorExit) {
            Kind::Close
        } else {
            Kind::Error
        }
    }
}

/// A group of exceptions, seen for cancellations in it at any depth.
pub enum Group {
    /// It is no group, or has none.
    Without,
    /// It has some; what is left without them, if anything is.
    With(Option<Owned>),
}

impl Group {
    /// Looks into an exception. `split` may be anybody's.
    pub unsafe fn of(exception: Raw) -> Fallible<Self> {
        // SAFETY: attached; the caller's exception is alive.
        unsafe {
            let group = ffi::PyExc_BaseExceptionGroup;
            if ffi::PyErr_GivenExceptionMatches(exception, group) == 0 {
                return Ok(Self::Without);
            }
            let parts = method1(exception, names().split, imports().cancelled_error)?;
            let part = |at| Owned::new(ffi::PySequence_GetItem(parts.as_ptr(), at));
            let (found, rest) = (part(0)?, part(1)?);
            if found.as_ptr() == ffi::Py_None() {
                return Ok(Self::Without);
            }
            Ok(Self::With((rest.as_ptr() != ffi::Py_None()).then_some(rest)))
        }
    }

    /// As [`of`](Self::of), for an exception that must not be lost: one that cannot be split stays.
    pub unsafe fn of_error(exception: Raw) -> Self {
        // SAFETY: as above; the error is taken back.
        unsafe { optional(Self::of(exception)).unwrap_or(Self::Without) }
    }
}
