//! The current task, as asyncio sees it. It must never choose who that is.

use pyo3::ffi;

use crate::cpython::imports::imports;
use crate::cpython::object::{Aside, Fallible, Owned, Raw, call, checked, optional};
use crate::engine::state::LoopState;

/// Makes a task the current one of its loop; gives back the one that was.
#[inline]
pub unsafe fn enter(state: &LoopState, task: Raw) -> Fallible<Option<Owned>> {
    // SAFETY: attached; the loop and the task are alive.
    unsafe {
        let imports = imports();
        let event_loop = state.event_loop.get();
        if imports.current_tasks.is_null() {
            let before = swap_current(event_loop, task)?;
            return Ok((before.as_ptr() != ffi::Py_None()).then_some(before));
        }
        let before = ffi::PyDict_GetItemWithError(imports.current_tasks, event_loop);
        let before = (!before.is_null()).then(|| Owned::share(before));
        checked(ffi::PyDict_SetItem(imports.current_tasks, event_loop, task))?;
        Ok(before)
    }
}

/// Makes a task the current one in place of the last one of this drain.
#[inline]
pub unsafe fn overwrite(state: &LoopState, task: Raw) -> Fallible<()> {
    // SAFETY: as above.
    unsafe {
        let imports = imports();
        if imports.current_tasks.is_null() {
            return swap_current(state.event_loop.get(), task).map(drop);
        }
        let event_loop = state.event_loop.get();
        checked(ffi::PyDict_SetItem(imports.current_tasks, event_loop, task)).map(drop)
    }
}

/// Makes the task that was current before the current one again.
pub unsafe fn restore(state: &LoopState, before: Option<Owned>) {
    // SAFETY: as above; a failure cannot be passed on from here.
    unsafe {
        let imports = imports();
        let event_loop = state.event_loop.get();
        let failed = match before {
            _ if imports.current_tasks.is_null() => {
                let before = before.as_ref().map_or(ffi::Py_None(), Owned::as_ptr);
                optional(swap_current(event_loop, before)).is_none()
            }
            Some(before) => {
                ffi::PyDict_SetItem(imports.current_tasks, event_loop, before.as_ptr()) < 0
            }
            None => ffi::PyDict_DelItem(imports.current_tasks, event_loop) < 0,
        };
        if failed {
            ffi::PyErr_Clear();
        }
    }
}

unsafe fn swap_current(event_loop: Raw, task: Raw) -> Fallible<Owned> {
    // SAFETY: as above.
    unsafe { call(imports().swap_current_task, &mut [std::ptr::null_mut(), event_loop, task]) }
}

/// The end of a drain: no task is current any more. Between the steps of one drain the last
/// task stays in place: the next step overwrites it, and nothing of the program's runs between.
#[inline]
pub unsafe fn leave(state: &LoopState) {
    // SAFETY: attached.
    unsafe {
        if state.lingering.take() {
            let _aside = Aside::new();
            restore(state, None);
        }
    }
}
