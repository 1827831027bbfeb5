//! What a task is called.

use pyo3::ffi;

use super::data::data;
use crate::cpython::object::{Fallible, Owned, Raw, none, string, utf8};

/// What a task is called.
pub unsafe fn name(task: Raw) -> Fallible<Owned> {
    // SAFETY: attached; the task is alive.
    unsafe {
        let ours = data(task);
        if ours.name().is_empty() {
            let text = format!("Task-{}", ours.number.get());
            ours.name().set(string(&text)?);
        }
        Ok(ours.name().cloned().unwrap_or_else(|| none()))
    }
}

/// What a task is called, for messages.
pub unsafe fn name_text(task: Raw) -> String {
    // SAFETY: as above.
    unsafe {
        match name(task) {
            Ok(name) => utf8(name.as_ptr()).unwrap_or_default().to_owned(),
            Err(raised) => {
                raised.forget();
                String::new()
            }
        }
    }
}

/// `str(name)`, as a task keeps it.
pub unsafe fn as_name(name: Raw) -> Fallible<Owned> {
    // SAFETY: attached; the caller's object is alive.
    unsafe {
        if ffi::PyUnicode_CheckExact(name) != 0 {
            return Ok(Owned::share(name));
        }
        Owned::new(ffi::PyObject_Str(name))
    }
}

/// Names a task `str(name)`.
pub unsafe fn set_name(task: Raw, name: Raw) -> Fallible<()> {
    // SAFETY: as above.
    unsafe {
        data(task).name().set(as_name(name)?);
        Ok(())
    }
}
