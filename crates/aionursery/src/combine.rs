//! What is often done with a nursery: all of many, the first of many, one after another with a
//! limit. Each is a nursery of its own, so nothing is left behind on any path.

use std::future::Future;
use std::task::Poll;

use futures_core::Stream;

use crate::as_completed::AsCompleted;
use crate::builder::{Builder, nursery};
use crate::error::MultiError;
use crate::nursery::Nursery;
use crate::sync::Mutex;

/// Runs all at once; the first value wins and the others are cancelled and joined. `None` if there
/// was nothing to run.
///
/// # Errors
/// Every error, if all failed.
///
/// ```
/// # futures::executor::block_on(async {
/// use futures::future::{FutureExt, pending, ready};
/// let first = aionursery::race([pending().boxed(), ready(Ok::<_, String>(7)).boxed()]).await;
/// assert_eq!(first.unwrap(), Some(7));
/// # });
/// ```
pub async fn race<'env, I, F, T, E>(futures: I) -> Result<Option<T>, MultiError<E>>
where
    I: IntoIterator<Item = F>,
    F: Future<Output = Result<T, E>> + Send + 'env,
    T: Send + 'env,
    E: Send + 'env,
{
    let futures: Vec<F> = futures.into_iter().collect();
    let won = Mutex::new(None);
    let ran = Builder::new()
        .on_error(crate::OnError::Collect)
        .nursery(async |n: Nursery<'_, E>| {
            for future in futures {
                let n2 = n.clone();
                let won = &won;
                drop(n.start_soon(async move {
                    let value = future.await?;
                    crate::scope::lock(won).get_or_insert(value);
                    n2.cancel_with("the race is won");
                    Ok(())
                }));
            }
            Ok(())
        })
        .await;
    match (won.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner), ran) {
        (Some(value), _) => Ok(Some(value)),
        (None, Ok(())) => Ok(None),
        (None, Err(errors)) => Err(errors),
    }
}

/// Runs `each` over all items, at most `limit` at once, and gives the values in their order.
///
/// # Errors
/// Every error, if any failed; what has not begun then never begins.
///
/// ```
/// # futures::executor::block_on(async {
/// let doubled = aionursery::map(1..4, 2, async |n| Ok::<_, String>(2 * n)).await;
/// assert_eq!(doubled.unwrap(), [2, 4, 6]);
/// # });
/// ```
pub async fn map<'env, I, F, Fut, T, E>(
    items: I,
    limit: usize,
    each: F,
) -> Result<Vec<T>, MultiError<E>>
where
    I: IntoIterator,
    F: Fn(I::Item) -> Fut,
    Fut: Future<Output = Result<T, E>> + Send + 'env,
    T: Send,
{
    let futures: Vec<Fut> = items.into_iter().map(each).collect();
    Builder::new()
        .limit(limit)
        .nursery(async move |n: Nursery<'env, E>| {
            let children: Vec<_> = futures.into_iter().map(|future| n.start_soon(future)).collect();
            let mut values = Vec::with_capacity(children.len());
            for child in children {
                values.push(child.await?);
            }
            Ok(values)
        })
        .await
}

/// Runs `each` over what a stream gives, at most `limit` at once; the stream is asked for more
/// only when there is a place for it.
///
/// # Errors
/// Every error, if any failed.
///
/// ```
/// # futures::executor::block_on(async {
/// use std::sync::atomic::{AtomicU32, Ordering};
/// let sum = AtomicU32::new(0);
/// aionursery::for_each(futures::stream::iter(1..=4), 2, |n| {
///     sum.fetch_add(n, Ordering::Relaxed);
///     async { Ok::<_, String>(()) }
/// }).await.unwrap();
/// assert_eq!(sum.into_inner(), 10);
/// # });
/// ```
pub async fn for_each<'env, S, F, Fut, E>(
    stream: S,
    limit: usize,
    each: F,
) -> Result<(), MultiError<E>>
where
    S: Stream,
    F: Fn(S::Item) -> Fut,
    Fut: Future<Output = Result<(), E>> + Send + 'env,
{
    nursery(async move |n: Nursery<'env, E>| {
        let mut stream = std::pin::pin!(stream);
        let mut running = AsCompleted::new();
        let limit = limit.max(1);
        while let Some(item) = std::future::poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
            running.push(n.start_soon(each(item)));
            while running.len() >= limit {
                std::future::poll_fn(|cx| running.poll_ended(cx)).await;
            }
        }
        Ok(())
    })
    .await
}

/// Lets the others run once.
///
/// ```
/// # futures::executor::block_on(aionursery::yield_now());
/// ```
pub async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(move |cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
