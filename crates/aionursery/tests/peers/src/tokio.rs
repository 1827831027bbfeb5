//! tokio's `JoinSet`: a nursery and the handles of its children. Each child stands in a scope of
//! its own, which is what its `AbortHandle` cancels.

use std::any::Any;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use ::tokio::runtime::Handle as Runtime;
use ::tokio::task::LocalSet;
use aionursery::{CancelScope, Cancelled, Child, End};
use futures::stream::{FuturesUnordered, StreamExt};
use send_wrapper::SendWrapper;

use crate::held::{self, Handle, Held};

type Ended<T> = Pin<Box<dyn Future<Output = Result<T, JoinError>> + Send>>;

/// As tokio's.
pub struct JoinSet<T> {
    nursery: Handle,
    // Dropping it drops or aborts the children.
    block: Held,
    children: FuturesUnordered<Ended<T>>,
    scopes: Vec<CancelScope>,
}

/// As tokio's.
pub struct AbortHandle(CancelScope);

impl AbortHandle {
    /// Cancels the child.
    pub fn abort(&self) {
        self.0.cancel();
    }
}

/// As tokio's.
pub enum JoinError {
    /// It was aborted, or its runtime has gone.
    Cancelled,
    /// It panicked.
    Panicked(Box<dyn Any + Send>),
}

impl JoinError {
    /// Whether it was aborted.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled)
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_cancelled() { "cancelled" } else { "panicked" })
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<T: Send + 'static> Default for JoinSet<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: 'static> JoinSet<T> {
    fn with(
        &mut self,
        scope: CancelScope,
        child: Child<Result<T, Cancelled>, std::convert::Infallible>,
    ) -> AbortHandle
    where
        T: Send,
    {
        self.children.push(Box::pin(async move {
            match child.end().await {
                End::Done(Ok(value)) => Ok(value),
                End::Done(Err(_)) | End::Cancelled => Err(JoinError::Cancelled),
                End::Panicked => Err(JoinError::Panicked(Box::new("a child"))),
                _ => unreachable!("it cannot fail"),
            }
        }));
        self.scopes.push(scope.clone());
        AbortHandle(scope)
    }
}

impl<T: Send + 'static> JoinSet<T> {
    /// An empty set.
    pub fn new() -> Self {
        let (nursery, block, _) = held::open();
        Self { nursery, block, children: FuturesUnordered::new(), scopes: Vec::new() }
    }

    /// How many were not joined.
    pub fn len(&self) -> usize {
        self.children.len()
    }

    /// Whether all were joined.
    pub fn is_empty(&self) -> bool {
        self.children.is_empty()
    }

    /// On the runtime's workers.
    pub fn spawn(&mut self, future: impl Future<Output = T> + Send + 'static) -> AbortHandle {
        let scope = CancelScope::new();
        let future = scope.run(future);
        let child = self.nursery.spawn(async move { Ok(future.await) });
        self.with(scope, child)
    }

    /// On another runtime's workers.
    pub fn spawn_on(
        &mut self,
        future: impl Future<Output = T> + Send + 'static,
        runtime: &Runtime,
    ) -> AbortHandle {
        let _inside = runtime.enter();
        self.spawn(future)
    }

    /// On the task that drives the set.
    pub fn spawn_local(&mut self, future: impl Future<Output = T> + 'static) -> AbortHandle {
        let scope = CancelScope::new();
        let future = SendWrapper::new(Box::pin(scope.run(future)));
        let child = self.nursery.start_soon(async move { Ok(future.await) });
        self.with(scope, child)
    }

    /// A nursery's children run where it is awaited: nothing else is local to them.
    pub fn spawn_local_on(
        &mut self,
        future: impl Future<Output = T> + 'static,
        _: &LocalSet,
    ) -> AbortHandle {
        self.spawn_local(future)
    }

    /// The next that ends.
    pub async fn join_next(&mut self) -> Option<Result<T, JoinError>> {
        poll_fn(|cx| self.poll_join_next(cx)).await
    }

    /// As [`join_next`](Self::join_next).
    pub fn poll_join_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, JoinError>>> {
        assert!(self.block.poll(cx).is_pending());
        self.children.poll_next_unpin(cx)
    }

    /// One that has ended. Drives nothing.
    pub fn try_join_next(&mut self) -> Option<Result<T, JoinError>> {
        // Without tokio's budget, which would say "not yet" of what has ended.
        let next = ::tokio::task::coop::unconstrained(self.children.next());
        futures::FutureExt::now_or_never(next).flatten()
    }

    /// All values.
    pub async fn join_all(mut self) -> Vec<T> {
        let mut values = Vec::new();
        while let Some(end) = self.join_next().await {
            match end {
                Ok(value) => values.push(value),
                Err(JoinError::Panicked(payload)) => std::panic::resume_unwind(payload),
                Err(error) => panic!("{error}"),
            }
        }
        values
    }

    /// Cancels every child.
    pub fn abort_all(&mut self) {
        for scope in &self.scopes {
            scope.cancel();
        }
    }

    /// Cancels every child and joins them.
    pub async fn shutdown(&mut self) {
        self.abort_all();
        while self.join_next().await.is_some() {}
    }
}

impl<T, F> Extend<F> for JoinSet<T>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    fn extend<I: IntoIterator<Item = F>>(&mut self, futures: I) {
        for future in futures {
            self.spawn(future);
        }
    }
}

impl<T, F> FromIterator<F> for JoinSet<T>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    fn from_iter<I: IntoIterator<Item = F>>(futures: I) -> Self {
        let mut set = Self::new();
        set.extend(futures);
        set
    }
}
