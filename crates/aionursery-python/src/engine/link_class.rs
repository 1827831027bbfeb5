//! What asyncio asks of a handle's loop, answered by what the handle is bound to. It must never answer
//! more.

use pyo3::prelude::*;

use crate::cpython::call::method1;
use crate::cpython::errors::fetch;
use crate::cpython::imports::{is_debug, names};
use crate::cpython::object::object;
use crate::engine::home::Home;
use crate::engine::link::Link;

#[pymethods]
impl Link {
    /// Whether the loop is in debug mode.
    fn get_debug(&self, py: Python<'_>) -> PyResult<bool> {
        let Some(state) = Home::behind(self) else { return Ok(false) };
        is_debug(&state.event_loop()).map_err(|raised| fetch(py, raised))
    }

    /// Hand on what a handle reports.
    fn call_exception_handler(&self, context: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = context.py();
        let Some(state) = Home::behind(self) else { return Ok(()) };
        let handler = names(py).call_exception_handler;
        let answer = method1(&state.event_loop(), handler, object(context));
        answer.map(drop).map_err(|raised| fetch(py, raised))
    }
}
