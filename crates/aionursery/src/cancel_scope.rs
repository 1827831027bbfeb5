//! Scopes without a nursery: a part of one future that can be cancelled, shielded or timed by
//! itself. What it catches, and what goes on to a scope above, is decided as for nurseries.

mod scoped;
pub(crate) mod short;

use std::future::Future;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nursery_core::Source;

pub use scoped::Scoped;

use crate::around::{Shared, Target};
use crate::clock::{Clock, UserClock};
use crate::error::{Cause, Reason};
use crate::polling;

/// A scope that can be cancelled from anywhere, before, while or after something runs in it.
///
/// ```
/// # futures::executor::block_on(async {
/// use aionursery::CancelScope;
/// let scope = CancelScope::new();
/// let other = scope.clone();
/// let end = scope.run(async move {
///     other.cancel_with("enough");
///     std::future::pending::<()>().await;
/// }).await;
/// assert_eq!(end.unwrap_err().cause().reason(), Some("enough"));
/// assert!(scope.is_cancelled());
/// assert_eq!(scope.cause().unwrap().to_string(), "by request: enough");
/// # });
/// ```
#[derive(Clone, Default)]
pub struct CancelScope(pub(crate) Arc<Shared>);

opaque!("CancelScope", [] CancelScope, |scope| { cancelled: scope.0.is_cancelled() });

impl CancelScope {
    /// A scope without deadline and shield.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A scope that keeps out cancellation from outside (R19).
    ///
    /// Nurseries and scopes around it, however far, drop what it stands in when it has ended, not
    /// before. A future that is dropped by others stops, shield or not: it cannot hold against a
    /// `select!` that loses (R20).
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use aionursery::{CancelScope, yield_now};
    /// let mut paid = false;
    /// let outer = CancelScope::new();
    /// let ended = outer.run(async {
    ///     outer.cancel();
    ///     let pays = CancelScope::shield().run(async { yield_now().await; paid = true });
    ///     pays.await.unwrap();
    ///     std::future::pending::<()>().await; // dropped here
    /// }).await;
    /// assert!(paid && ended.is_err());
    /// # });
    /// ```
    #[must_use]
    pub fn shield() -> Self {
        let scope = Self::default();
        scope.0.state().options.shield = true;
        scope
    }

    /// Cancelled by itself at `deadline` (R21): a moment of the standard library's, or tokio's. Gives
    /// back the same scope, as `clock` and `cleanup` do: what is set holds for all its handles.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use aionursery::{CancelScope, time::current_time};
    /// let late = CancelScope::new().deadline(current_time());
    /// assert!(late.run(std::future::pending::<()>()).await.is_err());
    /// # });
    /// ```
    #[must_use]
    pub fn deadline(self, deadline: impl Into<Instant>) -> Self {
        self.0.state().options.deadline = Some(deadline.into());
        self
    }

    /// What tells it the time, and everything below; without effect inside a nursery or a scope,
    /// where it is the one of the outermost. See [`Clock`].
    #[must_use]
    pub fn clock(self, clock: impl Clock) -> Self {
        let before = self.0.state().options.set_clock(UserClock::new(clock));
        // A clock is the program's code: it does not go under the lock (R29).
        drop(before);
        self
    }

    /// How long what runs in it may go on after the scope itself was cancelled (R18). What cancels it from outside has a
    /// budget of its own: to hold against that takes a nursery's [`cleanup`](crate::Builder::cleanup), or a shield.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use std::time::Duration;
    /// use aionursery::{CancelScope, cancelled};
    /// let scope = CancelScope::new().cleanup(Duration::from_secs(5));
    /// scope.cancel();
    /// let end = scope.run(async { cancelled().await; "clean" }).await;
    /// assert_eq!(end.unwrap(), "clean");
    /// # });
    /// ```
    #[must_use]
    pub fn cleanup(self, budget: Duration) -> Self {
        self.0.state().options.cleanup = Some(budget);
        self
    }

    /// Cancels what runs in it, or what will.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let scope = aionursery::CancelScope::new();
    /// scope.cancel();
    /// assert!(scope.run(std::future::pending::<()>()).await.is_err());
    /// # });
    /// ```
    pub fn cancel(&self) {
        self.cancel_as(None);
    }

    /// As [`cancel`](Self::cancel), and says why.
    pub fn cancel_with(&self, reason: impl Into<Reason>) {
        self.cancel_as(Some(reason.into()));
    }

    fn cancel_as(&self, reason: Option<Reason>) {
        self.0.cancel(Cause::new(Source::Explicit, reason));
    }

    /// Whether it is cancelled, by itself or from outside.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        if let Some(scope) = self.0.opened() {
            polling::hear(&scope);
        }
        self.0.is_cancelled()
    }

    /// Why it is cancelled, if it is: by itself, or from outside.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        self.0.cause()
    }

    /// Moves its deadline, while something runs in it or before; one that has passed acts at the
    /// next await (R21).
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use std::time::Duration;
    /// use aionursery::{CancelScope, time::current_time};
    /// let scope = CancelScope::new().deadline(current_time());
    /// let value = scope.run(async {
    ///     scope.set_deadline(current_time() + Duration::from_secs(60));
    ///     aionursery::yield_now().await;
    ///     7
    /// });
    /// assert_eq!(value.await.unwrap(), 7);
    /// # });
    /// ```
    pub fn set_deadline(&self, deadline: impl Into<Instant>) {
        self.0.set_deadline(deadline.into());
    }

    /// Runs a future in it.
    ///
    /// # Errors
    /// [`Cancelled`](crate::Cancelled) if the scope was cancelled before the future had ended. A
    /// cancellation from outside is not caught here: it takes the future that awaits this along.
    ///
    /// # Panics
    /// When it is first polled, if something else runs in this scope.
    #[track_caller]
    pub fn run<F: Future>(&self, future: F) -> Scoped<F> {
        Scoped::new(Target::Handles(self.0.clone(), Location::caller()), future)
    }
}
