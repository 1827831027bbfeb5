//! A wait as an object of Python's: its type, its collection, and the warning that it was never
//! awaited. It must never decide anything.

use std::ffi::{CStr, c_int, c_void};

use pyo3::ffi;
use pyo3::prelude::*;

use super::coroutine::{method_close, method_send, method_throw, next, send};
use super::future::{
    get_blocking, get_loop, method_add_done_callback, method_cancel, method_cancelled, method_done,
    method_exception, method_get_loop, method_remove_done_callback, method_result,
    method_set_result, set_blocking,
};
use super::waiter::Waiter;
use super::{Kind, Phase, TYPE, Wait, wait};
use crate::cpython::guard::guard;
use crate::cpython::object::{Aside, Owned, Raw};

unsafe extern "C" fn same(object: Raw) -> Raw {
    // SAFETY: as above.
    unsafe { Owned::share(object).into_ptr() }
}

unsafe extern "C" fn wait_repr(object: Raw) -> Raw {
    // SAFETY: as above.
    unsafe {
        let this = wait(object);
        let text = match this.kind.get() {
            Kind::Span => format!("sleep({})", this.when.get()),
            Kind::Moment => format!("sleep_until({})", this.when.get()),
            kind => format!("{kind:?}").to_lowercase(),
        };
        let phase = format!("{:?}", this.phase.get()).to_lowercase();
        let text = crate::cpython::object::string(&format!("<aionursery wait {text} {phase}>"));
        text.map_or(std::ptr::null_mut(), Owned::into_ptr)
    }
}

unsafe extern "C" fn traverse(object: Raw, visit: ffi::visitproc, arg: *mut c_void) -> c_int {
    // SAFETY: the collector's call. A heap type's objects keep their type.
    unsafe {
        let this = wait(object);
        let mut answer = visit(ffi::Py_TYPE(object).cast(), arg);
        if answer == 0 {
            answer = this.home.visit(visit, arg);
        }
        let slots = [&this.task, &this.payload, &this.value, &this.message];
        for slot in slots {
            if answer != 0 {
                return answer;
            }
            answer = slot.visit(visit, arg);
        }
        if let Ok(others) = this.others.try_borrow() {
            for held in others.iter().flat_map(Waiter::parts) {
                if answer != 0 {
                    return answer;
                }
                answer = visit(held.as_ptr(), arg);
            }
        }
        answer
    }
}

unsafe extern "C" fn clear(object: Raw) -> c_int {
    // SAFETY: the collector's call.
    unsafe {
        abandon(object);
        wait(object).clear();
    }
    0
}

unsafe extern "C" fn dealloc(object: Raw) {
    // SAFETY: the last reference is gone; what is in a heap holds one, so no timer is left.
    unsafe {
        ffi::PyObject_GC_UnTrack(object.cast());
        let this = wait(object);
        let timed = matches!(this.kind.get(), Kind::Span | Kind::Moment | Kind::Forever);
        if this.phase.get() == Phase::New && timed && !this.claimed.get() {
            warn_unawaited();
        }
        abandon(object);
        this.clear();
        let class = ffi::Py_TYPE(object);
        if let Some(free) = (*class).tp_free {
            free(object.cast());
        }
        ffi::Py_DECREF(class.cast());
    }
}

/// A join that goes while it waits can no longer hear of its nursery's end.
unsafe fn abandon(object: Raw) {
    // SAFETY: attached; the object's parts are there.
    unsafe {
        if let Some(ops) = wait(object).ops.get()
            && wait(object).phase.get() == Phase::Waiting
        {
            guard((), |_| {
                wait(object).phase.set(Phase::Spent);
                (ops.abandon)(object);
            });
        }
    }
}

/// As for a coroutine: a sleep that nobody awaits is a mistake.
#[cold]
unsafe fn warn_unawaited() {
    // SAFETY: attached; an exception on its way is put aside.
    unsafe {
        let _aside = Aside::new();
        let text = c"aionursery.sleep() was never awaited";
        if ffi::PyErr_WarnEx(ffi::PyExc_RuntimeWarning, text.as_ptr(), 1) < 0 {
            ffi::PyErr_WriteUnraisable(std::ptr::null_mut());
        }
    }
}

