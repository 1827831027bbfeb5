//! The task as Python sees it: its methods, what other libraries reach for, how it is made and
//! awaited. It must never touch the tree.

mod awaiting;
mod class;
mod compat;
mod factory;
mod methods;

pub(crate) use awaiting::add_to as add_iterator_to;
pub(crate) use class::add_to;
pub(crate) use factory::{add_functions, is_lazy, is_ours};
