//! A loop's part of the library as an object of Python's: what little a program sees of it, and its
//! collection. It must never decide anything.

use nursery_core::Alarm;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use crate::cpython::errors::fetch;
use crate::cpython::object::{Owned, Raw, none, show};
use crate::engine::find;
use crate::engine::home::Home;
use crate::engine::state::{Failure, Key, LoopState};
use crate::task;
use crate::wait;

/// Return the state of an event loop.
#[pyfunction]
fn loop_state<'py>(r#loop: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = r#loop.py();
    // SAFETY: attached; the loop keeps its state alive.
    unsafe {
        let state = LoopState::of(r#loop.as_ptr()).map_err(|raised| fetch(py, raised))?;
        Ok(Bound::from_borrowed_ptr(py, state.this.get()))
    }
}

/// Set after how many seconds a cancelled task that has not ended is named in a warning.
///
/// For the running loop, and for cancellations from now on. 10 unless set; math.inf for never.
/// Raises RuntimeError if no loop runs, ValueError if seconds is negative.
#[pyfunction]
fn warn_stuck_after(py: Python<'_>, seconds: f64) -> PyResult<()> {
    if seconds.is_nan() || seconds < 0.0 {
        return Err(PyValueError::new_err("seconds must be a number that is not negative"));
    }
    // SAFETY: attached.
    let state = unsafe { LoopState::current() }.map_err(|raised| fetch(py, raised))?;
    state.tree.touch(|tree| tree.warn_after = seconds);
    Ok(())
}

pub fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<LoopState>()?;
    module.add_function(wrap_pyfunction!(warn_stuck_after, module)?)?;
    module.add_function(wrap_pyfunction!(loop_state, module)?)
}

#[pymethods]
impl LoopState {
    /// The event loop.
    #[getter(r#loop)]
    fn event_loop(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let home = self.inhabit()?;
        // SAFETY: attached; the home keeps the loop.
        Ok(unsafe { Bound::from_borrowed_ptr(py, home.event_loop.get()) }.unbind())
    }

    /// Make a waiter that somebody sets: what a lock or a queue asks its loop for.
    fn create_future<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let home = self.inhabit()?;
        // SAFETY: attached; the new object is given away.
        unsafe {
            let made =
                wait::create(wait::Kind::Parked, 0.0, None).map_err(|raised| fetch(py, raised))?;
            wait::settle_in(made.as_ptr(), &home);
            Ok(Bound::from_owned_ptr(py, made.into_ptr()))
        }
    }

    /// How many scopes, tasks and nurseries the loop has: for tests of what is left behind.
    fn size(&self) -> (usize, usize, usize) {
        self.tree.borrow().size()
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // SAFETY: the collector's visit; nothing is borrowed while Python code runs, so the cells
        // are free, and where one is not there is nothing to say.
        unsafe {
            let py_visit = |object: Raw| show(&visit, object);
            py_visit(self.event_loop.get())?;
            py_visit(self.weak_loop.get())?;
            py_visit(self.interrupt.get())?;
            self.ready.traverse(py_visit)?;
            self.timers.traverse(py_visit)?;
            self.trash.traverse(py_visit)?;
            if let Some(tree) = self.tree.try_borrow() {
                for Key(task) in tree.keys().filter(|key| task::is_held(key.0)) {
                    py_visit(*task)?;
                }
                for Failure { error, name } in tree.errors() {
                    py_visit(error.as_ptr())?;
                    if let Some(name) = name {
                        py_visit(name.as_ptr())?;
                    }
                }
                for reason in tree.reasons() {
                    py_visit(reason.as_ptr())?;
                }
                for alarm in tree.timers.values() {
                    if let Alarm::Wake(Key(wait)) = alarm {
                        py_visit(*wait)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn __clear__(&self) {
        self.forget_everything();
    }
}

impl LoopState {
    fn inhabit(&self) -> PyResult<Home> {
        // SAFETY: attached; Python calls a method of the state.
        let home = unsafe { Home::of(self) };
        home.ok_or_else(|| PyRuntimeError::new_err("the loop is gone"))
    }
}

impl LoopState {
    /// Lets go of every reference; the loop is gone.
    fn forget_everything(&self) {
        self.gone.set(true);
        find::forget(self);
        self.address.set(std::ptr::null());
        find::forget_all();
        let tree = self.tree.take();
        // SAFETY: the references that the tree's keys stood for are let go once each.
        unsafe {
            for Key(task) in tree.keys() {
                let held = task::is_held(*task);
                if task::is_ours(*task) {
                    task::leave_tree(*task);
                }
                if held {
                    drop(Owned::maybe(*task));
                }
            }
            for alarm in tree.timers.values() {
                if let Alarm::Wake(Key(wait)) = alarm {
                    wait::forget_timer(*wait);
                    drop(Owned::maybe(*wait));
                }
            }
        }
        drop(tree);
        drop(self.foreign.take());
        self.ready.clear();
        self.timers.clear();
        self.interrupt.clear();
        self.weak_loop.clear();
        // Code that still asks the loop for something gets an error.
        // SAFETY: attached.
        self.event_loop.set(unsafe { none() });
    }
}

impl Drop for LoopState {
    fn drop(&mut self) {
        self.forget_everything();
    }
}
