//! asyncio's set of all tasks, as `asyncio.all_tasks()` shows it. Until 3.13 it is a `WeakSet`, and to
//! enter it costs more than most children do: a nursery's children are entered when somebody looks.
//! What looks calls each weak reference in the set, and one of them is a function of ours. From 3.14
//! on asyncio keeps a list, which a task enters when it is made. It must never keep a task alive.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::ffi;
use pyo3::prelude::*;

use super::data::{data, flag, is_ours};
use crate::cpython::function::Method;
use crate::cpython::guard::guard;
use crate::cpython::imports::imports;
use crate::cpython::object::{Owned, Raw, none};
use crate::engine::find::each_state;
use crate::engine::state::Key;

/// Children are entered when somebody looks.
static LAZY: AtomicBool = AtomicBool::new(false);
/// Somebody has looked, as a check at import wants to know.
static LOOKED: AtomicBool = AtomicBool::new(false);

/// Enters a task into asyncio's set of tasks. What the set holds is a weak reference, made here as
/// `WeakSet.add` would make it.
#[inline]
pub unsafe fn register(task: Raw) {
    // SAFETY: the caller's task is alive; a failure (no memory) only hides it from `all_tasks`.
    unsafe {
        let data = data(task);
        if !data.registration.is_empty() {
            return;
        }
        let imports = imports();
        let done = if imports.scheduled.is_null() {
            data.registration.set(none());
            crate::cpython::object::call1(imports.register_task, task).is_ok()
        } else {
            let reference = ffi::PyWeakref_NewRef(task, imports.scheduled_remove);
            Owned::maybe(reference).is_some_and(|reference| {
                let added = ffi::PySet_Add(imports.scheduled, reference.as_ptr());
                data.registration.set(reference);
                added == 0
            })
        };
        if !done {
            ffi::PyErr_Clear();
        }
    }
}

/// Enters a nursery's child, if that cannot wait.
#[inline]
pub unsafe fn register_child(task: Raw) {
    if !LAZY.load(Ordering::Relaxed) {
        // SAFETY: as the caller's.
        unsafe { register(task) };
    }
}

/// Takes a task out of asyncio's set of tasks.
#[inline]
pub unsafe fn unregister(task: Raw) {
    // SAFETY: the caller's task is alive.
    unsafe {
        let Some(reference) = data(task).registration.take() else {
            return;
        };
        let scheduled = imports().scheduled;
        if !scheduled.is_null() && ffi::PySet_Discard(scheduled, reference.as_ptr()) < 0 {
            ffi::PyErr_Clear();
        }
    }
}

static ENTER_ALL: Method = Method::no_args(c"enter_children", enter_all);

/// Somebody goes through the set: the children that are not in it are entered. What goes through it
/// notices that it grows, and begins again.
unsafe extern "C" fn enter_all(_: Raw, _: Raw) -> Raw {
    // SAFETY: attached; the GIL is held, in whatever thread.
    unsafe {
        guard(std::ptr::null_mut(), |_| {
            LOOKED.store(true, Ordering::Relaxed);
            each_state(|state| {
                let children: Vec<Owned> = state
                    .tree
                    .borrow()
                    .keys()
                    .map(|Key(task)| *task)
                    .filter(|task| is_ours(*task) && is_hidden(*task))
                    .map(|task| Owned::share(task))
                    .collect();
                for child in children {
                    register(child.as_ptr());
                }
            });
            none().into_ptr()
        })
    }
}

/// Whether a task is a child that the set does not have.
unsafe fn is_hidden(task: Raw) -> bool {
    // SAFETY: what stands in the tree is alive.
    let ours = unsafe { data(task) };
    ours.has(flag::CHILD) && !ours.has(flag::DONE) && ours.registration.is_empty()
}

/// Puts the function into the set, if going through that calls it.
pub fn set_up(py: Python<'_>) -> PyResult<()> {
    let imports = imports();
    if imports.scheduled.is_null() || LAZY.load(Ordering::Relaxed) {
        return Ok(());
    }
    // SAFETY: attached; the set is asyncio's.
    unsafe {
        let Ok(function) = ENTER_ALL.bind(none().as_ptr()) else {
            return Err(PyErr::fetch(py));
        };
        if ffi::PySet_Add(imports.scheduled, function.as_ptr()) < 0 {
            return Err(PyErr::fetch(py));
        }
        let seen = py.import("aionursery._parts")?.call_method0("look_at_all_tasks");
        let works = seen.is_ok_and(|seen| seen.is_truthy().unwrap_or(false));
        if works && LOOKED.load(Ordering::Relaxed) {
            LAZY.store(true, Ordering::Relaxed);
        } else if ffi::PySet_Discard(imports.scheduled, function.as_ptr()) < 0 {
            ffi::PyErr_Clear();
        }
    }
    Ok(())
}
