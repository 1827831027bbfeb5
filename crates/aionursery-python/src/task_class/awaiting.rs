//! How a task is awaited: the iterator behind `await task`. One of our tasks that gets the task out
//! of it joins directly; anybody else treats the task as the future that it is.

use std::ffi::{c_int, c_void};
use std::sync::OnceLock;

use pyo3::ffi;
use pyo3::prelude::*;

use crate::cpython::generator::raise_thrown;
use crate::cpython::generator::sent;
use crate::cpython::generator::stop;
use crate::cpython::guard::guard;
use crate::cpython::object::{Owned, Raw, Slot, set_error};
use crate::task::data::{data, flag};
use crate::task::result::result_of;

#[repr(C)]
struct Iterator {
    head: ffi::PyObject,
    task: Slot,
}

static TYPE: OnceLock<usize> = OnceLock::new();

fn class() -> *mut ffi::PyTypeObject {
    *TYPE.get().expect("the module has been imported") as *mut ffi::PyTypeObject
}

/// `task.__await__()` and `iter(task)`.
pub unsafe extern "C" fn iterate(task: Raw) -> Raw {
    // SAFETY: CPython calls it on a task; the new object is filled before anybody sees it.
    unsafe {
        if data(task).state().is_none() {
            let text = c"Task object is not initialized.";
            return set_error(ffi::PyExc_RuntimeError, text).null();
        }
        let class = class();
        let Some(alloc) = (*class).tp_alloc else {
            return std::ptr::null_mut();
        };
        let object = alloc(class, 0);
        if !object.is_null() {
            (*object.cast::<Iterator>()).task.set(Owned::share(task));
        }
        object
    }
}

unsafe extern "C" fn send(this: Raw, _: Raw, value: *mut Raw) -> ffi::PySendResult {
    // SAFETY: CPython calls it on one of our iterators.
    unsafe {
        *value = std::ptr::null_mut();
        let Some(task) = (*this.cast::<Iterator>()).task.cloned() else {
            // It has ended: as an exhausted generator, it returns None.
            *value = crate::cpython::object::none().into_ptr();
            return ffi::PySendResult::PYGEN_RETURN;
        };
        let ours = data(task.as_ptr());
        if !ours.has(flag::DONE) {
            if ours.has(flag::BLOCKING) {
                let _ = set_error(ffi::PyExc_RuntimeError, c"await wasn't used with future");
                return ffi::PySendResult::PYGEN_ERROR;
            }
            ours.raise_flags(flag::BLOCKING);
            *value = task.into_ptr();
            return ffi::PySendResult::PYGEN_NEXT;
        }
        (*this.cast::<Iterator>()).task.clear();
        guard(ffi::PySendResult::PYGEN_ERROR, |_| match result_of(task.as_ptr()) {
            Ok(result) => {
                *value = result.into_ptr();
                ffi::PySendResult::PYGEN_RETURN
            }
            Err(_) => ffi::PySendResult::PYGEN_ERROR,
        })
    }
}

unsafe extern "C" fn next(this: Raw) -> Raw {
    // SAFETY: as above.
    unsafe {
        let mut value = std::ptr::null_mut();
        match send(this, ffi::Py_None(), &mut value) {
            ffi::PySendResult::PYGEN_NEXT => value,
            ffi::PySendResult::PYGEN_ERROR => std::ptr::null_mut(),
            ffi::PySendResult::PYGEN_RETURN => stop(Owned::maybe(value)),
        }
    }
}

unsafe extern "C" fn method_send(this: Raw, _: Raw) -> Raw {
    // SAFETY: as above.
    unsafe { sent(next(this)) }
}

unsafe extern "C" fn method_throw(this: Raw, args: *mut Raw, count: ffi::Py_ssize_t) -> Raw {
    // SAFETY: as above; CPython's vector of arguments.
    unsafe {
        (*this.cast::<Iterator>()).task.clear();
        raise_thrown(args, count).null()
    }
}

unsafe extern "C" fn method_close(this: Raw, _: Raw) -> Raw {
    // SAFETY: as above.
    unsafe {
        (*this.cast::<Iterator>()).task.clear();
        crate::cpython::object::none().into_ptr()
    }
}

unsafe extern "C" fn same(this: Raw) -> Raw {
    // SAFETY: as above.
    unsafe { Owned::share(this).into_ptr() }
}

unsafe extern "C" fn traverse(this: Raw, visit: ffi::visitproc, arg: *mut c_void) -> c_int {
    // SAFETY: the collector's call. A heap type's objects keep their type.
    unsafe {
        let answer = visit(ffi::Py_TYPE(this).cast(), arg);
        if answer != 0 { answer } else { (*this.cast::<Iterator>()).task.visit(visit, arg) }
    }
}

unsafe extern "C" fn clear(this: Raw) -> c_int {
    // SAFETY: the collector's call.
    unsafe { (*this.cast::<Iterator>()).task.clear() };
    0
}

unsafe extern "C" fn dealloc(this: Raw) {
    // SAFETY: the last reference is gone.
    unsafe {
        ffi::PyObject_GC_UnTrack(this.cast());
        (*this.cast::<Iterator>()).task.clear();
        let class = ffi::Py_TYPE(this);
        if let Some(free) = (*class).tp_free {
            free(this.cast());
        }
        ffi::Py_DECREF(class.cast());
    }
}

struct Methods([ffi::PyMethodDef; 4]);

// SAFETY: constant; CPython reads it only.
unsafe impl Sync for Methods {}

static METHODS: Methods = Methods([
    ffi::PyMethodDef {
        ml_name: c"send".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunction: method_send },
        ml_flags: ffi::METH_O,
        ml_doc: std::ptr::null(),
    },
    ffi::PyMethodDef {
        ml_name: c"throw".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFast: method_throw },
        ml_flags: ffi::METH_FASTCALL,
        ml_doc: std::ptr::null(),
    },
    ffi::PyMethodDef {
        ml_name: c"close".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunction: method_close },
        ml_flags: ffi::METH_NOARGS,
        ml_doc: std::ptr::null(),
    },
    ffi::PyMethodDef::zeroed(),
]);

/// Makes the type.
pub fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let made = *TYPE.get_or_init(|| {
        let slot = |slot: c_int, pfunc: *mut c_void| ffi::PyType_Slot { slot, pfunc };
        let mut slots = [
            slot(ffi::Py_tp_traverse, traverse as *mut c_void),
            slot(ffi::Py_tp_clear, clear as *mut c_void),
            slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
            slot(ffi::Py_tp_iter, same as *mut c_void),
            slot(ffi::Py_am_await, same as *mut c_void),
            slot(ffi::Py_tp_iternext, next as *mut c_void),
            slot(ffi::Py_am_send, send as *mut c_void),
            slot(ffi::Py_tp_methods, METHODS.0.as_ptr().cast_mut().cast()),
            slot(0, std::ptr::null_mut()),
        ];
        let mut spec = ffi::PyType_Spec {
            name: c"aionursery._aionursery.TaskIterator".as_ptr(),
            basicsize: size_of::<Iterator>() as c_int,
            itemsize: 0,
            flags: (ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_HAVE_GC) as u32,
            slots: slots.as_mut_ptr(),
        };
        // SAFETY: every slot is a function of the right signature, and the tables live for ever.
        unsafe { ffi::PyType_FromSpec(&mut spec) as usize }
    });
    if made == 0 {
        return Err(PyErr::fetch(module.py()));
    }
    Ok(())
}
