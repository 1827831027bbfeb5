//! A scope's alarm clock: lets its owner's future be woken when its deadline passes or its cleanup
//! budget is spent. It must never act early; what happens then is the tree's to decide.

use std::task::Context;

use crate::scope::Scope;
#[cfg(feature = "tokio")]
use {
    crate::scope::{HARD, TIMED},
    std::future::Future,
    std::pin::Pin,
    tokio::time::{Sleep, sleep_until},
};

pub(crate) struct Timer {
    #[cfg(feature = "tokio")]
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    pub(crate) fn new() -> Self {
        Self {
            #[cfg(feature = "tokio")]
            sleep: None,
        }
    }

    /// Says whether the moment has come and the tree has acted on it.
    #[cfg(feature = "tokio")]
    pub(crate) fn poll(&mut self, scope: &Scope, cx: &mut Context<'_>) -> bool {
        let flags = scope.signal.flags();
        if flags & TIMED == 0 || flags & HARD != 0 {
            return false;
        }
        let Some(moment) = scope.clock().moment(scope.next_moment()) else {
            self.sleep = None;
            return false;
        };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(moment)));
        if sleep.deadline() != moment {
            sleep.as_mut().reset(moment);
        }
        if sleep.as_mut().poll(cx).is_pending() {
            return false;
        }
        self.sleep = None;
        scope.advance();
        true
    }

    #[cfg(not(feature = "tokio"))]
    #[expect(clippy::unused_self, reason = "the same call with the feature and without")]
    pub(crate) fn poll(&mut self, _: &Scope, _: &mut Context<'_>) -> bool {
        false
    }
}
