//! A task's wake-up, as a future has it that is not of asyncio's own types. Such a one may call back
//! with another future, as a proxy for it does, at once, or twice. So the wake-up knows for which of
//! the task's waits it is: it must never be lost, nor step a task that waits for something else.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use crate::cpython::call::method0;
use crate::cpython::errors::{Fallible, fetch, optional};
use crate::cpython::imports::{current_task, names};
use crate::cpython::object::{Object, class, object};
use crate::cpython::owned::Owned;
use crate::cpython::slot::{Slot, show};
use crate::engine::hooks::hooks;
use crate::engine::ready;
use crate::task::{Task, flag};

/// What a future calls.
#[pyclass(frozen, module = "aionursery._aionursery", name = "Wakeup")]
#[derive(Debug)]
pub(crate) struct Wakeup {
    task: Slot<Task>,
    number: u64,
}

class!(Wakeup);

/// The wake-up for the wait that begins.
pub(crate) fn create(task: &Task) -> Fallible<Owned<Wakeup>> {
    let number = task.data().begin_await();
    let wakeup = Wakeup { task: Slot::empty(), number };
    wakeup.task.set(Owned::share(task));
    Owned::make(task.py(), wakeup)
}

impl Wakeup {
    fn wake(&self, future: &Object) -> Fallible<()> {
        let Some(task) = self.task.cloned() else { return Ok(()) };
        let ours = task.data();
        let is_due = || ours.awaits(self.number) && !ours.has(flag::DONE | flag::SCHEDULED);
        if !is_due() {
            return Ok(());
        }
        let result = method0(future, names(future.py()).result);
        // To ask the future may have run anything.
        let (true, Some(home)) = (is_due(), ours.home.cloned()) else {
            drop(optional(result));
            return Ok(());
        };
        if let Err(raised) = result {
            ours.set_incoming(raised.take());
        }
        let idle = current_task(&home.event_loop())?.is_none();
        if idle && home.running.get() == 0 {
            return (hooks().step)(&task);
        }
        // It is called in the middle of a step, perhaps the task's own.
        ours.raise_flags(flag::SCHEDULED);
        ready::push_or_report(&home, task.into_object());
        Ok(())
    }
}

#[pymethods]
impl Wakeup {
    /// Wake the task: what it waited for has ended.
    fn __call__(&self, future: &Bound<'_, PyAny>) -> PyResult<()> {
        self.wake(object(future)).map_err(|raised| fetch(future.py(), raised))
    }

    /// The task, as a bound method shows it.
    #[getter(__self__)]
    fn task(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.task.cloned().map(|task| task.into_bound(py).unbind())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.task.show(|task| show(&visit, task))
    }

    fn __clear__(&self) {
        self.task.clear();
    }
}
