//! Functions by CPython's own protocol, for the calls that must be cheap: ours as CPython calls
//! them, and CPython's as it would call them itself. It must never call anything but C functions
//! whose flags say what they take.

use std::ffi::CStr;

use pyo3::PyTypeInfo;
use pyo3::ffi;
use pyo3::prelude::*;

use crate::cpython::object::{Fallible, Owned, Raised, Raw, call, call1, checked, set_error};

/// A function of ours: bound to an object by hand, or put into a class or the module.
pub struct Method(ffi::PyMethodDef);

// SAFETY: constant; CPython reads it only.
unsafe impl Sync for Method {}

impl Method {
    /// `function(this, null)`, for hands only.
    pub const fn no_args(name: &'static CStr, function: ffi::PyCFunction) -> Self {
        Self(definition(name, ffi::PyMethodDefPointer { PyCFunction: function }, ffi::METH_NOARGS))
    }

    /// `function(this, argument)`, for hands only.
    pub const fn one_arg(name: &'static CStr, function: ffi::PyCFunction) -> Self {
        Self(definition(name, ffi::PyMethodDefPointer { PyCFunction: function }, ffi::METH_O))
    }

    /// `function(this, args, count, kwnames)`.
    pub const fn fast(name: &'static CStr, function: ffi::PyCFunctionFastWithKeywords) -> Self {
        let function = ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: function };
        Self(definition(name, function, ffi::METH_FASTCALL | ffi::METH_KEYWORDS))
    }

    /// What a user reads: the signature first, as CPython writes it for its own.
    pub const fn documented(mut self, text: &'static CStr) -> Self {
        self.0.ml_doc = text.as_ptr();
        self
    }

    fn raw(&'static self) -> *mut ffi::PyMethodDef {
        std::ptr::from_ref(&self.0).cast_mut()
    }

    /// The function with its first argument.
    pub unsafe fn bind(&'static self, this: Raw) -> Fallible<Owned> {
        let nothing = std::ptr::null_mut();
        // SAFETY: the definition is static, the caller's object alive.
        unsafe { Owned::new(ffi::PyCMethod_New(self.raw(), this, nothing, nothing.cast())) }
    }

    /// Becomes a method of a class.
    pub fn add_to_class<T: PyTypeInfo>(&'static self, py: Python<'_>) -> PyResult<()> {
        py.get_type::<T>().setattr(self.name(), self.for_class::<T>(py)?)
    }

    /// A method for a class or its subclasses, to be put there by somebody else.
    pub fn for_class<'py, T: PyTypeInfo>(
        &'static self,
        py: Python<'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let class = py.get_type::<T>();
        // SAFETY: the definition is static; the type is ready.
        unsafe {
            let descriptor = ffi::PyDescr_NewMethod(class.as_ptr().cast(), self.raw());
            Bound::from_owned_ptr_or_err(py, descriptor)
        }
    }

    /// Becomes a function of the module.
    pub fn add_to_module(&'static self, module: &Bound<'_, PyModule>) -> PyResult<()> {
        // SAFETY: the definition is static; the module is alive.
        let function = unsafe {
            let (this, name) = (module.as_ptr(), module.name()?);
            let function =
                ffi::PyCMethod_New(self.raw(), this, name.as_ptr(), std::ptr::null_mut());
            Bound::from_owned_ptr_or_err(module.py(), function)?
        };
        module.add(self.name(), function)
    }

    pub fn name(&self) -> &str {
        // SAFETY: it was made from a static C string.
        unsafe { CStr::from_ptr(self.0.ml_name) }.to_str().unwrap_or_default()
    }
}

const fn definition(
    name: &'static CStr,
    function: ffi::PyMethodDefPointer,
    flags: i32,
) -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: function,
        ml_flags: flags,
        ml_doc: std::ptr::null(),
    }
}

/// A function of CPython's that takes nothing but what it is bound to: called without the way
/// round through its object, which costs more than most of them do.
pub struct Direct {
    /// The object, for where it is not the C function that was expected.
    object: Raw,
    function: Option<ffi::PyCFunction>,
    this: Raw,
}

