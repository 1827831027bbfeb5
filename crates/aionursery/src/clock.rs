//! The time: what tells it, what wakes when it has come, and the form in which the core wants it,
//! seconds since a start. It must never say that a moment has come before it has.

use std::fmt::{self, Debug};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::alarm::Alarm;
use crate::quiet::discard;

/// Waits for a moment: what [`Clock::sleep_until`] gives.
///
/// ```
/// use aionursery::time::Sleep;
/// let never: Sleep = Box::pin(std::future::pending());
/// # drop(never);
/// ```
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A clock for deadlines and cleanup budgets, for [`Builder::clock`](crate::Builder::clock) and
/// [`CancelScope::clock`](crate::CancelScope::clock).
///
/// A clock is optional. On tokio the time is the runtime's, paused or not, which must have been built with
/// `enable_time`: deadlines and budgets panic otherwise. Elsewhere a thread of this crate's own,
/// started with the first deadline, wakes what waits. A clock of one's own makes the executor's
/// timers do it, or a test's virtual time.
///
/// ```
/// use std::time::{Duration, Instant};
/// use aionursery::{CancelScope, time::{Clock, Sleep}};
///
/// /// smol's timers, in place of the thread.
/// struct Smol;
///
/// impl Clock for Smol {
///     fn now(&self) -> Instant {
///         Instant::now()
///     }
///     fn sleep_until(&self, moment: Instant) -> Sleep {
///         Box::pin(async move { smol::Timer::at(moment).await; })
///     }
/// }
///
/// smol::block_on(async {
///     let soon = Smol.now() + Duration::from_millis(5);
///     let scope = CancelScope::new().clock(Smol).deadline(soon);
///     assert!(scope.run(std::future::pending::<()>()).await.is_err());
/// });
/// ```
pub trait Clock: Send + Sync + 'static {
    /// The time.
    ///
    /// ```
    /// # use aionursery::time::Clock;
    /// fn later(clock: &impl Clock) -> std::time::Instant {
    ///     clock.now() + std::time::Duration::from_secs(1)
    /// }
    /// ```
    fn now(&self) -> Instant;

    /// A future that ends at `moment`, or later, but not earlier.
    ///
    /// ```
    /// # use aionursery::time::Clock;
    /// async fn a_second(clock: &impl Clock) {
    ///     clock.sleep_until(clock.now() + std::time::Duration::from_secs(1)).await;
    /// }
    /// ```
    fn sleep_until(&self, moment: Instant) -> Sleep;
}

/// A clock that a program has brought.
#[derive(Clone)]
pub(crate) struct Own(Arc<dyn Clock>);

impl Own {
    pub(crate) fn new(clock: impl Clock) -> Self {
        Self(Arc::new(clock))
    }

    pub(crate) fn now(&self) -> Instant {
        self.0.now()
    }
}

impl Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Own(..)")
    }
}

#[derive(Clone)]
enum Source {
    #[cfg(feature = "tokio")]
    Tokio,
    Thread,
    Own(Own),
}

impl Source {
    fn here() -> Self {
        #[cfg(feature = "tokio")]
        if tokio::runtime::Handle::try_current().is_ok() {
            return Self::Tokio;
        }
        Self::Thread
    }

    fn now(&self) -> Instant {
        match self {
            #[cfg(feature = "tokio")]
            Self::Tokio => tokio::time::Instant::now().into_std(),
            Self::Thread => Instant::now(),
            Self::Own(clock) => clock.now(),
        }
    }
}

/// The clock of an outermost scope and all below it. Its seconds count from one moment for all, so
/// that a scope without a deadline need not look at the time when it opens.
#[derive(Clone)]
pub(crate) struct Time(Source);

fn epoch() -> Instant {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    *EPOCH.get_or_init(Instant::now)
}

impl Time {
    pub(crate) fn start(own: Option<Own>) -> Self {
        Self(own.map_or_else(Source::here, Source::Own))
    }

    pub(crate) fn now(&self) -> f64 {
        self.seconds(self.instant())
    }

    /// As [`now`](Self::now), for what must be done whatever a clock of the program's does. One that
    /// panics gives no time: by it, no moment ahead comes, and what was cancelled has no budget.
    pub(crate) fn reading(&self) -> f64 {
        match &self.0 {
            Source::Own(_) => {
                catch_unwind(AssertUnwindSafe(|| self.now())).unwrap_or_else(|payload| {
                    discard(payload);
                    f64::MIN
                })
            }
            _ => self.now(),
        }
    }

    /// Whether this thread knows what time it is by it: a runtime may have stopped its clock, and
    /// outside of that it is unknown.
    pub(crate) fn is_known_here(&self) -> bool {
        match &self.0 {
            #[cfg(feature = "tokio")]
            Source::Tokio => tokio::runtime::Handle::try_current().is_ok(),
            _ => true,
        }
    }

    pub(crate) fn instant(&self) -> Instant {
        self.0.now()
    }

    pub(crate) fn sleep_until(&self, moment: Instant) -> Sleep {
        match &self.0 {
            #[cfg(feature = "tokio")]
            Source::Tokio => Box::pin(tokio::time::sleep_until(moment.into())),
            Source::Thread => Box::pin(Alarm::new(moment)),
            Source::Own(clock) => clock.0.sleep_until(moment),
        }
    }

    pub(crate) fn seconds(&self, moment: Instant) -> f64 {
        match moment.checked_duration_since(epoch()) {
            Some(later) => later.as_secs_f64(),
            None => -epoch().duration_since(moment).as_secs_f64(),
        }
    }

    /// The first moment that is not before it: for a timer, which must never act early. `None` for
    /// never.
    pub(crate) fn moment_not_before(&self, seconds: f64) -> Option<Instant> {
        let moment = self.moment(seconds)?;
        if self.seconds(moment) >= seconds {
            return Some(moment);
        }
        moment.checked_add(Duration::from_nanos(1))
    }

    /// To the nanosecond; `None` for never.
    pub(crate) fn moment(&self, seconds: f64) -> Option<Instant> {
        let distance = Duration::try_from_secs_f64(seconds.abs()).ok();
        if seconds < 0.0 {
            let moment = distance.and_then(|earlier| epoch().checked_sub(earlier));
            // What lies before every moment has passed by now.
            moment.or_else(|| Some(self.instant()))
        } else {
            distance.and_then(|later| epoch().checked_add(later))
        }
    }
}

/// The time outside of every scope.
pub(crate) fn here() -> Instant {
    Source::here().now()
}
