//! Classes of our own beside those that PyO3 makes: their memory and their slots, for objects of which
//! too many are made for what PyO3's way costs. A class must never be made twice.

use std::cell::{OnceCell, UnsafeCell};
use std::ffi::{CStr, c_int};
use std::marker::PhantomData;
use std::mem::offset_of;
use std::ops::Deref;

use pyo3::ffi;
use pyo3::prelude::*;

use super::call::allocate;
use super::dying::Dying;
use super::errors::{Fallible, fetch};
use super::function::This;
use super::guard::guard;
use super::myself::Guarded;
use super::object::{Object, Raw, Type, Typed, Whole};
use super::owned::{Owned, forever};
use super::slot::{Visit, VisitArg, Visitor};
use super::slots::{Layout, Slots};

/// What is inside the objects of a class of ours. The collector sees it, and the objects go as CPython's do.
pub(crate) trait Inside: Sized + 'static {
    /// A [`WeakList`] where something may refer to the objects weakly.
    type Weak: Weak;

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

/// Whether something may refer to objects of ours weakly, and what room they have for it.
pub(crate) trait Weak {
    const MAY_BE: bool;
}

/// Nothing may.
impl Weak for () {
    const MAY_BE: bool = false;
}

/// What refers weakly to an object of ours: a list of CPython's, which nothing else touches. It is null in a
/// new object.
#[repr(transparent)]
pub(crate) struct WeakList(UnsafeCell<Raw>);

impl Weak for WeakList {
    const MAY_BE: bool = true;
}

/// An object of a class of ours.
#[repr(C)]
pub(crate) struct Heap<T: Inside> {
    head: Object,
    weak: T::Weak,
    inside: T,
}

impl<T: Inside> Heap<T> {
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

impl<T: Inside> Deref for Heap<T> {
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
fn inside<T: Inside>(object: Raw) -> *mut T {
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
        // SAFETY: the object is as large as a `Heap`, and its inside empty. Zeroes are an empty list, too.
        unsafe { inside::<T>(made.as_ptr()).write(new) };
        // SAFETY: it is of this class.
        Ok(unsafe { made.seen_as() })
    }

    /// Makes the class, once, with these slots beside those for its memory.
    pub(crate) fn create<'py>(
        &self,
        py: Python<'py>,
        name: &'static CStr,
        slots: Slots<Heap<T>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if let Some(made) = self.0.get(py).get() {
            return Ok(made.to_bound(py));
        }
        let layout = Layout {
            size: size_of::<Heap<T>>(),
            new: None,
            traverse: traverse::<T>,
            clear: clear::<T>,
            dealloc: dealloc::<T>,
            weak: T::Weak::MAY_BE.then_some(offset_of!(Heap<T>, weak)),
        };
        let flags = ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION;
        // SAFETY: a `Heap<T>` is so large and has its list there; these show and free what `make` makes, and
        // the program makes none.
        let made = unsafe { slots.make(py, name, flags, None, &layout) };
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
        if T::Weak::MAY_BE {
            dying.clear_weak_references();
        }
        dying.farewell(py);
        dying.clear(py);
    });
    let free = dying.object().class().part(|class| class.tp_free);
    dying.end(|dying| {
        let this = dying.as_ptr();
        // SAFETY: `make` has filled it, and nothing sees it any more.
        unsafe { std::ptr::drop_in_place(inside::<T>(this)) };
        if let Some(free) = free {
            // SAFETY: so objects of the class are freed.
            unsafe { free(this.cast()) };
        }
    });
}
