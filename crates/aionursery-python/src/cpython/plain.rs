//! A class of plain objects of Python's, of which one attribute is set in each new one. It must never
//! run any code of the class.

use std::ffi::c_int;
use std::mem::transmute;

use pyo3::ffi;
use pyo3::prelude::*;

use crate::cpython::call::{allocate, getattr};
use crate::cpython::errors::{Fallible, checked, fetch, string};
use crate::cpython::for_pyo3::refusal;
use crate::cpython::object::{Object, Type, object};
use crate::cpython::owned::{Owned, forever};

/// What sets an attribute, by its slot.
type Set = unsafe extern "C" fn(&Object, &Object, &Object) -> c_int;

/// The class, and what sets the attribute. Both are kept for the life of the process.
#[derive(Debug)]
pub(crate) struct PlainClass {
    class: &'static Type,
    setter: (&'static Object, Set),
}

impl PlainClass {
    /// Raises TypeError for a class that has a `__new__` of its own, or the attribute in no slot.
    pub(crate) fn of(class: &Bound<'_, PyAny>, attribute: &str) -> PyResult<Self> {
        let py = class.py();
        let slot = string(py, attribute).and_then(|name| getattr(object(class), &name));
        let slot = slot.map_err(|raised| fetch(py, raised))?;
        let plain = py.get_type::<PyAny>();
        let [new, plain] = [class.as_any(), plain.as_any()].map(new_of);
        let set = slot.class().part(|class| class.tp_descr_set);
        let (Some(class), Some(set), true) =
            (Owned::share(object(class)).cast::<Type>().ok(), set, new.is_some() && new == plain)
        else {
            return Err(refusal::type_error(&format!(
                "it must be a class of plain objects with a slot {attribute}"
            )));
        };
        // SAFETY: such a slot takes the descriptor, the object and the value: references are addresses.
        let set = unsafe { transmute::<ffi::descrsetfunc, Set>(set) };
        Ok(Self { class: forever(class), setter: (forever(slot), set) })
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
        // SAFETY: the class was looked at when this was made: its objects are filled by their attributes.
        let made = unsafe { allocate(py, self.class, 0) }?;
        // SAFETY: it takes any objects: the slot looks whether it is the object's.
        let answer = unsafe { set(slot, &made, value) };
        checked(py, answer)?;
        Ok(made)
    }
}

/// The address of a class's `__new__`.
fn new_of(class: &Bound<'_, PyAny>) -> Option<usize> {
    let new = object(class).cast::<Type>()?.part(|class| class.tp_new);
    new.map(|new| new as usize)
}
