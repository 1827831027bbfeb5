//! What is often done with a nursery: many with a limit, of an iterator or of a stream. Each is a
//! nursery of its own, so nothing is left behind on any path.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use futures_core::Stream;

use crate::as_completed::AsCompleted;
use crate::builder::nursery;
use crate::error::MultiError;
use crate::nursery::Nursery;

/// Runs `each` over all items, at most `limit` at once (at least one), and gives the values in their
/// order. An item is taken when there is a place for it.
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
    mut each: F,
) -> Result<Vec<T>, MultiError<E>>
where
    I: IntoIterator,
    F: FnMut(I::Item) -> Fut,
    Fut: Future<Output = Result<T, E>> + Send + 'env,
    T: Send,
{
    let items = items.into_iter();
    nursery(async move |n: Nursery<'env, E>| {
        let mut items = items.fuse();
        let mut values = Vec::new();
        let mut running = AsCompleted::new();
        loop {
            while running.len() < limit.max(1)
                && let Some(item) = items.next()
            {
                let (place, future) = (values.len(), each(item));
                values.push(None);
                running.push(n.start_soon(async move { Ok((place, future.await?)) }));
            }
            match poll_fn(|cx| Pin::new(&mut running).poll_next(cx)).await {
                Some(ended) => {
                    let (place, value) = ended?;
                    values[place] = Some(value);
                }
                None => return Ok(values.into_iter().flatten().collect()),
            }
        }
    })
    .await
}

/// Runs `each` over what a stream gives, at most `limit` at once (at least one); the stream is asked
/// for more only when there is a place for it.
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
    mut each: F,
) -> Result<(), MultiError<E>>
where
    S: Stream,
    F: FnMut(S::Item) -> Fut,
    Fut: Future<Output = Result<(), E>> + Send + 'env,
{
    nursery(async move |n: Nursery<'env, E>| {
        let mut stream = std::pin::pin!(stream);
        let mut running = AsCompleted::new();
        let limit = limit.max(1);
        while let Some(item) = poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
            running.push(n.start_soon(each(item)));
            // Those that have ended need no place, however many may run.
            while poll_fn(|cx| Poll::Ready(matches!(running.poll_ended(cx), Poll::Ready(Some(_)))))
                .await
            {}
            while running.len() >= limit {
                poll_fn(|cx| running.poll_ended(cx)).await;
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
    poll_fn(move |cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
