//! What is often done with a nursery: many with a limit, of an iterator or of a stream. Each is a
//! nursery of its own, so nothing is left behind on any path.
//!
//! What the calls give has a name, for a struct or a function that keeps it:
//!
//! ```
//! # futures::executor::block_on(async {
//! use aionursery::{Nursery, combine::{ForEach, Gather, Gathered, Mapping, Racing, for_each, map}};
//! use std::future::ready;
//! let mapped: Mapping<'_, _, _, _, _, String> = map(1..4, 2, async |n| Ok(2 * n));
//! assert_eq!(mapped.await.unwrap(), [2, 4, 6]);
//! let each: ForEach<'_, _, _, _, String> = for_each(futures::stream::iter(1..4), 2, async |_| Ok(()));
//! each.await.unwrap();
//! let first: Racing<'_, u8, String, _> = aionursery::race([async { Ok(7) }]);
//! assert_eq!(first.await.unwrap(), Some(7));
//! aionursery::nursery(async |n: Nursery<'_, String>| {
//!     let all: Gathered<_, _> = [ready(Ok(1))].gather_in(&n);
//!     assert_eq!(all.await?, [1]);
//!     Ok(())
//! }).await.unwrap();
//! # });
//! ```

use std::future::{Future, poll_fn};
use std::iter::Fuse;
use std::marker::PhantomData;
use std::mem;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use pin_project_lite::pin_project;

use crate::as_completed::AsCompleted;
use crate::builder::Builder;
use crate::child::Child;
use crate::driver::Block;
use crate::error::MultiError;
use crate::nursery::Nursery;

pub use crate::gather::{Gather, Gathered};
pub use crate::race::{Finish, Race, Racing};

/// Runs `each` over all items, at most `limit` at once (at least one), and gives the values in their
/// order. An item is taken when there is a place for it.
///
/// # Errors
/// Every error, if any failed; what has not begun then never begins.
///
/// ```
/// # futures::executor::block_on(async {
/// let doubled = aionursery::combine::map(1..4, 2, async |n| Ok::<_, String>(2 * n)).await;
/// assert_eq!(doubled.unwrap(), [2, 4, 6]);
/// # });
/// ```
#[track_caller]
pub fn map<'env, I, F, Fut, T, E>(
    items: I,
    limit: usize,
    each: F,
) -> Mapping<'env, I::IntoIter, F, Fut, T, E>
where
    I: IntoIterator,
    F: FnMut(I::Item) -> Fut,
    Fut: Future<Output = Result<T, E>> + Send + 'env,
    T: Send,
{
    let body = Work { source: items.into_iter().fuse(), limit: limit.max(1), each };
    let builder = Builder::new().at(Location::caller());
    Mapping { block: Block::with(builder, body, Mapped::new) }
}

/// What either is given.
struct Work<S, F> {
    source: S,
    limit: usize,
    each: F,
}

// The futures of these two are not `async` blocks: their types say what they are made of, so that the
// compiler sees inside of others whether they are `Send`, also over borrowed items.
pin_project! {
    /// The future of [`map`].
    #[must_use = "futures do nothing unless polled"]
    pub struct Mapping<'env, I, F, Fut, T, E> {
        #[pin]
        block: Block<'env, Vec<T>, E, Work<Fuse<I>, F>, Mapped<'env, I, F, Fut, T, E>>,
    }
}

opaque!("Mapping", [I, F, Fut, T, E] Mapping<'_, I, F, Fut, T, E>);

impl<'env, I, F, Fut, T, E> Future for Mapping<'env, I, F, Fut, T, E>
where
    I: Iterator,
    F: FnMut(I::Item) -> Fut,
    Fut: Future<Output = Result<T, E>> + Send + 'env,
    T: Send,
{
    type Output = Result<Vec<T>, MultiError<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().block.poll(cx)
    }
}

/// The body of a [`map`]'s nursery.
struct Mapped<'env, I, F, Fut, T, E> {
    n: Nursery<'env, E>,
    work: Work<Fuse<I>, F>,
    values: Vec<Option<T>>,
    running: AsCompleted<T, E, usize>,
    futures: PhantomData<fn() -> Fut>,
}

impl<I, F, Fut, T, E> Unpin for Mapped<'_, I, F, Fut, T, E> {}

