//! C functions of CPython's, by what it publishes of them: the flags say what one takes. It must never call
//! one on what is no instance of its class, nor with anything that its flags do not name.

use std::ffi::{c_int, c_void};
use std::mem::transmute_copy;
use std::ptr::NonNull;

use pyo3::ffi;

use super::call::{Names, is_kind};
use super::definitions::{GetSetDef, MethodDef};
use super::object::{Object, Type, Typed, laid_out};
use super::owned::Owned;

laid_out!(
    PyCFunctionObject = PyCFunction_Type,
    PyMethodDescrObject = PyMethodDescr_Type,
    PyGetSetDescrObject = PyGetSetDescr_Type,
    PyMemberDescrObject = PyMemberDescr_Type
);

/// An object that has a definition of C's.
///
/// # Safety
/// It is there, and laid out so, for as long as the object; the functions in it take what the types say.
pub(super) unsafe trait Defined: Typed {
    type Definition: 'static;

    fn place(&self) -> *const Self::Definition;
}

macro_rules! defined {
    ($($struct:ident.$field:ident: $definition:ty),*) => {$(
        // SAFETY: that is what CPython has there, and the functions take what their flags say.
        unsafe impl Defined for ffi::$struct {
            type Definition = $definition;

            fn place(&self) -> *const $definition {
                self.$field.cast_const().cast()
            }
        }
    )*};
}

defined!(
    PyCFunctionObject.m_ml: MethodDef<ByFlags>,
    PyMethodDescrObject.d_method: MethodDef<ByFlags>,
    PyGetSetDescrObject.d_getset: GetSetDef<Getter, Setter>,
    PyMemberDescrObject.d_member: ffi::PyMemberDef
);

pub(super) fn definition<D: Defined>(object: &'static D) -> &'static D::Definition {
    // SAFETY: it is there as long as the object, which is kept for ever.
    unsafe { &*object.place() }
}

/// The class that a descriptor is for.
pub(super) fn class_of(descriptor: &'static ffi::PyDescrObject) -> &'static Type {
    // SAFETY: a descriptor keeps its class, and this one is kept for ever.
    unsafe { Type::from_ptr(descriptor.d_type) }
}

/// A C function of which only the flags say what it takes.
type ByFlags = unsafe extern "C" fn();

/// A C function as C has it, but for the types: a reference is an address, which is null for none, and an
/// owned one a new reference. To call one takes what its flags say.
pub(super) type NoArgs = unsafe extern "C" fn(Option<&Object>, Option<&Object>) -> Option<Owned>;
/// As above.
pub(super) type OneArg = unsafe extern "C" fn(Option<&Object>, &Object) -> Option<Owned>;
/// As above.
pub(super) type Fast =
    unsafe extern "C" fn(Option<&Object>, *const &Object, ffi::Py_ssize_t) -> Option<Owned>;
/// As above.
pub(super) type FastNamed = unsafe extern "C" fn(
    Option<&Object>,
    *const &Object,
    ffi::Py_ssize_t,
    Option<&Object>,
) -> Option<Owned>;
/// As above.
pub(super) type FastOfClass = unsafe extern "C" fn(
    Option<&Object>,
    &Type,
    *const &Object,
    ffi::Py_ssize_t,
    Option<&Object>,
) -> Option<Owned>;
/// As above.
pub(super) type Getter = unsafe extern "C" fn(&Object, *mut c_void) -> Option<Owned>;
/// As above.
pub(super) type Setter = unsafe extern "C" fn(&Object, &Object, *mut c_void) -> c_int;

/// The type of a C function.
///
/// # Safety
/// A function with these flags is of this type.
pub(super) unsafe trait Flagged: Copy {
    const FLAGS: c_int;
}

// SAFETY: it takes an object, and an argument that is null.
unsafe impl Flagged for NoArgs {
    const FLAGS: c_int = ffi::METH_NOARGS;
}

// SAFETY: it takes an object, and an argument.
unsafe impl Flagged for OneArg {
    const FLAGS: c_int = ffi::METH_O;
}

// SAFETY: it takes an object, a vector and its length.
unsafe impl Flagged for Fast {
    const FLAGS: c_int = ffi::METH_FASTCALL;
}

// SAFETY: it takes a tuple of names behind those.
unsafe impl Flagged for FastNamed {
    const FLAGS: c_int = Fast::FLAGS | ffi::METH_KEYWORDS;
}

// SAFETY: it takes a class behind the object.
unsafe impl Flagged for FastOfClass {
    const FLAGS: c_int = FastNamed::FLAGS | ffi::METH_METHOD;
}

/// The function of a definition, if it is of this type.
fn function<F: Flagged>(definition: &MethodDef<ByFlags>) -> Option<F> {
    const { assert!(size_of::<F>() == size_of::<ByFlags>()) };
    (definition.flags == F::FLAGS).then(|| {
        // SAFETY: its flags say that it is an `F`, and both are addresses of functions.
        unsafe { transmute_copy(&definition.call) }
    })
}

/// A C function, and what it may be called on: what it is bound to, or an instance of its class.
#[derive(Clone, Copy)]
pub(super) struct On<'a, F> {
    function: F,
    this: Option<&'a Object>,
}

impl<F: Flagged> On<'static, F> {
    /// The C function of a function of a module, with what it is bound to.
    pub(super) fn of(object: &'static Object) -> Option<Self> {
        let parts = object.cast::<ffi::PyCFunctionObject>()?;
        let function = function(definition(parts))?;
        let this = NonNull::new(parts.m_self).map(|this| {
            // SAFETY: the function keeps what it is bound to, and is kept for ever.
            unsafe { Object::from_ptr(this.as_ptr()) }
        });
        Some(Self { function, this })
    }
}

