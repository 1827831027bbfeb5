//! A task's wake-up, as a future has it that is not of asyncio's own types. Such a one may call back
//! with another future, as a proxy for it does, at once, or twice. So the wake-up knows for which of
//! the task's waits it is: it must never be lost, nor step a task that waits for something else.

use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use crate::cpython::errors::{fetch, restore};
use crate::cpython::imports::{current_task, names};
use crate::cpython::object::{Fallible, Owned, Raw, Slot, method0, optional, show};
use crate::engine::hooks::hooks;
use crate::engine::ready;
use crate::task::data::{data, flag};

/// What a future calls.
#[pyclass(frozen, module = "aionursery._aionursery", name = "Wakeup")]
pub struct Wakeup {
    task: Slot,
    number: u64,
}

// SAFETY: all access is serialised by the GIL, which the module declares that it needs.
unsafe impl Send for Wakeup {}
// SAFETY: as above.
unsafe impl Sync for Wakeup {}

/// The wake-up for the wait that begins.
pub unsafe fn create(task: Raw) -> Fallible<Owned> {
    // SAFETY: attached; the caller's task is alive.
    unsafe {
        let number = data(task).begin_await();
        let wakeup = Wakeup { task: Slot::empty(), number };
        wakeup.task.set(Owned::share(task));
        match Py::new(Python::assume_attached(), wakeup) {
            Ok(wakeup) => Owned::new(wakeup.into_ptr()),
            Err(error) => Err(restore(error)),
        }
    }
}

impl Wakeup {
    unsafe fn wake(&self, future: Raw) -> Fallible<()> {
        // SAFETY: attached; the task and its loop are kept for the call.
        unsafe {
            let Some(task) = self.task.cloned() else { return Ok(()) };
            let ours = data(task.as_ptr());
            let is_due = || ours.awaits(self.number) && !ours.has(flag::DONE | flag::SCHEDULED);
            if !is_due() {
                return Ok(());
            }
            let result = method0(future, names().result);
            // To ask the future may have run anything.
            let (true, Some(home)) = (is_due(), ours.home.cloned()) else {
                drop(optional(result));
                return Ok(());
            };
            if let Err(raised) = result {
                ours.set_incoming(raised.take());
            }
            let nobody = current_task(home.event_loop.get())?.as_ptr() == ffi::Py_None();
            if nobody && home.running.get().is_null() {
                return Owned::new((hooks().step)(task.as_ptr())).map(drop);
            }
            // It is called in the middle of a step, perhaps the task's own.
            ours.raise_flags(flag::SCHEDULED);
            ready::push_or_report(&home, task);
            Ok(())
        }
    }
}

#[pymethods]
impl Wakeup {
    /// Wake the task: what it waited for has ended.
    fn __call__(&self, future: &Bound<'_, PyAny>) -> PyResult<()> {
        // SAFETY: attached; the caller's future is alive.
        unsafe { self.wake(future.as_ptr()) }.map_err(|raised| fetch(future.py(), raised))
    }

    /// The task, as a bound method shows it.
    #[getter(__self__)]
    fn task(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        // SAFETY: a reference of ours is given away.
        self.task
            .cloned()
            .map(|task| unsafe { Bound::from_owned_ptr(py, task.into_ptr()) }.unbind())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // SAFETY: what is visited is held.
        unsafe { show(&visit, self.task.get()) }
    }

    fn __clear__(&self) {
        self.task.clear();
    }
}
