//! Waiting for a scope to be cancelled, and what it changes for that scope that something waits.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use nursery_core::Cleanup;

use super::{Scope, Waiter};
use crate::sync::atomic::Ordering;

impl Scope {
    /// Something in it hears of its cancellation from now on. What cancels itself has the budget from above for
    /// that (R18): elsewhere it would only keep code alive that nothing tells, and a timeout late.
    #[inline]
    pub(crate) fn hear(&self) {
        self.hear_if(|| true);
    }

    /// As [`hear`](Self::hear), for what may stand elsewhere: that is asked until something hears.
    #[inline]
    pub(crate) fn hear_if(&self, stands_in_it: impl FnOnce() -> bool) {
        if !self.hears.load(Ordering::Relaxed) && stands_in_it() {
            self.begin_to_hear();
        }
    }

    #[cold]
    fn begin_to_hear(&self) {
        let mut at = Some(self);
        while let Some(scope) = at.filter(|scope| !scope.hears.swap(true, Ordering::AcqRel)) {
            if scope.has_no_budget {
                let inherited = Cleanup::Inherited;
                scope.change(|tree, now, out| tree.set_cleanup(scope.id, inherited, now, out));
            }
            at = scope.parent.as_deref();
        }
    }
}

/// The future of [`Nursery::cancelled`](crate::Nursery::cancelled).
#[must_use = "futures do nothing unless polled"]
pub struct Cancellation {
    scope: Arc<Scope>,
    /// There once it waits.
    waiter: Option<Arc<Waiter>>,
    /// That it waits changes nothing for the scope.
    is_quiet: bool,
}

impl Cancellation {
    pub(crate) fn new(scope: Arc<Scope>) -> Self {
        Self { scope, waiter: None, is_quiet: false }
    }

    /// For code of ours, which gives up then and cleans nothing up.
    pub(crate) fn quiet(scope: Arc<Scope>) -> Self {
        Self { scope, waiter: None, is_quiet: true }
    }
}

opaque!("Cancellation", [] Cancellation, |wait| { cancelled: wait.scope.is_soft() });

impl Future for Cancellation {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { scope, waiter, is_quiet } = self.get_mut();
        if !scope.is_soft() {
            if !*is_quiet {
                scope.hear();
            }
            waiter.get_or_insert_with(|| scope.signal.add_waiter()).register(cx.waker());
        }
        // A cancellation that came before the waker was there is seen now.
        match scope.is_soft() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

impl Drop for Cancellation {
    fn drop(&mut self) {
        if let Some(waiter) = self.waiter.take() {
            self.scope.signal.drop_waiter(waiter);
        }
    }
}
