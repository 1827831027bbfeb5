//! The rules of structured concurrency, without I/O, clock or runtime.
//!
//! A *nursery* is a block that owns children; a *scope* is the part of a program that one
//! cancellation reaches; scopes form a tree. This crate decides what both faces of aionursery
//! (asyncio and tokio) must agree on: when a nursery is open, joining and closed, which errors it
//! raises, what a cancellation reaches, where it is taken back. It never runs anything: events go in
//! (a child started, a child ended, a scope was cancelled, it is now `t`), decisions come out
//! (deliver a cancellation to these tasks, wake this joiner, raise these errors).
//!
//! * [`Lifecycle`]: one nursery's life and verdict. Knows no scopes.
//! * [`Tree`]: scopes, nurseries and their tasks; delivery, shields, deadlines, cleanup budgets.
//! * [`Inbox`]: one task's cancellation: what was asked of it and what its next step throws; with its
//!   count of cancellations, [`Requests`] (`Task.cancel`, `uncancel`).
//! * [`Timers`]: the heap that holds deadlines and whatever else a face wants to be woken for.
//!
//! Times are on the face's own clock and in its unit, as `f64`; infinity means never. One face counts
//! seconds, the other nanoseconds.
//!
//! ```
//! use nursery_core::{Effects, Face, Identity, Outcome, Settings, Tree, Verdict};
//! use std::num::NonZeroUsize;
//!
//! #[derive(Debug, PartialEq)]
//! struct Trouble(&'static str);
//!
//! impl Identity for Trouble {
//!     fn identity(&self) -> Option<NonZeroUsize> {
//!         None
//!     }
//! }
//!
//! /// A face whose tasks are names.
//! struct Names;
//!
//! impl Face for Names {
//!     type Key = &'static str;
//!     type Error = Trouble;
//!     type Reason = &'static str;
//!     type Wake = ();
//!     type Watch = ();
//! }
//!
//! let mut tree = Tree::<Names>::new();
//! let mut out = Effects::default();
//! let host = tree.enroll("host", false);
//! let nursery = tree.open(host, Settings::default(), false, 0, 0.0, &mut out);
//! let a = tree.start(nursery, "a", false).unwrap();
//! let b = tree.start(nursery, "b", false).unwrap();
//!
//! // One child fails: the body and the other child are to be told, in the same moment.
//! let no_beans = Outcome::Failed(Trouble("no beans"));
//! tree.ended(a.member, no_beans, 1.0, Some("a failed"), &mut out);
//! let told: Vec<_> = out.deliveries.iter().filter(|delivery| delivery.throw).collect();
//! assert_eq!(told.iter().map(|delivery| delivery.key).collect::<Vec<_>>(), ["host", "b"]);
//! told.iter().for_each(|delivery| tree.thrown(delivery.member));
//!
//! // Both end by that. The last one closes the nursery; what it raises is the child's error, and
//! // the cancellation that it has caused in its host is taken back.
//! tree.body_ended(nursery, Outcome::Cancelled, 2.0, None, &mut Effects::default());
//! let closed = tree.ended(b.member, Outcome::Cancelled, 3.0, None, &mut Effects::default());
//! assert_eq!(closed, Some(nursery));
//! let asked = tree.charges(host);
//! let close = tree.close(nursery, asked, false, 3.0, &mut Effects::default());
//! assert_eq!(close.verdict, Verdict::Errors(vec![Trouble("no beans")]));
//! assert_eq!(close.exit.take_back, 1);
//! ```
#![forbid(unsafe_code)]
#![warn(unreachable_pub)]

mod branch;
mod budget;
mod delivery;
mod inbox;
mod lifecycle;
mod member;
mod outcome;
mod requests;
mod scope;
mod slab;
mod throw;
mod timers;
mod tree;
mod view;

pub use inbox::{Ask, At, Inbox, Waited};
pub use lifecycle::{Closed, Ended, Lifecycle, Phase};
pub use member::MemberId;
pub use outcome::{ErrorKind, Identity, Outcome, Role, Verdict};
pub use requests::Requests;
pub use scope::{Cause, Cleanup, ScopeId, Settings, Source};
pub use throw::{AtWait, Thrown};
pub use timers::{TimerId, Timers};
pub use tree::{
    Alarm, Close, Delivery, Effects, Event, Exit, Face, Flight, NurseryId, Start, Stays, Tree,
};
pub use view::{Moment, View};
