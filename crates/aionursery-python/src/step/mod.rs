//! How a task moves: its steps, what it waits for between them, how it is cancelled and how it ends. It
//! must never decide what an end or a cancellation means for others: the tree does.

mod cancel;
mod end;
mod entry;
pub(crate) mod future;
mod make;
#[expect(clippy::module_inception, reason = "one step is what the folder is about")]
mod step;
mod suspend;
pub(crate) mod wakeup;

pub(crate) use cancel::{cancel, cancelled_for, reach};
pub(crate) use end::give_up;
pub(crate) use entry::{step_alone, step_from_loop};
pub(crate) use future::collect;
pub(crate) use make::{start_eagerly, trace_source};
pub(crate) use step::{run, run_nested};
