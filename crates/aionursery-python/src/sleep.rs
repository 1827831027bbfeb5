//! Sleeping and checkpoints. A sleep stands in the tree's heap, not in the loop's. They must
//! never ask the loop for a timer of their own.

use pyo3::prelude::*;

use crate::cpython::args::number;
use crate::cpython::errors::{Fallible, fetch};
use crate::cpython::for_pyo3::refusal;
use crate::cpython::object::object;
use crate::cpython::owned::Owned;
use crate::engine::state::LoopState;
use crate::hosts::host;
use crate::wait::{self, WaitKind};

fn make<'py>(
    py: Python<'py>,
    kind: WaitKind,
    when: f64,
    result: Option<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let made = wait::create(py, kind, when, None).map_err(|raised| fetch(py, raised))?;
    if let Some(result) = result {
        made.value().set(Owned::share(object(&result)));
    }
    Ok(made.into_bound(py))
}

/// Wait for `delay` seconds, then return `result`.
///
/// At least one turn of the loop. Raises ValueError if delay is NaN.
#[pyfunction]
#[pyo3(signature = (delay, result = None))]
fn sleep<'py>(
    py: Python<'py>,
    delay: &Bound<'py, PyAny>,
    result: Option<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let delay = number("delay", object(delay)).map_err(|raised| fetch(py, raised))?;
    if delay.is_nan() {
        return Err(refusal::value_error("delay must not be NaN"));
    }
    let kind = if delay <= 0.0 { WaitKind::Turn } else { WaitKind::Span };
    make(py, kind, delay, result)
}

/// Wait until the loop's clock shows `deadline`, in seconds.
///
/// Raises ValueError if deadline is NaN.
#[pyfunction]
fn sleep_until<'py>(py: Python<'py>, deadline: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let deadline = number("deadline", object(deadline)).map_err(|raised| fetch(py, raised))?;
    if deadline.is_nan() {
        return Err(refusal::value_error("deadline must not be NaN"));
    }
    make(py, WaitKind::Moment, deadline, None)
}

/// Wait until cancelled.
#[pyfunction]
fn sleep_forever(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    make(py, WaitKind::Forever, f64::INFINITY, None)
}

/// Let others run, and be cancelled if the scope is.
#[pyfunction]
fn checkpoint(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    make(py, WaitKind::Turn, 0.0, None)
}

/// Be cancelled if the scope is; go on at once if not.
///
/// Raises RuntimeError outside of a task.
#[pyfunction]
fn checkpoint_if_cancelled(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    let cancelled = || -> Fallible<bool> {
        let state = LoopState::current(py)?;
        let task = host::current(&state, "checkpoint_if_cancelled()")?;
        host::is_cancelled(&state, &task)
    };
    let cancelled = cancelled().map_err(|raised| fetch(py, raised))?;
    make(py, if cancelled { WaitKind::Turn } else { WaitKind::Ready }, 0.0, None)
}

pub(crate) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(sleep, module)?)?;
    module.add_function(wrap_pyfunction!(sleep_until, module)?)?;
    module.add_function(wrap_pyfunction!(sleep_forever, module)?)?;
    module.add_function(wrap_pyfunction!(checkpoint, module)?)?;
    module.add_function(wrap_pyfunction!(checkpoint_if_cancelled, module)?)
}
