//! Who cannot go on, and is polled again. What a cancellation from outside has ended, or awaits a
//! child that has nothing to give, stays pending and marks whoever polls it; that one's owner drops
//! it. But who was pinned elsewhere may be polled by somebody else afterwards, and in a `block_on`
//! amid a child nobody can drop it. It must never keep such a one waiting for ever.

use std::sync::Arc;
use std::task::{Context, Poll};

use crate::error::MultiError;
use crate::frame;
use crate::scope::{Cause, Scope};

/// How often somebody was polled after it had marked that it cannot go on. A word: so many marks had
/// been heeded on this thread when it was last polled; so often it was polled with none heeded in
/// between; so often it has asked to be polled again.
#[derive(Clone, Copy, Default)]
pub(crate) struct Stopped(u32);

/// `FuturesUnordered` and its like poll who wakes itself a few times before they let others have
/// their turn; a `block_on` goes on for ever.
const MOST: u8 = 16;

impl Stopped {
    /// Marks that whoever polls it cannot go on. Says no once it is known that nobody heeds that.
    #[cold]
    pub(crate) fn mark(&mut self, cx: &Context<'_>) -> bool {
        let [heeded @ .., mut polls, mut calls] = self.0.to_le_bytes();
        let now = frame::heeded().to_le_bytes();
        if heeded != now {
            polls = 0;
        }
        polls += 1;
        let goes_on = polls > MOST;
        if !goes_on {
            frame::stop();
            if calls < MOST {
                // Otherwise a `block_on` would sleep.
                calls += 1;
                cx.waker().wake_by_ref();
            }
        }
        self.0 = u32::from_le_bytes([now[0], now[1], polls.min(MOST), calls]);
        !goes_on
    }

    pub(crate) fn has_marked(self) -> bool {
        self.0 != 0
    }
}

/// What has ended because a scope above it was cancelled.
pub(crate) struct Gone {
    scope: Arc<Scope>,
    stopped: Stopped,
}

impl Gone {
    pub(crate) fn new(scope: Arc<Scope>) -> Box<Self> {
        Box::new(Self { scope, stopped: Stopped::default() })
    }

    /// As an error of a nursery's.
    pub(crate) fn poll_nursery<E>(&mut self, cx: &Context<'_>) -> Poll<MultiError<E>> {
        let name = self.scope.signal.about.name.clone();
        self.poll(cx).map(|cause| MultiError::settle(Vec::new(), Some(cause), name))
    }

    /// Why it has ended, for who is not ended with it.
    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<Cause> {
        if self.scope.is_at_home() && self.stopped.mark(cx) {
            return Poll::Pending;
        }
        Poll::Ready(self.scope.cause().expect(
            "what awaits a child that has nothing to give was awaited in a `block_on`, where it \
             cannot be dropped: use `Child::end`",
        ))
    }
}
