//! The tokens of one scope: the one that is cancelled with it, and those whose cancellation cancels it. It
//! must never wait for a token by itself: the scope's owner does, as for the time.

use std::pin::Pin;
use std::sync::OnceLock;
use std::task::Context;

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::coop::poll_freely;
use crate::sync::{Mutex, lock};

/// Why a scope is cancelled that listens.
pub(crate) const REASON: &str = "its token was cancelled";

/// The tokens of one scope.
#[derive(Default)]
pub(crate) struct Tokens {
    /// Cancelled when the scope is.
    own: OnceLock<CancellationToken>,
    /// The scope is cancelled when one of these is.
    others: Mutex<Others>,
}

/// The tokens that a scope listens to.
#[derive(Default)]
struct Others {
    /// All of them, also while their futures are being polled: other threads look at these.
    tokens: Vec<CancellationToken>,
    /// A future for each that was not heard of.
    waiting: Vec<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl Tokens {
    /// Whether there is one that is cancelled with the scope.
    pub(super) fn is_told(&self) -> bool {
        self.own.get().is_some()
    }

    pub(crate) fn cancel(&self) {
        if let Some(token) = self.own.get() {
            token.cancel();
        }
    }

    /// From now on `token` is cancelled when the scope is, or the one that already was to be: gives that.
    pub(super) fn tell(&self, token: &CancellationToken) -> &CancellationToken {
        self.own.get_or_init(|| token.clone())
    }

    /// From now on the scope is cancelled when `token` is.
    pub(super) fn listen_to(&self, token: &CancellationToken) {
        let cancelled = Box::pin(token.clone().cancelled_owned());
        let others = &mut *lock(&self.others);
        others.tokens.push(token.clone());
        others.waiting.push(cancelled);
    }

    /// Whether one of those that the scope listens to is cancelled: a scope that is not cancelled has not acted on
    /// it yet.
    #[cold]
    pub(super) fn has_cancelled(&self) -> bool {
        lock(&self.others).tokens.iter().any(CancellationToken::is_cancelled)
    }

    /// Whether one of those that the scope listens to was cancelled just now.
    #[cold]
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> bool {
        // Not under the lock: a token takes wakers, which are the program's code.
        let mut waiting = std::mem::take(&mut lock(&self.others).waiting);
        let before = waiting.len();
        waiting.retain_mut(|cancelled| poll_freely(cancelled.as_mut(), cx).is_pending());
        let heard = waiting.len() < before;
        lock(&self.others).waiting.append(&mut waiting);
        heard
    }
}
