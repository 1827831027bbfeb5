//! Functions and attributes of CPython's, called as it would call them itself: for the calls that must
//! be cheap. It must never call anything but C functions whose flags say what they take, nor a method
//! for what is no instance of its class.

use std::ffi::{c_int, c_void};

use pyo3::ffi;

use super::call::{Keyword, call, call_method_with, call0, call1, getattr, is_kind, set_attr};
use super::definitions::{GetSetDef, MethodDef};
use super::errors::{Fallible, answered, checked, exc, set_error};
use super::object::{Object, Raw, Type, Typed, true_ref};
use super::owned::{Owned, forever};

/// Objects whose layout CPython publishes, told by their type, of which there are no subclasses.
macro_rules! laid_out {
    ($($struct:ident = $type:ident),*) => {$(
        // SAFETY: objects of this type are laid out so.
        unsafe impl Typed for ffi::$struct {
            fn is(object: &Object) -> bool {
                object.class().as_type_ptr() == &raw mut ffi::$type
            }

            unsafe fn see(object: &Object) -> &Self {
                // SAFETY: as the caller says.
                unsafe { &*object.as_ptr().cast_const().cast() }
            }
        }
    )*};
}

laid_out!(
    PyCFunctionObject = PyCFunction_Type,
    PyMethodDescrObject = PyMethodDescr_Type,
    PyGetSetDescrObject = PyGetSetDescr_Type,
    PyMemberDescrObject = PyMemberDescr_Type
);

/// The class that a descriptor is for.
fn class_of(descriptor: &'static ffi::PyDescrObject) -> &'static Type {
    // SAFETY: a descriptor keeps its class, and this one is kept for ever.
    unsafe { Type::from_ptr(descriptor.d_type) }
}

/// A C function as C has it, but for the types: a reference is an address, which is null for none, and an
/// owned one a new reference. To call one takes what its flags say.
type PlainFunction = unsafe extern "C" fn(Option<&Object>, Option<&Object>) -> Option<Owned>;
/// As above.
type VectorFunction =
    unsafe extern "C" fn(Option<&Object>, *const &Object, ffi::Py_ssize_t) -> Option<Owned>;
/// As above.
type KeywordsFunction = unsafe extern "C" fn(
    Option<&Object>,
    *const &Object,
    ffi::Py_ssize_t,
    Option<&Object>,
) -> Option<Owned>;
/// As above.
type WithClassFunction =
    unsafe extern "C" fn(&Object, &Type, *const &Object, ffi::Py_ssize_t, &Object) -> Option<Owned>;
/// As above.
type Getter = unsafe extern "C" fn(&Object, *mut c_void) -> Option<Owned>;
/// As above.
type Setter = unsafe extern "C" fn(&Object, &Object, *mut c_void) -> c_int;

/// A C function, by its flags.
#[repr(C)]
union Call {
    plain: PlainFunction,
    vector: VectorFunction,
    keywords: KeywordsFunction,
    with_class: WithClassFunction,
}

/// The C function of a method.
#[derive(Clone, Copy)]
enum Function {
    /// Of a method that takes nothing, or one argument.
    Plain(PlainFunction),
    Vector(VectorFunction),
    Keywords(KeywordsFunction),
    WithClass(WithClassFunction),
}

const KEYWORDS: c_int = ffi::METH_FASTCALL | ffi::METH_KEYWORDS;
const WITH_CLASS: c_int = KEYWORDS | ffi::METH_METHOD;

impl Function {
    /// The function of an object of CPython's, if it has these flags.
    fn of(definition: &MethodDef<Call>, flags: c_int) -> Option<Self> {
        let MethodDef { call, flags: found, .. } = definition;
        if *found != flags {
            return None;
        }
        match flags {
            // SAFETY: a function with these flags takes an object and an argument or null.
            ffi::METH_NOARGS | ffi::METH_O => Some(Self::Plain(unsafe { call.plain })),
            // SAFETY: with these, an object, a vector and its length.
            ffi::METH_FASTCALL => Some(Self::Vector(unsafe { call.vector })),
            // SAFETY: with these, a tuple of names behind those.
            KEYWORDS => Some(Self::Keywords(unsafe { call.keywords })),
            // SAFETY: with these, a class behind the object.
            WITH_CLASS => Some(Self::WithClass(unsafe { call.with_class })),
            _ => None,
        }
    }

    /// The C function of a function of a module with one of these flags, and what it is bound to.
    fn of_function(
        object: &'static Object,
        flags: &[c_int],
    ) -> Option<(Self, Option<&'static Object>)> {
        let parts = object.cast::<ffi::PyCFunctionObject>()?;
        // SAFETY: the function has it, and is alive; what it calls takes what the flags say.
        let definition = unsafe { &*parts.m_ml.cast() };
        let function = flags.iter().find_map(|flags| Self::of(definition, *flags))?;
        // SAFETY: the function keeps what it is bound to, and is kept for ever.
        let this = unsafe { Object::from_ptr_or_opt(parts.m_self) };
        Some((function, this))
    }

    /// The C function of a method descriptor with these flags, and the class it is for.
    fn of_descriptor(object: &'static Object, flags: c_int) -> Option<(Self, &'static Type)> {
        let descriptor = object.cast::<ffi::PyMethodDescrObject>()?;
        // SAFETY: the descriptor has it, and is alive; its function takes what the flags say.
        let definition = unsafe { &*descriptor.d_method.cast() };
        let function = Self::of(definition, flags)?;
        Some((function, class_of(&descriptor.d_common)))
    }
}

/// A function of a module that takes nothing: called without the way round through its object, which
/// costs more than most of them do.
pub(crate) struct Direct {
    /// The object, for where it is not the C function that was expected.
    object: &'static Object,
    function: Option<PlainFunction>,
    this: Option<&'static Object>,
}

impl Direct {
    pub(crate) fn of(object: Owned) -> Self {
        let object = forever(object);
        match Function::of_function(object, &[ffi::METH_NOARGS]) {
            Some((Function::Plain(function), this)) => {
                Self { object, function: Some(function), this }
            }
            _ => Self { object, function: None, this: None },
        }
    }

    /// The function, as an object.
    pub(crate) fn object(&self) -> &'static Object {
        self.object
    }

    #[inline]
    pub(crate) fn call(&self) -> Fallible<Owned> {
        match self.function {
            Some(function) => {
                // SAFETY: a function that takes nothing, with what it is bound to.
                let answer = unsafe { function(self.this, None) };
                answered(self.object.py(), answer)
            }
            None => call0(self.object),
        }
    }
}

