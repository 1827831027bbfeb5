//! The peers' interfaces on top of ours: no more of each than its own tests use, and nothing that
//! hides what a nursery does. `build.rs` brings the tests.

pub mod async_nursery;
pub mod moro;
pub mod tokio;
pub mod tokio_util;

mod held;

/// moro's doc comments, with its examples.
#[doc = include_str!(concat!(env!("OUT_DIR"), "/moro.md"))]
pub struct MorosExamples;
