//! Arguments of functions that CPython calls. It must never keep a reference.

use pyo3::ffi;
use pyo3::prelude::*;

use super::call::utf8;
use super::containers::items;
use super::errors::{Fallible, answered, exc, set_error_text};
use super::object::{Object, Owned, Raw};

/// The arguments of a call, which are alive for its length: those by position, then those by keyword.
#[derive(Clone, Copy)]
pub(crate) struct Args<'a> {
    vector: &'a [&'a Object],
    positional: usize,
    names: &'a [&'a Object],
    kwnames: Option<&'a Object>,
}

impl<'a> Args<'a> {
    /// # Safety
    /// CPython's vector of `count` arguments, followed by those that the tuple `kwnames` names, if it is
    /// not null; the thread is attached, and `'a` no longer than the call.
    #[inline]
    pub(crate) unsafe fn new(args: *const Raw, count: usize, kwnames: Raw) -> Self {
        // SAFETY: as the caller says; a reference to an object is its address.
        unsafe {
            let kwnames = Object::from_ptr_or_opt(kwnames);
            let names = kwnames.map_or(&[] as &[_], items);
            let all = count + names.len();
            let vector = if all == 0 {
                &[]
            } else {
                std::slice::from_raw_parts(args.cast::<&Object>(), all)
            };
            Self { vector, positional: count, names, kwnames }
        }
    }

    /// Those that were passed by position.
    #[inline]
    pub(crate) fn positional(&self) -> &'a [&'a Object] {
        &self.vector[..self.positional]
    }

    #[inline]
    pub(crate) fn has_keywords(&self) -> bool {
        !self.names.is_empty()
    }

    /// Those that were passed by keyword, with their names.
    #[inline]
    pub(crate) fn keywords(&self) -> impl Iterator<Item = (&'a Object, &'a Object)> + use<'a> {
        self.names.iter().copied().zip(self.vector[self.positional..].iter().copied())
    }

    /// Sorts them into the parameters `names`. The first `positional` of them may be passed by position.
    #[inline]
    pub(crate) fn parse<const N: usize>(
        &self,
        py: Python<'_>,
        function: &str,
        names: [&str; N],
        positional: usize,
    ) -> Fallible<[Option<&'a Object>; N]> {
        sort(py, function, names, positional, self.positional(), self.keywords())
    }

    /// `object.name(*args, **kwargs)`, with all of them.
    pub(crate) fn call_method(&self, object: &Object, name: &Object) -> Fallible<Owned> {
        let whole: Vec<&Object> =
            std::iter::once(object).chain(self.vector.iter().copied()).collect();
        let kwnames = self.kwnames.map_or(std::ptr::null_mut(), Object::as_ptr);
        // SAFETY: all are alive, and the last are what the tuple names; a reference to an object is its
        // address.
        unsafe {
            let (vector, count) = (whole.as_ptr().cast::<Raw>(), self.positional + 1);
            let answer = ffi::PyObject_VectorcallMethod(name.as_ptr(), vector, count, kwnames);
            answered(object.py(), answer)
        }
    }
}

/// The arguments of a call by a tuple, and a dict or nothing.
pub(crate) struct CallArgs<'a> {
    positional: &'a [&'a Object],
    keywords: Vec<(&'a Object, &'a Object)>,
}

impl<'a> CallArgs<'a> {
    /// The dict must be the call's own, which nothing else can change meanwhile: so CPython passes it.
    pub(crate) fn new(args: &'a Object, kwargs: Option<&'a Object>) -> Self {
        let mut keywords = Vec::new();
        if let Some(kwargs) = kwargs {
            let mut position = 0;
            let (mut key, mut value) = (std::ptr::null_mut(), std::ptr::null_mut());
            // SAFETY: CPython looks whether it is a dict, which keeps what is in it.
            unsafe {
                while ffi::PyDict_Next(kwargs.as_ptr(), &mut position, &mut key, &mut value) != 0 {
                    keywords.push((Object::from_ptr(key), Object::from_ptr(value)));
                }
            }
        }
        Self { positional: items(args), keywords }
    }

    /// As [`Args::parse`].
    pub(crate) fn parse<const N: usize>(
        &self,
        py: Python<'_>,
        function: &str,
        names: [&str; N],
        positional: usize,
    ) -> Fallible<[Option<&'a Object>; N]> {
        sort(py, function, names, positional, self.positional, self.keywords.iter().copied())
    }
}

#[inline]
fn sort<'a, const N: usize>(
    py: Python<'_>,
    function: &str,
    names: [&str; N],
    positional: usize,
    args: &[&'a Object],
    keywords: impl Iterator<Item = (&'a Object, &'a Object)>,
) -> Fallible<[Option<&'a Object>; N]> {
    let mut found = [None; N];
    let count = args.len();
    if count > positional {
        let most = match positional {
            0 => "no positional arguments".to_owned(),
            1 => "at most 1 positional argument".to_owned(),
            more => format!("at most {more} positional arguments"),
        };
        let text = format!("{function}() takes {most} ({count} given)");
        return Err(set_error_text(exc::type_error(py), &text));
    }
    for (slot, arg) in found.iter_mut().zip(args) {
        *slot = Some(*arg);
    }
    for (name, value) in keywords {
        let name = utf8(name).unwrap_or_default();
        let problem = match names.iter().position(|known| *known == name) {
            Some(place) if found[place].is_none() => {
                found[place] = Some(value);
                continue;
            }
            Some(_) => format!("{function}() got multiple values for argument '{name}'"),
            None => format!("{function}() got an unexpected keyword argument '{name}'"),
        };
        return Err(set_error_text(exc::type_error(py), &problem));
    }
    Ok(found)
}

/// A missing argument and None are the same.
#[inline]
pub(crate) fn given(argument: Option<&Object>) -> Option<&Object> {
    argument.filter(|argument| !argument.is_none())
}
