//! `CancellationToken`, both ways, for nurseries and scopes. It must never wait for a token by itself: the
//! scope's owner does, as for the time.

use tokio_util::sync::CancellationToken;

use crate::cancel_scope::CancelScope;
use crate::nursery::Nursery;

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

    /// The nursery is cancelled when the token is, as a scope is by [`CancelScope::cancel_on`]; at once if that
    /// is so already. It keeps the token until it has ended, and looks at each in each turn: where each
    /// child has a token of its own, give each a `CancelScope`.
    pub fn cancel_on(&self, token: &CancellationToken) {
        self.scope().cancel_on(token);
    }
}

impl CancelScope {
    /// A token that is cancelled when the scope is, by itself or from outside: for code that wants
    /// one, as [`Nursery::token`] gives it. Cancelling it does nothing to the scope.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        let token = self.0.token();
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
        self.0.listen_to(token);
    }
}
