//! The tokens of one scope: the one that is cancelled with it, and those whose cancellation cancels it. It
//! must never wait for a token by itself: the scope's owner does, as for the time.

use std::pin::Pin;
use std::sync::OnceLock;
use std::task::Context;

use nursery_core::Source;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{LISTENS, Scope, lock};
use crate::sync::Mutex;

/// Why a scope is cancelled that listens.
pub(crate) const REASON: &str = "its token was cancelled";

/// The tokens of one scope.
#[derive(Default)]
pub(crate) struct Tokens {
    /// Cancelled when the scope is.
    own: OnceLock<CancellationToken>,
    /// The scope is cancelled when one of these is.
    others: Mutex<Vec<Pin<Box<WaitForCancellationFutureOwned>>>>,
}

impl Tokens {
    pub(crate) fn cancel(&self) {
        if let Some(token) = self.own.get() {
            token.cancel();
        }
    }
}

impl Scope {
    /// From now on `token` is cancelled when this scope is, or the one that already was to be.
    pub(crate) fn tell(&self, token: &CancellationToken) -> &CancellationToken {
        let token = self.signal.tokens.own.get_or_init(|| token.clone());
        if self.is_soft() {
            token.cancel();
        }
        token
    }

    /// From now on this scope is cancelled when `token` is.
    pub(crate) fn listen_to(&self, token: &CancellationToken) {
        let cancelled = Box::pin(token.clone().cancelled_owned());
        lock(&self.signal.tokens.others).push(cancelled);
        self.signal.listen();
    }

    /// Whether one of the tokens that it listens to was cancelled just now, and so it was.
    #[inline]
    pub(crate) fn poll_tokens(&self, cx: &mut Context<'_>) -> bool {
        self.signal.flags() & LISTENS != 0 && self.poll_others(cx)
    }

    #[cold]
    fn poll_others(&self, cx: &mut Context<'_>) -> bool {
        let others = &self.signal.tokens.others;
        // Not under the lock: a token takes wakers, which are the program's code.
        let mut waiting = std::mem::take(&mut *lock(others));
        let before = waiting.len();
        waiting.retain_mut(|token| token.as_mut().poll(cx).is_pending());
        let heard = waiting.len() < before;
        lock(others).append(&mut waiting);
        heard && self.cancel(Source::Explicit, Some(REASON.into()))
    }
}