impl<'env, I, F, Fut, T, E> Mapped<'env, I, F, Fut, T, E> {
    fn new(work: Work<Fuse<I>, F>, n: Nursery<'env, E>) -> Self {
        let (values, running) = (Vec::new(), AsCompleted::keyed());
        Self { n, work, values, running, futures: PhantomData }
    }
}

impl<'env, I, F, Fut, T, E> Future for Mapped<'env, I, F, Fut, T, E>
where
    I: Iterator,
    F: FnMut(I::Item) -> Fut,
    Fut: Future<Output = Result<T, E>> + Send + 'env,
    T: Send,
{
    type Output = Result<Vec<T>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { n, work: Work { source, limit, each }, values, running, .. } = self.get_mut();
        loop {
            while running.len() < *limit
                && let Some(item) = source.next()
            {
                running.insert(values.len(), n.start_soon(each(item)));
                values.push(None);
            }
            match ready!(running.poll_next_by(cx, Child::poll_value)) {
                Some((place, value)) => values[place] = Some(value),
                None => return Poll::Ready(Ok(mem::take(values).into_iter().flatten().collect())),
            }
        }
    }
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
/// aionursery::combine::for_each(futures::stream::iter(1..=4), 2, |n| {
///     sum.fetch_add(n, Ordering::Relaxed);
///     async { Ok::<_, String>(()) }
/// }).await.unwrap();
/// assert_eq!(sum.into_inner(), 10);
/// # });
/// ```
#[track_caller]
pub fn for_each<'env, S, F, Fut, E>(stream: S, limit: usize, each: F) -> ForEach<'env, S, F, Fut, E>
where
    S: Stream,
    F: FnMut(S::Item) -> Fut,
    Fut: Future<Output = Result<(), E>> + Send + 'env,
{
    let body = Work { source: stream, limit: limit.max(1), each };
    ForEach { block: Block::with(Builder::new().at(Location::caller()), body, Each::new) }
}

pin_project! {
    /// The future of [`for_each`].
    #[must_use = "futures do nothing unless polled"]
    pub struct ForEach<'env, S, F, Fut, E> {
        #[pin]
        block: Block<'env, (), E, Work<S, F>, Each<'env, S, F, Fut, E>>,
    }
}

opaque!("ForEach", [S, F, Fut, E] ForEach<'_, S, F, Fut, E>);

impl<'env, S, F, Fut, E> Future for ForEach<'env, S, F, Fut, E>
where
    S: Stream,
    F: FnMut(S::Item) -> Fut,
    Fut: Future<Output = Result<(), E>> + Send + 'env,
{
    type Output = Result<(), MultiError<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().block.poll(cx)
    }
}

pin_project! {
    /// The body of a [`for_each`]'s nursery.
    struct Each<'env, S, F, Fut, E> {
        n: Nursery<'env, E>,
        #[pin]
        stream: S,
        limit: usize,
        each: F,
        running: AsCompleted<(), E>,
        futures: PhantomData<fn() -> Fut>,
    }
}

impl<'env, S, F, Fut, E> Each<'env, S, F, Fut, E> {
    fn new(work: Work<S, F>, n: Nursery<'env, E>) -> Self {
        let Work { source: stream, limit, each } = work;
        Self { n, stream, limit, each, running: AsCompleted::new(), futures: PhantomData }
    }
}

impl<'env, S, F, Fut, E> Future for Each<'env, S, F, Fut, E>
where
    S: Stream,
    F: FnMut(S::Item) -> Fut,
    Fut: Future<Output = Result<(), E>> + Send + 'env,
{
    type Output = Result<(), E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            // Those that have ended need no place, however many may run.
            while let Poll::Ready(Some(_)) = this.running.poll_next_by(cx, Child::poll_result) {}
            if this.running.len() >= *this.limit {
                return Poll::Pending;
            }
            match ready!(this.stream.as_mut().poll_next(cx)) {
                Some(item) => this.running.push(this.n.start_soon((this.each)(item))),
                None => return Poll::Ready(Ok(())),
            }
        }
    }
}

/// Lets the others run once.
///
/// ```
/// # futures::executor::block_on(aionursery::yield_now());
/// ```
pub async fn yield_now() {
    let mut yielded = false;
    poll_fn(move |cx| {
        if mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
