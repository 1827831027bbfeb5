//! What an exception is, as far as the rules tell exceptions apart, and groups that carry a
//! cancellation. What that means is the core's to say.

use nursery_core::Kind;
use pyo3::ffi;

use crate::cpython::imports::{imports, names};
use crate::cpython::object::{Fallible, Owned, Raw, method1, optional};

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

/// What an exception is by which a child or a body has ended: a group is looked into. Runs no code of
/// the program's.
pub unsafe fn kind_of_end(exception: Raw) -> Kind {
    // SAFETY: attached; the caller's exception is alive.
    unsafe {
        let kind = kind(exception);
        if kind != Kind::Error || !may_carry_cancellations(exception) {
            return kind;
        }
        match optional(contents(exception)) {
            Some((true, true)) => Kind::Group,
            Some((true, false)) => Kind::Cancellations,
            _ => kind,
        }
    }
}

/// Whether an exception is a group that can have a cancellation in it. One that is an `Exception`
/// cannot.
unsafe fn may_carry_cancellations(exception: Raw) -> bool {
    // SAFETY: the caller's exception is alive.
    unsafe {
        ffi::PyErr_GivenExceptionMatches(exception, ffi::PyExc_BaseExceptionGroup) != 0
            && ffi::PyErr_GivenExceptionMatches(exception, ffi::PyExc_Exception) == 0
    }
}

/// Whether there are cancellations in a group, and whether there is anything else.
unsafe fn contents(group: Raw) -> Fallible<(bool, bool)> {
    // SAFETY: attached; the caller's group is alive, and keeps what is in it.
    unsafe {
        // Asked of the base class, since a subclass may say anything.
        let class = ffi::PyExc_BaseExceptionGroup;
        let members = Owned::new(ffi::PyObject_GetAttr(class, names().exceptions))?;
        let (mut cancellations, mut errors) = (false, false);
        let mut walk = vec![Owned::share(group)];
        while let Some(group) = walk.pop() {
            let parts = method1(members.as_ptr(), names().descriptor_get, group.as_ptr())?;
            for at in 0..ffi::PyTuple_Size(parts.as_ptr()) {
                let part = ffi::PyTuple_GetItem(parts.as_ptr(), at);
                if ffi::PyErr_GivenExceptionMatches(part, class) != 0 {
                    walk.push(Owned::share(part));
                } else if is_cancellation(part) {
                    cancellations = true;
                } else {
                    errors = true;
                }
            }
        }
        Ok((cancellations, errors))
    }
}

/// The first cancellation in a group, or the exception itself if it is no group.
pub unsafe fn innermost(exception: &Owned) -> Owned {
    // SAFETY: attached; the caller's exception is alive.
    unsafe {
        let class = ffi::PyExc_BaseExceptionGroup;
        let mut found = exception.clone();
        while ffi::PyErr_GivenExceptionMatches(found.as_ptr(), class) != 0 {
            let inner = || -> Fallible<Owned> {
                let members = Owned::new(ffi::PyObject_GetAttr(class, names().exceptions))?;
                let parts = method1(members.as_ptr(), names().descriptor_get, found.as_ptr())?;
                Owned::new(ffi::PySequence_GetItem(parts.as_ptr(), 0))
            };
            match optional(inner()) {
                Some(inner) => found = inner,
                None => break,
            }
        }
        found
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
            if !may_carry_cancellations(exception) {
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
