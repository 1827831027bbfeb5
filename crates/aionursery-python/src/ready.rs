//! One loop's ready queue: tasks that are to take a step, drained by one `call_soon` a turn.
//! What becomes ready while it is drained waits for the next turn, so that nothing starves. It
//! must never lose an entry: what a step raises leaves the rest scheduled.
//!
//! The queue is cut into batches, one for each `call_soon`. A task joins the last batch as long as
//! that batch is the last thing in the loop's own queue; so tasks and `call_soon` keep the order in
//! which a program asked for them. A loop that does not show its queue (uvloop) has one batch a
//! turn.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::CStr;

use pyo3::ffi;
use pyo3::gc::PyTraverseError;
use pyo3::prelude::*;

use crate::entry::guard;
use crate::exit;
use crate::imports::{is_debug, names};
use crate::object::{Aside, Fallible, Owned, Raw, Slot, call_method};
use crate::state::LoopState;
use crate::task;

#[derive(Default)]
struct Queue {
    /// Tasks; each entry holds one reference.
    tasks: VecDeque<Raw>,
    /// How many of them each scheduled drain is to step.
    batches: VecDeque<usize>,
}

pub struct Ready {
    queue: RefCell<Queue>,
    /// The loop's own queue, if it shows one.
    loop_queue: Slot,
    /// The handle of the last batch.
    last_handle: Slot,
    /// The bound function that drains.
    drain: Slot,
}

impl Ready {
    pub fn new(loop_queue: Option<Owned>) -> Self {
        let queue = Slot::empty();
        drop(queue.replace(loop_queue));
        Self {
            queue: RefCell::default(),
            loop_queue: queue,
            last_handle: Slot::empty(),
            drain: Slot::empty(),
        }
    }

    pub fn traverse(
        &self,
        visit: impl Fn(Raw) -> Result<(), PyTraverseError>,
    ) -> Result<(), PyTraverseError> {
        visit(self.loop_queue.get())?;
        visit(self.last_handle.get())?;
        visit(self.drain.get())?;
        if let Ok(queue) = self.queue.try_borrow() {
            queue.tasks.iter().try_for_each(|task| visit(*task))?;
        }
        Ok(())
    }

    pub fn clear(&self) {
        let queue = self.queue.take();
        for task in queue.tasks {
            // SAFETY: each entry holds one reference.
            drop(unsafe { Owned::maybe(task) });
        }
        self.loop_queue.clear();
        self.last_handle.clear();
        self.drain.clear();
    }

    /// Whether anything is queued.
    #[inline]
    pub fn is_open(&self) -> bool {
        !self.queue.borrow().batches.is_empty()
    }

    /// Whether a task can join the last batch without overtaking anything.
    #[inline]
    unsafe fn last_is_open(&self) -> bool {
        if self.queue.borrow().batches.is_empty() {
            return false;
        }
        let queue = self.loop_queue.get();
        if queue.is_null() {
            return true;
        }
        // SAFETY: a deque, whose last item is looked at.
        unsafe {
            let last = Owned::maybe(ffi::PySequence_GetItem(queue, -1));
            match last {
                Some(last) => last.as_ptr() == self.last_handle.get(),
                None => {
                    ffi::PyErr_Clear();
                    false
                }
            }
        }
    }
}

/// A task takes a step in the loop's next turn. If the loop refuses (it is closed), the error is
/// set and the task is not queued.
#[inline]
pub unsafe fn push(state: &LoopState, task: Owned) -> Fallible<()> {
    // SAFETY: attached.
    unsafe {
        if state.debug.get() {
            return push_alone(state, task);
        }
        let ready = &state.ready;
        if ready.last_is_open() {
            let mut queue = ready.queue.borrow_mut();
            queue.tasks.push_back(task.into_ptr());
            if let Some(last) = queue.batches.back_mut() {
                *last += 1;
            }
            return Ok(());
        }
        schedule(state)?;
        let mut queue = ready.queue.borrow_mut();
        queue.tasks.push_back(task.into_ptr());
        queue.batches.push_back(1);
        Ok(())
    }
}

/// As [`push`], where an error has no way out: it is reported.
pub unsafe fn push_or_report(state: &LoopState, task: Owned) {
    // SAFETY: attached.
    unsafe {
        let _aside = Aside::new();
        if push(state, task.clone()).is_err() {
            let exception = crate::object::take_raised();
            state.report("A task could not be scheduled", Some(&exception), task.as_ptr());
        }
    }
}

