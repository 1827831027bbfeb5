//! Structured concurrency for tokio, and for any executor.
//!
//! A *nursery* is a block that owns its children: it ends when its body and all of them have
//! ended, never before. If one fails, the others are cancelled, and every error comes back.
//!
//! ```
//! # async fn fetch(client: &str, path: &str) -> Result<usize, std::io::Error> {
//! #     Ok(client.len() + path.len())
//! # }
//! # fn crunch(bytes: Vec<u8>) -> impl Future<Output = Result<usize, std::io::Error>> + Send {
//! #     async move { Ok(bytes.len()) }
//! # }
//! # #[cfg(not(feature = "tokio"))]
//! # fn main() {}
//! # #[cfg(feature = "tokio")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = String::from("client");
//! let bytes = vec![1, 2, 3];
//! let sum = aionursery::nursery(async |n| {
//!     let a = n.start_soon(fetch(&client, "a"));    // borrows from outside; runs on this task
//!     let b = n.start_soon(fetch(&client, "b"));
//!     let c = n.spawn(crunch(bytes));               // Send + 'static; runs on the workers
//!     Ok(a.await? + b.await? + c.await?)
//! }).await?;                                        // MultiError<E> if anything failed
//! assert_eq!(sum, 17);
//! # Ok(())
//! # }
//! ```
//!
//! * [`nursery`], [`nursery_local`], [`Builder`]: open one. [`Nursery`]: its handle.
//! * [`Child`]: a child's handle. [`MultiError`]: all that failed.
//! * [`CancelScope`], `fail_after`, `move_on_after`, [`shield`]: scopes without a nursery.
//! * [`gather`], [`race`], [`as_completed`], [`map`], [`for_each`]: what is often done with one.
//!
//! # Features
//! * `tokio` (default): `spawn`, `spawn_blocking`, tokio's clock and its coop budget. Without it
//!   nurseries and scopes run on any executor, with deadlines by a thread of their own or by the
//!   [`Clock`] that they are given.
//! * `tokio-util`: `CancellationToken` both ways.
//! * `tracing`: a span, of level `DEBUG`, for each nursery and for each child of `start_soon` and
//!   `spawn` that has a name.
//!
//! # What is unsafe
//! Three modules: the child (`task.rs`, `task/cell.rs`, its handle in `task/handle.rs`, and
//! `task/away.rs` if it is spawned), the lists of those that were woken (`ready.rs`,
//! `ready/stack.rs`) and the memory that they lie in (`slots.rs`). Children that borrow are polled by
//! the nursery's own future only: whoever forgets that future stops them, and frees nothing they use.
#![deny(unsafe_code)]
#![warn(missing_debug_implementations, clippy::exhaustive_enums)]

mod about;
mod adopted;
mod alarm;
mod as_completed;
mod blocks;
mod builder;
mod cancel_scope;
#[cfg(feature = "tokio")]
mod carrier;
mod child;
mod clock;
mod combine;
mod core;
mod domain;
mod driver;
mod dump;
mod error;
mod frame;
mod gather;
mod gone;
mod limit;
#[cfg(all(test, aionursery_loom))]
#[expect(unsafe_code, reason = "what loom checks")]
mod models;
mod node;
mod nursery;
mod panics;
mod quiet;
mod race;
#[expect(unsafe_code, reason = "links of a lock-free list, and who may look behind it")]
mod ready;
mod scope;
#[expect(unsafe_code, reason = "memory that is used again")]
mod slots;
#[cfg(feature = "tokio")]
mod spawned;
mod start;
mod stuck;
mod sync;
#[expect(unsafe_code, reason = "one piece of memory for future, result and waker")]
mod task;
mod timer;
#[cfg(feature = "tokio-util")]
mod token;
mod trace;
mod wall;
mod within;

pub use about::record_children;
pub use adopted::{AdoptedError, LostError, on_lost_error};
pub use as_completed::{AsCompleted, as_completed};
pub use builder::{Builder, OnError, nursery, nursery_local};
pub use cancel_scope::{
    CancelScope, MovingOn, Scoped, Shielding, cancelled, current_effective_deadline, current_time,
    fail_after, fail_at, move_on_after, move_on_at, shield,
};
#[cfg(feature = "tokio")]
pub use carrier::keep_idle_tasks;
pub use child::{Child, End};
pub use clock::{Clock, Sleep};
pub use combine::{ForEach, Mapping, for_each, map, yield_now};
pub use driver::Block;
pub use dump::{Dump, dump};
pub use error::{Cancelled, ChildError, ErrorKind, MultiError, NurseryClosed};
pub use gather::{Gather, Gathered, gather};
pub use node::{Node, NodeKind, State};
pub use nursery::{Admits, Cancellation, Local, LocalNursery, Mode, Nursery, Sendable};
pub use panics::{Panic, record_panic_locations};
pub use race::{Finish, Race, Racing, race};
pub use scope::{Cause, Source};
pub use start::{NotStarted, Starting, TaskStatus};

/// The program of the package's own page runs as a test, too.
#[cfg(all(doctest, feature = "tokio"))]
#[doc = include_str!("../README.md")]
mod readme {}
