//! What CPython calls of a class of ours, by its slots. It must never take a function by an untyped pointer.

use std::ffi::{CStr, c_int, c_ulong, c_void};
use std::marker::PhantomData;
use std::mem::MaybeUninit;

use pyo3::ffi;
use pyo3::prelude::*;

use super::call::Sent;
use super::dying::Dying;
use super::errors::{Fallible, Raised};
use super::function::{Finalize, Init, Method, Property, This, Unary, answer};
use super::generator::stop;
use super::guard::guard;
use super::object::{Object, Raw, Type, Typed};
use super::owned::Owned;
use super::safe_calls::safe_calls;
use super::slot::{Visit, VisitArg};

/// What makes an object of a class, as C has it: given a tuple, and a dict or nothing.
pub(crate) type New =
    unsafe extern "C" fn(&Type, Option<&Object>, Option<&Object>) -> Option<Owned>;
/// What shows an object to the collector's function, which is given the argument.
pub(crate) type Traverse<T> = for<'a> extern "C" fn(This<'a, T>, Visit<'a>, VisitArg<'a>) -> c_int;
/// What lets go of all that an object refers to.
pub(crate) type Clear<T> = extern "C" fn(This<'_, T>) -> c_int;
/// What ends an object.
pub(crate) type Dealloc<T> = extern "C" fn(Dying<T>);

/// How a class has its objects in memory, which are `T`.
pub(crate) struct Layout<T> {
    /// How large they are.
    pub size: usize,
    /// What makes one for a program that calls the class, if it may.
    pub new: Option<New>,
    /// How they are seen by the collector and go.
    pub traverse: Traverse<T>,
    pub clear: Clear<T>,
    pub dealloc: Dealloc<T>,
    /// Where they keep what refers to them weakly, if anything may.
    pub weak: Option<usize>,
}

/// The slots of a class whose objects are `T`.
pub(crate) struct Slots<T>(Vec<ffi::PyType_Slot>, PhantomData<T>);

impl<T: 'static> Slots<T> {
    pub(crate) fn new() -> Self {
        Self(Vec::new(), PhantomData)
    }

    fn push(&mut self, slot: c_int, value: *mut c_void) {
        self.0.push(ffi::PyType_Slot { slot, pfunc: value });
    }

    pub(crate) fn methods<const N: usize>(mut self, table: &'static [Method<T>; N]) -> Self {
        self.push(ffi::Py_tp_methods, table.as_ptr().cast_mut().cast());
        self
    }

    pub(crate) fn properties<const N: usize>(mut self, table: &'static [Property<T>; N]) -> Self {
        self.push(ffi::Py_tp_getset, table.as_ptr().cast_mut().cast());
        self
    }

    /// What `__init__` does.
    pub(crate) fn init(mut self, init: Init<T>) -> Self {
        self.push(ffi::Py_tp_init, init as *mut c_void);
        self
    }

    /// What is called before an object goes.
    pub(crate) fn finalize(mut self, finalize: Finalize<T>) -> Self {
        self.push(ffi::Py_tp_finalize, finalize as *mut c_void);
        self
    }

    /// What `repr` says.
    pub(crate) fn repr(mut self, repr: Unary<T>) -> Self {
        self.push(ffi::Py_tp_repr, repr as *mut c_void);
        self
    }

    /// What iterates over it, for `iter` and `await`.
    pub(crate) fn iter(mut self, iter: Unary<T>) -> Self {
        self.push(ffi::Py_tp_iter, iter as *mut c_void);
        self.push(ffi::Py_am_await, iter as *mut c_void);
        self
    }

    /// What `async for` does: the object iterates itself, and this answers with what is awaited for the
    /// next item.
    pub(crate) fn anext(mut self, anext: Unary<T>) -> Self {
        self.push(ffi::Py_am_aiter, same as *mut c_void);
        self.push(ffi::Py_am_anext, anext as *mut c_void);
        self
    }

    pub(crate) fn doc(mut self, text: &'static CStr) -> Self {
        self.push(ffi::Py_tp_doc, text.as_ptr().cast_mut().cast());
        self
    }

    /// What sends to and iterates over the object, as `await` does with what it answers.
    pub(crate) fn sends<S: Sends<T>>(mut self) -> Self
    where
        T: Typed,
    {
        self.push(ffi::Py_am_send, send::<T, S> as *mut c_void);
        self.push(ffi::Py_tp_iternext, next::<T, S> as *mut c_void);
        self.push(ffi::Py_tp_iter, same as *mut c_void);
        self.push(ffi::Py_am_await, same as *mut c_void);
        self
    }

    /// Makes the class, below `base` if there is one.
    ///
    /// # Safety
    /// Its objects lie in memory so, and come and go with memory that does.
    pub(crate) unsafe fn make(
        mut self,
        py: Python<'_>,
        name: &'static CStr,
        flags: c_ulong,
        base: Option<&Object>,
        layout: &Layout<T>,
    ) -> Fallible<Owned<Type>> {
        if let Some(new) = layout.new {
            self.push(ffi::Py_tp_new, new as *mut c_void);
        }
        self.push(ffi::Py_tp_traverse, layout.traverse as *mut c_void);
        self.push(ffi::Py_tp_clear, layout.clear as *mut c_void);
        self.push(ffi::Py_tp_dealloc, layout.dealloc as *mut c_void);
        // A table of CPython's, which copies it.
        let mut members = [ffi::PyMemberDef::default(), ffi::PyMemberDef::default()];
        if let Some(place) = layout.weak {
            members[0].name = c"__weaklistoffset__".as_ptr();
            members[0].type_code = ffi::Py_T_PYSSIZET;
            members[0].offset = place as ffi::Py_ssize_t;
            members[0].flags = ffi::Py_READONLY;
            self.push(ffi::Py_tp_members, members.as_mut_ptr().cast());
        }
        self.push(0, std::ptr::null_mut());
        let mut spec = ffi::PyType_Spec {
            name: name.as_ptr(),
            basicsize: layout.size as c_int,
            itemsize: 0,
            // The collector knows them, as `Dying` has it.
            flags: (flags | ffi::Py_TPFLAGS_HAVE_GC) as u32,
            slots: self.0.as_mut_ptr(),
        };
        // SAFETY: the layout is as the caller says, and every other slot takes a `T`; tables and texts live
        // for ever, but for the members, which CPython copies.
        let made = unsafe { from_spec(py, &raw mut spec, base) }?;
        made.cast().map_err(|_| unreachable!("it is a class"))
    }
}

