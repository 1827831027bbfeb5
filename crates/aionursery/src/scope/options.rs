//! What a scope is opened with. It must never decide what comes of it.

use std::time::{Duration, Instant};

use nursery_core::{Cleanup, Settings};

use crate::clock::{self, ScopeClock, UserClock};

/// What a scope is opened with.
#[derive(Clone, Debug, Default)]
pub(crate) struct ScopeOptions {
    pub(crate) shield: bool,
    /// Without one, it has that of the scope above where something in it hears, and none elsewhere.
    pub(crate) cleanup: Option<Duration>,
    pub(crate) deadline: Option<Instant>,
    /// The same, from when it is opened.
    pub(crate) timeout: Option<Duration>,
    /// What a root runs on; what is below, on its root's.
    pub(crate) clock: Option<UserClock>,
}

impl ScopeOptions {
    /// Whether nothing was said.
    pub(crate) fn is_default(&self) -> bool {
        let Self { shield, cleanup, deadline, timeout, clock } = self;
        !shield && cleanup.is_none() && deadline.is_none() && timeout.is_none() && clock.is_none()
    }

    pub(super) fn settings(&self, clock: &ScopeClock, nursery: bool, is_below: bool) -> Settings {
        let budget = match nursery {
            // What is in a nursery has its budget, whatever is cancelled above (R27a).
            true => Cleanup::Guaranteed,
            false => Cleanup::Limited,
        };
        let cleanup = match self.cleanup {
            Some(time) => budget(clock::nanoseconds(time)),
            // Until something hears.
            None if is_below => Cleanup::Limited(0.0),
            None => Cleanup::Inherited,
        };
        let deadline = self.deadline.map_or(f64::INFINITY, |moment| clock.nanoseconds(moment));
        let timeout =
            self.timeout.map_or(f64::INFINITY, |time| clock.now() + clock::nanoseconds(time));
        Settings {
            deadline: deadline.min(timeout),
            shield: self.shield,
            cleanup,
            ..Settings::default()
        }
    }
}
