//! The type: a subclass of asyncio's C `Task`, made at import. It must never be made twice.

use std::ffi::{c_int, c_void};

use pyo3::ffi;
use pyo3::prelude::*;

use super::{compat, methods};
use crate::cpython::imports::imports;
use crate::task::data;

/// Makes the type and adds it to the module.
pub fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    // SAFETY: at import, attached.
    if !data::set_type(|size| unsafe { create(size) }) {
        return Err(PyErr::fetch(module.py()));
    }
    data::find_inherited(module.py())?;
    // SAFETY: a type is an object.
    let class = unsafe { Bound::from_borrowed_ptr(module.py(), data::class()) };
    class.setattr("__module__", "aionursery")?;
    module.add("Task", class)
}

unsafe fn create(size: usize) -> *mut ffi::PyTypeObject {
    let slot = |slot: c_int, pfunc: *mut c_void| ffi::PyType_Slot { slot, pfunc };
    let mut slots = data::slots().to_vec();
    slots.extend(methods::slots());
    slots.push(slot(ffi::Py_tp_getset, compat::table().cast()));
    slots.push(slot(0, std::ptr::null_mut()));
    let flags = ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_BASETYPE | ffi::Py_TPFLAGS_HAVE_GC;
    let mut spec = ffi::PyType_Spec {
        name: c"aionursery._aionursery.Task".as_ptr(),
        basicsize: size as c_int,
        itemsize: 0,
        flags: flags as u32,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: asyncio's type is ready; every slot is a function of the right signature, and the
    // tables live for ever.
    unsafe { ffi::PyType_FromSpecWithBases(&mut spec, imports().task_type.cast()).cast() }
}
