//! The task: a subclass of asyncio's own, driven by our ready queue. What each part owns is said in
//! its first lines. It must never take a step: `step` does.

pub mod call_graph;
pub mod callbacks;
pub mod data;
mod inbox;
pub mod name;
mod place;
pub mod registry;
pub mod result;
mod wake;
mod watchers;

pub use callbacks::call_soon;
pub use data::{Task, TaskData, allocate, begin, flag, is_ours};
pub use inbox::{charge, is_asked, is_shielded};
pub use name::set_name;
pub use place::{is_held, leave_tree, member};
pub use registry::register_child;
pub use result::cancelled_error;
pub use wake::wake;
pub use watchers::Watcher;
