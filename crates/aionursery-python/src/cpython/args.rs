//! Arguments of functions that CPython calls with a vector. It must never keep a reference.

use pyo3::ffi;

use crate::cpython::object::{Fallible, Owned, Raw, set_error_text, utf8};

/// Sorts positional and keyword arguments into the parameters `names`; missing ones are null. The
/// first `positional` of them may be passed by position.
pub unsafe fn parse<const N: usize>(
    function: &str,
    names: [&str; N],
    positional: usize,
    args: *const Raw,
    count: ffi::Py_ssize_t,
    kwnames: Raw,
) -> Fallible<[Raw; N]> {
    // SAFETY: CPython's vector of `count` arguments, followed by those that `kwnames` names.
    unsafe {
        let count = count as usize;
        let mut found = [std::ptr::null_mut(); N];
        if count > positional {
            let most = match positional {
                0 => "no positional arguments".to_owned(),
                1 => "at most 1 positional argument".to_owned(),
                more => format!("at most {more} positional arguments"),
            };
            let text = format!("{function}() takes {most} ({count} given)");
            return Err(set_error_text(ffi::PyExc_TypeError, &text));
        }
        for (index, slot) in found.iter_mut().enumerate().take(count) {
            *slot = *args.add(index);
        }
        if kwnames.is_null() {
            return Ok(found);
        }
        for index in 0..ffi::PyTuple_GET_SIZE(kwnames) {
            let name = ffi::PyTuple_GET_ITEM(kwnames, index);
            let name = utf8(name).unwrap_or_default();
            let value = *args.add(count + index as usize);
            let problem = match names.iter().position(|known| *known == name) {
                Some(place) if found[place].is_null() => {
                    found[place] = value;
                    continue;
                }
                Some(_) => format!("{function}() got multiple values for argument '{name}'"),
                None => format!("{function}() got an unexpected keyword argument '{name}'"),
            };
            return Err(set_error_text(ffi::PyExc_TypeError, &problem));
        }
        Ok(found)
    }
}

/// As [`parse`], for a function that CPython calls with a tuple, and a dict or null.
pub unsafe fn parse_call<const N: usize>(
    function: &str,
    names: [&str; N],
    positional: usize,
    args: Raw,
    kwargs: Raw,
) -> Fallible<[Raw; N]> {
    // SAFETY: CPython's tuple and dict, which keep what is found in them for the call.
    unsafe {
        let count = ffi::PyTuple_GET_SIZE(args);
        let mut vector: Vec<Raw> = (0..count).map(|at| ffi::PyTuple_GET_ITEM(args, at)).collect();
        let mut kwnames = None;
        if !kwargs.is_null() {
            let mut position = 0;
            let (mut key, mut value) = (std::ptr::null_mut(), std::ptr::null_mut());
            let keys = Owned::new(ffi::PyDict_Keys(kwargs))?;
            while ffi::PyDict_Next(kwargs, &mut position, &mut key, &mut value) != 0 {
                vector.push(value);
            }
            kwnames = Some(Owned::new(ffi::PyList_AsTuple(keys.as_ptr()))?);
        }
        let kwnames = kwnames.as_ref().map_or(std::ptr::null_mut(), Owned::as_ptr);
        parse(function, names, positional, vector.as_ptr(), count, kwnames)
    }
}

/// A missing argument and None are the same.
pub unsafe fn given(argument: Raw) -> Option<Raw> {
    // SAFETY: compares addresses only.
    unsafe { (!argument.is_null() && argument != ffi::Py_None()).then_some(argument) }
}
