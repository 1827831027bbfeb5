//! The rules of a nursery, said before it is opened. It must decide nothing: the core does.

use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock::{Clock, UserClock};
use crate::dump::Dump;
use crate::scope::ScopeOptions;
use crate::scope::info::OpenedAt;
use crate::stuck;

/// What an error of a child or of the body does to the other children (R6).
///
/// ```
/// # futures::executor::block_on(async {
/// use aionursery::{Builder, OnError, yield_now};
/// let error = Builder::new().on_error(OnError::Collect).nursery(async |n| {
///     n.start_soon(async { Err::<(), _>("one") });
///     n.start_soon(async { yield_now().await; Err::<(), _>("two") });
///     Ok(())
/// }).await.unwrap_err();
/// assert_eq!(error.len(), 2);
/// # });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnError {
    /// It cancels them.
    #[default]
    Cancel,
    /// It leaves them alone; the block gives all errors at its end. A body that fails, and whose children end only
    /// with it, calls [`cancel`](crate::Nursery::cancel).
    ///
    /// A body that awaits a value which a failed child does not have can only end, and cancels the nursery: by
    /// [`value`](crate::Child::value), [`next_value`](crate::AsCompleted::next_value) or
    /// [`gather_in`](crate::combine::Gather::gather_in). The child itself or its [`end`](crate::Child::end) is
    /// what to await there. A child that awaits such a value ends alone.
    Collect,
}

/// A nursery with rules of its own.
///
/// ```
/// # futures::executor::block_on(async {
/// use aionursery::{Builder, OnError};
/// let error = Builder::new().on_error(OnError::Collect).limit(2).nursery(async |n| {
///     for number in 0..5 {
///         n.start_soon(async move { if number % 2 == 0 { Err(number) } else { Ok(()) } });
///     }
///     Ok(())
/// }).await.unwrap_err();
/// assert_eq!(error.errors().collect::<Vec<_>>(), [&0, &2, &4]);
/// # });
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until it makes a nursery"]
pub struct Builder {
    pub(crate) on_error: OnError,
    pub(crate) limit: Option<usize>,
    pub(crate) scope: ScopeOptions,
    pub(crate) name: Option<Arc<str>>,
    pub(crate) place: OpenedAt,
    pub(crate) stuck: Option<stuck::Rule>,
}

impl Builder {
    /// The rules of [`nursery`](crate::nursery()).
    pub fn new() -> Self {
        Self::default()
    }

