//! What is kept of those that are to be told of a task's end.

use std::ffi::{c_int, c_void};

use pyo3::ffi;

use crate::cpython::object::Owned;

pub enum Watcher {
    /// A callback and the context to call it in.
    Callback(Owned, Owned),
    /// A task of ours that awaits this one.
    Joiner(Owned),
}

#[derive(Default)]
pub struct Watchers {
    pub list: Vec<Watcher>,
}

impl Watchers {
    pub unsafe fn visit(&self, visit: ffi::visitproc, arg: *mut c_void) -> c_int {
        // SAFETY: the collector's visit of references that are held.
        unsafe {
            for watcher in &self.list {
                let (first, second) = match watcher {
                    Watcher::Callback(function, context) => (function, Some(context)),
                    Watcher::Joiner(task) => (task, None),
                };
                for object in [Some(first), second].into_iter().flatten() {
                    let answer = visit(object.as_ptr(), arg);
                    if answer != 0 {
                        return answer;
                    }
                }
            }
        }
        0
    }
}
