//! Arguments of functions that CPython calls. It must never keep a reference.

use std::cell::Cell;
use std::marker::PhantomData;

use pyo3::ffi;
use pyo3::prelude::*;

use super::call::{Names, call_method_named, call_named, is_number, real, repr, utf8};
use super::containers::items;
use super::errors::{Fallible, Raised, exc, set_error_text};
use super::object::Object;
use super::owned::Owned;

/// The arguments of a call, which are alive for its length: those by position, then those by keyword.
#[derive(Clone, Copy)]
pub(crate) struct Args<'a> {
    vector: &'a [&'a Object],
    positional: usize,
    names: &'a [&'a Object],
    kwnames: Option<&'a Object>,
}

/// What CPython passes for the arguments of a call, for its length: a vector, and how many of those in it
/// were passed by position. `N` is how C counts them.
#[repr(transparent)]
#[derive(Debug)]
pub(crate) struct Vector<'a>(*const &'a Object, PhantomData<Cell<&'a ()>>);

/// See [`Vector`].
#[repr(transparent)]
#[derive(Debug)]
pub(crate) struct Count<'a, N>(N, PhantomData<Cell<&'a ()>>);

/// As [`Vector`]: the tuple that names the others in it, or nothing.
#[repr(transparent)]
#[derive(Debug)]
pub(crate) struct Keywords<'a>(Option<&'a Object>, PhantomData<Cell<&'a ()>>);

impl<'a> Args<'a> {
    /// Of a method.
    #[inline]
    pub(crate) fn of_method(
        vector: Vector<'a>,
        count: Count<'a, ffi::Py_ssize_t>,
        keywords: Keywords<'a>,
    ) -> Self {
        Self::new(vector, count.0 as usize, keywords)
    }

    /// Of a class that is called.
    #[inline]
    pub(crate) fn of_call(
        vector: Vector<'a>,
        count: Count<'a, usize>,
        keywords: Keywords<'a>,
    ) -> Self {
        Self::new(vector, count.0 & !ffi::PY_VECTORCALL_ARGUMENTS_OFFSET, keywords)
    }

    #[inline]
    fn new(vector: Vector<'a>, positional: usize, Keywords(kwnames, _): Keywords<'a>) -> Self {
        let names = kwnames.map_or(&[] as &[_], items);
        let all = positional + names.len();
        if all == 0 {
            // CPython may pass null where there are none.
            return Self { vector: &[], positional, names, kwnames };
        }
        // SAFETY: only CPython makes the three, and they are of one call, which lasts: `positional` arguments,
        // and those behind them that the tuple names.
        let vector = unsafe { std::slice::from_raw_parts(vector.0, all) };
        Self { vector, positional, names, kwnames }
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

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.vector.is_empty()
    }

    /// `function(*args, **kwargs)`, with all of them.
    pub(crate) fn call(&self, function: &Object) -> Fallible<Owned> {
        call_named(function, self.vector, Names::of(self.kwnames))
    }

    /// `object.name(*args, **kwargs)`, with all of them.
    pub(crate) fn call_method(&self, object: &Object, name: &Object) -> Fallible<Owned> {
        let whole: Vec<&Object> =
            std::iter::once(object).chain(self.vector.iter().copied()).collect();
        call_method_named(name, &whole, Names::of(self.kwnames))
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
            while let Some(entry) = next_entry(kwargs, &mut position) {
                keywords.push(entry);
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

/// The next key and value of a dict, none at its end. Nothing may change it meanwhile.
fn next_entry<'a>(dict: &'a Object, position: &mut isize) -> Option<(&'a Object, &'a Object)> {
    let (mut key, mut value) = (None, None);
    let (key_ptr, value_ptr) = (&raw mut key, &raw mut value);
    // SAFETY: CPython looks whether it is a dict. It writes borrowed references, which the dict keeps: a
    // reference to an object is its address, and none is null.
    unsafe { ffi::PyDict_Next(dict.as_ptr(), position, key_ptr.cast(), value_ptr.cast()) };
    key.zip(value)
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

/// The number that an argument is.
#[inline]
pub(crate) fn number(name: &str, argument: &Object) -> Fallible<f64> {
    real(argument).map_err(|raised| refused(name, argument, raised))
}

/// CPython does not say which argument it was, nor what was given.
#[cold]
fn refused(name: &str, argument: &Object, raised: Raised) -> Raised {
    if is_number(argument) {
        return raised;
    }
    raised.forget();
    let text = format!("{name} must be a number, not {}", repr(argument));
    set_error_text(exc::type_error(argument.py()), &text)
}

/// A missing argument and None are the same.
#[inline]
pub(crate) fn given(argument: Option<&Object>) -> Option<&Object> {
    argument.filter(|argument| !argument.is_none())
}
