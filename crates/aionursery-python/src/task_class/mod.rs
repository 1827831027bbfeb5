//! The task as Python sees it: its methods, what other libraries reach for, how it is made and
//! awaited. It must never touch the tree.

mod awaiting;
pub mod compat;
mod factory;
pub mod methods;

pub use awaiting::{add_to as add_iterator_to, raise_thrown, sent, stop};
pub use factory::{add_functions, is_lazy, start_eagerly, trace_source};
pub use methods::set_name;
