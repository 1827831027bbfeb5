//! Failures: the error indicator, as we have it and as PyO3 does, and the exceptions that CPython has
//! for them. It must never swallow one.

use std::ffi::{CStr, c_char, c_int, c_long};
use std::mem::ManuallyDrop;
use std::sync::OnceLock;

use pyo3::prelude::*;
use pyo3::{PyClass, PyClassInitializer, ffi};

use super::object::{Attached, Object, Raw, Typed, kind};
use super::owned::Owned;
use super::safe_calls::{Answer, Argument, safe_calls};

/// The error indicator is set: something has failed, and its exception waits. There is one for each
/// failure, and it is used up: given to CPython, which raises the exception, taken, or forgotten. Only a
/// thread that is attached has one.
#[derive(Debug)]
#[must_use = "an exception waits: hand this on, take the exception or forget it"]
pub(crate) struct Raised(Attached);

impl Raised {
    /// The error indicator has just been set.
    #[inline]
    fn set(py: Python<'_>) -> Self {
        Self(Attached::new(py))
    }

    /// CPython says that a call of its own has failed.
    #[cold]
    pub(crate) fn seen(py: Python<'_>) -> Self {
        if !is_set(py) {
            return set_error(
                exc::system_error(py),
                c"aionursery: a call failed without an exception",
            );
        }
        Self::set(py)
    }

    /// Takes the exception, with its traceback, and clears the error indicator.
    pub(crate) fn take(self) -> Owned {
        match take_raised(self.py()) {
            Some(exception) => {
                self.stand();
                exception
            }
            // Something has broken this type's promise, and the exception has gone.
            None => Self::seen(self.py()).take(),
        }
    }

    /// Whether the exception is one that ends the program.
    pub(crate) fn is_exit(&self) -> bool {
        let py = self.py();
        self.is(exc::keyboard_interrupt(py)) || self.is(exc::system_exit(py))
    }

    /// Whether the exception is of this class.
    pub(crate) fn is(&self, class: &Object) -> bool {
        matches(class)
    }

    /// Drops it, where a failure means no more than that there is no answer.
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
        self.0.py()
    }
}

/// What is not handed on is forgotten, so that no later answer seems to have failed. What ends the
/// program is never forgotten (R9).
impl Drop for Raised {
    fn drop(&mut self) {
        if self.is_exit()
            && let Some(keep) = KEEP_EXIT.get()
            && let Some(exit) = take_raised(self.py())
        {
            keep(exit);
        } else {
            clear(self.py());
        }
    }
}

/// Sees to it that an exception that ends the program comes out somewhere.
static KEEP_EXIT: OnceLock<fn(Owned)> = OnceLock::new();

/// Says, once, what becomes of an exception that ends the program where a failure is forgotten.
pub(crate) fn keep_exits_by(keep: fn(Owned)) {
    KEEP_EXIT.get_or_init(|| keep);
}

pub(crate) type Fallible<T> = Result<T, Raised>;

