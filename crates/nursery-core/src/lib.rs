//! The rules of structured concurrency, without I/O, clock or runtime.
//!
//! A *nursery* is a block that owns children; a *scope* is the part of a program that one
//! cancellation reaches; scopes form a tree. This crate decides what both faces of aionursery
//! (asyncio and tokio) must agree on: when a nursery is open, joining and closed, which errors it
//! raises, whom a cancellation reaches, who takes it back. It never runs anything: events go in
//! (a child started, a child ended, a scope was cancelled, it is now `t`), decisions come out
//! (deliver a cancellation to these tasks, wake this joiner, raise these errors).
//!
//! * [`Lifecycle`]: one nursery's life and verdict. Knows no scopes.
//! * [`Tree`]: scopes, nurseries and their tasks; delivery, shields, deadlines, cleanup budgets.
//! * [`Requests`]: one task's own count of cancellations (`Task.cancel`, `uncancel`).
//! * [`Timers`]: the heap that holds deadlines and whatever else a face wants to be woken for.
//!
//! Times are seconds on the face's own clock, as `f64`; infinity means never.
#![forbid(unsafe_code)]

mod branch;
mod delivery;
mod lifecycle;
mod member;
mod requests;
mod scope;
mod slab;
mod timers;
mod tree;
mod view;

pub use lifecycle::{Closed, Ended, Identity, Lifecycle, Outcome, Phase, Verdict};
pub use member::MemberId;
pub use requests::Requests;
pub use scope::{Cause, ScopeId, Settings, Source};
pub use timers::{TimerId, Timers};
pub use tree::{Alarm, Close, Delivery, Exit, Face, Flight, NurseryId, Start, Tree};
pub use view::View;