impl Direct {
    /// A function of a module.
    pub unsafe fn function(object: Owned) -> Self {
        let object = object.into_ptr();
        // SAFETY: looked at according to its type; the reference is kept for ever.
        unsafe {
            if ffi::PyCFunction_CheckExact(object) == 0
                || ffi::PyCFunction_GetFlags(object) != ffi::METH_NOARGS
            {
                return Self { object, function: None, this: std::ptr::null_mut() };
            }
            let this = ffi::PyCFunction_GetSelf(object);
            Self { object, function: ffi::PyCFunction_GetFunction(object), this }
        }
    }

    /// A method that a type has under `object`.
    pub unsafe fn method(object: Owned) -> Self {
        let object = object.into_ptr();
        // SAFETY: as above.
        unsafe {
            let mut function = None;
            if ffi::Py_TYPE(object) == &raw mut ffi::PyMethodDescr_Type {
                let definition = (*object.cast::<ffi::PyMethodDescrObject>()).d_method;
                if (*definition).ml_flags == ffi::METH_NOARGS {
                    function = Some((*definition).ml_meth.PyCFunction);
                }
            }
            Self { object, function, this: std::ptr::null_mut() }
        }
    }

    pub fn as_ptr(&self) -> Raw {
        self.object
    }

    #[inline]
    pub unsafe fn call(&self) -> Fallible<Owned> {
        // SAFETY: attached; the function takes nothing.
        unsafe {
            match self.function {
                Some(function) => Owned::new(function(self.this, std::ptr::null_mut())),
                None => crate::cpython::object::call0(self.object),
            }
        }
    }

    /// For a method: `this` must be an instance of its type.
    #[inline]
    pub unsafe fn call_on(&self, this: Raw) -> Fallible<Owned> {
        // SAFETY: attached; the caller's object is what the method is for.
        unsafe {
            match self.function {
                Some(function) => Owned::new(function(this, std::ptr::null_mut())),
                None => call1(self.object, this),
            }
        }
    }
}

/// A method of CPython's that takes one argument.
pub struct DirectOne {
    object: Raw,
    function: Option<ffi::PyCFunction>,
}

impl DirectOne {
    /// The method that a type has under `object`.
    pub unsafe fn of(object: Owned) -> Self {
        let object = object.into_ptr();
        // SAFETY: looked at according to its type; the reference is kept for ever.
        unsafe {
            let mut function = None;
            if ffi::Py_TYPE(object) == &raw mut ffi::PyMethodDescr_Type {
                let definition = (*object.cast::<ffi::PyMethodDescrObject>()).d_method;
                if (*definition).ml_flags == ffi::METH_O {
                    function = Some((*definition).ml_meth.PyCFunction);
                }
            }
            Self { object, function }
        }
    }

    /// `this` must be an instance of the method's type.
    #[inline]
    pub unsafe fn call_on(&self, this: Raw, argument: Raw) -> Fallible<Owned> {
        // SAFETY: attached; the caller's objects are alive and what the method is for.
        unsafe {
            match self.function {
                Some(function) => Owned::new(function(this, argument)),
                None => call(self.object, &mut [std::ptr::null_mut(), this, argument]),
            }
        }
    }
}

/// Where an object's `__slots__` have an attribute: its offset in instances of the type that has it
/// under `object`.
pub unsafe fn slot_offset(object: Owned) -> Option<isize> {
    // SAFETY: looked at according to its type.
    unsafe {
        if ffi::Py_TYPE(object.as_ptr()) != &raw mut ffi::PyMemberDescr_Type {
            return None;
        }
        Some((*(*object.as_ptr().cast::<ffi::PyMemberDescrObject>()).d_member).offset)
    }
}

/// A method of CPython's that takes a vector and keywords.
pub struct DirectKeywords {
    how: Keywords,
    class: *mut ffi::PyTypeObject,
}

enum Keywords {
    Plain(ffi::PyCFunctionFastWithKeywords),
    WithClass(ffi::PyCMethod),
}

