//! Classes of our own beside those that PyO3 makes: their memory and their slots, for objects of which
//! so many are made that PyO3's way costs too much. A class must never be made twice.

use std::ffi::{CStr, c_int, c_void};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::OnceLock;

use pyo3::ffi;
use pyo3::prelude::*;

use super::call::Sent;
use super::errors::{Fallible, Raised, answered};
use super::function::{Finalize, Init, Method, Property, This, Unary, answer};
use super::generator::stop;
use super::guard::guard;
use super::object::{Object, Owned, Raw, Typed, Visitor, Whole};

/// What is inside the objects of a class of ours. The collector sees it, and the objects go as CPython's do.
pub(crate) trait Inside: Sized + 'static {
    /// Where the class is kept.
    fn class() -> &'static Class<Self>;

    /// Shows the collector every reference that is held.
    fn traverse(&self, visitor: &mut Visitor);

    /// Lets go of every reference. The collector asks for it, and the last of its references.
    fn clear(&self, py: Python<'_>);

    /// The last reference has gone; `clear` follows. It is not given the object: nothing may get hold of
    /// that any more.
    fn farewell(&self, _: Python<'_>) {}
}

/// An object of a class of ours.
#[repr(C)]
pub(crate) struct Heap<T> {
    head: Object,
    inside: ManuallyDrop<T>,
}

impl<T> Heap<T> {
    /// The object.
    #[inline]
    pub(crate) fn object(&self) -> &Object {
        &self.head
    }

    #[inline]
    pub(crate) fn py(&self) -> Python<'_> {
        self.head.py()
    }
}

impl<T> Deref for Heap<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.inside
    }
}

// SAFETY: objects of just that class are allocated as `Heap<T>` is laid out, and filled before anything
// sees them; it has no subclasses.
unsafe impl<T: Inside> Typed for Heap<T> {
    #[inline]
    fn is(object: &Object) -> bool {
        object.class().as_ptr() == T::class().raw().cast()
    }

    #[inline]
    unsafe fn see(object: &Object) -> &Self {
        // SAFETY: as the caller says.
        unsafe { &*object.as_ptr().cast_const().cast() }
    }
}

// SAFETY: `see` changes the type only.
unsafe impl<T: Inside> Whole for Heap<T> {}

/// A class of ours, once it is made.
pub(crate) struct Class<T>(OnceLock<usize>, PhantomData<fn(T)>);

impl<T: Inside> Class<T> {
    pub(crate) const fn new() -> Self {
        Self(OnceLock::new(), PhantomData)
    }

    #[inline]
    fn raw(&self) -> *mut ffi::PyTypeObject {
        *self.0.get().expect("the module has been imported") as *mut ffi::PyTypeObject
    }

    /// A new object.
    #[inline]
    pub(crate) fn make(&self, py: Python<'_>, inside: T) -> Fallible<Owned<Heap<T>>> {
        let class = self.raw();
        // SAFETY: attached; the class is ready, and its objects are as large as this. The new object's
        // head is CPython's, and its inside is filled before anything can see it.
        unsafe {
            let made = answered(py, ffi::PyType_GenericAlloc(class, 0))?;
            let heap = made.as_ptr().cast::<Heap<T>>();
            (&raw mut (*heap).inside).write(ManuallyDrop::new(inside));
            made.cast().map_err(|_| unreachable!("it is of that class"))
        }
    }

    /// Makes the class, once, with these slots beside those for its memory.
    pub(crate) fn create<'py>(
        &self,
        py: Python<'py>,
        name: &'static CStr,
        mut slots: Slots<Heap<T>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let made = *self.0.get_or_init(|| {
            slots.push(ffi::Py_tp_traverse, traverse::<T> as *mut c_void);
            slots.push(ffi::Py_tp_clear, clear::<T> as *mut c_void);
            slots.push(ffi::Py_tp_dealloc, dealloc::<T> as *mut c_void);
            let flags = ffi::Py_TPFLAGS_DEFAULT
                | ffi::Py_TPFLAGS_HAVE_GC
                | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION;
            // SAFETY: attached; the class is for `Heap<T>`, and cannot be made by the program.
            unsafe { slots.make(name, size_of::<Heap<T>>(), flags, std::ptr::null_mut()) as usize }
        });
        // SAFETY: a new type, if there is one, which is kept for ever.
        unsafe { Bound::from_borrowed_ptr_or_err(py, made as Raw) }
    }
}

unsafe extern "C" fn traverse<T: Inside>(
    this: Raw,
    visit: ffi::visitproc,
    arg: *mut c_void,
) -> c_int {
    // SAFETY: the collector's call, for an object of the class. A heap type's objects keep their type.
    unsafe {
        let mut visitor = Visitor::new(visit, arg);
        visitor.show(Object::from_ptr(ffi::Py_TYPE(this).cast()));
        Heap::<T>::see(Object::from_ptr(this)).traverse(&mut visitor);
        visitor.answer()
    }
}

