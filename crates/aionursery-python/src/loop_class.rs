//! A loop's part of the library as an object of Python's: what little a program sees of it, and its
//! collection. It must never decide anything.

use nursery_core::{Alarm, Tree};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use crate::cpython::args::number;
use crate::cpython::called::finalize;
use crate::cpython::errors::{Aside, fetch, raise, write_unraisable};
use crate::cpython::for_pyo3::refusal;
use crate::cpython::function::set_finalize;
use crate::cpython::object::{Object, object};
use crate::cpython::owned::Owned;
use crate::cpython::slot::show;
use crate::engine::find;
use crate::engine::home::Home;
use crate::engine::state::{Failure, LoopState};
use crate::task::{self, Task};
use crate::wait::{self, WaitObject};

/// Return the state of an event loop.
#[pyfunction]
fn loop_state<'py>(r#loop: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = r#loop.py();
    let state = LoopState::of(object(r#loop)).map_err(|raised| fetch(py, raised))?;
    Ok(state.this.share().into_bound(py))
}

/// Set after how many seconds a cancelled task that has not ended is named in a warning.
///
/// For the running loop, and for cancellations from now on. 10 unless set; math.inf for never.
/// Raises RuntimeError if no loop runs, ValueError if seconds is negative.
#[pyfunction]
fn warn_stuck_after(py: Python<'_>, seconds: &Bound<'_, PyAny>) -> PyResult<()> {
    let seconds = number("seconds", object(seconds)).map_err(|raised| fetch(py, raised))?;
    if seconds.is_nan() || seconds < 0.0 {
        return Err(refusal::value_error(&format!("seconds must not be negative, not {seconds}")));
    }
    let state = LoopState::current(py).map_err(|raised| fetch(py, raised))?;
    state.tree.touch(|tree| tree.warn_after = seconds);
    Ok(())
}

pub(crate) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<LoopState>()?;
    set_finalize::<LoopState>(module.py(), finalize!(LoopState, report_what_is_lost));
    module.add_function(wrap_pyfunction!(warn_stuck_after, module)?)?;
    module.add_function(wrap_pyfunction!(loop_state, module)?)
}

#[pymethods]
impl LoopState {
    /// The event loop.
    #[getter(r#loop)]
    fn its_loop<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(self.inhabit()?.event_loop().into_bound(py))
    }

    /// Make a waiter that is set from outside: what a lock or a queue asks its loop for.
    fn create_future<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let home = self.inhabit()?;
        let made = wait::create(py, wait::WaitKind::Parked, 0.0, None);
        let made = made.map_err(|raised| fetch(py, raised))?;
        made.attach_to(&home);
        Ok(made.into_bound(py))
    }

    /// How many scopes, tasks and nurseries the loop has: for tests of what is left behind.
    fn size(&self) -> (usize, usize, usize) {
        self.tree.borrow().size()
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // Nothing is borrowed while Python code runs, so the cells are free; where one is not, there is
        // nothing to say.
        let visit = |object: &Object| show(&visit, object);
        self.traverse_slots(visit)?;
        self.ready.traverse(visit)?;
        self.timers.traverse(visit)?;
        self.called.traverse(visit)?;
        self.trash.traverse(visit)?;
        if let Some(tree) = self.tree.try_borrow() {
            let keys = tree.keys().map(|key| key.object(self.py()));
            keys.filter(|task| task::is_held(task)).try_for_each(visit)?;
            for Failure { error, name } in tree.errors() {
                visit(error)?;
                if let Some(name) = name {
                    visit(name)?;
                }
            }
            for reason in tree.reasons() {
                visit(reason)?;
            }
            for watch in tree.watches() {
                visit(watch)?;
            }
            for alarm in tree.timers.values() {
                if let Alarm::Wake(wait) = alarm {
                    visit(wait)?;
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
        Home::of(self).ok_or_else(|| refusal::runtime_error("the loop is gone"))
    }

    /// Lets go of every reference; the loop is gone.
    fn forget_everything(&self) {
        self.this.forget();
        self.gone.set(true);
        find::forget(self);
        find::forget_all();
        // Both at once: what is let go of may enter a scope, and the hosts have places in that tree.
        let (tree, foreign) = (self.tree.take(), self.foreign.take());
        // Each is kept until none is looked at any more.
        let tasks: Vec<Owned> = tree.keys().map(|key| key.share(self.py())).collect();
        for task in tasks.iter().filter_map(|task| task.object().cast::<Task>()) {
            task::leave_tree(task);
            drop(task.release());
        }
        drop(tasks);
        for alarm in tree.timers.values() {
            if let Alarm::Wake(wait) = alarm
                && let Some(wait) = wait.object().cast::<WaitObject>()
            {
                wait.forget_timer();
            }
        }
        drop(tree);
        drop(foreign);
        self.ready.clear();
        self.timers.clear();
        self.called.clear();
        self.report_last_interrupt();
        self.clear_slots();
    }
}

/// Reports what failed in nurseries that nothing will leave any more: the loop goes (R7). Once, for the
/// collector, which takes nothing apart before it has asked for this, may take the errors apart then.
fn report_what_is_lost(state: &LoopState) {
    if state.finalized.replace(true) {
        return;
    }
    let errors = state.tree.touch(Tree::take_errors);
    let _aside = Aside::new(state.py());
    for Failure { error, .. } in errors {
        write_unraisable(raise(error), None);
    }
}

impl Drop for LoopState {
    fn drop(&mut self) {
        report_what_is_lost(self);
        self.forget_everything();
    }
}
