//! Futures that cannot go on, and are polled again: a cancellation from outside has ended them, or they
//! await the value of a child that has none. They stay pending and mark the future that polls them, whose
//! owner drops it. But one that was pinned elsewhere may be polled by other code afterwards, and in a
//! `block_on` amid a child nothing can drop it. It must never keep such a future waiting for ever.

use std::sync::Arc;
use std::task::{Context, Poll};

use crate::error::{Cause, MultiError};
use crate::polling;
use crate::scope::Scope;

/// A future that marks, each time it is polled, that it cannot go on.
#[derive(Clone, Copy, Default)]
pub(crate) struct ParkedFuture {
    /// In which poll of its caller it was last polled, and how often in that.
    since: u16,
    polls: u16,
    /// How often it has asked for another poll.
    calls: u8,
}

/// Queues of futures and executors that run in a child poll a future that wakes itself some hundred times, one in
/// the other a few thousand times, before others have their turn; a `block_on` goes on for ever.
const MOST: u16 = 4000;
/// A future that is polled again and again while a shield stands beside it stops asking for that.
const FEW: u8 = 15;

impl ParkedFuture {
    /// Marks that the future that polls it cannot go on. Returns `false` once that is known to be ignored.
    #[cold]
    pub(crate) fn mark(&mut self, cx: &Context<'_>) -> bool {
        let since = polling::park();
        if self.since != since {
            (self.since, self.polls) = (since, 0);
        }
        if self.polls == MOST {
            return false;
        }
        let asks = self.polls > 0 || self.calls < FEW;
        self.calls += u8::from(self.polls == 0 && asks);
        self.polls += 1;
        if asks {
            // Otherwise a `block_on` would sleep.
            cx.waker().wake_by_ref();
        }
        true
    }
}

/// What has ended because a scope above it was cancelled.
pub(crate) struct EndedOutside {
    scope: Arc<Scope>,
    stopped: ParkedFuture,
}

impl EndedOutside {
    pub(crate) fn new(scope: Arc<Scope>) -> Box<Self> {
        Box::new(Self { scope, stopped: ParkedFuture::default() })
    }

    /// As an error of a nursery's.
    pub(crate) fn poll_nursery<E>(&mut self, cx: &Context<'_>) -> Poll<MultiError<E>> {
        let name = self.scope.signal.info.name.clone();
        self.poll(cx).map(|cause| MultiError::collect(Vec::new(), Some(cause), name))
    }

    /// Why it has ended, for what is not ended with it.
    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<Cause> {
        let cause = self.scope.cause();
        if (cause.is_none() || self.scope.is_left_here()) && self.stopped.mark(cx) {
            return Poll::Pending;
        }
        Poll::Ready(cause.expect(
            "what awaits the value of a child that has none was awaited in a `block_on`, where it \
             cannot be dropped: await the child itself for its end",
        ))
    }
}
