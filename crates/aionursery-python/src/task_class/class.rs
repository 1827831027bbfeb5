//! The type: a subclass of asyncio's C `Task`, made at import. It must never be made twice.

use pyo3::prelude::*;

use super::{compat, methods};
use crate::task::data;

/// Makes the type and adds it to the module.
pub(crate) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let slots = methods::add_to(data::slots()).properties(&compat::TABLE);
    if !data::create_type(py, c"aionursery._aionursery.Task", slots) {
        return Err(PyErr::fetch(py));
    }
    data::find_inherited(py)?;
    let class = data::class(py).to_bound(py);
    class.setattr("__module__", "aionursery")?;
    module.add("Task", class)
}
