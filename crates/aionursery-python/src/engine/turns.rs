//! The calls that a loop is asked for, and the handles that stand for them in its queue. A loop that
//! runs handles as asyncio's own loops do is given the same few of them again and again in place of
//! a `call_soon` a turn. It must never have one handle in the loop's queue twice, nor use one again
//! that somebody has cancelled or that may still be there.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use pyo3::ffi;
use pyo3::gc::PyTraverseError;

use crate::cpython::function::Method;
use crate::cpython::imports::{imports, names};
use crate::cpython::object::{Fallible, Owned, Raw, call, call_method, method0, truth};
use crate::engine::link::{Address, Link};

/// How many turns are kept for another time.
pub const SPARE: usize = 16;

/// A call of the drain.
pub struct Turn {
    /// The drain is bound to it.
    link: Owned,
    drain: Owned,
    /// While it stands in the loop's queue, and for another time.
    pub handle: Option<Owned>,
}

impl Turn {
    unsafe fn create(address: &Address, drain: &'static Method) -> Fallible<Self> {
        // SAFETY: attached.
        unsafe {
            let link = Link::create(address)?;
            let drain = drain.bind(link.as_ptr())?;
            Ok(Self { link, drain, handle: None })
        }
    }

    fn parts(&self) -> impl Iterator<Item = &Owned> {
        [&self.link, &self.drain].into_iter().chain(&self.handle)
    }

    pub fn link(&self) -> &Link {
        // SAFETY: made as a link.
        unsafe { Link::of(self.link.as_ptr()) }
    }

    fn handle(&self) -> Raw {
        self.handle.as_ref().map_or(std::ptr::null_mut(), Owned::as_ptr)
    }

    /// Whether its call is still to come, as far as we have seen.
    pub fn is_due(&self) -> bool {
        self.link().end.get() != 0
    }

    /// A handle as the loop would make it; the context is one that keeps nothing of the caller's.
    pub unsafe fn make_handle(&mut self) -> Fallible<Owned> {
        // SAFETY: attached.
        unsafe {
            if let Some(made) = &self.handle {
                return Ok(made.clone());
            }
            let args = Owned::new(ffi::PyTuple_New(0))?;
            let context = Owned::new(ffi::PyContext_New())?;
            let (drain, link) = (self.drain.as_ptr(), self.link.as_ptr());
            let mut args = [std::ptr::null_mut(), drain, args.as_ptr(), link, context.as_ptr()];
            let made = call(imports().handle_type, &mut args)?;
            self.handle = Some(made.clone());
            Ok(made)
        }
    }

    pub unsafe fn call_soon(&mut self, event_loop: Raw) -> Fallible<()> {
        // SAFETY: attached.
        unsafe {
            let mut args = [std::ptr::null_mut(), self.drain.as_ptr()];
            let nothing = std::ptr::null_mut();
            self.handle = Some(call_method(event_loop, names().call_soon, &mut args, nothing)?);
            Ok(())
        }
    }
}

/// Whether somebody has cancelled a handle; one that cannot say has not been.
pub unsafe fn is_cancelled(handle: &Owned) -> bool {
    // SAFETY: attached; the handle is alive.
    unsafe {
        let imports = imports();
        if let Some(offset) = imports.handle_cancelled
            && ffi::Py_TYPE(handle.as_ptr()).cast() == imports.handle_type
        {
            return is_set(handle, offset);
        }
        let answer = method0(handle.as_ptr(), names().cancelled);
        answer.and_then(|answer| truth(&answer)).unwrap_or_else(|raised| {
            raised.forget();
            false
        })
    }
}

/// Whether a slot of a handle is True.
#[inline]
pub unsafe fn is_set(handle: &Owned, offset: isize) -> bool {
    // SAFETY: the slot is where the handle's type has it; it is null before `__init__`.
    unsafe { *handle.as_ptr().cast::<u8>().offset(offset).cast::<Raw>() == ffi::Py_True() }
}

/// One loop's turns.
pub struct Turns {
    address: Address,
    /// Those that the loop is still to call, in its order. The last one has no end yet.
    due: RefCell<VecDeque<Turn>>,
    /// The handle of the last one, borrowed; null if there is none.
    last: Cell<Raw>,
    pub spare: RefCell<Vec<Turn>>,
}

impl Turns {
    pub fn new(address: &Address) -> Self {
        Self {
            address: address.clone(),
            due: RefCell::default(),
            last: Cell::new(std::ptr::null_mut()),
            spare: RefCell::default(),
        }
    }

    pub fn traverse(
        &self,
        visit: &impl Fn(Raw) -> Result<(), PyTraverseError>,
    ) -> Result<(), PyTraverseError> {
        let visit_one = |turn: &Turn| turn.parts().try_for_each(|part| visit(part.as_ptr()));
        if let Ok(due) = self.due.try_borrow() {
            due.iter().try_for_each(visit_one)?;
        }
        if let Ok(spare) = self.spare.try_borrow() {
            spare.iter().try_for_each(visit_one)?;
        }
        Ok(())
    }

    pub fn clear(&self) {
        self.last.set(std::ptr::null_mut());
        let gone = (self.due.take(), self.spare.take());
        drop(gone);
    }

    /// See the field.
    #[inline]
    pub fn last(&self) -> Raw {
        self.last.get()
    }

    /// A new last one; the one before it ends with the last task that has come by now.
    pub fn push(&self, turn: Turn, pushed: u64) {
        let mut due = self.due.borrow_mut();
        if let Some(before) = due.back() {
            before.link().end.set(pushed);
        }
        self.last.set(turn.handle());
        due.push_back(turn);
    }

    /// The loop makes the call that `link` is for. What it was to call before that is lost, and must
    /// not be used again: whoever took it out of the queue may put it back.
    pub fn begin(&self, link: Raw, pushed: u64) -> Option<Turn> {
        let (turn, lost) = {
            let mut due = self.due.borrow_mut();
            let place = due.iter().position(|turn| turn.link.as_ptr() == link)?;
            let lost: Vec<Turn> = due.drain(..place).collect();
            let turn = due.pop_front();
            if due.is_empty() {
                self.last.set(std::ptr::null_mut());
                turn.iter().for_each(|turn| turn.link().end.set(pushed));
            }
            (turn, lost)
        };
        lost.iter().for_each(|turn| turn.link().end.set(0));
        drop(lost);
        turn
    }

    /// A turn that is not due: one that was before, or a new one, which calls `drain`.
    pub unsafe fn fresh(&self, drain: &'static Method) -> Fallible<Turn> {
        let spare = self.spare.borrow_mut().pop();
        match spare {
            Some(turn) => Ok(turn),
            // SAFETY: attached.
            None => unsafe { Turn::create(&self.address, drain) },
        }
    }
}
