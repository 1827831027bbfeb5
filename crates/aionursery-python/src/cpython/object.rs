//! Owned references and calls into CPython, for the code that every step of a task runs through.
//! It owns nothing; it must never hide an exception: what fails leaves CPython's error set.

use std::ffi::{CStr, c_int};
use std::ptr::NonNull;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::{Py, PyAny, ffi};

/// Any Python object.
pub type Raw = *mut ffi::PyObject;

/// The error indicator is set: something has failed, and its exception waits. There is one for each
/// failure, and it is used up: given to CPython, which raises the exception, taken, or forgotten.
#[derive(Debug)]
#[must_use = "an exception waits: hand this on, take the exception or forget it"]
pub struct Raised(());

impl Raised {
    /// CPython says that a call of its own has failed.
    #[cold]
    pub unsafe fn seen() -> Self {
        // SAFETY: attached.
        unsafe {
            if ffi::PyErr_Occurred().is_null() {
                let text = c"aionursery: a call failed without an exception";
                return set_error(ffi::PyExc_SystemError, text);
            }
        }
        Self(())
    }

    /// Takes the exception, with its traceback, and clears the error indicator.
    pub unsafe fn take(self) -> Owned {
        // SAFETY: attached. Where the exception has gone, somebody has broken this type's promise.
        unsafe { take_raised().unwrap_or_else(|| Self::seen().take()) }
    }

    /// Lets the exception go, where it means no more than that there is no answer.
    pub unsafe fn forget(self) {
        // SAFETY: attached.
        unsafe { ffi::PyErr_Clear() }
    }

    /// The answer by which CPython knows to raise the exception.
    pub fn null(self) -> Raw {
        std::ptr::null_mut()
    }

    /// As [`Self::null`], for what answers with a number.
    pub fn negative(self) -> c_int {
        -1
    }
}

pub type Fallible<T> = Result<T, Raised>;

/// One strong reference. Unlike `Py<T>` it counts at once, and may be dropped where PyO3 does not
/// know that the thread is attached. It must only be used by a thread that is.
#[derive(Debug)]
#[repr(transparent)]
pub struct Owned(NonNull<ffi::PyObject>);

impl Owned {
    /// Takes over a new reference; null means that an exception was set.
    #[inline]
    pub unsafe fn new(object: Raw) -> Fallible<Self> {
        match NonNull::new(object) {
            Some(object) => Ok(Self(object)),
            // SAFETY: as the caller says.
            None => Err(unsafe { Raised::seen() }),
        }
    }

    /// Takes over a new reference that may be absent.
    #[inline]
    pub unsafe fn maybe(object: Raw) -> Option<Self> {
        NonNull::new(object).map(Self)
    }

    /// One more reference to a borrowed object.
    #[inline]
    pub unsafe fn share(object: Raw) -> Self {
        // SAFETY: the caller borrows a live object.
        unsafe {
            ffi::Py_INCREF(object);
            Self(NonNull::new_unchecked(object))
        }
    }

    #[inline]
    pub fn as_ptr(&self) -> Raw {
        self.0.as_ptr()
    }

    /// Gives the reference away.
    #[inline]
    pub fn into_ptr(self) -> Raw {
        let object = self.0.as_ptr();
        std::mem::forget(self);
        object
    }
}

impl Clone for Owned {
    #[inline]
    fn clone(&self) -> Self {
        // SAFETY: we hold a reference.
        unsafe { Self::share(self.as_ptr()) }
    }
}

impl Drop for Owned {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: we own one reference, and only attached threads use this type.
        unsafe { ffi::Py_DECREF(self.as_ptr()) }
    }
}

/// A slot for an object, as a struct of CPython's would have it: null or one strong reference.
/// What was there is let go only after the slot has its new value: that may run Python code.
#[derive(Debug)]
#[repr(transparent)]
pub struct Slot(std::cell::Cell<Raw>);

impl Slot {
    pub const fn empty() -> Self {
        Self(std::cell::Cell::new(std::ptr::null_mut()))
    }

    /// Borrowed, or null.
    #[inline]
    pub fn get(&self) -> Raw {
        self.0.get()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.get().is_null()
    }

    /// A reference of the caller's own.
    #[inline]
    pub fn cloned(&self) -> Option<Owned> {
        let object = self.get();
        // SAFETY: the slot holds a reference.
        (!object.is_null()).then(|| unsafe { Owned::share(object) })
    }

    #[inline]
    pub fn take(&self) -> Option<Owned> {
        // SAFETY: the slot's reference becomes the caller's.
        unsafe { Owned::maybe(self.0.replace(std::ptr::null_mut())) }
    }

