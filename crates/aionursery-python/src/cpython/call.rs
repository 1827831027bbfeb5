//! Calls into CPython, for the code that every step of a task runs through. What fails leaves CPython's
//! error set; it must never hide that.

use std::ffi::{c_char, c_int, c_long, c_ulong, c_void};

use pyo3::ffi;

use super::containers::{items, tuple};
use super::errors::{Fallible, Raised, answered, exc, optional, set_error_text};
#[cfg(not(Py_3_14))]
use super::object::laid_out;
use super::object::{Object, Raw, Type, none_ref};
use super::owned::{Owned, forever};
use super::safe_calls::{Lent, safe_calls};

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
    fn find(object: &Object, name: &Object, value: &mut Option<Owned>) -> Fallible<()> = compat::PyObject_GetOptionalAttr;
    fn find_value(
        variable: &Object,
        default: Option<&Object>,
        value: &mut Option<Owned>
    ) -> Fallible<()> = PyContextVar_Get;
    fn follow(reference: &Object, object: &mut Option<Owned>) -> Fallible<()> = compat::PyWeakref_GetRef;
    fn send(coroutine: &Object, value: &Object, answer: &mut Option<Owned>) -> ffi::PySendResult = PyIter_Send;
    fn name_of(class: &Type) -> Fallible<Owned> = PyType_GetName;
    // Null where there is none; for what is no slot an exception is set, too.
    fn slot(class: &Type, which: c_int) -> *mut c_void = PyType_GetSlot;
    // Of an `int`.
    fn low_bits(number: &Object) -> c_ulong = PyLong_AsUnsignedLongMask;
    fn thread(py: Python<'_>) -> c_ulong = PyThread_get_thread_ident;
    // None for what has no text; then an exception is set.
    fn text_in(text: &Object, length: &mut isize) -> *const c_char = PyUnicode_AsUTF8AndSize;
    /// Whether an object is an instance of a class, as C asks.
    pub(crate) fn is_kind(object: &Object, class: &Type) -> bool = PyObject_TypeCheck;

    /// # Safety
    /// The object is filled, as its class wants it, before anything sees it.
    pub(super) unsafe fn allocate(py: Python<'_>, class: &Type, items: isize) -> Fallible<Owned> = PyType_GenericAlloc;
    // `count` arguments that are alive, and then those that the tuple names.
    unsafe fn vectorcall(
        py: Python<'_>,
        function: &Object,
        args: *const Raw,
        count: usize,
        kwnames: Option<&Object>
    ) -> Fallible<Owned> = PyObject_Vectorcall;
    // An object and `count - 1` arguments that are alive, and then those that the tuple names.
    unsafe fn vectorcall_method(
        py: Python<'_>,
        name: &Object,
        args: *const Raw,
        count: usize,
        kwnames: Option<&Object>
    ) -> Fallible<Owned> = PyObject_VectorcallMethod;

    fn is_function(object: &Object) -> bool = PyFunction_Check;
    // Of a function.
    fn module_of(function: &Object) -> Lent = PyFunction_GetModule;

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
    /// Whether an object is what an `async def` with a `yield` returns.
    pub(crate) fn is_async_generator(object: &Object) -> bool = PyAsyncGen_CheckExact;
    /// Whether an object can be made a number, of any kind.
    pub(crate) fn is_number(object: &Object) -> bool = PyNumber_Check;
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

/// The first, then the arguments, then what fills the rest.
#[inline]
fn vector<'a, const N: usize>(first: &'a Object, args: [&'a Object; N]) -> [&'a Object; MOST + 1] {
    const { assert!(N <= MOST) };
    let mut vector = [first; MOST + 1];
    vector[1..=N].copy_from_slice(&args);
    vector
}

#[inline]
pub(crate) fn call1(function: &Object, arg: &Object) -> Fallible<Owned> {
    call(function, [arg])
}

/// `function(*args)`.
#[inline]
pub(crate) fn call<const N: usize>(function: &Object, args: [&Object; N]) -> Fallible<Owned> {
    let mut args = vector(function, args);
    let (args, count) = (args.as_mut_ptr(), N | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET);
    // SAFETY: `N` arguments stand behind an entry that the callee may use.
    unsafe { vectorcall(function.py(), function, args.wrapping_add(1).cast(), count, None) }
}

/// `function(*args)`, for any number of them.
pub(crate) fn call_all(function: &Object, args: &[&Object]) -> Fallible<Owned> {
    call_named(function, args, Names::NONE)
}

/// The names of the last arguments of a call: a tuple, or nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names<'a> {
    tuple: Option<&'a Object>,
    count: usize,
}

impl<'a> Names<'a> {
    pub(super) const NONE: Self = Self { tuple: None, count: 0 };

    /// All that the tuple has.
    pub(super) fn of(tuple: Option<&'a Object>) -> Self {
        Self { tuple, count: tuple.map_or(0, |names| items(names).len()) }
    }

    /// The tuple, or nothing.
    #[inline]
    pub(super) fn tuple(self) -> Option<&'a Object> {
        self.tuple
    }

    /// How many of the arguments have no name.
    #[inline]
    pub(super) fn unnamed(self, args: &[&Object]) -> usize {
        args.len().checked_sub(self.count).expect("every name has an argument")
    }
}

