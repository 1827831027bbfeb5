//! Failures: the error indicator, as we have it and as PyO3 does, and the exceptions that CPython has
//! for them. It must never swallow one.

use std::ffi::{CStr, c_int, c_long};
use std::marker::PhantomData;

use pyo3::prelude::*;
use pyo3::{PyClass, PyClassInitializer, ffi};

use super::object::{Object, Owned, Raw, Typed};
use super::safe_calls::{Answer, safe_calls};

/// The error indicator is set: something has failed, and its exception waits. There is one for each
/// failure, and it is used up: given to CPython, which raises the exception, taken, or forgotten. Only a
/// thread that is attached has one.
#[derive(Debug)]
#[must_use = "an exception waits: hand this on, take the exception or forget it"]
pub(crate) struct Raised(PhantomData<*mut ()>);

impl Raised {
    const SET: Self = Self(PhantomData);

    /// CPython says that a call of its own has failed.
    #[cold]
    pub(crate) fn seen(py: Python<'_>) -> Self {
        if !is_set(py) {
            return set_error(
                exc::system_error(py),
                c"aionursery: a call failed without an exception",
            );
        }
        Self::SET
    }

    /// Takes the exception, with its traceback, and clears the error indicator.
    pub(crate) fn take(self) -> Owned {
        let py = self.py();
        // Where the exception has gone, somebody has broken this type's promise.
        take_raised(py).unwrap_or_else(|| Self::seen(py).take())
    }

    /// Whether the exception is of this class.
    pub(crate) fn is(&self, class: &Object) -> bool {
        // SAFETY: the error indicator is set; the class is alive.
        unsafe { ffi::PyErr_ExceptionMatches(class.as_ptr()) != 0 }
    }

    /// Lets the exception go, where it means no more than that there is no answer.
    pub(crate) fn forget(self) {}

    /// Leaves the exception to CPython: the answer that follows says that there is one.
    pub(crate) fn stand(self) {
        std::mem::forget(self);
    }

    /// The answer by which CPython knows to raise the exception.
    pub(crate) fn null(self) -> Raw {
        self.stand();
        std::ptr::null_mut()
    }

    /// As [`Self::null`], for what answers with a number.
    pub(crate) fn negative(self) -> c_int {
        self.stand();
        -1
    }

    #[inline]
    pub(crate) fn py(&self) -> Python<'_> {
        // SAFETY: made by an attached thread, and not `Send`.
        unsafe { Python::assume_attached() }
    }
}

/// What is not handed on is forgotten, so that no later answer seems to have failed.
impl Drop for Raised {
    fn drop(&mut self) {
        clear(self.py());
    }
}

pub(crate) type Fallible<T> = Result<T, Raised>;

/// A new reference that a call has answered; null means that an exception was set.
///
/// # Safety
/// The thread is attached, and the reference is the caller's to give.
#[inline]
pub(crate) unsafe fn answered(py: Python<'_>, object: Raw) -> Fallible<Owned> {
    // SAFETY: as the caller says.
    match unsafe { Owned::from_ptr(object) } {
        Some(object) => Ok(object),
        None => Err(Raised::seen(py)),
    }
}

/// What CPython answers with a negative number if it has failed.
#[inline]
pub(crate) fn checked(py: Python<'_>, answer: c_int) -> Fallible<c_int> {
    if answer < 0 { Err(Raised::seen(py)) } else { Ok(answer) }
}

impl Answer<Raw> for Fallible<Owned> {
    #[inline]
    unsafe fn of(py: Python<'_>, answer: Raw) -> Self {
        // SAFETY: as the caller says.
        unsafe { answered(py, answer) }
    }
}

impl Answer<c_int> for Fallible<()> {
    #[inline]
    unsafe fn of(py: Python<'_>, answer: c_int) -> Self {
        checked(py, answer).map(drop)
    }
}

impl Answer<c_int> for Fallible<bool> {
    #[inline]
    unsafe fn of(py: Python<'_>, answer: c_int) -> Self {
        checked(py, answer).map(|answer| answer != 0)
    }
}

impl Answer<ffi::Py_ssize_t> for Fallible<ffi::Py_ssize_t> {
    #[inline]
    unsafe fn of(py: Python<'_>, answer: ffi::Py_ssize_t) -> Self {
        if answer < 0 { Err(Raised::seen(py)) } else { Ok(answer) }
    }
}

/// Minus one is a number, too.
impl Answer<c_long> for Fallible<c_long> {
    #[inline]
    unsafe fn of(py: Python<'_>, answer: c_long) -> Self {
        if answer == -1 {
            check_set(py)?;
        }
        Ok(answer)
    }
}

impl Answer<f64> for Fallible<f64> {
    #[inline]
    unsafe fn of(py: Python<'_>, answer: f64) -> Self {
        if answer == -1.0 {
            check_set(py)?;
        }
        Ok(answer)
    }
}

