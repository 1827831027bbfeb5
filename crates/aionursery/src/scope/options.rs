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
    /// Boxed: every nursery moves this about.
    pub(crate) rare: Option<Box<Rare>>,
}

/// What few ask for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rare {
    /// As a deadline, from when the scope is opened.
    timeout: Option<Duration>,
    /// What a root runs on; what is below, on its root's.
    clock: Option<UserClock>,
}

impl ScopeOptions {
    /// Whether nothing was said.
    pub(crate) fn is_default(&self) -> bool {
        let Self { shield, cleanup, deadline, rare } = self;
        !shield && cleanup.is_none() && deadline.is_none() && rare.is_none()
    }

    pub(crate) fn clock(&self) -> Option<UserClock> {
        self.rare.as_ref().and_then(|rare| rare.clock.clone())
    }

    /// Returns what was there.
    pub(crate) fn set_clock(&mut self, clock: UserClock) -> Option<UserClock> {
        self.rare.get_or_insert_default().clock.replace(clock)
    }

    pub(crate) fn set_timeout(&mut self, timeout: Duration) {
        self.rare.get_or_insert_default().timeout = Some(timeout);
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
        let timeout = self.rare.as_ref().and_then(|rare| rare.timeout);
        let timeout = timeout.map_or(f64::INFINITY, |time| clock.now() + clock::nanoseconds(time));
        Settings {
            deadline: deadline.min(timeout),
            shield: self.shield,
            cleanup,
            ..Settings::default()
        }
    }
}
