//! `CancellationToken`, both ways: a token that a nursery's cancellation cancels, and a nursery
//! that a token's cancellation cancels.

use tokio_util::sync::CancellationToken;

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
        let scope = &self.core().scope;
        let token = scope.signal.token.get_or_init(CancellationToken::new);
        if scope.is_soft() {
            token.cancel();
        }
        token.child_token()
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
        let core = self.core();
        core.state().links.push(Box::pin(token.clone().cancelled_owned()));
        core.ready.poke();
    }
}
