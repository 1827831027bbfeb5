//! Tuples, lists, dicts and sets of CPython's, for our own use and as a program gives them. What is
//! borrowed from one must never outlive a call that could change it.

use std::mem::offset_of;

use pyo3::ffi;
use pyo3::prelude::*;

use super::errors::{Fallible, check_set};
use super::object::Object;
use super::owned::Owned;
use super::safe_calls::{Lent, safe_calls};

safe_calls! {
    /// `sequence[index]`.
    pub(crate) fn item(sequence: &Object, index: isize) -> Fallible<Owned> = PySequence_GetItem;
    /// `del sequence[index]`.
    pub(crate) fn delete_item(sequence: &Object, index: isize) -> Fallible<()> = PySequence_DelItem;
    /// `len(sequence)`.
    pub(crate) fn size(sequence: &Object) -> Fallible<isize> = PySequence_Size;
    fn new_list(py: Python<'_>, size: isize) -> Fallible<Owned> = PyList_New;
    fn append(list: &Object, item: &Object) -> Fallible<()> = PyList_Append;
    fn new_tuple(py: Python<'_>, size: isize) -> Fallible<Owned> = PyTuple_New;
    // Of a tuple that nothing else has seen.
    fn fill(tuple: &Object, place: isize, item: Owned) -> Fallible<()> = PyTuple_SetItem;
    fn is_tuple(object: &Object) -> bool = PyTuple_Check;
    // Of a tuple; for anything else it raises a SystemError.
    fn count(tuple: &Object) -> isize = PyTuple_Size;
    /// A new `dict`.
    pub(crate) fn dict(py: Python<'_>) -> Fallible<Owned> = PyDict_New;
    // `dict[key]`; none with an error set for what is no dict.
    fn lent_item(dict: &Object, key: &Object) -> Lent = PyDict_GetItemWithError;
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
    let list = new_list(py, 0)?;
    for item in items {
        append(&list, item)?;
    }
    Ok(list)
}

/// A tuple of these.
pub(crate) fn tuple(py: Python<'_>, items: &[&Object]) -> Fallible<Owned> {
    let tuple = new_tuple(py, items.len() as isize)?;
    for (place, item) in items.iter().enumerate() {
        fill(&tuple, place as isize, Owned::share(*item))?;
    }
    Ok(tuple)
}

/// The items of a tuple; empty for what is none.
pub(crate) fn items(tuple: &Object) -> &[&Object] {
    if !is_tuple(tuple) {
        return &[];
    }
    let count = count(tuple) as usize;
    let first = tuple.as_ptr().cast::<u8>().wrapping_add(offset_of!(ffi::PyTupleObject, ob_item));
    // SAFETY: a tuple's items lie in it, as many as it says, and are there for its life; a reference to an
    // object is its address.
    unsafe { std::slice::from_raw_parts(first.cast::<&Object>(), count) }
}

/// `dict[key]`, if it is there.
#[inline]
pub(crate) fn dict_get(dict: &Object, key: &Object) -> Fallible<Option<Owned>> {
    match lent_item(dict, key) {
        Lent(Some(found)) => Ok(Some(found)),
        Lent(None) => check_set(dict.py()).map(|()| None),
    }
}