safe_calls! {
    // The slots are what they are said to be, for objects of the size that is given.
    unsafe fn from_spec(py: Python<'_>, spec: *mut ffi::PyType_Spec, base: Option<&Object>) -> Fallible<Owned> = PyType_FromSpecWithBases;
}

/// What an object answers that is sent None.
pub(crate) trait Sends<T> {
    fn send(this: &This<'_, T>) -> Fallible<Sent>;
}

extern "C" fn send<T: Typed, S: Sends<T>>(
    this: This<'_, T>,
    _: &Object,
    value: &mut MaybeUninit<Option<Owned>>,
) -> ffi::PySendResult {
    value.write(None);
    guard(this.py(), ffi::PySendResult::PYGEN_ERROR, || match S::send(&this) {
        Ok(Sent::Yielded(yielded)) => {
            value.write(Some(yielded));
            ffi::PySendResult::PYGEN_NEXT
        }
        Ok(Sent::Returned(result)) => {
            value.write(Some(result));
            ffi::PySendResult::PYGEN_RETURN
        }
        Err(raised) => {
            raised.stand();
            ffi::PySendResult::PYGEN_ERROR
        }
    })
}

extern "C" fn next<T: Typed, S: Sends<T>>(this: This<'_, T>) -> Raw {
    guard(this.py(), std::ptr::null_mut(), || match S::send(&this) {
        // Without an exception set, null says that it has returned None.
        Ok(Sent::Returned(result)) if result.is_none() => std::ptr::null_mut(),
        sent => answer(yielded(sent)),
    })
}

/// What a method called `send` answers: what is returned is raised.
pub(crate) fn yielded(sent: Fallible<Sent>) -> Fallible<Owned> {
    match sent? {
        Sent::Yielded(yielded) => Ok(yielded),
        Sent::Returned(result) => Err(returned(&result)),
    }
}

#[cold]
fn returned(result: &Object) -> Raised {
    stop(result.py(), result)
}

/// It is its own iterator.
extern "C" fn same(this: &Object) -> Raw {
    Owned::share(this).into_ptr()
}
