//! The task as Python sees it: its methods, what other libraries reach for, how it is made and
//! awaited. It must never touch the tree.

mod awaiting;
pub mod compat;
mod factory;
pub mod methods;

pub use awaiting::add_to as add_iterator_to;
pub use factory::{add_functions, is_lazy};
