//! Functions and attributes of CPython's, called as it would call them itself: for the calls that must
//! be cheap. It must never read or set an attribute of what is no instance of its class.

use std::ffi::c_void;

use pyo3::ffi;

use super::call::{
    Keyword, Names, call, call_method_with, call0, call1, getattr, is_kind, set_attr,
};
use super::definitions::GetSetDef;
use super::errors::{Fallible, answered, checked, exc, set_error};
use super::flagged::{
    Fast, FastNamed, FastOfClass, Getter, NoArgs, OfClass, On, OneArg, Setter, class_of, definition,
};
use super::object::{Object, Raw, Type, true_ref};
use super::owned::{Owned, forever};

/// A function of a module that takes nothing: called without the way round through its object, which
/// costs more than most of them do.
pub(crate) struct Direct {
    /// The object, for where it is not the C function that was expected.
    object: &'static Object,
    function: Option<On<'static, NoArgs>>,
}

impl Direct {
    pub(crate) fn of(object: Owned) -> Self {
        let object = forever(object);
        Self { object, function: On::of(object) }
    }

    /// The function, as an object.
    pub(crate) fn object(&self) -> &'static Object {
        self.object
    }

    #[inline]
    pub(crate) fn call(&self) -> Fallible<Owned> {
        match self.function {
            Some(function) => answered(self.object.py(), function.call()),
            None => call0(self.object),
        }
    }
}

/// A function of a module that takes arguments by position: called as [`Direct`] is.
pub(crate) struct DirectWith {
    object: &'static Object,
    function: Option<With>,
}

#[derive(Clone, Copy)]
enum With {
    One(On<'static, OneArg>),
    Vector(On<'static, Fast>),
    Named(On<'static, FastNamed>),
}

impl DirectWith {
    pub(crate) fn of(object: Owned) -> Self {
        let object = forever(object);
        let function = On::of(object)
            .map(With::One)
            .or_else(|| On::of(object).map(With::Vector))
            .or_else(|| On::of(object).map(With::Named));
        Self { object, function }
    }

    /// `function(*args)`.
    #[inline(always)]
    pub(crate) fn call<const N: usize>(&self, args: [&Object; N]) -> Fallible<Owned> {
        let answer = match self.function {
            Some(With::One(function)) if N == 1 => function.call(args[0]),
            Some(With::Vector(function)) => function.call(&args),
            Some(With::Named(function)) => function.call(&args, Names::NONE),
            _ => return call(self.object, args),
        };
        answered(self.object.py(), answer)
    }
}

/// A method that takes nothing.
pub(crate) struct DirectMethod(&'static Object, Option<OfClass<NoArgs>>);

impl DirectMethod {
    /// The method that a type has under `object`.
    pub(crate) fn of(object: Owned) -> Self {
        let object = forever(object);
        Self(object, OfClass::of(object))
    }

    #[inline]
    pub(crate) fn call_on(&self, this: &Object) -> Fallible<Owned> {
        match self.1.and_then(|function| function.on(this)) {
            Some(function) => answered(this.py(), function.call()),
            None => call1(self.0, this),
        }
    }
}

/// A method that takes one argument.
pub(crate) struct DirectOne(&'static Object, Option<OfClass<OneArg>>);

impl DirectOne {
    /// The method that a type has under `object`.
    pub(crate) fn of(object: Owned) -> Self {
        let object = forever(object);
        Self(object, OfClass::of(object))
    }

    #[inline]
    pub(crate) fn call_on(&self, this: &Object, argument: &Object) -> Fallible<Owned> {
        match self.1.and_then(|function| function.on(this)) {
            Some(function) => answered(this.py(), function.call(argument)),
            None => call(self.0, [this, argument]),
        }
    }
}

/// A method that takes a vector and keywords.
pub(crate) struct DirectKeywords {
    how: Keywords,
    name: &'static Object,
}

enum Keywords {
    Plain(OfClass<FastNamed>),
    WithClass(OfClass<FastOfClass>),
}

impl DirectKeywords {
    /// The method that a type has under `object`, if it takes its arguments so. `name` is its name.
    pub(crate) fn of(object: Owned, name: &'static Object) -> Option<Self> {
        let object = forever(object);
        let how = OfClass::of(object)
            .map(Keywords::Plain)
            .or_else(|| OfClass::of(object).map(Keywords::WithClass))?;
        Some(Self { how, name })
    }

    /// `this.method(argument, keyword=value)`.
    #[inline]
    pub(crate) fn call(
        &self,
        this: &Object,
        argument: &Object,
        value: &Object,
        keyword: Keyword,
    ) -> Fallible<Owned> {
        let (args, names) = ([argument, value], keyword.names());
        let answer = match &self.how {
            Keywords::Plain(function) => {
                function.on(this).map(|function| function.call(&args, names))
            }
            Keywords::WithClass(function) => function.call_on(this, &args, names),
        };
        match answer {
            Some(answer) => answered(this.py(), answer),
            None => call_method_with(this, self.name, args, keyword),
        }
    }
}

/// An attribute that C functions of CPython's get and set, called as CPython would.
pub(crate) struct Attribute {
    get: Getter,
    /// None for an attribute that is read only.
    set: Option<Setter>,
    closure: *mut c_void,
    class: &'static Type,
    name: &'static Object,
}

impl Attribute {
    /// The attribute that a type has under `object`, if it is of this kind. `name` is its name.
    pub(crate) fn of(object: Owned, name: &'static Object) -> Option<Self> {
        let descriptor = forever(object).cast::<ffi::PyGetSetDescrObject>()?;
        let GetSetDef { get, set, closure, .. } = definition(descriptor);
        let class = class_of(&descriptor.d_common);
        Some(Self { get: (*get)?, set: *set, closure: *closure, class, name })
    }

    #[inline]
    pub(crate) fn get(&self, this: &Object) -> Fallible<Owned> {
        if !is_kind(this, self.class) {
            return getattr(this, self.name);
        }
        // SAFETY: an instance of the attribute's class.
        answered(this.py(), unsafe { (self.get)(this, self.closure) })
    }

    #[inline]
    pub(crate) fn set(&self, this: &Object, value: &Object) -> Fallible<()> {
        if !is_kind(this, self.class) {
            return set_attr(this, self.name, value);
        }
        let Some(set) = self.set else {
            let text = c"this attribute is read only";
            return Err(set_error(exc::attribute_error(this.py()), text));
        };
        // SAFETY: an instance of the attribute's class.
        let answer = unsafe { set(this, value, self.closure) };
        checked(this.py(), answer).map(drop)
    }
}

/// Where an object's `__slots__` have an attribute.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    offset: isize,
    class: &'static Type,
}

impl Member {
    /// The one that a type has under `object`, if it is of this kind.
    pub(crate) fn of(object: Owned) -> Option<Self> {
        let descriptor = forever(object).cast::<ffi::PyMemberDescrObject>()?;
        let offset = definition(descriptor).offset;
        Some(Self { offset, class: class_of(&descriptor.d_common) })
    }

    /// Whether it is True; none for what is no instance of the type.
    #[inline]
    pub(crate) fn is_true(&self, object: &Object) -> Option<bool> {
        if !is_kind(object, self.class) {
            return None;
        }
        let slot = object.as_ptr().cast::<u8>().wrapping_offset(self.offset).cast::<Raw>();
        // SAFETY: the slot is where the type has it; it is null before `__init__`.
        Some(unsafe { *slot } == true_ref(object.py()).as_ptr())
    }
}
