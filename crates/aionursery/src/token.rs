//! `CancellationToken`, both ways: a token that the cancellation of a nursery or a scope cancels, and
//! one whose cancellation cancels them. It must never wait for a token by itself: the scope's owner
//! does, as for the time.

use std::pin::Pin;
use std::sync::OnceLock;
use std::task::Context;

use nursery_core::Source;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::cancel_scope::CancelScope;
use crate::nursery::Nursery;
use crate::scope::{LISTENS, Scope, lock};
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
        // Not under the lock: a token takes wakers, which are anybody's code.
        let mut waiting = std::mem::take(&mut *lock(others));
        let before = waiting.len();
        waiting.retain_mut(|token| token.as_mut().poll(cx).is_pending());
        let heard = waiting.len() < before;
        lock(others).append(&mut waiting);
        heard && self.cancel(Source::Explicit, Some(REASON.into()))
    }
}

impl<E, M> Nursery<'_, E, M> {
    /// A token that is cancelled when the nursery is. Cancelling it does nothing to the nursery.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let token = aionursery::nursery(async |n| {
    ///     let token = n.token();
    ///     n.cancel();
    ///     Ok::<_, String>(token)
    /// }).await.unwrap();
    /// assert!(token.is_cancelled());
    /// # });
    /// ```
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.scope().tell(&CancellationToken::new()).child_token()
    }

    /// The nursery is cancelled when the token is.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let token = tokio_util::sync::CancellationToken::new();
    /// token.cancel();
    /// let error = aionursery::nursery(async |n| {
    ///     n.cancel_on(&token);
    ///     std::future::pending::<Result<(), String>>().await
    /// }).await.unwrap_err();
    /// assert!(error.is_cancelled());
    /// # });
    /// ```
    pub fn cancel_on(&self, token: &CancellationToken) {
        self.scope().listen_to(token);
    }
}

impl CancelScope {
    /// A token that is cancelled when the scope is, by itself or from outside: for code that wants
    /// one. Cancelling it does nothing to the scope.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let scope = aionursery::CancelScope::new();
    /// let token = scope.token();
    /// scope.cancel();
    /// assert!(token.is_cancelled());
    /// # });
    /// ```
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        let token = self.shared().token();
        if self.is_cancelled() {
            token.cancel();
        }
        token.child_token()
    }

    /// The scope is cancelled when the token is, whether something runs in it already or not.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let token = tokio_util::sync::CancellationToken::new();
    /// let scope = aionursery::CancelScope::new();
    /// scope.cancel_on(&token);
    /// let end = scope.run(async {
    ///     token.cancel();
    ///     std::future::pending::<()>().await
    /// }).await;
    /// assert_eq!(end.unwrap_err().cause().reason(), Some("its token was cancelled"));
    /// # });
    /// ```
    pub fn cancel_on(&self, token: &CancellationToken) {
        self.shared().listen_to(token);
    }
}
