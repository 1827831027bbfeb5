//! One event loop's part of the library: its tree, its ready queue, its timer. It must never know what a
//! task or a wait of ours is made of.

pub(crate) mod armed;
pub(crate) mod called;
mod change;
pub(crate) mod current;
pub(crate) mod find;
pub(crate) mod foreign;
pub(crate) mod home;
pub(crate) mod hooks;
pub(crate) mod last_name;
pub(crate) mod link;
mod link_class;
pub(crate) mod queue;
pub(crate) mod ready;
pub(crate) mod report;
pub(crate) mod state;
pub(crate) mod stuck;
pub(crate) mod threads;
pub(crate) mod timers;
pub(crate) mod tree;
pub(crate) mod turns;
pub(crate) mod words;
