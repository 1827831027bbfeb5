//! A scope's alarm clock: lets its owner's future be woken when its deadline passes or its cleanup
//! budget is spent. It must never act early; what happens then is the tree's to decide.

use std::task::Context;
use std::time::Instant;

use crate::clock::Sleep;
use crate::coop::poll_freely;
use crate::ignore_panics::ignore_panics;
use crate::scope::{HARD, LATE, Scope, TIMED};

pub(crate) struct Timer {
    sleep: Option<(Instant, Sleep)>,
}

impl Timer {
    pub(crate) fn new() -> Self {
        Self { sleep: None }
    }

    /// Returns whether the moment has come and the tree has acted on it.
    pub(crate) fn poll(&mut self, scope: &Scope, cx: &mut Context<'_>) -> bool {
        let flags = scope.signal.flags();
        if flags & TIMED == 0 || flags & HARD != 0 {
            return false;
        }
        if flags & LATE != 0 {
            scope.be_late();
            return true;
        }
        let Some(moment) = scope.clock().moment(scope.next_moment()) else {
            self.sleep = None;
            return false;
        };
        let (_, sleep) = match &mut self.sleep {
            Some(sleep) if sleep.0 == moment => sleep,
            sleep => sleep.insert((moment, scope.clock().sleep_until(moment))),
        };
        if poll_freely(sleep.as_mut(), cx).is_pending() {
            return false;
        }
        self.sleep = None;
        scope.advance();
        if scope.signal.flags() == flags {
            // The clock has woken too early, or its moment was moved: it is asked again, but others
            // have their turn first.
            cx.waker().wake_by_ref();
            return false;
        }
        true
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(sleep) = self.sleep.take() {
            ignore_panics(|| drop(sleep));
        }
    }
}