/// A function of a module that takes arguments by position: called as [`Direct`] is.
pub(crate) struct DirectWith {
    object: &'static Object,
    function: Option<Function>,
    this: Option<&'static Object>,
}

impl DirectWith {
    pub(crate) fn of(object: Owned) -> Self {
        let object = forever(object);
        match Function::of_function(object, &[ffi::METH_O, ffi::METH_FASTCALL, KEYWORDS]) {
            Some((function, this)) => Self { object, function: Some(function), this },
            None => Self { object, function: None, this: None },
        }
    }

    /// `function(*args)`.
    #[inline(always)]
    pub(crate) fn call<const N: usize>(&self, args: [&Object; N]) -> Fallible<Owned> {
        let count = N as ffi::Py_ssize_t;
        let answer = match self.function {
            // SAFETY: a function that takes one argument, with what it is bound to.
            Some(Function::Plain(function)) if N == 1 => unsafe {
                function(self.this, Some(args[0]))
            },
            // SAFETY: one that takes `count` arguments, which are alive.
            Some(Function::Vector(function)) => unsafe {
                function(self.this, args.as_ptr(), count)
            },
            // SAFETY: as above; it is given no keywords.
            Some(Function::Keywords(function)) => unsafe {
                function(self.this, args.as_ptr(), count, None)
            },
            _ => return call(self.object, args),
        };
        answered(self.object.py(), answer)
    }
}

/// A method that takes nothing, or one argument.
struct Plain {
    object: &'static Object,
    function: Option<(PlainFunction, &'static Type)>,
}

impl Plain {
    /// The method that a type has under `object`, called by its function if that has these flags.
    fn of(object: Owned, flags: c_int) -> Self {
        let object = forever(object);
        let function = match Function::of_descriptor(object, flags) {
            Some((Function::Plain(function), class)) => Some((function, class)),
            _ => None,
        };
        Self { object, function }
    }

    /// Calls the function, if this is an instance of its class; what it takes must be what its flags say.
    #[inline(always)]
    fn call_on(&self, this: &Object, argument: Option<&Object>) -> Option<Fallible<Owned>> {
        let (function, class) = self.function?;
        if !is_kind(this, class) {
            return None;
        }
        // SAFETY: an instance of the method's class. Both of the types below pass what the flags say.
        let answer = unsafe { function(Some(this), argument) };
        Some(answered(this.py(), answer))
    }
}

/// A method that takes nothing.
pub(crate) struct DirectMethod(Plain);

impl DirectMethod {
    /// The method that a type has under `object`.
    pub(crate) fn of(object: Owned) -> Self {
        Self(Plain::of(object, ffi::METH_NOARGS))
    }

    #[inline]
    pub(crate) fn call_on(&self, this: &Object) -> Fallible<Owned> {
        self.0.call_on(this, None).unwrap_or_else(|| call1(self.0.object, this))
    }
}

/// A method that takes one argument.
pub(crate) struct DirectOne(Plain);

impl DirectOne {
    /// The method that a type has under `object`.
    pub(crate) fn of(object: Owned) -> Self {
        Self(Plain::of(object, ffi::METH_O))
    }

