//! What is often done with a scope, in one call.

use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;

use super::Scoped;
use crate::around::Target;
use crate::polling;
use crate::scope::Cancellation;

#[track_caller]
fn until<F: Future>(deadline: Option<Instant>, future: F) -> Scoped<F> {
    Scoped::new(Target::Until(deadline, Location::caller()), future)
}

/// Runs a future until it ends or the time is over, which counts from this call. A future that is
/// ready is not late, and code runs up to its first await even if no time is left (R21). With
/// `Duration::MAX` there is no limit. Below a cleanup budget, code in it that hears of cancellations has
/// [that](crate::Builder::cleanup).
///
/// A future that ends by itself after the time was over gives its own value: a nursery the errors that it had
/// collected, a shield its result. [`MultiError::cause`](crate::MultiError::cause) tells of the first, and
/// [`CancelScope::cause`](crate::CancelScope::cause), of a scope with this [deadline](crate::CancelScope::deadline), of
/// all.
///
/// # Errors
/// [`Cancelled`](crate::Cancelled) if the time was over first.
///
/// # Panics
/// When it has to wait, on a tokio runtime that was built without `enable_time`.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()
/// # .unwrap().block_on(async {
/// use std::time::Duration;
/// let late = aionursery::fail_after(Duration::from_secs(1), std::future::pending::<()>()).await;
/// assert_eq!(late.unwrap_err().to_string(), "cancelled: the deadline has passed");
/// let now = aionursery::time::current_time();
/// assert!(aionursery::fail_at(now, std::future::pending::<()>()).await.is_err());
/// # });
/// ```
#[track_caller]
pub fn fail_after<F: Future>(after: Duration, future: F) -> Scoped<F> {
    until(polling::now().checked_add(after), future)
}

/// As [`fail_after`], with a moment.
///
/// # Errors
/// As [`fail_after`].
#[track_caller]
pub fn fail_at<F: Future>(deadline: impl Into<Instant>, future: F) -> Scoped<F> {
    until(Some(deadline.into()), future)
}

/// As [`fail_after`], but when the time is over there is no value.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()
/// # .unwrap().block_on(async {
/// use std::time::Duration;
/// let second = Duration::from_secs(1);
/// assert_eq!(aionursery::move_on_after(second, async { 7 }).await, Some(7));
/// assert_eq!(aionursery::move_on_after(second, std::future::pending::<()>()).await, None);
/// let soon = aionursery::time::current_time() + second;
/// assert_eq!(aionursery::move_on_at(soon, async { 7 }).await, Some(7));
/// # });
/// ```
#[track_caller]
pub fn move_on_after<F: Future>(after: Duration, future: F) -> MovingOn<F> {
    MovingOn { scoped: fail_after(after, future) }
}

/// As [`move_on_after`], with a moment.
#[track_caller]
pub fn move_on_at<F: Future>(deadline: impl Into<Instant>, future: F) -> MovingOn<F> {
    MovingOn { scoped: fail_at(deadline, future) }
}

// An `async fn` in place of these two would have a type of its own in which the compiler cannot
// see that it is `Send`, where its future is a nursery's.
pin_project! {
    /// The future of [`move_on_after`] and [`move_on_at`].
    #[must_use = "futures do nothing unless polled"]
    pub struct MovingOn<F> {
        #[pin]
        scoped: Scoped<F>,
    }
}

opaque!("MovingOn", [F] MovingOn<F>);

impl<F: Future> Future for MovingOn<F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().scoped.poll(cx).map(Result::ok)
    }
}

pin_project! {
    /// The future of [`shield`].
    #[must_use = "futures do nothing unless polled"]
    pub struct Shielding<F> {
        #[pin]
        scoped: Scoped<F>,
    }
}

opaque!("Shielding", [F] Shielding<F>);

impl<F: Future> Future for Shielding<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.project().scoped.poll(cx).map(|ended| match ended {
            Ok(value) => value,
            Err(_) => unreachable!("there is one reference to this scope"),
        })
    }
}

/// Runs a future that cancellation from outside does not reach: it ends, then the cancellation
/// goes on, at the next await. See [`CancelScope::shield`](crate::CancelScope::shield) for what it cannot hold against.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()
/// # .unwrap().block_on(async {
/// use std::time::Duration;
/// use aionursery::{fail_after, shield};
/// let mut paid = false;
/// let ended = fail_after(Duration::from_secs(1), async {
///     shield(tokio::time::sleep(Duration::from_secs(2))).await;
///     paid = true;
///     std::future::pending::<()>().await; // dropped here
/// }).await;
/// assert!(paid && ended.is_err());
/// # });
/// ```
#[track_caller]
pub fn shield<F: Future>(future: F) -> Shielding<F> {
    Shielding { scoped: Scoped::new(Target::Shield(Location::caller()), future) }
}

/// The time where the running code stands, from which a deadline counts: on the clock of the scopes around it, which
/// may be a runtime's that is paused, or a [`Clock`](crate::time::Clock) of the program's; outside of scopes, on the
/// runtime's. The example of [`current_effective_deadline`] reads it.
#[must_use]
pub fn current_time() -> Instant {
    polling::now()
}

/// The earliest deadline that reaches the running code (R21): what is left of the
/// [time](current_time) until then is what it has. `None` for never; a moment that has passed if it is
/// already cancelled.
///
/// ```
/// # futures::executor::block_on(async {
/// use std::time::Duration;
/// use aionursery::{fail_after, shield, time::{current_effective_deadline, current_time}};
/// let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
/// fail_after(second, fail_after(minute, async {
///     let left = current_effective_deadline().unwrap() - current_time();
///     assert!(left <= second);
///     assert!(shield(async { current_effective_deadline() }).await.is_none());
/// })).await.unwrap().unwrap();
/// # });
/// ```
#[must_use]
pub fn current_effective_deadline() -> Option<Instant> {
    let scope = polling::current()?;
    scope.clock().moment(scope.effective_deadline())
}

/// Ends when the code that awaits it is cancelled, by whatever scope above it up to the nearest shield;
/// never outside of one. It belongs to the scope in which it is first polled, wherever it is polled later.
/// [`Nursery::cancelled`](crate::Nursery::cancelled) hears its nursery also inside a shield.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()
/// # .unwrap().block_on(async {
/// use std::time::Duration;
/// use aionursery::{Builder, cancelled};
/// let cleaned = Builder::new().cleanup(Duration::from_secs(5)).nursery(async |n| {
///     let child = n.start_soon(async { cancelled().await; Ok::<_, String>("clean") });
///     n.cancel();
///     Ok(child.value().await)
/// }).await;
/// assert_eq!(cleaned.unwrap(), "clean");
/// # });
/// ```
pub async fn cancelled() {
    match polling::current() {
        Some(scope) => Cancellation::new(scope).await,
        None => std::future::pending().await,
    }
}
