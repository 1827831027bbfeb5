//! A child's handle: its value, its end, its cancellation. It never keeps the child alive, and
//! dropping it detaches nothing.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::error::Fault;
use crate::frame::{self, Kind};
use crate::gone::Stopped;
use crate::task::Handle;

/// A child of a nursery. Awaiting it gives its value. Whoever has no use for that drops the handle:
/// the child stays in the nursery, which waits for it and keeps its error.
///
/// A child that failed has no value to give, and its error belongs to the nursery: whoever awaits
/// it is ended too, as a task that awaits a cancelled one is. With `on_error = Collect` (and to a
/// shielded child, inside a shield, and outside any nursery) the error is handed over
/// instead, as `Err`, and is then no longer the nursery's. A child that was cancelled or that
/// panicked ends who awaits it in the same way; [`end`](Self::end) only says how it ended.
///
/// # Panics
/// Awaiting one that has nothing to give, where nobody can be ended for it: outside of every nursery, in
/// `spawn_blocking`, in a `block_on` amid another child. And asking in any way for a result that was
/// given out before.
///
/// ```
/// # futures::executor::block_on(async {
/// let sum = aionursery::nursery(async |n| {
///     let a = n.start_soon(async { Ok::<_, String>(1) });
///     let b = n.start_soon(async { Ok(2) });
///     Ok(a.await? + b.await?)
/// }).await.unwrap();
/// assert_eq!(sum, 3);
/// # });
/// ```
pub struct Child<T, E> {
    task: Handle<T, E>,
    /// How often it was asked in vain. With this a handle is two words, which go in registers.
    refused: Stopped,
}

/// How a child ended, without its error: see [`Child::end`].
///
/// ```
/// # futures::executor::block_on(async {
/// # aionursery::nursery(async |n| {
/// use aionursery::End;
/// let child = n.start_soon(async { Ok(7) });
/// match child.end().await {
///     End::Done(value) => assert_eq!(value, 7),
///     other => unreachable!("{other:?}"),
/// }
/// # Ok::<_, String>(()) }).await.unwrap() });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End<T> {
    /// It returned this.
    Done(T),
    /// It failed; the error is the nursery's.
    Failed,
    /// It was cancelled.
    Cancelled,
    /// It panicked; the panic is the nursery's.
    Panicked,
}

impl<T> End<T> {
    /// The value, if it returned one.
    ///
    /// ```
    /// assert_eq!(aionursery::End::Done(1).done(), Some(1));
    /// ```
    pub fn done(self) -> Option<T> {
        match self {
            Self::Done(value) => Some(value),
            _ => None,
        }
    }
}

impl<T, E> Child<T, E> {
    pub(crate) fn new(task: Handle<T, E>) -> Self {
        Self { task, refused: Stopped::default() }
    }

    /// Cancels this child alone: no error, siblings unharmed (R16). It is dropped the next time
    /// its nursery, or its worker, comes to it; after the shields that stand inside it, but at once
    /// if it is shielded as a whole.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// # aionursery::nursery(async |n| {
    /// let child = n.start_soon(std::future::pending::<Result<(), _>>());
    /// child.cancel();
    /// assert_eq!(child.end().await, aionursery::End::Cancelled);
    /// # Ok::<_, String>(()) }).await.unwrap() });
    /// ```
    pub fn cancel(&self) {
        self.task.cancel()
    }

    /// Whether it has ended, in whatever way.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// # aionursery::nursery(async |n| {
    /// let child = n.start_soon(async { Ok(7) });
    /// assert!(!child.is_finished());
    /// aionursery::yield_now().await;
    /// assert!(child.is_finished());
    /// # Ok::<_, String>(()) }).await.unwrap() });
    /// ```
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.task.header().is_done()
    }

    /// Its number in its nursery: 1 for the first that was started. It begins again after some four
    /// thousand million; those that other threads start beside the nursery's own may leave gaps.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// # aionursery::nursery(async |n| {
    /// let first = n.start_soon(async { Ok(1) });
    /// let second = n.start_soon(async { Ok(2) });
    /// assert_eq!((first.id(), second.id()), (1, 2));
    /// # Ok::<_, String>(()) }).await.unwrap() });
    /// ```
    #[must_use]
    pub fn id(&self) -> u32 {
        self.task.header().id()
    }

    /// Its name, if it was given one with [`named`](crate::Nursery::named).
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// # aionursery::nursery(async |n| {
    /// let child = n.named("reader").start_soon(async { Ok(1) });
    /// assert_eq!(child.name(), Some("reader"));
    /// # Ok::<_, String>(()) }).await.unwrap() });
    /// ```
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.task.header().name().map(|name| &**name)
    }

    pub(crate) fn collects(&self) -> bool {
        self.task.header().is_collected()
    }

    /// Waits for its end and says how it ended. Never ends who awaits it, never takes the error.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use aionursery::End;
    /// aionursery::nursery(async |n| {
    ///     let child = n.start_soon(std::future::pending::<Result<(), String>>());
    ///     child.cancel();
    ///     assert_eq!(child.end().await, End::Cancelled);
    ///     Ok(())
    /// }).await.unwrap();
    /// # });
    /// ```
    pub async fn end(mut self) -> End<T> {
        match std::future::poll_fn(|cx| self.poll_result(cx)).await {
            Ok(value) => End::Done(value),
            Err(Fault::Failed(_)) => End::Failed,
            Err(Fault::Cancelled) => End::Cancelled,
            Err(Fault::Panicked) => End::Panicked,
        }
    }

    pub(crate) fn poll_result(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, Fault<E>>> {
        self.task.poll(cx).map(|result| result.expect(ONCE))
    }
}

impl<T, E> Unpin for Child<T, E> {}

impl<T, E> Future for Child<T, E> {
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, E>> {
        match ready!(self.task.poll(cx)) {
            Some(Ok(value)) => Poll::Ready(Ok(value)),
            Some(Err(fault)) => match hand_over(fault, self.collects()) {
                Some(error) => Poll::Ready(Err(error)),
                None => refuse(&mut self.refused, cx),
            },
            None => {
                assert!(self.refused.has_marked(), "{ONCE}");
                refuse(&mut self.refused, cx)
            }
        }
    }
}

const ONCE: &str = "a child's result can be awaited once";

/// The error of a child without a value, if that may be handed over to whoever awaits it.
#[cold]
pub(crate) fn hand_over<E>(fault: Fault<E>, collect: bool) -> Option<E> {
    match fault {
        Fault::Failed(held) if collect || frame::kind() != Kind::Open => held.take(),
        _ => None,
    }
}

/// What a child that has nothing to give gives to whoever awaits it: pending for ever. That one is
/// ended.
///
/// # Panics
/// If it cannot be.
#[cold]
pub(crate) fn refuse<R>(stopped: &mut Stopped, cx: &Context<'_>) -> Poll<R> {
    assert!(
        frame::kind() != Kind::Outside && stopped.mark(cx),
        "awaited outside any nursery, or in a `block_on`, a child that was cancelled or panicked, \
         or whose error is its nursery's, has nothing to give: use `Child::end`"
    );
    Poll::Pending
}

impl<T, E> std::fmt::Debug for Child<T, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Child")
            .field("id", &self.id())
            .field("name", &self.name())
            .field("finished", &self.is_finished())
            .finish()
    }
}
