//! Calls into CPython, for the code that every step of a task runs through. What fails leaves CPython's
//! error set; it must never hide that.

use std::ffi::{c_int, c_long};

use pyo3::ffi;

use super::containers::tuple;
use super::errors::{Fallible, Raised, answered, checked, exc, optional, set_error_text};
use super::object::{Object, Owned, Raw};
use super::safe_calls::safe_calls;

safe_calls! {
    /// `function()`.
    pub(crate) fn call0(function: &Object) -> Fallible<Owned> = PyObject_CallNoArgs;
    /// `object.name`.
    pub(crate) fn getattr(object: &Object, name: &Object) -> Fallible<Owned> = PyObject_GetAttr;
    /// `hasattr(object, name)`, for which every error is a no.
    pub(crate) fn has_attr(object: &Object, name: &Object) -> bool = PyObject_HasAttr;
    /// `object.name = value`.
    pub(crate) fn set_attr(object: &Object, name: &Object, value: &Object) -> Fallible<()> = PyObject_SetAttr;
    /// `bool(object)`.
    pub(crate) fn truth(object: &Object) -> Fallible<bool> = PyObject_IsTrue;
    /// `isinstance(object, class)`.
    pub(crate) fn is_instance(object: &Object, class: &Object) -> Fallible<bool> = PyObject_IsInstance;
    /// Whether the one is to the other what the operator says, as a bool.
    fn compare(a: &Object, b: &Object, operator: c_int) -> Fallible<bool> = PyObject_RichCompareBool;
    /// `str(object)`.
    pub(crate) fn as_text(object: &Object) -> Fallible<Owned> = PyObject_Str;
    /// `repr(object)`, which may fail.
    fn shown(object: &Object) -> Fallible<Owned> = PyObject_Repr;
    /// A weak reference to an object, which calls `callback` when that goes.
    pub(crate) fn weak_reference(object: &Object, callback: Option<&Object>) -> Fallible<Owned> = PyWeakref_NewRef;
    /// A C `long` that a call has answered.
    pub(crate) fn number(answer: &Object) -> Fallible<c_long> = PyLong_AsLong;
    /// A C `double` that a call has answered, or an argument.
    pub(crate) fn real(object: &Object) -> Fallible<f64> = PyFloat_AsDouble;
    /// A `float`.
    pub(crate) fn float(py: Python<'_>, number: f64) -> Fallible<Owned> = PyFloat_FromDouble;
    /// An `int`.
    pub(crate) fn int(py: Python<'_>, number: u64) -> Fallible<Owned> = PyLong_FromUnsignedLongLong;
    /// A copy of the context that runs.
    pub(crate) fn copy_context(py: Python<'_>) -> Fallible<Owned> = PyContext_CopyCurrent;
    /// An empty context.
    pub(crate) fn empty_context(py: Python<'_>) -> Fallible<Owned> = PyContext_New;
    /// Code runs in a context from now on.
    pub(crate) fn enter_context(context: &Object) -> Fallible<()> = PyContext_Enter;
    fn leave_context(context: &Object) -> Fallible<()> = PyContext_Exit;

    /// Whether an object is a context.
    pub(crate) fn is_context(object: &Object) -> bool = PyContext_CheckExact;
    /// Whether an object is a coroutine of an `async def`.
    pub(crate) fn is_coroutine(object: &Object) -> bool = PyCoro_CheckExact;
    /// Whether an object is a generator.
    pub(crate) fn is_generator(object: &Object) -> bool = PyGen_Check;
    /// Whether an object is a generator, and of no subclass.
    pub(crate) fn is_exact_generator(object: &Object) -> bool = PyGen_CheckExact;
    /// Whether an object is a `str`.
    pub(crate) fn is_text(object: &Object) -> bool = PyUnicode_Check;
    /// Whether an object is a `str`, and of no subclass.
    pub(crate) fn is_exact_text(object: &Object) -> bool = PyUnicode_CheckExact;
    /// Whether an object can be called.
    pub(crate) fn is_callable(object: &Object) -> bool = PyCallable_Check;
    /// Whether an object is an `int`, and of no subclass.
    pub(crate) fn is_int(object: &Object) -> bool = PyLong_CheckExact;
}

/// Code runs in a context no longer; what it had raised stands.
#[inline]
pub(crate) fn exit_context(context: &Object) {
    let _ = leave_context(context);
}

/// `a == b`, as a bool.
pub(crate) fn is_equal(a: &Object, b: &Object) -> Fallible<bool> {
    compare(a, b, ffi::Py_EQ)
}

/// How many arguments a call of ours has at most, beside its first.
const MOST: usize = 8;

/// The arguments behind one entry that CPython may use.
#[inline]
fn vector<const N: usize>(first: Raw, args: [&Object; N]) -> [Raw; MOST + 1] {
    const { assert!(N <= MOST) };
    let mut vector = [std::ptr::null_mut(); MOST + 1];
    vector[0] = first;
    for (slot, arg) in vector[1..].iter_mut().zip(args) {
        *slot = arg.as_ptr();
    }
    vector
}

#[inline]
pub(crate) fn call1(function: &Object, arg: &Object) -> Fallible<Owned> {
    call(function, [arg])
}

/// `function(*args)`.
#[inline]
pub(crate) fn call<const N: usize>(function: &Object, args: [&Object; N]) -> Fallible<Owned> {
    let args = vector(std::ptr::null_mut(), args);
    let nothing = std::ptr::null_mut();
    let count = N | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET;
    // SAFETY: `N` arguments that are alive stand behind an entry that the callee may use.
    unsafe {
        let answer =
            ffi::PyObject_Vectorcall(function.as_ptr(), args.as_ptr().add(1), count, nothing);
        answered(function.py(), answer)
    }
}

/// `function(*args)`, for any number of them.
pub(crate) fn call_all(function: &Object, args: &[&Object]) -> Fallible<Owned> {
    let nothing = std::ptr::null_mut();
    // SAFETY: a reference to an object is its address; all are alive.
    unsafe {
        let args_ptr = args.as_ptr().cast::<Raw>();
        let answer = ffi::PyObject_Vectorcall(function.as_ptr(), args_ptr, args.len(), nothing);
        answered(function.py(), answer)
    }
}

/// `object.name(*args)`.
#[inline]
pub(crate) fn call_method<const N: usize>(
    object: &Object,
    name: &Object,
    args: [&Object; N],
) -> Fallible<Owned> {
    let args = vector(object.as_ptr(), args);
    let nothing = std::ptr::null_mut();
    // SAFETY: the object and `N` arguments, all alive.
    unsafe {
        let answer = ffi::PyObject_VectorcallMethod(name.as_ptr(), args.as_ptr(), N + 1, nothing);
        answered(object.py(), answer)
    }
}

/// `object.name(*args, keyword=last)`, where `kwnames` is `("keyword",)`.
#[inline]
pub(crate) fn call_method_with<const N: usize>(
    object: &Object,
    name: &Object,
    args: [&Object; N],
    kwnames: &Object,
) -> Fallible<Owned> {
    const { assert!(N > 0) };
    let args = vector(object.as_ptr(), args);
    // SAFETY: the object and `N` arguments, all alive; the last is what the tuple names.
    unsafe {
        debug_assert_eq!(ffi::PyTuple_Size(kwnames.as_ptr()), 1, "one keyword");
        let (name, kwnames) = (name.as_ptr(), kwnames.as_ptr());
        answered(object.py(), ffi::PyObject_VectorcallMethod(name, args.as_ptr(), N, kwnames))
    }
}

#[inline]
pub(crate) fn method0(object: &Object, name: &Object) -> Fallible<Owned> {
    call_method(object, name, [])
}

#[inline]
pub(crate) fn method1(object: &Object, name: &Object, arg: &Object) -> Fallible<Owned> {
    call_method(object, name, [arg])
}

/// An attribute that may be missing; other errors are passed on.
pub(crate) fn getattr_opt(object: &Object, name: &Object) -> Fallible<Option<Owned>> {
    // SAFETY: both are alive; the value is a new reference.
    unsafe {
        let mut value = std::ptr::null_mut();
        let (object_ptr, name) = (object.as_ptr(), name.as_ptr());
        let found = ffi::compat::PyObject_GetOptionalAttr(object_ptr, name, &mut value);
        checked(object.py(), found)?;
        Ok(Owned::from_ptr(value))
    }
}

/// `bool(answer)`, of what a call has answered.
#[inline]
pub(crate) fn truth_of(answer: Fallible<Owned>) -> Fallible<bool> {
    let answer = answer?;
    truth(&answer)
}

/// What a weak reference refers to, if that still lives.
pub(crate) fn referent(reference: &Object) -> Option<Owned> {
    // SAFETY: CPython looks whether it is a weak reference; what it finds is a new reference.
    unsafe {
        let mut object = std::ptr::null_mut();
        let found = ffi::compat::PyWeakref_GetRef(reference.as_ptr(), &mut object);
        let found = optional(checked(reference.py(), found));
        found.and_then(|_| Owned::from_ptr(object))
    }
}

/// `repr(object)`, or a stand-in if that fails: for messages.
pub(crate) fn repr(object: &Object) -> String {
    match optional(shown(object)).as_deref().and_then(utf8) {
        Some(text) => text.to_owned(),
        None => format!("<{} object>", type_name(object)),
    }
}

/// The text of a `str`. None for a text that UTF-8 cannot have, and for what is no `str`.
pub(crate) fn utf8(text: &Object) -> Option<&str> {
    // SAFETY: CPython looks whether it is a `str`, which never changes and keeps its text as long as it
    // is; that is UTF-8 of the length that it says.
    unsafe {
        let mut length = 0;
        let bytes = ffi::PyUnicode_AsUTF8AndSize(text.as_ptr(), &mut length);
        if bytes.is_null() {
            Raised::seen(text.py()).forget();
            return None;
        }
        let bytes = std::slice::from_raw_parts(bytes.cast::<u8>(), length as usize);
        Some(std::str::from_utf8_unchecked(bytes))
    }
}

/// The name of an object's type.
pub(crate) fn type_name(object: &Object) -> String {
    // SAFETY: the object is alive, and so is its type; the answer is a new reference.
    let name = unsafe { answered(object.py(), ffi::PyType_GetName(ffi::Py_TYPE(object.as_ptr()))) };
    optional(name).as_deref().and_then(utf8).unwrap_or("object").to_owned()
}

/// Whether this is the thread that a loop says that it runs in, if it is a plain number.
pub(crate) fn is_this_thread(number: &Object) -> Option<bool> {
    // SAFETY: looked at according to its type.
    is_int(number).then(|| unsafe {
        ffi::PyLong_AsUnsignedLongMask(number.as_ptr()) == ffi::PyThread_get_thread_ident()
    })
}

/// What a coroutine has answered.
pub(crate) enum Sent {
    Yielded(Owned),
    Returned(Owned),
}

/// `coroutine.send(None)`, without the way round through an exception for what it returns.
#[inline]
pub(crate) fn send_none(coroutine: &Object) -> Fallible<Sent> {
    let py = coroutine.py();
    // SAFETY: the coroutine is alive; what it answers is a new reference.
    unsafe {
        let mut value = std::ptr::null_mut();
        match ffi::PyIter_Send(coroutine.as_ptr(), ffi::Py_None(), &mut value) {
            ffi::PySendResult::PYGEN_NEXT => answered(py, value).map(Sent::Yielded),
            ffi::PySendResult::PYGEN_RETURN => answered(py, value).map(Sent::Returned),
            ffi::PySendResult::PYGEN_ERROR => Err(Raised::seen(py)),
        }
    }
}

/// Whether an object's type is one that `await` takes.
#[inline]
pub(crate) fn has_await(object: &Object) -> bool {
    // SAFETY: the object is alive, and so is its type.
    unsafe {
        let slots = (*ffi::Py_TYPE(object.as_ptr())).tp_as_async;
        !slots.is_null() && (*slots).am_await.is_some()
    }
}

/// Whether a coroutine has never run, told from its frame's state; none for what cannot be told so.
#[cfg(not(Py_3_14))]
#[inline]
pub(crate) fn frame_is_new(coroutine: &Object) -> Option<bool> {
    #[cfg(Py_3_13)]
    const CREATED: i8 = -3;
    #[cfg(not(Py_3_13))]
    const CREATED: i8 = -2;
    // SAFETY: an exact coroutine, whose layout these versions publish.
    is_coroutine(coroutine).then(|| unsafe {
        (*coroutine.as_ptr().cast::<ffi::PyGenObject>()).gi_frame_state == CREATED
    })
}

/// Whether an object is of just this class, and of no subclass.
#[inline]
pub(crate) fn has_class(object: &Object, class: &Object) -> bool {
    object.class().is(class)
}

/// An object's type.
pub(crate) fn class_of(object: &Object) -> Owned {
    Owned::share(object.class())
}

/// A new instance of a class, of which only `__new__` is asked.
pub(crate) fn instantiate(class: &Object, args: &[&Object]) -> Fallible<Owned> {
    let py = class.py();
    // SAFETY: looked at according to its type; a class's `__new__` takes a tuple.
    unsafe {
        if ffi::PyType_Check(class.as_ptr()) != 0 {
            let kind = class.as_ptr().cast::<ffi::PyTypeObject>();
            if let Some(new) = (*kind).tp_new {
                let args = tuple(py, args)?;
                return answered(py, new(kind, args.as_ptr(), std::ptr::null_mut()));
            }
        }
    }
    Err(set_error_text(exc::type_error(py), "this class makes no instances"))
}