    #[inline]
    pub fn set(&self, object: Owned) {
        drop(self.replace(Some(object)));
    }

    #[inline]
    pub fn replace(&self, object: Option<Owned>) -> Option<Owned> {
        let new = object.map_or(std::ptr::null_mut(), Owned::into_ptr);
        // SAFETY: the slot's old reference becomes the caller's.
        unsafe { Owned::maybe(self.0.replace(new)) }
    }

    #[inline]
    pub fn clear(&self) {
        drop(self.take());
    }

    /// For `tp_traverse`.
    #[inline]
    pub unsafe fn visit(&self, visit: ffi::visitproc, arg: *mut std::ffi::c_void) -> i32 {
        let object = self.get();
        if object.is_null() {
            return 0;
        }
        // SAFETY: a collector's visit of a reference that is held.
        unsafe { visit(object, arg) }
    }
}

/// Shows the collector a reference that is held, for a class of PyO3's.
pub unsafe fn show(visit: &PyVisit<'_>, object: Raw) -> Result<(), PyTraverseError> {
    if object.is_null() {
        return Ok(());
    }
    // SAFETY: `Py` is a pointer; the caller holds the reference.
    let object: &Py<PyAny> = unsafe { &*std::ptr::from_ref(&object).cast() };
    visit.call(object)
}

impl Default for Slot {
    fn default() -> Self {
        Self::empty()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.clear();
    }
}

#[inline]
pub unsafe fn none() -> Owned {
    // SAFETY: None is always alive.
    unsafe { Owned::share(ffi::Py_None()) }
}

#[inline]
pub unsafe fn call0(function: Raw) -> Fallible<Owned> {
    // SAFETY: the caller's object is alive.
    unsafe { Owned::new(ffi::PyObject_CallNoArgs(function)) }
}

#[inline]
pub unsafe fn call1(function: Raw, arg: Raw) -> Fallible<Owned> {
    // SAFETY: the caller's objects are alive.
    unsafe { call(function, &mut [std::ptr::null_mut(), arg]) }
}

/// `function(*args)`. `args` starts with an unused entry.
#[inline]
pub unsafe fn call(function: Raw, args: &mut [Raw]) -> Fallible<Owned> {
    // SAFETY: the caller's objects are alive; the first entry is scratch space for the callee.
    unsafe {
        let count = (args.len() - 1) | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET;
        let nothing = std::ptr::null_mut();
        Owned::new(ffi::PyObject_Vectorcall(function, args.as_ptr().add(1), count, nothing))
    }
}

/// `object.name(*args, **{kwnames: last of args})`. `args` starts with an unused entry.
#[inline]
pub unsafe fn call_method(
    object: Raw,
    name: Raw,
    args: &mut [Raw],
    kwnames: Raw,
) -> Fallible<Owned> {
    // SAFETY: the caller's objects are alive; `args[0]` takes the object, as the protocol wants.
    unsafe {
        args[0] = object;
        let keywords = if kwnames.is_null() { 0 } else { ffi::PyTuple_GET_SIZE(kwnames) as usize };
        let positional = args.len() - keywords;
        Owned::new(ffi::PyObject_VectorcallMethod(name, args.as_ptr(), positional, kwnames))
    }
}

#[inline]
pub unsafe fn method0(object: Raw, name: Raw) -> Fallible<Owned> {
    // SAFETY: as for `call_method`.
    unsafe { call_method(object, name, &mut [std::ptr::null_mut()], std::ptr::null_mut()) }
}

#[inline]
pub unsafe fn method1(object: Raw, name: Raw, arg: Raw) -> Fallible<Owned> {
    // SAFETY: as for `call_method`.
    unsafe { call_method(object, name, &mut [std::ptr::null_mut(), arg], std::ptr::null_mut()) }
}

#[inline]
pub unsafe fn getattr(object: Raw, name: Raw) -> Fallible<Owned> {
    // SAFETY: the caller's objects are alive.
    unsafe { Owned::new(ffi::PyObject_GetAttr(object, name)) }
}

/// An attribute that may be missing; other errors are passed on.
pub unsafe fn getattr_opt(object: Raw, name: Raw) -> Fallible<Option<Owned>> {
    // SAFETY: the caller's objects are alive.
    unsafe {
        let mut value = std::ptr::null_mut();
        checked(ffi::compat::PyObject_GetOptionalAttr(object, name, &mut value))?;
        Ok(Owned::maybe(value))
    }
}

