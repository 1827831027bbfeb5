//! The time, as the core wants it: seconds since a start. Under tokio it is the runtime's, so that
//! a paused clock is obeyed.

use std::time::Duration;

#[cfg(not(feature = "tokio"))]
pub use std::time::Instant;
#[cfg(feature = "tokio")]
pub use tokio::time::Instant;

pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(&self) -> f64 {
        self.seconds(Instant::now())
    }

    pub(crate) fn seconds(&self, moment: Instant) -> f64 {
        match moment.checked_duration_since(self.0) {
            Some(later) => later.as_secs_f64(),
            None => -self.0.duration_since(moment).as_secs_f64(),
        }
    }

    /// Rounded up, so that a timer set for it never acts early; `None` for never.
    pub(crate) fn moment(&self, seconds: f64) -> Option<Instant> {
        let duration = Duration::try_from_secs_f64(seconds.max(0.0)).ok()?;
        self.0.checked_add(duration + Duration::from_nanos(1))
    }
}
