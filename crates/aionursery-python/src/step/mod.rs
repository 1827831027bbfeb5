//! How a task moves: its steps, what it waits for between them, how it is cancelled and how it ends. It
//! must never decide what an end or a cancellation means for others: the tree does.

mod cancel;
mod end;
pub mod future;
pub mod step;
mod wakeup;

pub use cancel::{cancel, cancelled_by_scope, cancelled_error, charge, is_asked, reach};
pub use end::{give_up, is_held, leave_tree, member};
pub use future::collect;
pub use step::{bound_step, resume, run, run_nested, wake};
