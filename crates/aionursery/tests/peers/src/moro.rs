//! moro's `async_scope!`: a nursery whose handle is lent to the body for as long as the environment
//! lives. Ours is given by value for a reason: what the children may borrow ends with it. So each
//! scope leaks one small box here, which tests can bear.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::{Mutex, OnceLock};
use std::task::{Context, Poll};

use aionursery::{Nursery, nursery};
use futures::FutureExt;
use futures::future::BoxFuture;

pub use crate::async_scope;

/// As moro's.
pub struct Scope<'env, R> {
    nursery: OnceLock<Nursery<'env, Infallible>>,
    terminated: Mutex<Option<R>>,
}

/// As moro's.
#[macro_export]
macro_rules! async_scope {
    (|$scope:ident| -> $result:ty { $($body:tt)* }) => {{
        $crate::moro::scope_fn::<$result, _>(|$scope| {
            let future = async { $($body)* };
            Box::pin(future)
        })
    }};
    (|$scope:ident| $body:expr) => {{
        $crate::moro::scope_fn(|$scope| {
            let future = async { $body };
            Box::pin(future)
        })
    }};
}

/// As moro's.
pub async fn scope_fn<'env, R, B>(body: B) -> R
where
    R: Send + 'env,
    B: FnOnce(&'env Scope<'env, R>) -> BoxFuture<'env, R>,
{
    let scope: &'env Scope<'env, R> =
        Box::leak(Box::new(Scope { nursery: OnceLock::new(), terminated: Mutex::new(None) }));
    let block = nursery(async |n: Nursery<'env, Infallible>| {
        assert!(scope.nursery.set(n).is_ok());
        Ok(body(scope).await)
    });
    let end = block.await;
    match (scope.terminated.lock().unwrap().take(), end) {
        (Some(value), _) => value,
        (None, Ok(value)) => value,
        (None, Err(errors)) => {
            let _ = errors.resume_panic();
            unreachable!("nothing cancels but `terminate`")
        }
    }
}

impl<'env, R: Send + 'env> Scope<'env, R> {
    /// Starts a child.
    pub fn spawn<T, F>(&'env self, future: F) -> Spawned<'env, T>
    where
        T: Send + 'env,
        F: Future<Output = T> + Send + 'env,
    {
        let nursery = self.nursery.get().expect("the body has begun");
        let child = nursery.start_soon(async move { Ok(future.await) });
        Spawned(child.value().boxed())
    }

    /// Ends the scope with this value; what awaits it does not go on.
    pub fn terminate<T: Send + 'env>(
        &'env self,
        value: R,
    ) -> impl Future<Output = T> + Send + 'env {
        self.terminated.lock().unwrap().get_or_insert(value);
        self.nursery.get().expect("the body has begun").cancel_with("terminated");
        pending()
    }
}

/// As moro's.
pub struct Spawned<'env, T>(BoxFuture<'env, T>);

impl<T> Future for Spawned<'_, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        self.0.as_mut().poll(cx)
    }
}

impl<'env, O: Send + 'env, E: Send + 'env> Spawned<'env, Result<O, E>> {
    /// The value; an error ends the scope.
    pub fn or_cancel<T: Send + 'env>(
        self,
        scope: &'env Scope<'env, Result<T, E>>,
    ) -> Spawned<'env, O> {
        scope.spawn(async move {
            match self.await {
                Ok(value) => value,
                Err(error) => scope.terminate(Err(error)).await,
            }
        })
    }
}