unsafe extern "C" fn clear<T: Inside>(this: Raw) -> c_int {
    // SAFETY: the collector's call, for an object of the class.
    unsafe { guard((), |py| Heap::<T>::see(Object::from_ptr(this)).clear(py)) }
    0
}

unsafe extern "C" fn dealloc<T: Inside>(this: Raw) {
    // SAFETY: the last reference to an object of the class has gone. Its inside is emptied, which is not
    // given the object; then its memory goes as its class says, and the reference to that.
    unsafe {
        ffi::PyObject_GC_UnTrack(this.cast());
        guard((), |py| {
            let heap = Heap::<T>::see(Object::from_ptr(this));
            heap.inside.farewell(py);
            heap.inside.clear(py);
        });
        ManuallyDrop::drop(&mut (*this.cast::<Heap<T>>()).inside);
        let class = ffi::Py_TYPE(this);
        if let Some(free) = (*class).tp_free {
            free(this.cast());
        }
        ffi::Py_DECREF(class.cast());
    }
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

    /// A slot that nothing here has a name for.
    ///
    /// # Safety
    /// The value is what that slot takes, for objects that are `T`.
    pub(crate) unsafe fn with(mut self, slot: c_int, value: *mut c_void) -> Self {
        self.push(slot, value);
        self
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
        self.push(ffi::Py_tp_init, init.raw());
        self
    }

    /// What is called before an object goes.
    pub(crate) fn finalize(mut self, finalize: Finalize<T>) -> Self {
        self.push(ffi::Py_tp_finalize, finalize.raw());
        self
    }

    /// What `repr` says.
    pub(crate) fn repr(mut self, repr: Unary<T>) -> Self {
        self.push(ffi::Py_tp_repr, repr.raw());
        self
    }

    /// What iterates over it, for `iter` and `await`.
    pub(crate) fn iter(mut self, iter: Unary<T>) -> Self {
        self.push(ffi::Py_tp_iter, iter.raw());
        self.push(ffi::Py_am_await, iter.raw());
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

    /// Makes the class, below `base` if that is not null. Null where that fails.
    ///
    /// # Safety
    /// Attached; its objects are of this size, and every slot is for them.
    pub(crate) unsafe fn make(
        mut self,
        name: &'static CStr,
        size: usize,
        flags: std::ffi::c_ulong,
        base: Raw,
    ) -> *mut ffi::PyTypeObject {
        self.push(0, std::ptr::null_mut());
        let mut spec = ffi::PyType_Spec {
            name: name.as_ptr(),
            basicsize: size as c_int,
            itemsize: 0,
            flags: flags as u32,
            slots: self.0.as_mut_ptr(),
        };
        // SAFETY: as the caller says; tables and texts live for ever.
        unsafe { ffi::PyType_FromSpecWithBases(&mut spec, base).cast() }
    }
}

/// What an object answers that is sent None.
pub(crate) trait Sends<T> {
    fn send(this: &This<'_, T>) -> Fallible<Sent>;
}

unsafe extern "C" fn send<T: Typed, S: Sends<T>>(
    this: Raw,
    _: Raw,
    value: *mut Raw,
) -> ffi::PySendResult {
    // SAFETY: CPython calls, attached, on an object of the class, with a place for the answer.
    unsafe {
        *value = std::ptr::null_mut();
        guard(ffi::PySendResult::PYGEN_ERROR, |_| {
            match S::send(&This::new(Object::from_ptr(this))) {
                Ok(Sent::Yielded(yielded)) => {
                    *value = yielded.into_ptr();
                    ffi::PySendResult::PYGEN_NEXT
                }
                Ok(Sent::Returned(result)) => {
                    *value = result.into_ptr();
                    ffi::PySendResult::PYGEN_RETURN
                }
                Err(raised) => {
                    raised.stand();
                    ffi::PySendResult::PYGEN_ERROR
                }
            }
        })
    }
}

unsafe extern "C" fn next<T: Typed, S: Sends<T>>(this: Raw) -> Raw {
    // SAFETY: CPython calls, attached, on an object of the class.
    unsafe {
        guard(std::ptr::null_mut(), |_| match S::send(&This::new(Object::from_ptr(this))) {
            // Without an exception set, null says that it has returned None.
            Ok(Sent::Returned(result)) if result.is_none() => std::ptr::null_mut(),
            sent => answer(yielded(sent)),
        })
    }
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
unsafe extern "C" fn same(this: Raw) -> Raw {
    // SAFETY: CPython calls, attached, on an object that is alive.
    unsafe { Owned::share(Object::from_ptr(this)).into_ptr() }
}
