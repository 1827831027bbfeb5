//! What a producer waits for that makes an item only when one is wanted: `as_safe_channel`. It must never
//! put an item into a channel.

use pyo3::prelude::*;

use super::{SendChannel, new_wait};
use crate::cpython::errors::{Fallible, exc, fetch, set_error};
use crate::cpython::object::{Object, object};
use crate::cpython::owned::Owned;
use crate::wait;

/// Wait until something waits for an item at the channel of a send end, or nothing receives there.
///
/// For one producer: another one's wait is over then.
#[pyfunction]
pub(super) fn demand<'py>(send: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = send.py();
    let made = wait_for_demand(object(send)).map_err(|raised| fetch(py, raised))?;
    Ok(made.into_bound(py))
}

fn wait_for_demand(send: &Object) -> Fallible<Owned> {
    let py = send.py();
    let end = send.cast::<SendChannel>();
    let Some(channel) = end.and_then(|end| end.side.channel.cloned()) else {
        return Err(set_error(exc::type_error(py), c"demand() needs a send end of a channel"));
    };
    let made = new_wait(py)?;
    let is_there = channel.getters.count() > 0 || channel.receivers.get() == 0;
    let over =
        if is_there { Some(made.clone()) } else { channel.producer.replace(Some(made.clone())) };
    if let Some(over) = over {
        wait::complete(&over, None);
    }
    Ok(made.into_object())
}
