//! The task: a subclass of asyncio's own, driven by our ready queue. What each part owns is said in
//! its first lines: `data` the object, `callbacks` who hears of its end, `registry` where asyncio finds
//! it, `call_graph` who awaits whom.

pub mod call_graph;
pub mod callbacks;
pub mod data;
pub mod registry;

pub use crate::engine::current::leave;
pub use crate::step::{
    bound_step, cancel, cancelled_by_scope, cancelled_error, charge, collect, give_up, is_asked,
    is_held, leave_tree, member, reach, resume, run, run_nested, wake,
};
pub use crate::task_class::{
    add_functions, add_iterator_to, is_lazy, raise_thrown, sent, set_name, start_eagerly, stop,
    trace_source,
};
pub use callbacks::call_soon;
pub use data::{add_to, allocate, begin, data, flag, is_ours};
pub use registry::{register_child, set_up as set_up_registry};

use crate::cpython::object::Raw;

/// The context that a task's steps run in; borrowed.
pub unsafe fn context(task: Raw) -> Raw {
    // SAFETY: the caller's task is alive.
    unsafe { data(task).context().get() }
}
