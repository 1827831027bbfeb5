//! Classes of our own beside those that PyO3 makes: their memory and their slots, for objects of which
//! so many are made that PyO3's way costs too much. A class must never be made twice.

use std::cell::OnceCell;
use std::ffi::{CStr, c_int, c_ulong, c_void};
use std::marker::PhantomData;
use std::mem::{MaybeUninit, offset_of};
use std::ops::Deref;
use std::ptr::NonNull;

use pyo3::ffi;
use pyo3::prelude::*;

use super::call::{Sent, allocate};
use super::errors::{Fallible, Raised, fetch};
use super::function::{Finalize, Init, Method, Property, This, Unary, answer};
use super::generator::stop;
use super::guard::guard;
use super::myself::Guarded;
use super::object::{Object, Raw, Type, Typed, Whole};
use super::owned::{Owned, forever};
use super::safe_calls::safe_calls;
use super::slot::{Visit, VisitArg, Visitor};

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
    inside: T,
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
        object.class().is(T::class().get(object.py()))
    }

    #[inline]
    unsafe fn see(object: &Object) -> &Self {
        // SAFETY: as the caller says; `make` has filled it.
        unsafe { &*object.as_ptr().cast_const().cast() }
    }
}

// SAFETY: `see` changes the type only.
unsafe impl<T: Inside> Whole for Heap<T> {}

/// Where an object of a class of ours has its inside.
fn inside<T>(object: Raw) -> *mut T {
    object.cast::<u8>().wrapping_add(offset_of!(Heap<T>, inside)).cast()
}

/// A class of ours, once it is made.
pub(crate) struct Class<T>(Guarded<OnceCell<&'static Type>>, PhantomData<fn(T)>);

impl<T: Inside> Class<T> {
    pub(crate) const fn new() -> Self {
        Self(Guarded::new(OnceCell::new()), PhantomData)
    }

    #[inline]
    fn get(&self, py: Python<'_>) -> &'static Type {
        self.0.get(py).get().expect("the module has been imported")
    }

    /// A new object.
    #[inline]
    pub(crate) fn make(&self, py: Python<'_>, new: T) -> Fallible<Owned<Heap<T>>> {
        // SAFETY: its inside is filled before anything can see it.
        let made = unsafe { allocate(py, self.get(py), 0) }?;
        // SAFETY: the object is as large as a `Heap`, and its inside empty.
        unsafe { inside::<T>(made.as_ptr()).write(new) };
        // SAFETY: it is of this class.
        Ok(unsafe { made.seen_as() })
    }

    /// Makes the class, once, with these slots beside those for its memory.
    pub(crate) fn create<'py>(
        &self,
        py: Python<'py>,
        name: &'static CStr,
        mut slots: Slots<Heap<T>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if let Some(made) = self.0.get(py).get() {
            return Ok(made.to_bound(py));
        }
        slots.push(ffi::Py_tp_traverse, traverse::<T> as Traverse<Heap<T>> as *mut c_void);
        slots.push(ffi::Py_tp_clear, clear::<T> as Clear<Heap<T>> as *mut c_void);
        slots.push(ffi::Py_tp_dealloc, dealloc::<T> as Dealloc<Heap<T>> as *mut c_void);
        let flags = ffi::Py_TPFLAGS_DEFAULT
            | ffi::Py_TPFLAGS_HAVE_GC
            | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION;
        // SAFETY: the class is for `Heap<T>`, and cannot be made by the program.
        let made = unsafe { slots.make(py, name, size_of::<Heap<T>>(), flags, None) };
        let made = made.map_err(|raised| fetch(py, raised))?;
        Ok(self.0.get(py).get_or_init(|| forever(made)).to_bound(py))
    }
}

/// What the collector is shown. A heap type's objects keep their type.
extern "C" fn traverse<'a, T: Inside>(
    this: This<'a, Heap<T>>,
    visit: Visit<'a>,
    arg: VisitArg<'a>,
) -> c_int {
    let mut visitor = Visitor::new(visit, arg);
    visitor.show(this.object().class());
    this.traverse(&mut visitor);
    visitor.answer()
}

extern "C" fn clear<T: Inside>(this: This<'_, Heap<T>>) -> c_int {
    guard(this.py(), (), || this.clear(this.py()));
    0
}

/// An object's inside is emptied, which is not given the object; then its memory goes as its class says.
extern "C" fn dealloc<T: Inside>(dying: Dying<Heap<T>>) {
    dying.untrack();
    let py = dying.object().py();
    guard(py, (), || {
        dying.farewell(py);
        dying.clear(py);
    });
    let free = dying.object().class().part(|class| class.tp_free);
    dying.end(|dying| {
        let this = dying.0.as_ptr();
        // SAFETY: `make` has filled it, and nothing sees it any more.
        unsafe { std::ptr::drop_in_place(inside::<T>(this)) };
        if let Some(free) = free {
            // SAFETY: so objects of the class are freed.
            unsafe { free(this.cast()) };
        }
    });
}

