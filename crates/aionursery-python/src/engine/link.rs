//! What a loop's handles are bound to: a small object that knows the loop's state by its address, for
//! as long as there is one. A loop holds its handles, and the state must not be held by them: then a
//! closed loop goes when its last user does. It must never keep a state or a loop alive.

use std::cell::Cell;
use std::ffi::c_void;
use std::rc::Rc;

use pyo3::prelude::*;

use crate::cpython::errors::restore;
use crate::cpython::function::Method;
use crate::cpython::object::{Fallible, Owned, Raw};

/// The address of a state, shared by all that is bound to it; null once the state has gone. `home`
/// alone knows what lies there.
pub type Address = Rc<Cell<*const c_void>>;

/// Stands in a handle for the loop, too: asyncio asks the loop of a handle no more than this answers.
#[pyclass(frozen, module = "aionursery._aionursery", name = "Link")]
pub struct Link {
    address: Address,
    /// How far a call drains the ready queue, in tasks since the beginning; 0 for not at all.
    pub end: Cell<u64>,
}

// SAFETY: all access is serialised by the GIL, which the module declares that it needs.
unsafe impl Send for Link {}
// SAFETY: as above.
unsafe impl Sync for Link {}

impl Link {
    /// A new link, as an object.
    pub unsafe fn create(address: &Address) -> Fallible<Owned> {
        // SAFETY: attached; the new reference is handed on.
        unsafe {
            let link = Self { address: address.clone(), end: Cell::new(0) };
            match Py::new(Python::assume_attached(), link) {
                Ok(link) => Owned::new(link.into_ptr()),
                Err(error) => Err(restore(error)),
            }
        }
    }

    /// A function of ours, bound to a link that nobody else has.
    pub unsafe fn bind(address: &Address, method: &'static Method) -> Fallible<Owned> {
        // SAFETY: attached.
        unsafe { method.bind(Self::create(address)?.as_ptr()) }
    }

    /// The inside of a link. The reference lives as long as the caller keeps the object.
    #[inline]
    pub unsafe fn of<'a>(link: Raw) -> &'a Self {
        // SAFETY: attached; the caller's object is a link.
        unsafe {
            let link = Bound::from_borrowed_ptr(Python::assume_attached(), link);
            &*std::ptr::from_ref(link.cast_unchecked::<Self>().get())
        }
    }

    /// Where the state lies that it is for, or null.
    #[inline]
    pub fn address(&self) -> *const c_void {
        self.address.get()
    }
}