impl DirectKeywords {
    /// The method that a type has under `object`, if it takes its arguments so.
    pub unsafe fn of(object: Owned) -> Option<Self> {
        let object = object.into_ptr();
        // SAFETY: looked at according to its type; the reference is kept for ever.
        unsafe {
            if ffi::Py_TYPE(object) != &raw mut ffi::PyMethodDescr_Type {
                return None;
            }
            let descriptor = &*object.cast::<ffi::PyMethodDescrObject>();
            let definition = &*descriptor.d_method;
            const FAST: i32 = ffi::METH_FASTCALL | ffi::METH_KEYWORDS;
            const WITH_CLASS: i32 = FAST | ffi::METH_METHOD;
            let how = match definition.ml_flags {
                FAST => Keywords::Plain(definition.ml_meth.PyCFunctionFastWithKeywords),
                WITH_CLASS => Keywords::WithClass(definition.ml_meth.PyCMethod),
                _ => return None,
            };
            Some(Self { how, class: descriptor.d_common.d_type })
        }
    }

    /// `this` must be an instance of the method's type; the last of `args` are what `kwnames`
    /// names.
    #[inline]
    pub unsafe fn call(&self, this: Raw, args: &[Raw], kwnames: Raw) -> Fallible<Owned> {
        // SAFETY: attached; the caller's objects are alive and what the method is for.
        unsafe {
            let positional = args.len() as ffi::Py_ssize_t - ffi::PyTuple_GET_SIZE(kwnames);
            Owned::new(match self.how {
                Keywords::Plain(call) => call(this, args.as_ptr(), positional, kwnames),
                Keywords::WithClass(call) => {
                    call(this, self.class, args.as_ptr(), positional, kwnames)
                }
            })
        }
    }
}

/// An attribute that C functions of CPython's get and set, called as CPython would.
pub struct Attribute {
    get: ffi::getter,
    /// None for an attribute that is read only.
    set: Option<ffi::setter>,
    closure: *mut std::ffi::c_void,
}

impl Attribute {
    /// The attribute that a type has under `object`, if it is of this kind.
    pub unsafe fn of(object: Owned) -> Option<Self> {
        let object = object.into_ptr();
        // SAFETY: looked at according to its type; the reference is kept for ever.
        unsafe {
            if ffi::Py_TYPE(object) != &raw mut ffi::PyGetSetDescr_Type {
                return None;
            }
            let definition = &*(*object.cast::<ffi::PyGetSetDescrObject>()).d_getset;
            Some(Self { get: definition.get?, set: definition.set, closure: definition.closure })
        }
    }

    /// `this` must be an instance of the attribute's type.
    #[inline]
    pub unsafe fn get(&self, this: Raw) -> Fallible<Owned> {
        // SAFETY: attached; the caller's object is what the attribute is for.
        unsafe { Owned::new((self.get)(this, self.closure)) }
    }

    /// As for [`Self::get`].
    #[inline]
    pub unsafe fn set(&self, this: Raw, value: Raw) -> Fallible<()> {
        // SAFETY: as above.
        unsafe {
            let Some(set) = self.set else {
                return Err(set_error(ffi::PyExc_AttributeError, c"this attribute is read only"));
            };
            checked(set(this, value, self.closure)).map(drop)
        }
    }
}

/// A C `long` that a call has answered.
#[inline]
pub unsafe fn number(answer: &Owned) -> Fallible<std::ffi::c_long> {
    // SAFETY: the answer is alive.
    unsafe {
        let number = ffi::PyLong_AsLong(answer.as_ptr());
        if number == -1 && !ffi::PyErr_Occurred().is_null() {
            return Err(Raised::seen());
        }
        Ok(number)
    }
}

/// A C `double` that a call has answered, or an argument.
#[inline]
pub unsafe fn real(object: Raw) -> Fallible<f64> {
    // SAFETY: the caller's object is alive.
    unsafe {
        let number = ffi::PyFloat_AsDouble(object);
        if number == -1.0 && !ffi::PyErr_Occurred().is_null() {
            return Err(Raised::seen());
        }
        Ok(number)
    }
}