    /// What an error does to the other children: see [`OnError`].
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.on_error = on_error;
        self
    }

    /// At most this many children run at once (at least one); the others wait for their first step. In-task
    /// children get their places in the order of starting, spawned ones in that in which the workers take them up
    /// (R4). One that waits for another child keeps its place. Functions of `spawn_blocking` are not counted:
    /// tokio has a limit of its own for them. A child that waits for its place when the nursery is cancelled ends at
    /// once and never runs, whatever the budget (R17), unless it is shielded; one that has a place by
    /// [`reserve`](crate::Nursery::reserve) does.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use aionursery::{Builder, yield_now};
    /// Builder::new().limit(1).nursery(async |n| {
    ///     let first = n.start_soon(async { yield_now().await; Ok::<_, String>(()) });
    ///     let second = n.start_soon(async move {
    ///         assert!(first.is_finished());
    ///         Ok(())
    ///     });
    ///     Ok(second.value().await)
    /// }).await.unwrap();
    /// # });
    /// ```
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Cancellation from outside does not come in (R19): the future that awaits it is not dropped by a
    /// nursery or a scope before it has ended.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use aionursery::{Builder, CancelScope, yield_now};
    /// let scope = CancelScope::new();
    /// let saved = scope.run(Builder::new().shield(true).nursery(async |_| {
    ///     scope.cancel();
    ///     yield_now().await;
    ///     Ok::<_, String>("saved")
    /// })).await;
    /// assert_eq!(saved.unwrap().unwrap(), "saved");
    /// # });
    /// ```
    pub fn shield(mut self, shield: bool) -> Self {
        self.scope.shield = shield;
        self
    }

    /// How long a cancelled child may go on to clean up, before it is dropped (R18, R27). What stands below
    /// has this budget, too, when this nursery is cancelled. A nursery or scope below without a budget of its own
    /// has it also for a cancellation of its own, as a failure in it or a `fail_after`, but only if something in it
    /// hears of that: by `cancelled`, `is_cancelled` or a token. Where nothing hears, what is cancelled is dropped
    /// at once, so a timeout ends in time. What has heard once counts until that nursery or scope has ended: a loop
    /// that makes a new `cancelled()` in each of its rounds hears between two of them, too.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use std::time::Duration;
    /// let cleaned = aionursery::Builder::new().cleanup(Duration::from_secs(5)).nursery(async |n| {
    ///     let hears = n.clone();
    ///     let child = n.start_soon(async move { hears.cancelled().await; Ok::<_, String>("clean") });
    ///     n.cancel();
    ///     Ok(child.value().await)
    /// }).await;
    /// assert_eq!(cleaned.unwrap(), "clean");
    /// # });
    /// ```
    pub fn cleanup(mut self, budget: Duration) -> Self {
        self.scope.cleanup = Some(budget);
        self
    }

    /// When the nursery is cancelled by itself (R21): a moment of the standard library's, or
    /// tokio's. As after [`Nursery::cancel`](crate::Nursery::cancel), what the body had returned before is still the
    /// block's value, and a handle that was kept tells by its [`cause`](crate::Nursery::cause); a
    /// [`fail_after`](crate::fail_after) around it makes a child that was cut off an error.
    ///
    /// # Panics
    /// When it is polled, on a tokio runtime that was built without `enable_time`.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use std::time::Duration;
    /// use aionursery::{Builder, time::current_time};
    /// let soon = current_time() + Duration::from_millis(5);
    /// let error = Builder::new().deadline(soon).nursery(async |n| {
    ///     Ok(n.start_soon(std::future::pending::<Result<(), String>>()).value().await)
    /// }).await.unwrap_err();
    /// assert_eq!(error.to_string(), "nursery cancelled: the deadline has passed");
    /// # });
    /// ```
    pub fn deadline(mut self, deadline: impl Into<Instant>) -> Self {
        self.scope.deadline = Some(deadline.into());
        self
    }

    /// As [`deadline`](Self::deadline), so long after the nursery begins: with the first poll of its future, or with
    /// `open`. Of both the earlier counts.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use std::time::Duration;
    /// let hasty = aionursery::Builder::new().timeout(Duration::from_millis(5));
    /// let error = hasty.nursery(async |n| {
    ///     Ok(n.start_soon(std::future::pending::<Result<(), String>>()).value().await)
    /// }).await.unwrap_err();
    /// assert_eq!(error.to_string(), "nursery cancelled: the deadline has passed");
    /// # });
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.scope.set_timeout(timeout);
        self
    }

    /// What tells the nursery the time, and everything below it; without effect inside a nursery
    /// or a scope, where it is the one of the outermost. See [`Clock`].
    pub fn clock(mut self, clock: impl Clock) -> Self {
        drop(self.scope.set_clock(UserClock::new(clock)));
        self
    }

    /// The nursery's name, in its errors, in traces and in dumps: a [`Node`](crate::dump::Node) shows it.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Tells `hook` if the nursery has been cancelled, by whatever means, and has not ended `after`
    /// that: once, with the tree as it is then. It names the children that are still there and have
    /// a name (or all, with [`record_children`](crate::dump::record_children)), with where each was
    /// started, and says since when and why. There is no warning unless this is asked for; a nursery that
    /// is not cancelled pays nothing.
    ///
    /// `hook` runs in the nursery's own turn, so it should be short; its panic is ignored.
    ///
    /// ```
    /// # #[cfg(feature = "tokio")]
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()
    /// #     .unwrap().block_on(async {
    /// use std::time::Duration;
    /// let warned = std::sync::Arc::new(std::sync::OnceLock::new());
    /// let tell = warned.clone();
    /// let builder = aionursery::Builder::new()
    ///     .warn_stuck(Duration::from_secs(10), move |tree| tell.set(tree.to_string()).unwrap());
    /// builder.nursery(async |n| {
    ///     n.named("flush").shielded().start_soon(async {
    ///         tokio::time::sleep(Duration::from_secs(60)).await;
    ///         Ok::<_, String>(())
    ///     });
    ///     n.cancel_with("shutdown");
    ///     Ok(())
    /// }).await.unwrap();
    /// let text = warned.get().unwrap();
    /// assert!(text.contains("cancelled 10.0 s ago (by request: shutdown)"));
    /// assert!(text.contains("child 1 \"flush\""));
    /// # });
    /// ```
    pub fn warn_stuck(
        mut self,
        after: Duration,
        hook: impl Fn(&Dump) + Send + Sync + 'static,
    ) -> Self {
        self.stuck = Some(stuck::Rule { after, hook: Arc::new(hook) });
        self
    }

    /// Whether nothing was said but where it is, and what errors do.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        let Self { on_error: _, limit, scope, name, place: _, stuck } = self;
        limit.is_none() && scope.is_default() && name.is_none() && stuck.is_none()
    }

    #[inline]
    pub(crate) fn at(mut self, place: &'static Location<'static>) -> Self {
        self.place = Some(place);
        self
    }
}
