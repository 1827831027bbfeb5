//! The warning for tasks that were cancelled and do not go. It must never cancel them again.

use nursery_core::ScopeId;
use pyo3::ffi;

use crate::cpython::imports::imports;
use crate::cpython::object::{Fallible, Owned, call, checked};
use crate::engine::state::LoopState;
use crate::engine::words::source_name;

/// A scope was cancelled a while ago and still has tasks: they are named, with where they wait.
pub unsafe fn warn_stuck(state: &LoopState, id: ScopeId) {
    // SAFETY: attached; what the tree holds is shared before Python runs.
    unsafe {
        let (tasks, source, reason): (Vec<Owned>, _, _) = {
            let tree = state.tree.borrow();
            let tasks = tree.reached(id).iter().map(|key| Owned::share(key.0)).collect();
            let cause = tree.cause(id);
            let source = cause.map_or("cancel", |cause| source_name(cause.source));
            (tasks, source, cause.and_then(|cause| cause.reason.clone()))
        };
        let warn = || -> Fallible<()> {
            let list = Owned::new(ffi::PyList_New(0))?;
            for task in &tasks {
                checked(ffi::PyList_Append(list.as_ptr(), task.as_ptr()))?;
            }
            let source = crate::cpython::object::string(source)?;
            let reason = reason.as_ref().map_or(ffi::Py_None(), Owned::as_ptr);
            let seconds = ffi::PyFloat_FromDouble(state.tree.borrow().warn_after);
            let seconds = Owned::new(seconds)?;
            let mut args = [
                std::ptr::null_mut(),
                state.event_loop.get(),
                list.as_ptr(),
                source.as_ptr(),
                reason,
                seconds.as_ptr(),
            ];
            call(imports().parts.warn_stuck, &mut args)?;
            Ok(())
        };
        if let Err(raised) = warn() {
            let text = "Naming stuck tasks has failed";
            state.report_failure(text, raised, std::ptr::null_mut());
        }
    }
}
