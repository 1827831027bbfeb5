//! One event loop's part of the library: its tree, its ready queue, its timer. It must never know what a
//! task or a wait of ours is made of.

pub mod armed;
mod change;
pub mod current;
pub mod find;
pub mod guests;
pub mod home;
pub mod hooks;
pub mod last_name;
pub mod link;
mod link_class;
pub mod queue;
pub mod ready;
pub mod report;
pub mod state;
pub mod stuck;
pub mod threads;
pub mod timers;
pub mod tree;
pub mod turns;
pub mod words;