    #[inline]
    pub(crate) fn call_on(&self, this: &Object, argument: &Object) -> Fallible<Owned> {
        let answer = self.0.call_on(this, Some(argument));
        answer.unwrap_or_else(|| call(self.0.object, [this, argument]))
    }
}

/// A method that takes a vector and keywords.
pub(crate) struct DirectKeywords {
    how: Function,
    class: &'static Type,
    name: &'static Object,
}

impl DirectKeywords {
    /// The method that a type has under `object`, if it takes its arguments so. `name` is its name.
    pub(crate) fn of(object: Owned, name: &'static Object) -> Option<Self> {
        let object = forever(object);
        let (how, class) = [KEYWORDS, WITH_CLASS]
            .iter()
            .find_map(|flags| Function::of_descriptor(object, *flags))?;
        Some(Self { how, class, name })
    }

    /// `this.method(argument, keyword=value)`.
    #[inline]
    pub(crate) fn call(
        &self,
        this: &Object,
        argument: &Object,
        value: &Object,
        keyword: Keyword,
    ) -> Fallible<Owned> {
        if !is_kind(this, self.class) {
            return call_method_with(this, self.name, [argument, value], keyword);
        }
        let (args, names) = ([argument, value], keyword.names());
        let answer = match self.how {
            // SAFETY: an instance of the method's class, and two arguments, of which one is named.
            Function::Keywords(call) => unsafe { call(Some(this), args.as_ptr(), 1, Some(names)) },
            // SAFETY: as for the other, with the method's class.
            Function::WithClass(call) => unsafe { call(this, self.class, args.as_ptr(), 1, names) },
            Function::Plain(_) | Function::Vector(_) => {
                unreachable!("it was asked for by its flags")
            }
        };
        answered(this.py(), answer)
    }
}

/// An attribute that C functions of CPython's get and set, called as CPython would.
pub(crate) struct Attribute {
    get: Getter,
    /// None for an attribute that is read only.
    set: Option<Setter>,
    closure: *mut c_void,
    class: &'static Type,
    name: &'static Object,
}

impl Attribute {
    /// The attribute that a type has under `object`, if it is of this kind. `name` is its name.
    pub(crate) fn of(object: Owned, name: &'static Object) -> Option<Self> {
        let descriptor = forever(object).cast::<ffi::PyGetSetDescrObject>()?;
        // SAFETY: the descriptor has it, and is alive; its functions take what the types say.
        let GetSetDef { get, set, closure, .. } =
            unsafe { &*descriptor.d_getset.cast::<GetSetDef<Getter, Setter>>() };
        let class = class_of(&descriptor.d_common);
        Some(Self { get: (*get)?, set: *set, closure: *closure, class, name })
    }

    #[inline]
    pub(crate) fn get(&self, this: &Object) -> Fallible<Owned> {
        if !is_kind(this, self.class) {
            return getattr(this, self.name);
        }
        // SAFETY: an instance of the attribute's class.
        answered(this.py(), unsafe { (self.get)(this, self.closure) })
    }

    #[inline]
    pub(crate) fn set(&self, this: &Object, value: &Object) -> Fallible<()> {
        if !is_kind(this, self.class) {
            return set_attr(this, self.name, value);
        }
        let Some(set) = self.set else {
            let text = c"this attribute is read only";
            return Err(set_error(exc::attribute_error(this.py()), text));
        };
        // SAFETY: an instance of the attribute's class.
        let answer = unsafe { set(this, value, self.closure) };
        checked(this.py(), answer).map(drop)
    }
}

/// Where an object's `__slots__` have an attribute.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    offset: isize,
    class: &'static Type,
}

impl Member {
    /// The one that a type has under `object`, if it is of this kind.
    pub(crate) fn of(object: Owned) -> Option<Self> {
        let descriptor = forever(object).cast::<ffi::PyMemberDescrObject>()?;
        // SAFETY: the descriptor has it, and is alive.
        let offset = unsafe { (*descriptor.d_member).offset };
        Some(Self { offset, class: class_of(&descriptor.d_common) })
    }

    /// Whether it is True; none for what is no instance of the type.
    #[inline]
    pub(crate) fn is_true(&self, object: &Object) -> Option<bool> {
        if !is_kind(object, self.class) {
            return None;
        }
        let slot = object.as_ptr().cast::<u8>().wrapping_offset(self.offset).cast::<Raw>();
        // SAFETY: the slot is where the type has it; it is null before `__init__`.
        Some(unsafe { *slot } == true_ref(object.py()).as_ptr())
    }
}
