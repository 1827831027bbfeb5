//! What a task is called. An unnamed task has a number, and a text once something asks for it. From
//! 3.14 on a debugger in another process reads the inherited field, where null is an error and an
//! int is a number: there it holds one until the text is made.

use pyo3::ffi;

use super::data::{TaskData, data};
use crate::cpython::object::{Fallible, Owned, Raw, none, string, utf8};

/// What a task is called.
pub unsafe fn name(task: Raw) -> Fallible<Owned> {
    // SAFETY: attached; the task is alive.
    unsafe {
        let ours = data(task);
        if is_unnamed(ours) {
            let text = format!("Task-{}", ours.number.get());
            ours.name().set(string(&text)?);
        }
        Ok(ours.name().cloned().unwrap_or_else(|| none()))
    }
}

/// Whether a task has no text for a name yet.
#[inline]
pub unsafe fn is_unnamed(ours: &TaskData) -> bool {
    let name = ours.name().get();
    // SAFETY: attached; the slot keeps what is in it.
    name.is_null() || (cfg!(Py_3_14) && unsafe { ffi::PyLong_CheckExact(name) != 0 })
}

/// A task is there to be seen: a debugger finds its number.
#[inline]
pub unsafe fn show_number(ours: &TaskData) {
    #[cfg(Py_3_14)]
    // SAFETY: attached. Without memory the number stays 0, and nothing is raised.
    unsafe {
        if is_unnamed(ours) {
            match Owned::new(ffi::PyLong_FromUnsignedLongLong(ours.number.get())) {
                Ok(number) => ours.name().set(number),
                Err(raised) => raised.forget(),
            }
        }
    }
    let _ = ours;
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
