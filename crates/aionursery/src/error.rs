//! What a nursery gives back instead of a value: every error of its children and its body, in the
//! order in which they happened. It must never lose one, and never show one twice (R7, R8).

mod adopted;
mod cause;
mod child;
mod failure;
mod lost;
mod multi;
mod panics;

use std::error::Error;
use std::fmt::{self, Display};

pub use adopted::AdoptedError;
pub(crate) use cause::Reason;
pub use cause::{Cause, Source};
pub(crate) use child::Label;
pub use child::{ChildError, ErrorKind};
pub(crate) use failure::{Failure, Fault, Held, HeldStop};
pub(crate) use lost::report;
pub use lost::{LostError, on_lost_error};
pub use multi::MultiError;
pub use panics::{Panic, record_panic_locations};

pub use crate::start::NotStarted;

/// Body and children have ended: nothing can be started any more (R2).
///
/// ```
/// # futures::executor::block_on(async {
/// use aionursery::{NurseryClosed, nursery};
/// let mut kept = None;
/// nursery(async |n| {
///     kept = Some(n.clone());
///     Ok::<_, String>(())
/// }).await.unwrap();
/// let refused = kept.unwrap().try_start_soon(async { Ok(()) });
/// assert!(matches!(refused, Err(NurseryClosed)));
/// # });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NurseryClosed;

impl Display for NurseryClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the nursery is closed: its body and all its children have ended")
    }
}

impl Error for NurseryClosed {}

/// A scope was left because it was cancelled.
///
/// ```
/// # futures::executor::block_on(async {
/// use aionursery::{CancelScope, Cancelled};
/// let scope = CancelScope::new();
/// scope.cancel_with("enough");
/// let end: Result<(), Cancelled> = scope.run(std::future::pending()).await;
/// let cancelled = end.unwrap_err();
/// assert_eq!(cancelled.to_string(), "cancelled: by request: enough");
/// assert_eq!(cancelled.cause().reason(), Some("enough"));
/// # });
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cancelled(pub(crate) Cause);

impl Cancelled {
    /// Why.
    #[must_use]
    pub fn cause(&self) -> &Cause {
        &self.0
    }
}

impl Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cancelled: {}", self.0)
    }
}

impl Error for Cancelled {}

/// Of the kind [`TimedOut`](std::io::ErrorKind::TimedOut) if a deadline was the cause, as tokio's `Elapsed`; else
/// [`Other`](std::io::ErrorKind::Other).
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// async fn read() -> std::io::Result<()> {
///     aionursery::fail_after(std::time::Duration::from_millis(1), std::future::pending()).await?
/// }
/// assert_eq!(read().await.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
/// # });
/// ```
impl From<Cancelled> for std::io::Error {
    fn from(cancelled: Cancelled) -> Self {
        let kind = match cancelled.cause().source() {
            Source::Deadline => std::io::ErrorKind::TimedOut,
            _ => std::io::ErrorKind::Other,
        };
        Self::new(kind, cancelled)
    }
}
