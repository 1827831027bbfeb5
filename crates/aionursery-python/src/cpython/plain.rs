//! A class of plain objects of Python's, of which one attribute is set in each new one. It must never
//! run any code of the class.

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;

use crate::cpython::direct::forever;
use crate::cpython::errors::{Fallible, answered, checked};
use crate::cpython::object::{Object, Owned, object};

/// The class, and what sets the attribute. Both are kept for the life of the process.
pub(crate) struct PlainClass {
    class: &'static Object,
    setter: (&'static Object, ffi::descrsetfunc),
}

// SAFETY: never changed; what uses it has the token of an attached thread.
unsafe impl Send for PlainClass {}
// SAFETY: as above.
unsafe impl Sync for PlainClass {}

impl PlainClass {
    /// Raises TypeError for a class that has a `__new__` of its own, or the attribute in no slot.
    pub(crate) fn of(class: &Bound<'_, PyAny>, attribute: &str) -> PyResult<Self> {
        let slot = class.getattr(attribute)?;
        // SAFETY: looked at according to its type; all are alive.
        let (plain, set) = unsafe {
            let kind = class.as_ptr().cast::<ffi::PyTypeObject>();
            let plain = ffi::PyType_Check(class.as_ptr()) != 0
                && match ((*kind).tp_new, ffi::PyBaseObject_Type.tp_new) {
                    (Some(new), Some(plain)) => std::ptr::fn_addr_eq(new, plain),
                    _ => false,
                };
            (plain, (*ffi::Py_TYPE(slot.as_ptr())).tp_descr_set)
        };
        let Some(set) = set.filter(|_| plain) else {
            return Err(PyTypeError::new_err(format!(
                "it must be a class of plain objects with a slot {attribute}"
            )));
        };
        let kept = |it: &Bound<'_, PyAny>| forever(Owned::share(object(it)));
        Ok(Self { class: kept(class), setter: (kept(&slot), set) })
    }

    /// Whether it is this class.
    pub(crate) fn is(&self, class: &Bound<'_, PyAny>) -> bool {
        self.class.is(object(class))
    }

    /// A new object, with nothing but this value.
    #[inline]
    pub(crate) fn make(&self, value: &Object) -> Fallible<Owned> {
        let py = value.py();
        let (slot, set) = self.setter;
        // SAFETY: the class was looked at when this was made: its objects are filled by their
        // attributes, and the slot looks whether it is the object's.
        unsafe {
            let class = self.class.as_ptr().cast::<ffi::PyTypeObject>();
            let made = answered(py, ffi::PyType_GenericAlloc(class, 0))?;
            checked(py, set(slot.as_ptr(), made.as_ptr(), value.as_ptr()))?;
            Ok(made)
        }
    }
}
