//! Waiting for a scope to be cancelled.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::{SOFT, Scope};
use crate::ignore_panics::ignore_panics;

/// The future of [`Nursery::cancelled`](crate::Nursery::cancelled).
#[must_use = "futures do nothing unless polled"]
pub struct Cancellation {
    scope: Arc<Scope>,
    place: Option<u32>,
}

impl Cancellation {
    pub(crate) fn new(scope: Arc<Scope>) -> Self {
        Self { scope, place: None }
    }
}

opaque!("Cancellation", [] Cancellation, |wait| { cancelled: wait.scope.is_soft() });

impl Future for Cancellation {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let signal = &this.scope.signal;
        loop {
            let flags = signal.flags();
            if flags & SOFT != 0 {
                return Poll::Ready(());
            }
            if signal.register(&mut this.place, cx.waker(), flags) {
                return Poll::Pending;
            }
        }
    }
}

impl Drop for Cancellation {
    fn drop(&mut self) {
        ignore_panics(|| self.scope.signal.unregister(&mut self.place));
    }
}
