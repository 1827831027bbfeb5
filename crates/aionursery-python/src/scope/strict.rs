//! `StrictScope`: a scope by anyio's rules, for its face to build upon. It must never differ from a
//! scope in what it decides.

use nursery_core::{Cleanup, Settings};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};

use super::CancelScope;
use super::settings::finite;

/// A scope in which each await of a cancelled task is cancelled, as anyio promises it.
#[pyclass(frozen, subclass, extends = CancelScope, module = "aionursery", name = "StrictScope")]
#[derive(Debug)]
pub(crate) struct StrictScope;

#[pymethods]
impl StrictScope {
    /// Unlike a scope, it is there to be built upon.
    #[classmethod]
    #[pyo3(signature = (**_kwargs))]
    fn __init_subclass__(_class: &Bound<'_, PyType>, _kwargs: Option<&Bound<'_, PyDict>>) {}

    /// With `fails`, the block is left by what `_timeout_error` returns where the scope has cancelled it
    /// and the deadline has passed.
    #[new]
    #[pyo3(
        signature = (*, deadline = f64::INFINITY, shield = false, delay = f64::INFINITY, fails = false),
        text_signature = "(*, deadline=1e999, shield=False, delay=1e999, fails=False)"
    )]
    fn new(
        deadline: f64,
        shield: bool,
        delay: f64,
        fails: bool,
    ) -> PyResult<PyClassInitializer<Self>> {
        let deadline = finite("deadline", deadline)?;
        let delay = finite("delay", delay)?;
        let cleanup = Cleanup::Limited(0.0);
        let settings = Settings { deadline, shield, cleanup, abrupt: false };
        let mut scope = CancelScope::make(settings, delay, fails);
        scope.strict = true;
        Ok(PyClassInitializer::from(scope).add_subclass(Self))
    }
}

/// Puts the class into the module.
pub(crate) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<StrictScope>()
}
