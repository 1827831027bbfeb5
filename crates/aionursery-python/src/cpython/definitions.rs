//! How CPython lays out what it knows of a function or an attribute, with types for the functions. It must
//! never differ from CPython's own: that is checked when it is compiled.

use std::ffi::{c_char, c_int, c_void};
use std::mem::offset_of;

use pyo3::ffi;

/// A `PyMethodDef`. `C` is a pointer to the function, or a union of such pointers.
#[repr(C)]
pub(super) struct MethodDef<C> {
    pub name: *const c_char,
    pub call: C,
    pub flags: c_int,
    pub text: *const c_char,
}

/// A `PyGetSetDef`.
#[repr(C)]
pub(super) struct GetSetDef<G, S> {
    pub name: *const c_char,
    pub get: Option<G>,
    pub set: Option<S>,
    pub text: *const c_char,
    pub closure: *mut c_void,
}

type Plain = MethodDef<ffi::PyCFunction>;
type GetSet = GetSetDef<ffi::getter, ffi::setter>;

const _: () = {
    assert!(size_of::<Plain>() == size_of::<ffi::PyMethodDef>());
    assert!(offset_of!(Plain, name) == offset_of!(ffi::PyMethodDef, ml_name));
    assert!(offset_of!(Plain, call) == offset_of!(ffi::PyMethodDef, ml_meth));
    assert!(offset_of!(Plain, flags) == offset_of!(ffi::PyMethodDef, ml_flags));
    assert!(offset_of!(Plain, text) == offset_of!(ffi::PyMethodDef, ml_doc));

    assert!(size_of::<GetSet>() == size_of::<ffi::PyGetSetDef>());
    assert!(offset_of!(GetSet, name) == offset_of!(ffi::PyGetSetDef, name));
    assert!(offset_of!(GetSet, get) == offset_of!(ffi::PyGetSetDef, get));
    assert!(offset_of!(GetSet, set) == offset_of!(ffi::PyGetSetDef, set));
    assert!(offset_of!(GetSet, text) == offset_of!(ffi::PyGetSetDef, doc));
    assert!(offset_of!(GetSet, closure) == offset_of!(ffi::PyGetSetDef, closure));
};
