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