/// `function(*args, **kwargs)`, where the last arguments have names.
pub(super) fn call_named(function: &Object, args: &[&Object], names: Names<'_>) -> Fallible<Owned> {
    let (vector, count) = (args.as_ptr().cast(), names.unnamed(args));
    // SAFETY: a reference to an object is its address; those behind `count` are as many as the names.
    unsafe { vectorcall(function.py(), function, vector, count, names.tuple) }
}

/// `("keyword",)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keyword(&'static Object);

impl Keyword {
    pub(crate) fn of(keyword: &Object) -> Fallible<Self> {
        tuple(keyword.py(), &[keyword]).map(|names| Self(forever(names)))
    }

    #[inline]
    pub(super) fn names(self) -> Names<'static> {
        Names { tuple: Some(self.0), count: 1 }
    }
}

/// `object.name(*args, **kwargs)`, where the vector has the object and all arguments, of which the last have
/// names.
#[inline]
pub(super) fn call_method_named(
    name: &Object,
    vector: &[&Object],
    names: Names<'_>,
) -> Fallible<Owned> {
    let (args, count) = (vector.as_ptr().cast(), names.unnamed(vector));
    // SAFETY: a reference to an object is its address; those behind `count` are as many as the names.
    unsafe { vectorcall_method(name.py(), name, args, count, names.tuple) }
}

/// `object.name(*args)`.
#[inline]
pub(crate) fn call_method<const N: usize>(
    object: &Object,
    name: &Object,
    args: [&Object; N],
) -> Fallible<Owned> {
    call_method_named(name, &vector(object, args)[..=N], Names::NONE)
}

/// `object.name(*args, keyword=last)`.
#[inline]
pub(crate) fn call_method_with<const N: usize>(
    object: &Object,
    name: &Object,
    args: [&Object; N],
    keyword: Keyword,
) -> Fallible<Owned> {
    const { assert!(N > 0) };
    call_method_named(name, &vector(object, args)[..=N], keyword.names())
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
    let mut value = None;
    find(object, name, &mut value)?;
    Ok(value)
}

/// The value of a context variable in the current context; None if it has neither that nor a default.
pub(crate) fn context_value(variable: &Object) -> Fallible<Option<Owned>> {
    let mut value = None;
    find_value(variable, None, &mut value)?;
    Ok(value)
}

/// `bool(answer)`, of what a call has answered.
#[inline]
pub(crate) fn truth_of(answer: Fallible<Owned>) -> Fallible<bool> {
    let answer = answer?;
    truth(&answer)
}

/// What a weak reference refers to, if that still lives.
pub(crate) fn referent(reference: &Object) -> Option<Owned> {
    let mut object = None;
    optional(follow(reference, &mut object))?;
    object
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
    let mut length = 0;
    let bytes = text_in(text, &mut length);
    if bytes.is_null() {
        Raised::seen(text.py()).forget();
        return None;
    }
    // SAFETY: a `str`, which never changes and keeps its text as long as it is, so long as it says.
    let bytes = unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), length as usize) };
    // Names are short, so Rust may look again.
    std::str::from_utf8(bytes).ok()
}

/// The name of an object's type.
pub(crate) fn type_name(object: &Object) -> String {
    let name = optional(name_of(object.class()));
    name.as_deref().and_then(utf8).unwrap_or("object").to_owned()
}

/// Whether this is the thread that a loop says that it runs in, if it is a plain number.
pub(crate) fn is_this_thread(number: &Object) -> Option<bool> {
    is_int(number).then(|| low_bits(number) == thread(number.py()))
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
    let mut value = None;
    match send(coroutine, none_ref(py), &mut value) {
        ffi::PySendResult::PYGEN_NEXT => answered(py, value).map(Sent::Yielded),
        ffi::PySendResult::PYGEN_RETURN => answered(py, value).map(Sent::Returned),
        ffi::PySendResult::PYGEN_ERROR => Err(Raised::seen(py)),
    }
}

/// `__module__` of a function that is written in Python; none for what is no such function.
#[inline]
pub(crate) fn function_module(function: &Object) -> Option<Owned> {
    if !is_function(function) {
        return None;
    }
    let Lent(module) = module_of(function);
    module
}

/// Whether an object's type is one that `await` takes.
#[inline]
pub(crate) fn has_await(object: &Object) -> bool {
    !slot(object.class(), ffi::Py_am_await).is_null()
}

// What an `async def` returns.
#[cfg(not(Py_3_14))]
laid_out!(PyGenObject = PyCoro_Type);

/// Whether a coroutine has never run, told from its frame's state; none for what cannot be told so.
#[cfg(not(Py_3_14))]
#[inline]
pub(crate) fn frame_is_new(coroutine: &Object) -> Option<bool> {
    #[cfg(Py_3_13)]
    const CREATED: i8 = -3;
    #[cfg(not(Py_3_13))]
    const CREATED: i8 = -2;
    let parts = coroutine.cast::<ffi::PyGenObject>()?;
    Some(parts.gi_frame_state == CREATED)
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
    let new = class
        .cast::<Type>()
        .and_then(|class| class.part(|class| class.tp_new).map(|new| (class, new)));
    let Some((class, new)) = new else {
        return Err(set_error_text(exc::type_error(py), "this class makes no instances"));
    };
    let args = tuple(py, args)?;
    // SAFETY: a class's `__new__` takes the class, a tuple, and null for no keywords.
    let made = unsafe { new(class.as_type_ptr(), args.as_ptr(), std::ptr::null_mut()) };
    // SAFETY: it has answered just now, with a new reference.
    answered(py, unsafe { Owned::from_ptr(made) })
}