struct Table<T, const N: usize>([T; N]);

// SAFETY: constant; CPython reads it only.
unsafe impl<T, const N: usize> Sync for Table<T, N> {}

const fn none_of(
    name: &'static CStr,
    function: ffi::PyCFunction,
    flags: c_int,
) -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunction: function },
        ml_flags: flags,
        ml_doc: std::ptr::null(),
    }
}

static METHODS: Table<ffi::PyMethodDef, 13> = Table([
    none_of(c"send", method_send, ffi::METH_O),
    ffi::PyMethodDef {
        ml_name: c"throw".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFast: method_throw },
        ml_flags: ffi::METH_FASTCALL,
        ml_doc: std::ptr::null(),
    },
    none_of(c"close", method_close, ffi::METH_NOARGS),
    none_of(c"done", method_done, ffi::METH_NOARGS),
    none_of(c"cancelled", method_cancelled, ffi::METH_NOARGS),
    none_of(c"result", method_result, ffi::METH_NOARGS),
    none_of(c"exception", method_exception, ffi::METH_NOARGS),
    none_of(c"set_result", method_set_result, ffi::METH_O),
    ffi::PyMethodDef {
        ml_name: c"cancel".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: method_cancel },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: std::ptr::null(),
    },
    ffi::PyMethodDef {
        ml_name: c"add_done_callback".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: method_add_done_callback },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: std::ptr::null(),
    },
    none_of(c"remove_done_callback", method_remove_done_callback, ffi::METH_O),
    none_of(c"get_loop", method_get_loop, ffi::METH_NOARGS),
    ffi::PyMethodDef::zeroed(),
]);

static GETSET: Table<ffi::PyGetSetDef, 3> = Table([
    ffi::PyGetSetDef {
        name: c"_asyncio_future_blocking".as_ptr(),
        get: Some(get_blocking),
        set: Some(set_blocking),
        doc: std::ptr::null(),
        closure: std::ptr::null_mut(),
    },
    ffi::PyGetSetDef {
        name: c"_loop".as_ptr(),
        get: Some(get_loop),
        set: None,
        doc: std::ptr::null(),
        closure: std::ptr::null_mut(),
    },
    // SAFETY: a table ends with an entry of zeros.
    unsafe { std::mem::zeroed() },
]);

/// Makes the type and adds it to the module.
pub fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let made = *TYPE.get_or_init(|| {
        let slot = |slot: c_int, pfunc: *mut c_void| ffi::PyType_Slot { slot, pfunc };
        let mut slots = [
            slot(ffi::Py_tp_traverse, traverse as *mut c_void),
            slot(ffi::Py_tp_clear, clear as *mut c_void),
            slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
            slot(ffi::Py_tp_repr, wait_repr as *mut c_void),
            slot(ffi::Py_tp_iter, same as *mut c_void),
            slot(ffi::Py_am_await, same as *mut c_void),
            slot(ffi::Py_tp_iternext, next as *mut c_void),
            slot(ffi::Py_am_send, send as *mut c_void),
            slot(ffi::Py_tp_methods, METHODS.0.as_ptr().cast_mut().cast()),
            slot(ffi::Py_tp_getset, GETSET.0.as_ptr().cast_mut().cast()),
            slot(0, std::ptr::null_mut()),
        ];
        let flags = ffi::Py_TPFLAGS_DEFAULT
            | ffi::Py_TPFLAGS_HAVE_GC
            | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION;
        let mut spec = ffi::PyType_Spec {
            name: c"aionursery._aionursery.Wait".as_ptr(),
            basicsize: size_of::<Wait>() as c_int,
            itemsize: 0,
            flags: flags as u32,
            slots: slots.as_mut_ptr(),
        };
        // SAFETY: every slot is a function of the right signature, and the tables live for ever.
        unsafe { ffi::PyType_FromSpec(&mut spec) as usize }
    });
    if made == 0 {
        return Err(PyErr::fetch(module.py()));
    }
    // SAFETY: a type is an object.
    module.add("Wait", unsafe { Bound::from_borrowed_ptr(module.py(), made as Raw) })
}
