//! asyncio's set of all tasks, as `asyncio.all_tasks()` shows it. Until 3.13 it is a `WeakSet`, and to
//! enter it costs more than most children do: a nursery's children are entered when the set is read.
//! What looks calls each weak reference in the set, and one of them is a function of ours. From 3.14
//! on asyncio keeps a list, which a task enters when it is made. It must never keep a task alive.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;

use super::data::Task;
use super::flag;
use crate::cpython::call::weak_reference;
use crate::cpython::called::method;
use crate::cpython::containers::{set_add, set_discard};
use crate::cpython::errors::{Fallible, fetch};
use crate::cpython::function::{Method, This};
use crate::cpython::imports::imports;
use crate::cpython::object::{Object, none_ref};
use crate::cpython::owned::{Owned, none};
use crate::engine::find::each_state;

/// Children are entered when the set is read.
static LAZY: AtomicBool = AtomicBool::new(false);
/// The set was read, as a check at import wants to know.
static LOOKED: AtomicBool = AtomicBool::new(false);

/// Enters a task into asyncio's set of tasks. What the set holds is a weak reference, made here as
/// `WeakSet.add` would make it. A failure (no memory) only hides it from `all_tasks`.
#[inline]
pub(crate) fn register(task: &Task) {
    let ours = task.data();
    if !ours.registration.is_empty() {
        return;
    }
    let imports = imports(task.py());
    // Where memory is short, asyncio does without the task in its set.
    let Some(scheduled) = imports.scheduled else {
        ours.registration.set(none(task.py()));
        let _ = imports.register_task.call([task]);
        return;
    };
    let _ = weak_reference(task, imports.scheduled_remove).and_then(|reference| {
        let added = set_add(scheduled, &reference);
        ours.registration.set(reference);
        added
    });
}

/// Enters a nursery's child, if that cannot wait.
#[inline]
pub(crate) fn register_child(task: &Task) {
    if !LAZY.load(Ordering::Relaxed) {
        register(task);
    }
}

/// Takes a task out of asyncio's set of tasks.
#[inline]
pub(crate) fn unregister(task: &Task) {
    let Some(reference) = task.data().registration.take() else {
        return;
    };
    if let Some(scheduled) = imports(task.py()).scheduled {
        let _ = set_discard(scheduled, &reference);
    }
}

static ENTER_ALL: Method = method!(no_args Object, c"enter_children", enter_all);

/// The set is read: the children that are not in it are entered. What goes through it
/// notices that it grows, and begins again.
fn enter_all(this: &This<'_, Object>) -> Fallible<Owned> {
    let py = this.py();
    LOOKED.store(true, Ordering::Relaxed);
    each_state(py, |state| {
        let children: Vec<Owned<Task>> = state
            .tree
            .borrow()
            .keys()
            .filter_map(|key| key.object(py).cast::<Task>())
            .filter(|task| is_hidden(task))
            .map(Owned::share)
            .collect();
        for child in children {
            register(&child);
        }
    });
    Ok(none(py))
}

/// Whether a task is a child that the set does not have.
fn is_hidden(task: &Task) -> bool {
    let ours = task.data();
    ours.has(flag::CHILD) && !ours.has(flag::DONE) && ours.registration.is_empty()
}

/// Puts the function into the set, if going through that calls it.
#[expect(clippy::disallowed_methods, reason = "at import, which ends without memory")]
pub(crate) fn set_up(py: Python<'_>) -> PyResult<()> {
    let Some(scheduled) = imports(py).scheduled.filter(|_| !LAZY.load(Ordering::Relaxed)) else {
        return Ok(());
    };
    let function = ENTER_ALL.bind_to(none_ref(py));
    let function = function.and_then(|function| set_add(scheduled, &function).map(|()| function));
    let function = function.map_err(|raised| fetch(py, raised))?;
    let seen = py.import("aionursery._called")?.call_method0("look_at_all_tasks");
    let works = seen.is_ok_and(|seen| seen.is_truthy().unwrap_or(false));
    if works && LOOKED.load(Ordering::Relaxed) {
        LAZY.store(true, Ordering::Relaxed);
    } else {
        let _ = set_discard(scheduled, &function);
    }
    Ok(())
}