/// An object that is a `T`, in the call by which CPython ends it: nothing refers to it any more.
#[repr(transparent)]
#[derive(Debug)]
pub(crate) struct Dying<T>(NonNull<ffi::PyObject>, PhantomData<T>);

safe_calls! {
    // What is ended is not counted any more, and of a class whose objects the collector knows.
    unsafe fn untrack(py: Python<'_>, object: *mut c_void) -> () = PyObject_GC_UnTrack;
    unsafe fn finalize(py: Python<'_>, object: Raw) -> c_int = PyObject_CallFinalizerFromDealloc;
}

#[cfg(py_sys_config = "Py_DEBUG")]
safe_calls! {
    unsafe fn track(py: Python<'_>, object: *mut c_void) -> () = PyObject_GC_Track;
}

impl<T> Dying<T> {
    /// What is left of it. A reference of its own would bring it back.
    pub(crate) fn object(&self) -> &Object {
        // SAFETY: its memory is there until `end`.
        unsafe { Object::from_ptr(self.0.as_ptr()) }
    }

    /// Calls its finaliser, if that has not been called; `false` if it lives on.
    pub(crate) fn finalize(&self) -> bool {
        // SAFETY: only CPython makes this, for an object of which nothing is gone.
        unsafe { finalize(self.object().py(), self.0.as_ptr()) >= 0 }
    }

    /// The collector must not come upon it any more.
    pub(crate) fn untrack(&self) {
        // SAFETY: the collector knows every object that is ended so.
        unsafe { untrack(self.object().py(), self.0.as_ptr().cast()) };
    }

    /// Undoes [`Self::untrack`].
    #[cfg(py_sys_config = "Py_DEBUG")]
    pub(crate) fn track(&self) {
        // SAFETY: it has been untracked.
        unsafe { track(self.object().py(), self.0.as_ptr().cast()) };
    }

    /// It goes as this says, and then its reference to its class.
    pub(crate) fn end(self, end: impl FnOnce(Self)) {
        let class = self.object().class().as_ptr();
        end(self);
        // SAFETY: the object had the reference.
        drop(unsafe { Owned::from_ptr(class) });
    }
}

impl<T: Typed> Deref for Dying<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: CPython ends an object so whose class has the function that takes this.
        unsafe { T::see(self.object()) }
    }
}

/// What makes an object of a class, as C has it: given a tuple, and a dict or nothing.
pub(crate) type New =
    unsafe extern "C" fn(&Type, Option<&Object>, Option<&Object>) -> Option<Owned>;
/// What shows an object to the collector's function, which is given the argument.
pub(crate) type Traverse<T> = for<'a> extern "C" fn(This<'a, T>, Visit<'a>, VisitArg<'a>) -> c_int;
/// What lets go of all that an object refers to.
pub(crate) type Clear<T> = extern "C" fn(This<'_, T>) -> c_int;
/// What ends an object.
pub(crate) type Dealloc<T> = extern "C" fn(Dying<T>);

/// The slots of a class whose objects are `T`.
pub(crate) struct Slots<T>(Vec<ffi::PyType_Slot>, PhantomData<T>);

impl<T: 'static> Slots<T> {
    pub(crate) fn new() -> Self {
        Self(Vec::new(), PhantomData)
    }

    fn push(&mut self, slot: c_int, value: *mut c_void) {
        self.0.push(ffi::PyType_Slot { slot, pfunc: value });
    }

    /// How its objects come, are seen by the collector and go.
    ///
    /// # Safety
    /// They do so with memory that is laid out as the class has it.
    pub(crate) unsafe fn memory(
        mut self,
        new: New,
        traverse: Traverse<T>,
        clear: Clear<T>,
        dealloc: Dealloc<T>,
    ) -> Self {
        self.push(ffi::Py_tp_new, new as *mut c_void);
        self.push(ffi::Py_tp_traverse, traverse as *mut c_void);
        self.push(ffi::Py_tp_clear, clear as *mut c_void);
        self.push(ffi::Py_tp_dealloc, dealloc as *mut c_void);
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
    /// Its objects are of this size, and every slot is for them.
    pub(crate) unsafe fn make(
        mut self,
        py: Python<'_>,
        name: &'static CStr,
        size: usize,
        flags: c_ulong,
        base: Option<&Object>,
    ) -> Fallible<Owned<Type>> {
        self.push(0, std::ptr::null_mut());
        let mut spec = ffi::PyType_Spec {
            name: name.as_ptr(),
            basicsize: size as c_int,
            itemsize: 0,
            flags: flags as u32,
            slots: self.0.as_mut_ptr(),
        };
        // SAFETY: as the caller says; tables and texts live for ever.
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
