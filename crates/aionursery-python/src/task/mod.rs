//! The task: a subclass of asyncio's own, driven by our ready queue. What each part owns is said in
//! its first lines. It must never take a step: `step` does.

pub(crate) mod call_graph;
pub(crate) mod callbacks;
pub(crate) mod data;
pub(crate) mod flag;
mod inbox;
mod layout;
pub(crate) mod memory;
pub(crate) mod name;
mod place;
pub(crate) mod registry;
pub(crate) mod result;
pub(crate) mod waiters;
mod wake;

pub(crate) use callbacks::call_soon;
pub(crate) use data::{Task, TaskData, begin, is_ours};
pub(crate) use inbox::{charge, is_asked, is_shielded, is_shielded_for_life, tell};
pub(crate) use layout::{class, find_inherited};
pub(crate) use memory::allocate;
pub(crate) use name::set_name;
pub(crate) use place::{find_member, is_held, keep, keep_host, leave_tree, member};
pub(crate) use registry::register_child;
pub(crate) use result::cancelled_error;
pub(crate) use waiters::Waiter;
pub(crate) use wake::wake;
