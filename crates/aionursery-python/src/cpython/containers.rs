//! Tuples, lists, dicts and sets of CPython's, for our own use and as a program gives them. What is
//! borrowed from one must never outlive a call that could change it.

use pyo3::ffi;
use pyo3::prelude::*;

use super::errors::{Fallible, answered, check_set, checked};
use super::object::{Object, Owned};
use super::safe_calls::safe_calls;

safe_calls! {
    /// `sequence[index]`.
    pub(crate) fn item(sequence: &Object, index: isize) -> Fallible<Owned> = PySequence_GetItem;
    /// `del sequence[index]`.
    pub(crate) fn delete_item(sequence: &Object, index: isize) -> Fallible<()> = PySequence_DelItem;
    /// `len(sequence)`.
    pub(crate) fn size(sequence: &Object) -> Fallible<isize> = PySequence_Size;
    /// A new `dict`.
    pub(crate) fn dict(py: Python<'_>) -> Fallible<Owned> = PyDict_New;
    /// `dict[key] = value`.
    pub(crate) fn dict_set(dict: &Object, key: &Object, value: &Object) -> Fallible<()> = PyDict_SetItem;
    /// `del dict[key]`.
    pub(crate) fn dict_delete(dict: &Object, key: &Object) -> Fallible<()> = PyDict_DelItem;
    /// `set.add(item)`.
    pub(crate) fn set_add(set: &Object, item: &Object) -> Fallible<()> = PySet_Add;
    /// `set.discard(item)`.
    pub(crate) fn set_discard(set: &Object, item: &Object) -> Fallible<()> = PySet_Discard;
}

/// A list of these.
pub(crate) fn list<'a>(
    py: Python<'_>,
    items: impl IntoIterator<Item = &'a Object>,
) -> Fallible<Owned> {
    // SAFETY: attached; a new list, to which objects are added that are alive.
    unsafe {
        let list = answered(py, ffi::PyList_New(0))?;
        for item in items {
            checked(py, ffi::PyList_Append(list.as_ptr(), item.as_ptr()))?;
        }
        Ok(list)
    }
}

/// A tuple of these.
pub(crate) fn tuple(py: Python<'_>, items: &[&Object]) -> Fallible<Owned> {
    // SAFETY: attached; a new tuple, whose places take a reference each.
    unsafe {
        let tuple = answered(py, ffi::PyTuple_New(items.len() as ffi::Py_ssize_t))?;
        for (index, item) in items.iter().enumerate() {
            let item = Owned::share(*item).into_ptr();
            let place = index as ffi::Py_ssize_t;
            checked(py, ffi::PyTuple_SetItem(tuple.as_ptr(), place, item))?;
        }
        Ok(tuple)
    }
}

/// The items of a tuple; empty for what is none.
pub(crate) fn items(tuple: &Object) -> &[&Object] {
    // SAFETY: a tuple's items lie in it, as many as it says, and are there for its life; a reference to
    // an object is its address.
    unsafe {
        if ffi::PyTuple_Check(tuple.as_ptr()) == 0 {
            return &[];
        }
        let count = ffi::PyTuple_GET_SIZE(tuple.as_ptr());
        let first = &raw const (*tuple.as_ptr().cast::<ffi::PyTupleObject>()).ob_item;
        std::slice::from_raw_parts(first.cast::<&Object>(), count as usize)
    }
}

/// `dict[key]`, if it is there.
#[inline]
pub(crate) fn dict_get(dict: &Object, key: &Object) -> Fallible<Option<Owned>> {
    // SAFETY: CPython looks whether it is a dict; what it answers is borrowed, and shared at once.
    unsafe {
        let found = ffi::PyDict_GetItemWithError(dict.as_ptr(), key.as_ptr());
        match Object::from_ptr_or_opt(found) {
            Some(found) => Ok(Some(Owned::share(found))),
            None => check_set(dict.py()).map(|()| None),
        }
    }
}