safe_calls! {
    /// Whether an object is an exception.
    pub(crate) fn is_exception(object: &Object) -> bool = PyExceptionInstance_Check;
    /// Whether an object is an exception's class.
    pub(crate) fn is_exception_class(object: &Object) -> bool = PyExceptionClass_Check;
    /// Whether an exception is of a class, or is that class.
    pub(crate) fn is_of(exception: &Object, class: &Object) -> bool = PyErr_GivenExceptionMatches;
    // Where `kind` is no exception's class, CPython raises a SystemError in its place.
    fn set_text(kind: &Object, text: &CStr) -> () = PyErr_SetString;
    fn set_object(kind: &Object, value: &Object) -> () = PyErr_SetObject;
    fn set_none(kind: &Object) -> () = PyErr_SetNone;
    fn clear(py: Python<'_>) -> () = PyErr_Clear;
    fn warn_at(kind: &Object, text: &CStr, level: isize) -> Fallible<()> = PyErr_WarnEx;
}

/// Raises `kind(text)`.
pub(crate) fn set_error(kind: &Object, text: &CStr) -> Raised {
    set_text(kind, text);
    Raised::SET
}

/// A new `str`.
pub(crate) fn string(py: Python<'_>, text: &str) -> Fallible<Owned> {
    let length = text.len() as ffi::Py_ssize_t;
    // SAFETY: valid UTF-8 of the given length; the answer is a new reference.
    unsafe { answered(py, ffi::PyUnicode_FromStringAndSize(text.as_ptr().cast(), length)) }
}

/// Whether an exception waits.
#[inline]
fn is_set(_: Python<'_>) -> bool {
    // SAFETY: attached, as the token says.
    unsafe { !ffi::PyErr_Occurred().is_null() }
}

/// The failure of a call that answers with what may be a value, too.
#[inline]
pub(crate) fn check_set(py: Python<'_>) -> Fallible<()> {
    if is_set(py) { Err(Raised::seen(py)) } else { Ok(()) }
}

/// Takes the error indicator, with its traceback; none if nothing was raised.
fn take_raised(_: Python<'_>) -> Option<Owned> {
    // SAFETY: attached, as the token says; CPython gives its references away.
    unsafe {
        #[cfg(Py_3_12)]
        let exception = ffi::PyErr_GetRaisedException();
        #[cfg(not(Py_3_12))]
        let exception = {
            let mut kind = std::ptr::null_mut();
            let mut value = std::ptr::null_mut();
            let mut traceback = std::ptr::null_mut();
            ffi::PyErr_Fetch(&mut kind, &mut value, &mut traceback);
            if kind.is_null() {
                return None;
            }
            ffi::PyErr_NormalizeException(&mut kind, &mut value, &mut traceback);
            if !traceback.is_null() {
                ffi::PyException_SetTraceback(value, traceback);
            }
            ffi::Py_XDECREF(kind);
            ffi::Py_XDECREF(traceback);
            value
        };
        Owned::from_ptr(exception)
    }
}

/// Raises an exception object.
pub(crate) fn raise(exception: Owned) -> Raised {
    if !is_exception(&exception) {
        return refuse(&exception);
    }
    // SAFETY: an exception, whose reference is handed on, becomes the error indicator.
    unsafe {
        #[cfg(Py_3_12)]
        ffi::PyErr_SetRaisedException(exception.into_ptr());
        #[cfg(not(Py_3_12))]
        {
            let kind = ffi::Py_TYPE(exception.as_ptr()).cast();
            ffi::Py_INCREF(kind);
            let traceback = ffi::PyException_GetTraceback(exception.as_ptr());
            ffi::PyErr_Restore(kind, exception.into_ptr(), traceback);
        }
    }
    Raised::SET
}

#[cold]
fn refuse(object: &Object) -> Raised {
    let text = c"exceptions must derive from BaseException";
    set_error(exc::type_error(object.py()), text)
}

/// Raises an exception object as a `raise` statement does: what is being handled becomes its
/// context.
pub(crate) fn raise_in_context(exception: Owned) -> Raised {
    if !is_exception(&exception) {
        return refuse(&exception);
    }
    set_object(exception.class(), &exception);
    Raised::SET
}

/// Raises `kind(text)`, for a text that is put together.
pub(crate) fn set_error_text(kind: &Object, text: &str) -> Raised {
    match string(kind.py(), text) {
        Ok(message) => set_object(kind, &message),
        Err(raised) => return raised,
    }
    Raised::SET
}

/// Raises StopIteration, where nothing is raised yet.
pub(crate) fn stop_unless_set(py: Python<'_>) -> Raised {
    if !is_set(py) {
        set_none(exc::stop_iteration(py));
    }
    Raised::SET
}

/// Warns of `text`, where `level` frames up.
pub(crate) fn warn(kind: &Object, text: &CStr) -> Fallible<()> {
    warn_at(kind, text, 1)
}

/// Writes an exception to stderr that nothing can be told of; `about` is what it has to do with.
pub(crate) fn write_unraisable(raised: Raised, about: Option<&Object>) {
    raised.stand();
    // SAFETY: the error indicator is set, which this clears; what it is about is alive.
    unsafe {
        ffi::PyErr_WriteUnraisable(about.map_or(std::ptr::null_mut(), Object::as_ptr));
    }
}

/// The traceback of an exception, if it has one.
pub(crate) fn traceback(exception: &Object) -> Option<Owned> {
    if !is_exception(exception) {
        return None;
    }
    // SAFETY: an exception, which gives a new reference.
    unsafe { Owned::from_ptr(ffi::PyException_GetTraceback(exception.as_ptr())) }
}

/// Gives an exception a traceback, or None for none.
pub(crate) fn set_traceback(exception: &Object, traceback: &Object) -> Fallible<()> {
    if !is_exception(exception) {
        return Err(refuse(exception));
    }
    // SAFETY: an exception; CPython looks at what it is given.
    let answer = unsafe { ffi::PyException_SetTraceback(exception.as_ptr(), traceback.as_ptr()) };
    if answer < 0 { Err(Raised::seen(exception.py())) } else { Ok(()) }
}

/// Gives an exception a cause, or none.
pub(crate) fn set_cause(exception: &Object, cause: Option<Owned>) {
    if is_exception(exception) {
        let cause = cause.map_or(std::ptr::null_mut(), Owned::into_ptr);
        // SAFETY: an exception, which takes the reference over.
        unsafe { ffi::PyException_SetCause(exception.as_ptr(), cause) };
    }
}

/// The error indicator is put aside while something runs that may change it.
pub(crate) struct Aside(Option<Owned>);

impl Aside {
    pub(crate) fn new(py: Python<'_>) -> Self {
        Self(if is_set(py) { take_raised(py) } else { None })
    }

    /// Puts what has failed aside, if it has.
    pub(crate) fn of<T>(py: Python<'_>, result: &Fallible<T>) -> Option<Self> {
        result.is_err().then(|| Self::new(py))
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if let Some(exception) = self.0.take() {
            // The code that saw it still holds its token.
            raise(exception).stand();
        }
    }
}

/// The answer, where a failure means no more than that there is none.
#[inline]
pub(crate) fn optional<T>(answer: Fallible<T>) -> Option<T> {
    answer.map_err(Raised::forget).ok()
}

/// Turns a failure into PyO3's error.
pub(crate) fn fetch(py: Python<'_>, raised: Raised) -> PyErr {
    PyErr::from_value(raised.take().into_bound(py))
}

/// A `str` for PyO3, whose own conversion panics where memory is short.
pub(crate) fn text_object<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyAny>> {
    match string(py, text) {
        Ok(text) => Ok(text.into_bound(py)),
        Err(raised) => Err(fetch(py, raised)),
    }
}

/// Raises PyO3's error.
pub(crate) fn restore(py: Python<'_>, error: PyErr) -> Raised {
    error.restore(py);
    Raised::seen(py)
}

/// Raises a RuntimeError.
pub(crate) fn misuse(py: Python<'_>, text: &str) -> Raised {
    set_error_text(exc::runtime_error(py), text)
}

impl<T: PyClass + Typed> Owned<T> {
    /// A new object of a class of PyO3's.
    pub(crate) fn make(py: Python<'_>, inside: impl Into<PyClassInitializer<T>>) -> Fallible<Self> {
        match Bound::new(py, inside) {
            Ok(made) => Ok(Self::of(made)),
            Err(error) => Err(restore(py, error)),
        }
    }
}

/// CPython's exceptions.
pub(crate) mod exc {
    use pyo3::ffi;

    use crate::cpython::object::kept;

    kept! {
        attribute_error = ffi::PyExc_AttributeError,
        base_exception_group = ffi::PyExc_BaseExceptionGroup,
        exception = ffi::PyExc_Exception,
        generator_exit = ffi::PyExc_GeneratorExit,
        keyboard_interrupt = ffi::PyExc_KeyboardInterrupt,
        runtime_error = ffi::PyExc_RuntimeError,
        runtime_warning = ffi::PyExc_RuntimeWarning,
        stop_iteration = ffi::PyExc_StopIteration,
        system_error = ffi::PyExc_SystemError,
        system_exit = ffi::PyExc_SystemExit,
        timeout_error = ffi::PyExc_TimeoutError,
        type_error = ffi::PyExc_TypeError,
        value_error = ffi::PyExc_ValueError,
    }
}
