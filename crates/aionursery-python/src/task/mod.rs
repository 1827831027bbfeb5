//! The task: a subclass of asyncio's own, driven by our ready queue. What each part owns is said in
//! its first lines: `data` the object, `step` how it moves, `current` who is the current one, `future`
//! how it waits for what is not ours, `cancel` how it is cancelled, `end` how it ends, `watch` who
//! hears of that, `methods` what the program calls, `likeness` what other libraries reach for,
//! `joined` how it is awaited, `wakeup` how it is called back, `factory` how loops make one, `graph` who awaits whom.

mod cancel;
mod current;
mod data;
mod end;
mod factory;
mod future;
mod graph;
mod joined;
mod likeness;
mod methods;
mod registry;
mod step;
mod wakeup;
mod watch;

pub use cancel::{cancel, cancelled_by_scope, cancelled_error, charge, is_asked, reach};
pub use current::leave;
pub use data::{add_to, allocate, begin, data, flag, is_ours};
pub use end::{give_up, is_held, leave_tree, member};
pub use factory::{add_functions, is_lazy, start_eagerly, trace_source};
pub use future::collect;
pub use joined::{add_to as add_iterator_to, raise_thrown, sent, stop};
pub use methods::set_name;
pub use registry::{register_child, set_up as set_up_registry};
pub use step::{bound_step, resume, run, run_nested, wake};
pub use watch::call_soon;

use crate::object::Raw;

/// The context that a task's steps run in; borrowed.
pub unsafe fn context(task: Raw) -> Raw {
    // SAFETY: the caller's task is alive.
    unsafe { data(task).context().get() }
}
