//! How a task moves: its steps, what it waits for between them, how it is cancelled and how it ends. It
//! must never decide what an end or a cancellation means for others: the tree does.

mod cancel;
mod end;
mod entry;
pub mod future;
mod make;
#[expect(clippy::module_inception, reason = "one step is what the folder is about")]
mod step;
mod suspend;
pub mod wakeup;

pub use cancel::{cancel, cancelled_by_scope, reach};
pub use end::give_up;
pub use entry::{step_alone, step_from_loop};
pub use future::collect;
pub use make::{start_eagerly, trace_source};
pub use step::{run, run_nested};
