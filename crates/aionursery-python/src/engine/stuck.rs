//! The warning for tasks that were cancelled and do not go. It must never cancel them again.

use nursery_core::ScopeId;

use crate::cpython::call::{call, float};
use crate::cpython::containers::list;
use crate::cpython::errors::{Fallible, string};
use crate::cpython::imports::imports;
use crate::cpython::object::none_ref;
use crate::cpython::owned::Owned;
use crate::engine::state::LoopState;
use crate::engine::words::source_name;

/// A scope was cancelled a while ago and still has tasks: they are named, with where they wait.
pub(crate) fn warn_stuck(state: &LoopState, id: ScopeId) {
    let py = state.py();
    // What the tree holds is shared before Python runs.
    let (tasks, source, reason): (Vec<Owned>, _, _) = {
        let tree = state.tree.borrow();
        let tasks = tree.reached(id).iter().map(|key| key.share(py)).collect();
        let cause = tree.cause(id);
        let source = cause.map_or("cancel", |cause| source_name(cause.source));
        (tasks, source, cause.and_then(|cause| cause.reason.clone()))
    };
    let warn = || -> Fallible<()> {
        let list = list(py, tasks.iter().map(|task| &**task))?;
        let source = string(py, source)?;
        let reason = reason.as_deref().unwrap_or_else(|| none_ref(py));
        let seconds = float(py, state.tree.borrow().warn_after)?;
        let event_loop = state.event_loop();
        let function = imports(py).parts.warn_stuck;
        call(function, [&*event_loop, &*list, &*source, reason, &*seconds]).map(drop)
    };
    if let Err(raised) = warn() {
        state.report_failure("Naming stuck tasks has failed", raised, None);
    }
}
