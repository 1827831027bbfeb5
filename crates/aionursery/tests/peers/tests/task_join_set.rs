//! The peer's own tests of this name, on our facade.
include!(concat!(env!("OUT_DIR"), "/task_join_set.rs"));
