//! The time: what tells it, what wakes when it has come, and the form in which the core wants it,
//! nanoseconds since a start. It must never say that a moment has come before it has.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::alarm::Alarm;
use crate::ignore_panics::discard;

/// Waits for a moment: what [`Clock::sleep_until`] gives.
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
    fn now(&self) -> Instant;

    /// A future that ends at `moment`, or later, but not earlier.
    fn sleep_until(&self, moment: Instant) -> Sleep;
}

/// A clock that a program has brought.
#[derive(Clone)]
pub(crate) struct UserClock(Arc<dyn Clock>);

impl UserClock {
    pub(crate) fn new(clock: impl Clock) -> Self {
        Self(Arc::new(clock))
    }

    pub(crate) fn now(&self) -> Instant {
        self.0.now()
    }
}

opaque!("UserClock", [] UserClock);

/// The clock of an outermost scope and all below it: the program's own, or that of the runtime which polls
/// what looks at it, or the system's where there is none. Its nanoseconds count from one moment for all,
/// so that a scope without a deadline need not look at the time when it opens.
///
/// They are whole numbers, which an `f64` adds exactly for the first hundred days of a process: the
/// sum of a moment and a budget is that moment. In seconds it was, at times, a nanosecond later, which
/// tokio's timers make a millisecond.
#[derive(Clone)]
pub(crate) struct ScopeClock(Option<UserClock>);

/// Whether this thread is in a runtime.
#[cfg(feature = "tokio")]
fn has_runtime() -> bool {
    tokio::runtime::Handle::try_current().is_ok()
}

fn epoch() -> Instant {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    *EPOCH.get_or_init(Instant::now)
}

impl ScopeClock {
    pub(crate) fn start(own: Option<UserClock>) -> Self {
        Self(own)
    }

    pub(crate) fn now(&self) -> f64 {
        self.nanoseconds(self.instant())
    }

    /// As [`now`](Self::now), for what must be done whatever a clock of the program's does. One that
    /// panics gives no time: by it, no moment ahead comes, and what was cancelled has no budget.
    pub(crate) fn reading(&self) -> f64 {
        match &self.0 {
            Some(_) => catch_unwind(AssertUnwindSafe(|| self.now())).unwrap_or_else(|payload| {
                discard(payload);
                f64::MIN
            }),
            None => self.now(),
        }
    }

    /// Whether this thread knows what time it is by it: a runtime may have stopped its clock, and
    /// outside of that it is unknown.
    pub(crate) fn is_known_here(&self) -> bool {
        #[cfg(feature = "tokio")]
        return self.0.is_some() || has_runtime();
        #[cfg(not(feature = "tokio"))]
        true
    }

    pub(crate) fn instant(&self) -> Instant {
        self.0.as_ref().map_or_else(here, UserClock::now)
    }

    /// For what is about to wait: where that is polled the time passes that counts for it.
    pub(crate) fn sleep_until(&self, moment: Instant) -> Sleep {
        match &self.0 {
            Some(clock) => clock.0.sleep_until(moment),
            #[cfg(feature = "tokio")]
            None if has_runtime() => Box::pin(tokio::time::sleep_until(moment.into())),
            None => Box::pin(Alarm::new(moment)),
        }
    }

    pub(crate) fn nanoseconds(&self, moment: Instant) -> f64 {
        match moment.checked_duration_since(epoch()) {
            Some(later) => nanoseconds(later),
            None => -nanoseconds(epoch().duration_since(moment)),
        }
    }

    /// The first moment that is not before it: for a timer, which must never act early. `None` for
    /// never.
    pub(crate) fn moment(&self, nanoseconds: f64) -> Option<Instant> {
        let distance = duration(nanoseconds.abs());
        if nanoseconds < 0.0 {
            let moment = distance.and_then(|earlier| epoch().checked_sub(earlier));
            // What lies before every moment has passed by now.
            moment.or_else(|| Some(self.instant()))
        } else {
            distance.and_then(|later| epoch().checked_add(later))
        }
    }
}

/// A time as the core wants it.
pub(crate) fn nanoseconds(time: Duration) -> f64 {
    time.as_secs() as f64 * 1e9 + f64::from(time.subsec_nanos())
}

/// A time as the core gives it; `None` for never, and for what is too long.
pub(crate) fn duration(nanoseconds: f64) -> Option<Duration> {
    if nanoseconds < u64::MAX as f64 {
        return Some(Duration::from_nanos(nanoseconds as u64));
    }
    Duration::try_from_secs_f64(nanoseconds / 1e9).ok()
}

/// The time outside of every scope.
pub(crate) fn here() -> Instant {
    // Outside of a runtime tokio's is the standard library's.
    #[cfg(feature = "tokio")]
    return tokio::time::Instant::now().into_std();
    #[cfg(not(feature = "tokio"))]
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r18_a_moment_and_a_budget_are_that_moment_and_not_a_nanosecond_later() {
        let time = ScopeClock(None);
        let mut began = epoch();
        for nanosecond in 0..10_000 {
            // Ten days of odd moments; a float in seconds goes wrong in the first hour.
            began += Duration::new(86, 399_999_989 + nanosecond);
            for budget in [Duration::from_millis(5), Duration::from_secs(5), Duration::new(0, 1)] {
                let end = time.nanoseconds(began) + nanoseconds(budget);
                assert_eq!(time.moment(end), Some(began + budget));
            }
        }
    }

    #[test]
    fn r21_what_is_infinitely_far_or_too_far_never_comes() {
        let time = ScopeClock(None);
        assert_eq!(time.moment(f64::INFINITY), None);
        assert_eq!(time.moment(nanoseconds(Duration::MAX)), None);
        assert!(time.moment(f64::MIN).is_some_and(|moment| moment <= Instant::now()));
    }
}
