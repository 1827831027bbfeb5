//! The type: a subclass of asyncio's C `Task`, made at import. It must never be made twice.

use pyo3::prelude::*;

use super::{compat, methods};
use crate::cpython::errors::fetch;
use crate::cpython::slots::Slots;
use crate::task::{self, memory};

/// Makes the type and adds it to the module.
pub(crate) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let slots = methods::add_to(Slots::new()).properties(&compat::TABLE);
    let made = memory::create_type(py, c"aionursery.Task", slots);
    made.map_err(|raised| fetch(py, raised))?;
    task::find_inherited(py)?;
    module.add("Task", task::class(py).to_bound(py))
}
