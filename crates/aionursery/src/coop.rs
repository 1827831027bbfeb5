//! tokio's budget of what a task may do before others have their turn. What ends a task must never have to wait
//! for it: code that always has something to receive uses it up in every turn.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Polls what may end the code that has just run: a timer, a signal, a token. It is as ready as if that code had used
/// nothing up.
pub(crate) fn poll_freely<F: Future + ?Sized>(
    mut future: Pin<&mut F>,
    cx: &mut Context<'_>,
) -> Poll<F::Output> {
    #[cfg(feature = "tokio")]
    let mut future = tokio::task::coop::unconstrained(future.as_mut());
    Pin::new(&mut future).poll(cx)
}

/// Whether there is something left. Without, a child that drains a channel would be polled in vain for the rest
/// of the turn.
#[inline]
pub(crate) fn is_left() -> bool {
    #[cfg(feature = "tokio")]
    return tokio::task::coop::has_budget_remaining();
    #[cfg(not(feature = "tokio"))]
    true
}
