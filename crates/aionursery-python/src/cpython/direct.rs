//! Functions and attributes of CPython's, called as it would call them itself: for the calls that must
//! be cheap. It must never call anything but C functions whose flags say what they take, nor a method
//! for what is no instance of its class.

use std::ffi::c_int;

use pyo3::ffi;

use super::call::{call, call_method_with, call0, call1, getattr, set_attr};
use super::errors::{Fallible, Raised, answered, exc, set_error};
use super::object::{Object, Owned, Raw};

/// A reference that is kept for ever.
pub(crate) fn forever(object: Owned) -> &'static Object {
    let object = object.into_ptr();
    // SAFETY: the reference was the caller's, and is never given back. What refers to it stands among
    // the imports, which only attached threads ask for.
    unsafe { Object::from_ptr(object) }
}

/// Whether an object is an instance of a class.
#[inline]
fn is_one(object: &Object, class: *mut ffi::PyTypeObject) -> bool {
    // SAFETY: the class belongs to a descriptor that is kept for ever.
    unsafe { ffi::PyObject_TypeCheck(object.as_ptr(), class) != 0 }
}

/// The C function of a method.
#[derive(Clone, Copy)]
enum Function {
    /// Of a method that takes nothing, or one argument.
    Plain(ffi::PyCFunction),
    Keywords(ffi::PyCFunctionFastWithKeywords),
    WithClass(ffi::PyCMethod),
}

const KEYWORDS: c_int = ffi::METH_FASTCALL | ffi::METH_KEYWORDS;
const WITH_CLASS: c_int = KEYWORDS | ffi::METH_METHOD;

/// The C function of a method descriptor with these flags, and the class it is for.
fn of_descriptor(object: &Object, flags: c_int) -> Option<(Function, *mut ffi::PyTypeObject)> {
    // SAFETY: looked at according to its type; the flags say which function it is.
    unsafe {
        if ffi::Py_TYPE(object.as_ptr()) != &raw mut ffi::PyMethodDescr_Type {
            return None;
        }
        let descriptor = &*object.as_ptr().cast::<ffi::PyMethodDescrObject>();
        let definition = &*descriptor.d_method;
        let function = match definition.ml_flags {
            found if found != flags => return None,
            ffi::METH_NOARGS | ffi::METH_O => Function::Plain(definition.ml_meth.PyCFunction),
            KEYWORDS => Function::Keywords(definition.ml_meth.PyCFunctionFastWithKeywords),
            WITH_CLASS => Function::WithClass(definition.ml_meth.PyCMethod),
            _ => return None,
        };
        Some((function, descriptor.d_common.d_type))
    }
}

/// A function of a module that takes nothing: called without the way round through its object, which
/// costs more than most of them do.
pub(crate) struct Direct {
    /// The object, for where it is not the C function that was expected.
    object: &'static Object,
    function: Option<ffi::PyCFunction>,
    this: Raw,
}

impl Direct {
    pub(crate) fn of(object: Owned) -> Self {
        let object = forever(object);
        let nothing = Self { object, function: None, this: std::ptr::null_mut() };
        // SAFETY: looked at according to its type; the reference is kept for ever.
        unsafe {
            if ffi::PyCFunction_CheckExact(object.as_ptr()) == 0
                || ffi::PyCFunction_GetFlags(object.as_ptr()) != ffi::METH_NOARGS
            {
                return nothing;
            }
            let this = ffi::PyCFunction_GetSelf(object.as_ptr());
            Self { function: ffi::PyCFunction_GetFunction(object.as_ptr()), this, ..nothing }
        }
    }

    /// The function, as an object.
    pub(crate) fn object(&self) -> &'static Object {
        self.object
    }

    #[inline]
    pub(crate) fn call(&self) -> Fallible<Owned> {
        match self.function {
            // SAFETY: a function that takes nothing, with what it is bound to.
            Some(function) => unsafe {
                answered(self.object.py(), function(self.this, std::ptr::null_mut()))
            },
            None => call0(self.object),
        }
    }
}

/// A method that takes nothing, or one argument.
struct Plain {
    object: &'static Object,
    function: Option<(ffi::PyCFunction, *mut ffi::PyTypeObject)>,
}

impl Plain {
    /// The method that a type has under `object`, called by its function if that has these flags.
    fn of(object: Owned, flags: c_int) -> Self {
        let object = forever(object);
        let function = match of_descriptor(object, flags) {
            Some((Function::Plain(function), class)) => Some((function, class)),
            _ => None,
        };
        Self { object, function }
    }

