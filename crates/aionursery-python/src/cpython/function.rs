//! Functions of ours as CPython calls them, and where they are put. The macros of [`called`](super::called)
//! write what C sees; their types say what CPython passes, so a function can be put only where that is so.
//! It must never take a function by an untyped pointer.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::mem::offset_of;
use std::ops::Deref;

use pyo3::PyTypeInfo;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::args::{Count, Keywords, Vector};
use super::definitions::{GetSetDef, MethodDef};
use super::errors::{Fallible, Raised, fetch, string};
use super::object::{Object, Raw, Type, Typed, Whole, object};
use super::owned::Owned;
use super::safe_calls::safe_calls;

/// What a method is called on, for the length of the call: an object that Rust code sees as `T`. C has it
/// as the object's address.
#[repr(transparent)]
#[derive(Debug)]
pub(crate) struct This<'a, T>(&'a Object, PhantomData<&'a T>);

impl<'a, T> This<'a, T> {
    /// The object.
    #[inline]
    pub(crate) fn object(&self) -> &'a Object {
        self.0
    }

    #[inline]
    pub(crate) fn py(&self) -> Python<'a> {
        self.0.py()
    }
}

impl<T: Typed> Deref for This<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: nothing here makes a `This`: CPython passes one to a function whose type has it, and each
        // place that takes such a function is one for objects that are `T`.
        unsafe { T::see(self.0) }
    }
}

/// What CPython is answered: an object, or null where an exception is raised.
#[inline]
pub(crate) fn answer(answer: Fallible<Owned>) -> Raw {
    answer.map_or_else(Raised::null, Owned::into_ptr)
}