/// `bool(object)`.
#[inline]
pub unsafe fn truth(object: &Owned) -> Fallible<bool> {
    // SAFETY: the object is alive.
    match unsafe { ffi::PyObject_IsTrue(object.as_ptr()) } {
        // SAFETY: a call has failed.
        -1 => Err(unsafe { Raised::seen() }),
        value => Ok(value != 0),
    }
}

/// What CPython answers with a negative number if it has failed.
#[inline]
pub unsafe fn checked(answer: c_int) -> Fallible<c_int> {
    // SAFETY: the caller's call has failed.
    if answer < 0 { Err(unsafe { Raised::seen() }) } else { Ok(answer) }
}

/// The answer, where a failure means no more than that there is none.
#[inline]
pub unsafe fn optional<T>(answer: Fallible<T>) -> Option<T> {
    // SAFETY: attached.
    answer.map_err(|raised| unsafe { raised.forget() }).ok()
}

/// Takes the error indicator, with its traceback; none if nothing was raised.
unsafe fn take_raised() -> Option<Owned> {
    // SAFETY: attached.
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
        Owned::maybe(exception)
    }
}

/// Raises an exception object.
pub unsafe fn raise(exception: Owned) -> Raised {
    // SAFETY: an exception instance becomes the error indicator.
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
    Raised(())
}

/// Raises an exception object as a `raise` statement does: what is being handled becomes its
/// context.
pub unsafe fn raise_in_context(exception: Owned) -> Raised {
    // SAFETY: an exception instance becomes the error indicator.
    unsafe {
        let kind = ffi::Py_TYPE(exception.as_ptr()).cast();
        ffi::PyErr_SetObject(kind, exception.as_ptr());
    }
    Raised(())
}

/// Raises `kind(text)`.
pub unsafe fn set_error(kind: Raw, text: &CStr) -> Raised {
    // SAFETY: an exception class and a C string.
    unsafe { ffi::PyErr_SetString(kind, text.as_ptr()) };
    Raised(())
}

/// Raises `kind(text)`, for a text that is put together.
pub unsafe fn set_error_text(kind: Raw, text: &str) -> Raised {
    // SAFETY: an exception class and a new string.
    unsafe {
        if let Ok(message) = string(text) {
            ffi::PyErr_SetObject(kind, message.as_ptr());
        }
    }
    Raised(())
}

/// A new `str`.
pub unsafe fn string(text: &str) -> Fallible<Owned> {
    // SAFETY: valid UTF-8 of the given length.
    unsafe {
        let length = text.len() as ffi::Py_ssize_t;
        Owned::new(ffi::PyUnicode_FromStringAndSize(text.as_ptr().cast(), length))
    }
}

/// `repr(object)`, or a stand-in if that fails: for messages.
pub unsafe fn repr(object: Raw) -> String {
    // SAFETY: the caller's object is alive; a failing `__repr__` is taken back.
    unsafe {
        let text = Owned::maybe(ffi::PyObject_Repr(object));
        match text.as_ref().and_then(|text| utf8(text.as_ptr())) {
            Some(text) => text.to_owned(),
            None => {
                ffi::PyErr_Clear();
                format!("<{} object>", type_name(object))
            }
        }
    }
}

/// The text of a `str`, which must outlive its use. None for a text that UTF-8 cannot have.
pub unsafe fn utf8<'a>(text: Raw) -> Option<&'a str> {
    // SAFETY: the caller's object is alive, and keeps its text as long as it is.
    unsafe {
        let mut length = 0;
        let bytes = ffi::PyUnicode_AsUTF8AndSize(text, &mut length);
        if bytes.is_null() {
            ffi::PyErr_Clear();
            return None;
        }
        let bytes = std::slice::from_raw_parts(bytes.cast::<u8>(), length as usize);
        Some(std::str::from_utf8_unchecked(bytes))
    }
}

/// The name of an object's type.
pub unsafe fn type_name(object: Raw) -> String {
    // SAFETY: the caller's object is alive, and so is its type.
    unsafe {
        let name = Owned::maybe(ffi::PyType_GetName(ffi::Py_TYPE(object)));
        let text = name.as_ref().and_then(|name| utf8(name.as_ptr()));
        text.unwrap_or("object").to_owned()
    }
}

/// The error indicator is put aside while something runs that may change it.
pub struct Aside(Option<Owned>);

impl Aside {
    pub unsafe fn new() -> Self {
        // SAFETY: attached.
        unsafe { Self(if ffi::PyErr_Occurred().is_null() { None } else { take_raised() }) }
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if let Some(exception) = self.0.take() {
            // SAFETY: it was the error indicator before; the code that saw it still holds its token.
            let _ = unsafe { raise(exception) };
        }
    }
}