    /// Calls the function, if this is an instance of its class; what it takes must be what its flags say.
    #[inline(always)]
    fn call_on(&self, this: &Object, argument: Option<&Object>) -> Option<Fallible<Owned>> {
        let (function, class) = self.function?;
        let argument = argument.map_or(std::ptr::null_mut(), Object::as_ptr);
        // SAFETY: an instance of the method's class. Both of the types below pass what the flags say.
        is_one(this, class)
            .then(|| unsafe { answered(this.py(), function(this.as_ptr(), argument)) })
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
    class: *mut ffi::PyTypeObject,
    name: &'static Object,
}

impl DirectKeywords {
    /// The method that a type has under `object`, if it takes its arguments so. `name` is its name.
    pub(crate) fn of(object: Owned, name: &'static Object) -> Option<Self> {
        let object = forever(object);
        let (how, class) =
            of_descriptor(object, KEYWORDS).or_else(|| of_descriptor(object, WITH_CLASS))?;
        Some(Self { how, class, name })
    }

    /// `this.method(argument, keyword=value)`, where `kwnames` is `("keyword",)`.
    #[inline]
    pub(crate) fn call(
        &self,
        this: &Object,
        argument: &Object,
        value: &Object,
        kwnames: &Object,
    ) -> Fallible<Owned> {
        if !is_one(this, self.class) {
            return call_method_with(this, self.name, [argument, value], kwnames);
        }
        let (this_ptr, args) = (this.as_ptr(), [argument.as_ptr(), value.as_ptr()]);
        let (args, kwnames) = (args.as_ptr(), kwnames.as_ptr());
        // SAFETY: an instance of the method's class, and two arguments, of which one is named.
        unsafe {
            let answer = match self.how {
                Function::Keywords(call) => call(this_ptr, args, 1, kwnames),
                Function::WithClass(call) => call(this_ptr, self.class, args, 1, kwnames),
                Function::Plain(_) => unreachable!("it was asked for by its flags"),
            };
            answered(this.py(), answer)
        }
    }
}

/// An attribute that C functions of CPython's get and set, called as CPython would.
pub(crate) struct Attribute {
    get: ffi::getter,
    /// None for an attribute that is read only.
    set: Option<ffi::setter>,
    closure: *mut std::ffi::c_void,
    class: *mut ffi::PyTypeObject,
    name: &'static Object,
}

impl Attribute {
    /// The attribute that a type has under `object`, if it is of this kind. `name` is its name.
    pub(crate) fn of(object: Owned, name: &'static Object) -> Option<Self> {
        let object = forever(object).as_ptr();
        // SAFETY: looked at according to its type; the reference is kept for ever.
        unsafe {
            if ffi::Py_TYPE(object) != &raw mut ffi::PyGetSetDescr_Type {
                return None;
            }
            let descriptor = &*object.cast::<ffi::PyGetSetDescrObject>();
            let definition = &*descriptor.d_getset;
            Some(Self {
                get: definition.get?,
                set: definition.set,
                closure: definition.closure,
                class: descriptor.d_common.d_type,
                name,
            })
        }
    }

    #[inline]
    pub(crate) fn get(&self, this: &Object) -> Fallible<Owned> {
        if !is_one(this, self.class) {
            return getattr(this, self.name);
        }
        // SAFETY: an instance of the attribute's class.
        unsafe { answered(this.py(), (self.get)(this.as_ptr(), self.closure)) }
    }

    #[inline]
    pub(crate) fn set(&self, this: &Object, value: &Object) -> Fallible<()> {
        if !is_one(this, self.class) {
            return set_attr(this, self.name, value);
        }
        let Some(set) = self.set else {
            let text = c"this attribute is read only";
            return Err(set_error(exc::attribute_error(this.py()), text));
        };
        // SAFETY: an instance of the attribute's class.
        if unsafe { set(this.as_ptr(), value.as_ptr(), self.closure) } < 0 {
            return Err(Raised::seen(this.py()));
        }
        Ok(())
    }
}

/// Where an object's `__slots__` have an attribute.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    offset: isize,
    class: *mut ffi::PyTypeObject,
}

impl Member {
    /// The one that a type has under `object`, if it is of this kind.
    pub(crate) fn of(object: Owned) -> Option<Self> {
        let object = forever(object).as_ptr();
        // SAFETY: looked at according to its type; the reference is kept for ever.
        unsafe {
            if ffi::Py_TYPE(object) != &raw mut ffi::PyMemberDescr_Type {
                return None;
            }
            let descriptor = &*object.cast::<ffi::PyMemberDescrObject>();
            let offset = (*descriptor.d_member).offset;
            Some(Self { offset, class: descriptor.d_common.d_type })
        }
    }

    /// Whether it is True; none for what is no instance of the type.
    #[inline]
    pub(crate) fn is_true(&self, object: &Object) -> Option<bool> {
        // SAFETY: the slot is where the type has it; it is null before `__init__`.
        is_one(object, self.class).then(|| unsafe {
            *object.as_ptr().cast::<u8>().offset(self.offset).cast::<Raw>() == ffi::Py_True()
        })
    }
}