/// What C calls, as Rust has it. A reference is an address, and null is none; CPython passes nothing that
/// does not live as long as the call.
pub(crate) type NoArgs<T> = extern "C" fn(This<'_, T>, Option<&Object>) -> Raw;
/// As above, with one argument.
pub(crate) type OneArg<T> = extern "C" fn(This<'_, T>, &Object) -> Raw;
/// As above, with a vector.
pub(crate) type Fast<T> =
    for<'a> extern "C" fn(This<'a, T>, Vector<'a>, Count<'a, ffi::Py_ssize_t>, Keywords<'a>) -> Raw;
/// What a class is called through.
pub(crate) type Vectorcall =
    for<'a> extern "C" fn(&'a Object, Vector<'a>, Count<'a, usize>, Keywords<'a>) -> Raw;
/// What gets an attribute.
pub(crate) type Getter<T> = extern "C" fn(This<'_, T>, *mut c_void) -> Raw;
/// What sets an attribute, or deletes it where there is no value.
pub(crate) type Setter<T> = extern "C" fn(This<'_, T>, Option<&Object>, *mut c_void) -> c_int;
/// What takes the object and answers with one.
pub(crate) type Unary<T> = extern "C" fn(This<'_, T>) -> Raw;
/// What takes the arguments of `__init__`: a tuple, and a dict or nothing.
pub(crate) type Init<T> = extern "C" fn(This<'_, T>, &Object, Option<&Object>) -> c_int;
/// What is called before an object goes.
pub(crate) type Finalize<T> = extern "C" fn(This<'_, T>);

safe_calls! {
    // The definition is static, and `this` what its function is called on.
    unsafe fn new_function(
        py: Python<'_>,
        definition: *mut ffi::PyMethodDef,
        this: &Object,
        module: Option<&Object>,
        class: *mut ffi::PyTypeObject
    ) -> Fallible<Owned> = PyCMethod_New;
    // The definition is static, and its function called on objects of the class.
    unsafe fn new_descriptor(
        py: Python<'_>,
        class: &Type,
        definition: *mut ffi::PyMethodDef
    ) -> Fallible<Owned> = PyDescr_NewMethod;
}

/// A function of ours that is called on a `T`: bound to one, or put into a class or the module.
#[repr(transparent)]
pub(crate) struct Method<T = Object>(MethodDef<Call<T>>);

/// What the function is, by its flags.
#[repr(C)]
union Call<T> {
    no_args: NoArgs<T>,
    one_arg: OneArg<T>,
    fast: Fast<T>,
    theirs: Option<ffi::PyCFunction>,
}

impl<T> std::fmt::Debug for Method<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Method").field(&self.0.name).finish()
    }
}

// SAFETY: constant; CPython reads it only.
unsafe impl<T> Sync for Method<T> {}

impl<T> Method<T> {
    const fn new(name: &'static CStr, call: Call<T>, flags: c_int) -> Self {
        Self(MethodDef { name: name.as_ptr(), call, flags, text: std::ptr::null() })
    }

    pub(crate) const fn no_args(name: &'static CStr, call: NoArgs<T>) -> Self {
        Self::new(name, Call { no_args: call }, ffi::METH_NOARGS)
    }

    pub(crate) const fn one_arg(name: &'static CStr, call: OneArg<T>) -> Self {
        Self::new(name, Call { one_arg: call }, ffi::METH_O)
    }

    pub(crate) const fn fast(name: &'static CStr, call: Fast<T>) -> Self {
        Self::new(name, Call { fast: call }, ffi::METH_FASTCALL | ffi::METH_KEYWORDS)
    }

    /// `class[item]`, for annotations.
    pub(crate) const fn class_getitem() -> Self {
        // It takes the class, whatever that is, and one argument.
        let call = Call { theirs: Some(ffi::Py_GenericAlias) };
        Self::new(c"__class_getitem__", call, ffi::METH_O | ffi::METH_CLASS)
    }

    /// What a table ends with.
    pub(crate) const fn end() -> Self {
        let (name, text) = (std::ptr::null(), std::ptr::null());
        Self(MethodDef { name, call: Call { theirs: None }, flags: 0, text })
    }

    /// What a user reads: the signature first, as CPython writes it for its own.
    pub(crate) const fn documented(mut self, text: &'static CStr) -> Self {
        self.0.text = text.as_ptr();
        self
    }

    pub(super) fn raw(&'static self) -> *mut ffi::PyMethodDef {
        std::ptr::from_ref(self).cast_mut().cast()
    }

    /// Whether an object is this function.
    pub(crate) fn is(&'static self, object: &Object) -> bool {
        let function = object.cast::<ffi::PyCFunctionObject>();
        function.is_some_and(|function| function.m_ml == self.raw())
    }
}

impl<T> Method<T> {
    fn make(&'static self, this: &Owned<T>, module: Option<&Object>) -> Fallible<Owned> {
        let (this, class) = (this.object(), std::ptr::null_mut());
        // SAFETY: the definition is static, and what it is bound to a `T`.
        unsafe { new_function(this.py(), self.raw(), this, module, class) }
    }

    /// The function with its first argument.
    pub(crate) fn bind(&'static self, this: &Owned<T>) -> Fallible<Owned> {
        self.make(this, None)
    }
}

impl<T: Whole> Method<T> {
    /// As [`Self::bind`].
    pub(crate) fn bind_to(&'static self, this: &T) -> Fallible<Owned> {
        self.bind(&Owned::share(this))
    }
}

impl<T: PyTypeInfo> Method<T> {
    /// Becomes a method of a class.
    pub(crate) fn add_to_class(&'static self, py: Python<'_>) -> PyResult<()> {
        self.add_to_subclass::<T>(py)
    }

    /// Becomes a method of a class below the one that it is for.
    #[expect(clippy::disallowed_methods, reason = "at import, which ends without memory")]
    pub(crate) fn add_to_subclass<S: PyTypeInfo>(&'static self, py: Python<'_>) -> PyResult<()> {
        let method = self.for_class(py)?;
        py.get_type::<S>().setattr(name_of(&method)?, method)
    }

    /// Is put into the module, for a class that takes it from there.
    pub(crate) fn add_for_class(&'static self, module: &Bound<'_, PyModule>) -> PyResult<()> {
        let method = self.for_class(module.py())?;
        module.add(name_of(&method)?, method)
    }

    /// A method for a class or its subclasses, to be put there by its caller.
    pub(crate) fn for_class<'py>(&'static self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let class = class_of::<T>(py);
        // SAFETY: the definition is static, and for objects of this class.
        let made = unsafe { new_descriptor(py, &class, self.raw()) };
        made.map(|made| made.into_bound(py)).map_err(|raised| fetch(py, raised))
    }
}

/// What a function of ours is called, by its definition.
#[expect(clippy::disallowed_methods, reason = "at import, which ends without memory")]
fn name_of<'py>(function: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyString>> {
    Ok(function.getattr("__name__")?.cast_into()?)
}

impl Method {
    /// Becomes a function of the module, with the name `home` for where it is from.
    pub(crate) fn add_to_module_as(
        &'static self,
        module: &Bound<'_, PyModule>,
        home: &str,
    ) -> PyResult<()> {
        let py = module.py();
        let this = Owned::share(object(module));
        let function = string(py, home).and_then(|home| self.make(&this, Some(&home)));
        let function = function.map_err(|raised| fetch(py, raised))?;
        let function = function.into_bound(py);
        module.add(name_of(&function)?, function)
    }

    /// Becomes a function of the module.
    pub(crate) fn add_to_module(&'static self, module: &Bound<'_, PyModule>) -> PyResult<()> {
        let name = module.name()?;
        self.add_to_module_as(module, &name.to_cow()?)
    }
}

/// An attribute of `T`'s class that functions of ours get and set.
#[repr(transparent)]
pub(crate) struct Property<T>(GetSetDef<Getter<T>, Setter<T>>);

// SAFETY: constant; CPython reads it only.
unsafe impl<T> Sync for Property<T> {}

impl<T> Property<T> {
    pub(crate) const fn new(name: &'static CStr, get: Getter<T>, set: Option<Setter<T>>) -> Self {
        Self::of(name.as_ptr(), Some(get), set)
    }

    /// What a table ends with.
    pub(crate) const fn end() -> Self {
        Self::of(std::ptr::null(), None, None)
    }

    const fn of(name: *const c_char, get: Option<Getter<T>>, set: Option<Setter<T>>) -> Self {
        let (text, closure) = (std::ptr::null(), std::ptr::null_mut());
        Self(GetSetDef { name, get, set, text, closure })
    }
}

/// A class of PyO3's.
fn class_of<T: PyTypeInfo>(py: Python<'_>) -> Owned<Type> {
    let class = Owned::share(object(&py.get_type::<T>())).cast();
    class.unwrap_or_else(|_| unreachable!("it is a class"))
}

/// A function of ours that stands in a slot of a class of PyO3's.
///
/// # Safety
/// At that place a class has such a function, or none: with the same arguments, by their addresses.
unsafe trait InSlot {
    const PLACE: usize;
}

// SAFETY: what a class is called through.
unsafe impl InSlot for Vectorcall {
    const PLACE: usize = offset_of!(ffi::PyTypeObject, tp_vectorcall);
}

// SAFETY: what CPython calls on an object.
unsafe impl<T> InSlot for Finalize<T> {
    const PLACE: usize = offset_of!(ffi::PyTypeObject, tp_finalize);
}

fn put<F: InSlot>(class: &Type, function: F) {
    let slot = class.as_ptr().cast::<u8>().wrapping_add(F::PLACE).cast::<Option<F>>();
    // SAFETY: a class has such a function there.
    unsafe { slot.write(Some(function)) }
}

/// Has a class of PyO3's be called so. Before anything calls it.
pub(crate) fn set_call<T: PyTypeInfo>(py: Python<'_>, call: Vectorcall) {
    put(&class_of::<T>(py), call);
}

/// Has this be called before an object of a class of PyO3's goes. Before there is one.
pub(crate) fn set_finalize<T: PyTypeInfo>(py: Python<'_>, finalize: Finalize<T>) {
    put(&class_of::<T>(py), finalize);
}