/// What a call has answered; none means that an exception was set.
#[inline]
pub(crate) fn answered(py: Python<'_>, object: Option<Owned>) -> Fallible<Owned> {
    match object {
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
        answered(py, unsafe { Owned::from_ptr(answer) })
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

kind! {
    /// An exception.
    pub(crate) struct Exception = is_exception;
}

impl Argument for &Exception {
    type C = Raw;

    #[inline]
    fn c(self) -> Raw {
        self.as_ptr()
    }
}

safe_calls! {
    /// Whether an object is an exception.
    pub(crate) fn is_exception(object: &Object) -> bool = PyExceptionInstance_Check;
    /// Whether an object is an exception's class.
    pub(crate) fn is_exception_class(object: &Object) -> bool = PyExceptionClass_Check;
    /// Whether an exception is of a class, or is that class.
    pub(crate) fn is_of(exception: &Object, class: &Object) -> bool = PyErr_GivenExceptionMatches;
    fn matches(class: &Object) -> bool = PyErr_ExceptionMatches;
    // Where `kind` is no exception's class, CPython raises a SystemError in its place.
    fn set_text(kind: &Object, text: &CStr) -> () = PyErr_SetString;
    fn set_object(kind: &Object, value: &Object) -> () = PyErr_SetObject;
    fn set_none(kind: &Object) -> () = PyErr_SetNone;
    fn clear(py: Python<'_>) -> () = PyErr_Clear;
    /// Whether an exception waits.
    fn is_set(py: Python<'_>) -> bool = PyErr_Occurred;
    fn warn_at(kind: &Object, text: &CStr, level: isize) -> Fallible<()> = PyErr_WarnEx;
    fn unraisable(py: Python<'_>, about: Option<&Object>) -> () = PyErr_WriteUnraisable;
    /// The traceback of an exception, if it has one.
    fn traceback_of(exception: &Exception) -> Option<Owned> = PyException_GetTraceback;
    fn put_traceback(exception: &Exception, traceback: &Object) -> Fallible<()> = PyException_SetTraceback;
    /// What `sys.exception()` gives.
    fn handled_exception(py: Python<'_>) -> Option<Owned> = PyErr_GetHandledException;
    fn put_handled(py: Python<'_>, exception: Option<&Object>) -> () = PyErr_SetHandledException;
    fn put_cause(exception: &Exception, cause: Option<Owned>) -> () = PyException_SetCause;
    // The text is UTF-8, of that length.
    unsafe fn text_of(py: Python<'_>, text: *const c_char, length: isize) -> Fallible<Owned> = PyUnicode_FromStringAndSize;
}

#[cfg(Py_3_12)]
safe_calls! {
    /// Takes the error indicator, with its traceback; none if nothing was raised.
    fn take_raised(py: Python<'_>) -> Option<Owned> = PyErr_GetRaisedException;
    fn put_raised(py: Python<'_>, exception: Owned<Exception>) -> () = PyErr_SetRaisedException;
}

#[cfg(not(Py_3_12))]
safe_calls! {
    fn take_parts(
        py: Python<'_>,
        kind: &mut Option<Owned>,
        value: &mut Option<Owned>,
        traceback: &mut Option<Owned>
    ) -> () = PyErr_Fetch;
    // All three are an exception's, as `take_parts` gives them.
    unsafe fn normalize(
        py: Python<'_>,
        kind: &mut Option<Owned>,
        value: &mut Option<Owned>,
        traceback: &mut Option<Owned>
    ) -> () = PyErr_NormalizeException;
    // All three are an exception's.
    unsafe fn set_parts(py: Python<'_>, kind: Owned, value: Owned, traceback: Option<Owned>) -> () = PyErr_Restore;
}

/// Raises `kind(text)`.
pub(crate) fn set_error(kind: &Object, text: &CStr) -> Raised {
    set_text(kind, text);
    Raised::set(kind.py())
}

/// A new `str`.
pub(crate) fn string(py: Python<'_>, text: &str) -> Fallible<Owned> {
    // SAFETY: a `str` of Rust's is UTF-8.
    unsafe { text_of(py, text.as_ptr().cast(), text.len() as isize) }
}

/// The failure of a call that answers with what may be a value, too.
#[inline]
pub(crate) fn check_set(py: Python<'_>) -> Fallible<()> {
    if is_set(py) { Err(Raised::seen(py)) } else { Ok(()) }
}

/// Takes the error indicator, with its traceback; none if nothing was raised.
#[cfg(not(Py_3_12))]
fn take_raised(py: Python<'_>) -> Option<Owned> {
    let (mut kind, mut value, mut traceback) = (None, None, None);
    take_parts(py, &mut kind, &mut value, &mut traceback);
    kind.as_ref()?;
    // SAFETY: CPython has just given all three.
    unsafe { normalize(py, &mut kind, &mut value, &mut traceback) };
    let exception = value.as_deref().and_then(Object::cast::<Exception>);
    if let (Some(exception), Some(traceback)) = (exception, &traceback) {
        put_traceback(exception, traceback).unwrap_or_else(Raised::forget);
    }
    value
}

/// Raises an exception object.
pub(crate) fn raise(exception: Owned) -> Raised {
    let exception = match exception.cast::<Exception>() {
        Ok(exception) => exception,
        Err(object) => return refuse(&object),
    };
    let raised = Raised::set(exception.py());
    put_raised(raised.py(), exception);
    raised
}

#[cfg(not(Py_3_12))]
fn put_raised(py: Python<'_>, exception: Owned<Exception>) {
    let kind = Owned::share(exception.class()).into_object();
    let traceback = traceback_of(&exception);
    // SAFETY: an exception's class, the exception, its own traceback.
    unsafe { set_parts(py, kind, exception.into_object(), traceback) };
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
    Raised::set(exception.py())
}

/// Raises `kind(text)`, for a text that is put together.
pub(crate) fn set_error_text(kind: &Object, text: &str) -> Raised {
    match string(kind.py(), text) {
        Ok(message) => set_object(kind, &message),
        Err(raised) => return raised,
    }
    Raised::set(kind.py())
}

/// Raises `kind()`.
pub(crate) fn set_bare(kind: &Object) -> Raised {
    set_none(kind);
    Raised::set(kind.py())
}

/// Raises StopIteration, where nothing is raised yet.
pub(crate) fn stop_unless_set(py: Python<'_>) -> Raised {
    if !is_set(py) {
        set_none(exc::stop_iteration(py));
    }
    Raised::set(py)
}

/// Warns of `text`, where `level` frames up.
pub(crate) fn warn(kind: &Object, text: &CStr) -> Fallible<()> {
    warn_at(kind, text, 1)
}

/// Writes an exception to stderr that nothing can be told of; `about` is what it has to do with.
pub(crate) fn write_unraisable(raised: Raised, about: Option<&Object>) {
    // CPython takes the exception.
    let raised = ManuallyDrop::new(raised);
    unraisable(raised.py(), about);
}

/// The traceback of an exception, if it has one.
pub(crate) fn traceback(exception: &Object) -> Option<Owned> {
    traceback_of(exception.cast()?)
}

/// Gives an exception a traceback, or None for none.
pub(crate) fn set_traceback(exception: &Object, traceback: &Object) -> Fallible<()> {
    match exception.cast() {
        Some(exception) => put_traceback(exception, traceback),
        None => Err(refuse(exception)),
    }
}

/// Gives an exception a cause, or none.
pub(crate) fn set_cause(exception: &Object, cause: Option<Owned>) {
    if let Some(exception) = exception.cast() {
        put_cause(exception, cause);
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

/// Calls as an `except` block for `exception` does: what is raised meanwhile has that as its context.
pub(crate) fn handling<R>(exception: &Object, call: impl FnOnce() -> R) -> R {
    let py = exception.py();
    let before = handled_exception(py);
    put_handled(py, Some(exception));
    let returned = call();
    put_handled(py, before.as_deref());
    returned
}

/// The answer, where a failure means no more than that there is none: it is dropped.
#[inline]
pub(crate) fn optional<T>(answer: Fallible<T>) -> Option<T> {
    answer.map_err(Raised::forget).ok()
}

/// Turns a failure into PyO3's error.
pub(crate) fn fetch(py: Python<'_>, raised: Raised) -> PyErr {
    PyErr::from_value(raised.take().into_bound(py))
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
        recursion_error = ffi::PyExc_RecursionError,
        runtime_error = ffi::PyExc_RuntimeError,
        runtime_warning = ffi::PyExc_RuntimeWarning,
        stop_async_iteration = ffi::PyExc_StopAsyncIteration,
        stop_iteration = ffi::PyExc_StopIteration,
        system_error = ffi::PyExc_SystemError,
        system_exit = ffi::PyExc_SystemExit,
        timeout_error = ffi::PyExc_TimeoutError,
        type_error = ffi::PyExc_TypeError,
        value_error = ffi::PyExc_ValueError,
    }
}
