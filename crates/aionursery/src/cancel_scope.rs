//! Scopes without a nursery: a part of one future that can be cancelled, shielded or timed by
//! itself. What it catches, and what goes on to a scope above, is decided as for nurseries.

mod scoped;
mod short;

use std::future::Future;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nursery_core::{Settings, Source};

pub use scoped::Scoped;
pub use short::{cancelled, fail_after, fail_at, move_on_after, move_on_at, shield};

use crate::about::{self, About};
use crate::clock::{Clock, Own, Time};
use crate::frame;
use crate::ready::Share;
use crate::scope::{Cause, Reason, Scope, lock};
use crate::sync::Mutex;

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
/// # });
/// ```
#[derive(Clone, Default)]
pub struct CancelScope(Arc<Shared>);

#[derive(Default)]
struct Shared {
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    shield: bool,
    cleanup: Option<Duration>,
    deadline: Option<Instant>,
    clock: Option<Own>,
    cause: Option<Cause>,
    scope: Option<Arc<Scope>>,
}

impl CancelScope {
    /// A scope without deadline and shield.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let end = aionursery::CancelScope::new().run(async { 7 }).await;
    /// assert_eq!(end.unwrap(), 7);
    /// # });
    /// ```
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
    /// use aionursery::{CancelScope, nursery, yield_now};
    /// let saved = std::sync::atomic::AtomicBool::new(false);
    /// nursery(async |n| {
    ///     n.start_soon(async {
    ///         let save = CancelScope::shield().run(async {
    ///             yield_now().await;
    ///             saved.store(true, std::sync::atomic::Ordering::Relaxed);
    ///         });
    ///         save.await.map_err(|cancelled| cancelled.to_string())?;
    ///         std::future::pending::<Result<(), _>>().await // dropped here
    ///     });
    ///     yield_now().await;
    ///     n.cancel();
    ///     Ok::<_, String>(())
    /// }).await.unwrap();
    /// assert!(saved.into_inner());
    /// # });
    /// ```
    #[must_use]
    pub fn shield() -> Self {
        let scope = Self::default();
        lock(&scope.0.told).shield = true;
        scope
    }

    /// Cancelled by itself at `deadline` (R21): a moment of the standard library's, or tokio's.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use std::time::Instant;
    /// let late = aionursery::CancelScope::new().deadline(Instant::now());
    /// assert!(late.run(std::future::pending::<()>()).await.is_err());
    /// # });
    /// ```
    #[must_use]
    pub fn deadline(self, deadline: impl Into<Instant>) -> Self {
        lock(&self.0.told).deadline = Some(deadline.into());
        self
    }

    /// Who tells it the time, and everything below; without effect inside a nursery or a scope,
    /// where it is the one of the outermost. See [`Clock`].
    ///
    /// ```
    /// # struct Virtual;
    /// # impl aionursery::Clock for Virtual {
    /// #     fn now(&self) -> std::time::Instant { std::time::Instant::now() }
    /// #     fn sleep_until(&self, _: std::time::Instant) -> aionursery::Sleep {
    /// #         Box::pin(std::future::pending())
    /// #     }
    /// # }
    /// let scope = aionursery::CancelScope::new().clock(Virtual);
    /// # drop(scope);
    /// ```
    #[must_use]
    pub fn clock(self, clock: impl Clock) -> Self {
        lock(&self.0.told).clock = Some(Own::new(clock));
        self
    }

    /// How long what runs in it may go on after a cancellation (R18).
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
        lock(&self.0.told).cleanup = Some(budget);
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
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let scope = aionursery::CancelScope::new();
    /// scope.cancel_with("enough");
    /// let cancelled = scope.run(std::future::pending::<()>()).await.unwrap_err();
    /// assert_eq!(cancelled.to_string(), "cancelled: by request: enough");
    /// # });
    /// ```
    pub fn cancel_with(&self, reason: impl Into<Reason>) {
        self.cancel_as(Some(reason.into()));
    }

    fn cancel_as(&self, reason: Option<Reason>) {
        let scope = {
            let told = &mut *lock(&self.0.told);
            told.cause.get_or_insert_with(|| Cause::new(Source::Explicit, reason.clone()));
            told.scope.clone()
        };
        if let Some(scope) = scope {
            scope.cancel(Source::Explicit, reason);
        }
    }

    /// Whether it is cancelled, by itself or from outside.
    ///
    /// ```
    /// let scope = aionursery::CancelScope::new();
    /// assert!(!scope.is_cancelled());
    /// scope.cancel();
    /// assert!(scope.is_cancelled());
    /// ```
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        let told = lock(&self.0.told);
        told.cause.is_some() || told.scope.as_ref().is_some_and(|scope| scope.is_soft())
    }

    /// Runs a future in it.
    ///
    /// # Errors
    /// [`Cancelled`](crate::Cancelled) if the scope was cancelled before the future had ended. A
    /// cancellation from outside is not caught here: it takes whoever awaits this along.
    ///
    /// # Panics
    /// When it is first polled, if something else runs in this scope.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use aionursery::{CancelScope, Scoped};
    /// let scope = CancelScope::new();
    /// let stop = scope.clone();
    /// let end = scope.run(async move {
    ///     stop.cancel();
    ///     std::future::pending::<()>().await
    /// }).await;
    /// assert!(end.is_err());
    /// # });
    /// ```
    #[track_caller]
    pub fn run<F: Future>(&self, future: F) -> Scoped<F> {
        Scoped::new(self.0.clone(), future, Location::caller())
    }
}

impl Told {
    fn settings(&self, clock: &Time) -> Settings {
        Settings {
            deadline: self.deadline.map_or(f64::INFINITY, |moment| clock.seconds(moment)),
            shield: self.shield,
            cleanup: self.cleanup.map(|budget| budget.as_secs_f64()),
        }
    }
}

impl Shared {
    fn enter(&self, place: &'static Location<'static>) -> (Arc<Scope>, Share) {
        let about = About::new(about::Kind::Scope, None, Some(place));
        let ready = Share::new();
        let parent = frame::current();
        let told = &mut *lock(&self.told);
        assert!(told.scope.is_none(), "only one thing at a time runs in a scope");
        let scope = Scope::open(
            parent,
            told.clock.clone(),
            |clock| told.settings(clock),
            ready.clone(),
            about,
        );
        if let Some(Cause(cause)) = &told.cause {
            scope.cancel(cause.source, cause.reason.clone());
        }
        told.scope = Some(scope.clone());
        (scope, ready)
    }

    fn shields(&self) -> bool {
        lock(&self.told).shield
    }
}