/// In debug mode every step is a handle of its own, so that the loop can say which one was slow.
#[cold]
unsafe fn push_alone(state: &LoopState, task: Owned) -> Fallible<()> {
    // SAFETY: attached.
    unsafe {
        let step = task::bound_step(task.as_ptr())?;
        let mut args = [std::ptr::null_mut(), step.as_ptr(), task::context(task.as_ptr())];
        call_method(
            state.event_loop.get(),
            names().call_soon,
            &mut args,
            crate::imports::imports().kw_context,
        )?;
        Ok(())
    }
}

unsafe fn schedule(state: &LoopState) -> Fallible<()> {
    // SAFETY: attached.
    unsafe {
        if state.ready.drain.is_empty() {
            state.ready.drain.set(bind(&DRAIN, state.this.get())?);
        }
        let drain = state.ready.drain.cloned();
        let drain = drain.ok_or(crate::object::Raised)?;
        let mut args = [std::ptr::null_mut(), drain.as_ptr()];
        let handle = call_method(
            state.event_loop.get(),
            names().call_soon,
            &mut args,
            std::ptr::null_mut(),
        )?;
        state.ready.last_handle.set(handle);
        // Once a turn is often enough to notice that somebody has switched debug mode.
        state.debug.set(is_debug(state.event_loop.get()));
        Ok(())
    }
}

static DRAIN: Method = Method::no_args(c"run_ready_tasks", drain);

unsafe extern "C" fn drain(this: Raw, _: Raw) -> Raw {
    // SAFETY: bound to a state, which the call keeps alive.
    unsafe {
        guard(std::ptr::null_mut(), |py| {
            let this = Bound::from_borrowed_ptr(py, this);
            let state = this.cast_unchecked::<LoopState>().get();
            let _inside = exit::Inside::enter();
            match run_batch(state) {
                Ok(()) => crate::object::none().into_ptr(),
                Err(_) => std::ptr::null_mut(),
            }
        })
    }
}

/// Puts what is left of a batch back, however the batch ends.
struct Batch<'a> {
    state: &'a LoopState,
    left: usize,
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        // SAFETY: attached; an exception that is on its way out is put aside.
        unsafe {
            task::leave(self.state);
            if self.left == 0 {
                return;
            }
            let _aside = Aside::new();
            self.state.ready.queue.borrow_mut().batches.push_front(self.left);
            if schedule(self.state).is_err() {
                ffi::PyErr_WriteUnraisable(self.state.event_loop.get());
            }
            // The handle just made runs last but serves the first batch: nothing may join it.
            self.state.ready.last_handle.clear();
        }
    }
}

unsafe fn run_batch(state: &LoopState) -> Fallible<()> {
    // SAFETY: attached; the loop calls this.
    unsafe {
        let size = state.ready.queue.borrow_mut().batches.pop_front().unwrap_or(0);
        let mut batch = Batch { state, left: size };
        while batch.left > 0 {
            exit::pause();
            batch.left -= 1;
            let next = state.ready.queue.borrow_mut().tasks.pop_front();
            let Some(task) = next.and_then(|task| Owned::maybe(task)) else {
                continue;
            };
            task::run(state, task)?;
        }
        Ok(())
    }
}

/// The bound function of a task, for a loop or a future to call.
pub unsafe fn bind(definition: &'static Method, task: Raw) -> Fallible<Owned> {
    // SAFETY: the definition is static, the task alive.
    unsafe {
        let definition = (&raw const definition.0).cast_mut();
        let nothing = std::ptr::null_mut();
        Owned::new(ffi::PyCMethod_New(definition, task, nothing, nothing.cast()))
    }
}

/// A method that is not on any type but bound to an object by hand.
pub struct Method(ffi::PyMethodDef);

// SAFETY: constant; CPython reads it only.
unsafe impl Sync for Method {}

impl Method {
    pub const fn no_args(name: &'static CStr, function: ffi::PyCFunction) -> Self {
        Self::new(name, function, ffi::METH_NOARGS)
    }

    pub const fn one_arg(name: &'static CStr, function: ffi::PyCFunction) -> Self {
        Self::new(name, function, ffi::METH_O)
    }

    const fn new(name: &'static CStr, function: ffi::PyCFunction, flags: i32) -> Self {
        Self(ffi::PyMethodDef {
            ml_name: name.as_ptr(),
            ml_meth: ffi::PyMethodDefPointer { PyCFunction: function },
            ml_flags: flags,
            ml_doc: std::ptr::null(),
        })
    }
}
