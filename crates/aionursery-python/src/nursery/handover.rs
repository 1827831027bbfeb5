//! Children that are another nursery's until they say that they are ready (R24): what the Python part
//! of `Nursery.start` needs of the tree. It must never start a child.

use nursery_core::{Closed, NurseryId, Stays, Tree};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::cpython::errors::{Aside, fetch, set_error_text};
use crate::cpython::for_pyo3::refusal;
use crate::cpython::imports::{current_task, imports, running_loop};
use crate::cpython::object::{class, object};
use crate::cpython::owned::Owned;
use crate::cpython::slot::show;
use crate::engine::home::HomeSlot;
use crate::engine::state::PyFace;
use crate::hosts;
use crate::nursery::Nursery;
use crate::nursery::start::elsewhere;
use crate::task::{self, Task, flag};
use crate::wait;

/// What keeps a nursery from closing while a child is to come: until it is released, left as a block,
/// or gone.
#[pyclass(frozen, module = "aionursery._aionursery", name = "Reservation")]
struct Reservation {
    home: HomeSlot,
    id: NurseryId,
}

class!(Reservation);

impl Reservation {
    /// Lets the nursery close again.
    fn end(&self) {
        let Some(state) = self.home.cloned() else { return };
        self.home.clear();
        if state.is_gone() {
            return;
        }
        // It may end while an exception is on its way.
        let _aside = Aside::new(state.py());
        // The clock may be the program's code, and leave the nursery.
        let now = state.now_or_zero();
        if !state.tree.borrow().has_nursery(self.id) {
            return;
        }
        if let Some(closed) = state.change(|tree, out| tree.unreserve(self.id, now, out)) {
            wait::wake_joiner(&state, closed);
        }
    }
}

#[pymethods]
impl Reservation {
    /// Let the nursery close again; a second call changes nothing.
    #[pyo3(signature = (*_of))]
    fn release(&self, _of: &Bound<'_, PyTuple>) {
        self.end();
    }

    fn __enter__(this: Bound<'_, Self>) -> Bound<'_, Self> {
        this
    }

    #[pyo3(signature = (*_exc))]
    fn __exit__(&self, _exc: &Bound<'_, PyTuple>) {
        self.end();
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.home.traverse(|home| show(&visit, home)).unwrap_or(Ok(()))
    }

    fn __clear__(&self) {
        self.end();
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.end();
    }
}

/// Keep a nursery from closing while the block runs that this is used for: a child is to come.
///
/// Raises RuntimeError before entry and from another thread or loop, NurseryClosed once the block has ended.
#[pyfunction]
fn reserve(py: Python<'_>, nursery: &Bound<'_, Nursery>) -> PyResult<Reservation> {
    let (state, id) = nursery.get().admit(py).map_err(|raised| fetch(py, raised))?;
    // A step of the nursery's loop may run another loop, whose tasks stand in another tree.
    let running = running_loop(py).map_err(|raised| fetch(py, raised))?;
    if !state.is_loop(&running) {
        return Err(fetch(py, elsewhere(py)));
    }
    let current = current_task(&state.event_loop()).map_err(|raised| fetch(py, raised))?;
    let by = hosts::find_member(&state, &current);
    let home = HomeSlot::default();
    // To find the task may have run the loop's code, and that have left the nursery.
    let reserve = |tree: &mut Tree<PyFace>| match tree.has_nursery(id) {
        true => tree.reserve(id, by),
        false => Err(Closed),
    };
    match state.tree.touch(reserve) {
        Ok(true) => {
            // The child that is to come wakes it.
            task::keep_host(&state, id);
            home.set(state);
        }
        Ok(false) => {}
        Err(Closed) => {
            let text = "this nursery is closed: no child can be started in it any more";
            return Err(fetch(py, set_error_text(imports(py).parts.closed, text)));
        }
    }
    Ok(Reservation { home, id })
}

/// Make a child of one nursery another's in the same loop, unless the first is cancelled, the child has ended
/// or waits for the other one.
#[pyfunction]
fn move_child(
    child: &Bound<'_, PyAny>,
    from: &Bound<'_, Nursery>,
    to: &Bound<'_, Nursery>,
) -> PyResult<bool> {
    let Some((state, _)) = from.get().place() else {
        return Ok(false);
    };
    if !from.get().is_here() {
        return Err(refusal::runtime_error(
            "task_status.started() was called from another thread than the child's; use \
             loop.call_soon_threadsafe(task_status.started, value)",
        ));
    }
    // It is kept alive while what it awaits may be told.
    let Ok(child) = Owned::share(object(child)).cast::<Task>() else {
        return Ok(false);
    };
    // The clock may be the program's code, so the places are asked for after it.
    let now = state.now_or_zero();
    let ours = child.data();
    let (Some(member), Some((there, new))) = (ours.member.get(), to.get().place()) else {
        return Ok(false);
    };
    if !ours.has(flag::CHILD) || !ours.home.is_at(&state) || !ours.home.is_at(&there) {
        return Ok(false);
    }
    task::keep_host(&state, new);
    match state.change(|tree, out| tree.move_child(member, new, now, out)) {
        Ok(closed) => {
            to.get().hand_errors_on(&child);
            if let Some(closed) = closed {
                wait::wake_joiner(&state, closed);
            }
            Ok(true)
        }
        Err(Stays::Cancelled | Stays::Closed | Stays::Waits) => Ok(false),
    }
}

/// Have a nursery's own cancellation act as asyncio's groups do it: as `Task.cancel()`, once.
#[pyfunction]
fn act_as_task_group(nursery: &Bound<'_, Nursery>) {
    nursery.get().act_as_task_group();
}

/// Puts the class and the functions into the module.
pub(crate) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    // PyO3 makes a class when it is first needed, and panics if memory is short then.
    module.add_class::<Reservation>()?;
    module.add_function(wrap_pyfunction!(reserve, module)?)?;
    module.add_function(wrap_pyfunction!(move_child, module)?)?;
    module.add_function(wrap_pyfunction!(act_as_task_group, module)?)
}
