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
//!     Ok(a.value().await + b.value().await + c.value().await)
//! }).await?;                                        // MultiError<E> if anything failed
//! assert_eq!(sum, 17);
//! # Ok(())
//! # }
//! ```
//!
//! * [`nursery`], [`nursery_local`], [`Builder`]: open one. [`Nursery`]: its handle.
//! * [`Child`]: a child's handle. [`MultiError`]: all that failed.
//! * [`CancelScope`], `fail_after`, `move_on_after`, [`shield`]: scopes without a nursery.
//! * [`gather`], [`race`], [`as_completed`], and the rest of [`combine`]: what is often done with one.
//!
#![cfg_attr(feature = "tokio", doc = "* [`Builder::open`]: a nursery that is a value.")]
//! * [`mod@dump`], [`error`], [`service`], [`time`]: what runs, why it failed, what runs for long, whose time
//!   counts. [`future`], [`mode`]: types that signatures name.
//!
//! # Features
//! * `tokio` (default): `spawn`, `spawn_blocking`, tokio's clock and its coop budget. Without it
//!   nurseries and scopes run on any executor, with deadlines by a thread of their own or by the
//!   [`Clock`](time::Clock) that they are given.
//! * `signal`: `graceful`, which ends by Ctrl-C and SIGTERM.
//! * `tokio-util`: `CancellationToken` both ways.
//! * `tracing`: a span, of level `DEBUG`, for each nursery and for each child of `start_soon` and
//!   `spawn` that has a name.
//!
//! # What is unsafe
//! A task and its word (`task.rs`), the lists of those that were woken (`task/ready.rs`), the memory that
//! they lie in (`task/memory.rs`); and what knows the types of a child: its future and its result
//! (`child/cell.rs`, `spawned/child.rs`), its driver's side and its handle. Children that borrow are
//! polled by the nursery's own future only: code that forgets that future stops them, and frees nothing
//! they use.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(unsafe_code)]
#![warn(unreachable_pub, clippy::exhaustive_enums)]

/// A type that shows its name, and no more of what is in it than these fields.
macro_rules! opaque {
    (
        $name:literal, [$($generics:tt)*] $type:ty
        $(, |$it:ident| { $($field:ident: $value:expr),+ $(,)? })?
    ) => {
        impl<$($generics)*> std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let mut shown = f.debug_struct($name);
                $(
                    let $it = self;
                    $(shown.field(stringify!($field), &$value);)+
                )?
                shown.finish_non_exhaustive()
            }
        }
    };
}

mod alarm;
mod around;
mod as_completed;
mod builder;
mod cancel_scope;
mod child;
mod clock;
pub mod combine;
mod coop;
mod core;
mod driver;
pub mod dump;
mod ended_outside;
mod entry;
pub mod error;
mod gather;
#[cfg(feature = "signal")]
mod graceful;
mod ignore_panics;
mod limit;
#[cfg(all(test, aionursery_loom))]
#[expect(unsafe_code, reason = "what loom checks")]
mod models;
mod node;
mod nursery;
#[cfg(feature = "tokio")]
mod open_nursery;
mod permit;
mod plain;
mod polling;
mod race;
mod scope;
#[cfg(feature = "tokio")]
mod spawned;
mod special;
mod start;
mod stuck;
mod supervise;
mod sync;
#[expect(
    unsafe_code,
    reason = "the memory of a child, the references to it, and the lists that it is in"
)]
mod task;
mod timer;
#[cfg(feature = "tokio-util")]
mod token;
mod trace;
mod wall;

pub use as_completed::{AsCompleted, as_completed};
pub use builder::{Builder, OnError};
pub use cancel_scope::CancelScope;
pub use cancel_scope::short::{cancelled, fail_after, fail_at, move_on_after, move_on_at, shield};
pub use child::{CancelHandle, Child, End};
pub use combine::yield_now;
pub use entry::{nursery, nursery_local};
pub use error::{Cancelled, ChildError, ErrorKind, MultiError, NurseryClosed};
pub use gather::gather;
pub use nursery::{LocalNursery, Nursery};
#[cfg(feature = "tokio")]
pub use open_nursery::OpenNursery;
pub use permit::Permit;
pub use race::race;
pub use start::TaskStatus;

/// The futures that the calls of this crate give, and those that they make children of.
///
/// ```
/// use aionursery::future::{Cancellation, MovingOn, Plain, Scoped, Shielding};
/// use aionursery::{CancelScope, Nursery, mode::Admits, move_on_after, nursery, shield};
/// use std::future::{Ready, ready};
///
/// fn tick<M: Admits<Plain<Ready<()>, String>>>(n: &Nursery<'_, String, M>) {
///     n.start_plain(ready(())); // what becomes the child is a `Plain`
/// }
/// # futures::executor::block_on(async {
/// let scoped: Scoped<Ready<u8>> = CancelScope::new().run(ready(7));
/// let shielding: Shielding<Ready<u8>> = shield(ready(7));
/// let moving_on: MovingOn<Ready<u8>> = move_on_after(std::time::Duration::MAX, ready(7));
/// assert_eq!((scoped.await, shielding.await, moving_on.await), (Ok(7), 7, Some(7)));
/// nursery(async |n| {
///     tick(&n);
///     let cancelled: Cancellation = n.cancelled();
///     n.cancel();
///     cancelled.await;
///     Ok(())
/// }).await.unwrap();
/// # });
/// ```
pub mod future {
    pub use crate::cancel_scope::Scoped;
    pub use crate::cancel_scope::short::{MovingOn, Shielding};
    pub use crate::driver::Block;
    pub use crate::plain::Plain;
    pub use crate::scope::Cancellation;
    pub use crate::start::Starting;
}

/// Which futures a nursery takes, in its type.
pub mod mode {
    pub use crate::nursery::{Admits, Local, Mode, Sendable};
}

/// How children run on tokio.
#[cfg(feature = "tokio")]
pub mod runtime {
    pub use crate::spawned::keep_idle_tasks;
}

/// What runs for long: it is opened again when it fails, and ends when the program is asked to stop.
pub mod service {
    #[cfg(feature = "signal")]
    pub use crate::graceful::graceful;
    pub use crate::supervise::{Restarts, supervise};
}

/// Whose time counts, and how much of it is left.
pub mod time {
    pub use crate::cancel_scope::short::{current_effective_deadline, current_time};
    pub use crate::clock::{Clock, Sleep};
}

/// The program of the package's own page runs as a test, too.
#[cfg(all(doctest, feature = "tokio"))]
#[doc = include_str!("../README.md")]
mod readme {}
