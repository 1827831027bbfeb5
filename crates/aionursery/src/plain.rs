//! Children that cannot fail: their output is their value, without `Ok(..)`. It must add nothing to
//! how a child runs.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::child::Child;
use crate::nursery::{Admits, Nursery};

pin_project_lite::pin_project! {
    /// A child that cannot fail: what [`Nursery::start_plain`] makes of a future.
    pub struct Plain<F, E> {
        #[pin]
        future: F,
        error: PhantomData<fn() -> E>,
    }
}

impl<F, E> Plain<F, E> {
    pub(crate) fn new(future: F) -> Self {
        Self { future, error: PhantomData }
    }
}

impl<F: Future, E> Future for Plain<F, E> {
    type Output = Result<F::Output, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(ready!(self.project().future.poll(cx))))
    }
}

opaque!("Plain", [F, E] Plain<F, E>);

impl<'env, E: 'env, M> Nursery<'env, E, M> {
    /// As [`start_soon`](Self::start_soon), for a child that cannot fail: a future of any output, which
    /// is its value. It can still panic and be cancelled.
    ///
    /// # Panics
    /// If the nursery is closed.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use aionursery::{Nursery, nursery};
    /// async fn tick() {}
    /// async fn answer() -> u32 {
    ///     42
    /// }
    /// let answered = nursery(async |n: Nursery<'_, String>| {
    ///     n.start_plain(tick());
    ///     Ok(n.start_plain(answer()).value().await)
    /// }).await;
    /// assert_eq!(answered.unwrap(), 42);
    /// # });
    /// ```
    #[inline]
    #[track_caller]
    pub fn start_plain<F>(&self, future: F) -> Child<F::Output, E>
    where
        F: Future + 'env,
        M: Admits<Plain<F, E>>,
    {
        self.start_soon(Plain::new(future))
    }
}

#[cfg(feature = "tokio")]
impl<E: Send + 'static, M> Nursery<'_, E, M> {
    /// As [`spawn`](Self::spawn), for a child that cannot fail, as of [`start_plain`](Self::start_plain): a
    /// future of any output, which is its value. It can still panic and be cancelled.
    ///
    /// # Panics
    /// If the nursery is closed, or outside a tokio runtime.
    #[inline]
    #[track_caller]
    pub fn spawn_plain<F>(&self, future: F) -> Child<F::Output, E>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.spawn(Plain::new(future))
    }
}
