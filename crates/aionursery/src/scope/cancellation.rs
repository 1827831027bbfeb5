//! Waiting for a scope to be cancelled.

use std::future::Future;
use std::sync::Arc;

use super::{SOFT, Scope};
use crate::ignore_panics::ignore_panics;

/// The future of [`Nursery::cancelled`](crate::Nursery::cancelled).
///
/// ```
/// # futures::executor::block_on(async {
/// # aionursery::nursery(async |n| {
/// let cancelled: aionursery::future::Cancellation = n.cancelled();
/// n.cancel();
/// cancelled.await;
/// # Ok::<_, String>(()) }).await.unwrap() });
/// ```
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

impl std::fmt::Debug for Cancellation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cancellation")
            .field("cancelled", &(self.scope.signal.flags() & SOFT != 0))
            .finish_non_exhaustive()
    }
}

impl Future for Cancellation {
    type Output = ();

    fn poll(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<()> {
        let this = self.get_mut();
        let signal = &this.scope.signal;
        loop {
            let flags = signal.flags();
            if flags & SOFT != 0 {
                return std::task::Poll::Ready(());
            }
            if signal.register(&mut this.place, cx.waker(), flags) {
                return std::task::Poll::Pending;
            }
        }
    }
}

impl Drop for Cancellation {
    fn drop(&mut self) {
        ignore_panics(|| self.scope.signal.unregister(&mut self.place));
    }
}
