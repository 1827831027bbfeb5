//! What a task is called. An unnamed task has a number, and a text once something asks for it. From
//! 3.14 on a debugger in another process reads the inherited field, where null is an error and an
//! int is a number: there it holds one until the text is made. It must never
//! make a text that nothing asks for.

use super::data::{Task, TaskData};
use crate::cpython::call::{as_text, is_exact_text, is_int, utf8};
use crate::cpython::errors::{Fallible, optional, string};
use crate::cpython::object::Object;
use crate::cpython::owned::{Owned, none};

/// What a task is called.
pub(crate) fn name(task: &Task) -> Fallible<Owned> {
    let ours = task.data();
    if is_unnamed(ours) {
        let text = format!("Task-{}", ours.number.get());
        ours.name().set(string(task.py(), &text)?);
    }
    Ok(ours.name().cloned().unwrap_or_else(|| none(task.py())))
}

/// Whether a task has no text for a name yet.
#[inline]
pub(crate) fn is_unnamed(ours: &TaskData) -> bool {
    if !cfg!(Py_3_14) {
        return ours.name().is_empty();
    }
    ours.name().cloned().is_none_or(|name| is_int(&name))
}

/// A task is there to be seen: a debugger finds its number.
#[inline]
pub(crate) fn show_number(task: &Task) {
    #[cfg(Py_3_14)]
    if is_unnamed(task.data()) {
        // Without memory the number stays 0, and nothing is raised.
        if let Some(number) =
            optional(crate::cpython::call::int(task.py(), task.data().number.get()))
        {
            task.data().name().set(number);
        }
    }
    let _ = task;
}

/// What a task is called, for messages.
pub(crate) fn name_text(task: &Task) -> String {
    let name = optional(name(task));
    name.as_deref().and_then(utf8).unwrap_or_default().to_owned()
}

/// `str(name)`, as a task keeps it.
pub(crate) fn as_name(name: &Object) -> Fallible<Owned> {
    if is_exact_text(name) { Ok(Owned::share(name)) } else { as_text(name) }
}

/// Names a task `str(name)`.
pub(crate) fn set_name(task: &Task, name: &Object) -> Fallible<()> {
    task.data().name().set(as_name(name)?);
    Ok(())
}