impl On<'_, NoArgs> {
    #[inline(always)]
    pub(super) fn call(self) -> Option<Owned> {
        // SAFETY: a function that takes nothing, with what it may be called on.
        unsafe { (self.function)(self.this, None) }
    }
}

impl On<'_, OneArg> {
    #[inline(always)]
    pub(super) fn call(self, argument: &Object) -> Option<Owned> {
        // SAFETY: a function that takes one argument, with what it may be called on.
        unsafe { (self.function)(self.this, argument) }
    }
}

impl On<'_, Fast> {
    #[inline(always)]
    pub(super) fn call(self, args: &[&Object]) -> Option<Owned> {
        let count = args.len() as ffi::Py_ssize_t;
        // SAFETY: one that takes as many arguments as the slice has, with what it may be called on.
        unsafe { (self.function)(self.this, args.as_ptr(), count) }
    }
}

impl On<'_, FastNamed> {
    #[inline(always)]
    pub(super) fn call(self, args: &[&Object], names: Names<'_>) -> Option<Owned> {
        let count = names.unnamed(args) as ffi::Py_ssize_t;
        // SAFETY: one that takes as many arguments as the slice has, of which the last have these names, with
        // what it may be called on.
        unsafe { (self.function)(self.this, args.as_ptr(), count, names.tuple()) }
    }
}

/// The C function of a method, and the class whose instances have it.
#[derive(Clone, Copy)]
pub(super) struct OfClass<F> {
    function: F,
    class: &'static Type,
}

impl<F: Flagged> OfClass<F> {
    /// Of a method descriptor.
    pub(super) fn of(object: &'static Object) -> Option<Self> {
        let descriptor = object.cast::<ffi::PyMethodDescrObject>()?;
        let function = function(definition(descriptor))?;
        Some(Self { function, class: class_of(&descriptor.d_common) })
    }

    /// With an object that it is to be called on, if that is an instance of the class.
    #[inline(always)]
    pub(super) fn on<'a>(&self, this: &'a Object) -> Option<On<'a, F>> {
        is_kind(this, self.class).then_some(On { function: self.function, this: Some(this) })
    }
}

impl OfClass<FastOfClass> {
    /// Calls it on an object, if that is an instance of the class. The last arguments have these names.
    #[inline(always)]
    pub(super) fn call_on(
        &self,
        this: &Object,
        args: &[&Object],
        names: Names<'_>,
    ) -> Option<Option<Owned>> {
        let On { function, this } = self.on(this)?;
        let count = names.unnamed(args) as ffi::Py_ssize_t;
        // SAFETY: an instance of the method's class, that class, and as many arguments as the slice has.
        Some(unsafe { function(this, self.class, args.as_ptr(), count, names.tuple()) })
    }
}
