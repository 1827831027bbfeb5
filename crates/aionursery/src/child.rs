//! A child's handle: its value, its end, its cancellation. It never keeps the child alive, and
//! dropping it detaches nothing.

#[expect(unsafe_code, reason = "one piece of memory for future, result and waker")]
mod cell;
#[expect(unsafe_code, reason = "it owns what the driver has left, and frees the memory")]
mod handle;
#[expect(unsafe_code, reason = "it polls what lies in that memory, and frees it")]
mod running;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use nursery_core::Source;

#[cfg(feature = "tokio")]
pub(crate) use cell::{Stage, cause_of_end, drop_rest, empty, failed, leave_output, take_output};
pub(crate) use cell::{make, make_idle};
pub(crate) use handle::Handle;
pub(crate) use running::Running;

use crate::ended_outside::ParkedFuture;
use crate::error::{Cancelled, Cause, ChildError, ErrorKind, Fault, Label};
use crate::polling::{self, Kind};
use crate::task::TaskRef;

/// A child of a nursery. Code that has no use for its end drops the handle: the child stays in the
/// nursery, which waits for it and keeps its error.
///
/// `child.await` gives the child's end by value, as a `JoinHandle` of tokio's does: its value, or a
/// [`ChildError`] with its error, its panic or its cancellation, and its name. It may be awaited
/// anywhere, in `select!` by `&mut`, and in tasks that are no nursery's.
/// [`child.value().await`](Self::value) is shorter where failing is the nursery's business: it gives
/// the value, and the code that awaits it ends with the nursery if there is none.
///
/// An error or a panic that is given out is no longer the nursery's, but what it has done stays
/// done: in a nursery that fails with its first error, siblings and body are cancelled, and code that is
/// being cancelled ends here as at any await. So the error of a sibling is there to be handled with
/// `on_error = Collect`, within a cleanup budget, in shields, and outside of that nursery.
///
/// `child.await?` converts as `?` does: for errors of the types `anyhow::Error`, `eyre::Report` and
/// `Box<dyn Error + Send + Sync>` into one that holds the [`ChildError`]; for `std::io::Error` and
/// `String` into the child's own error, if it failed, and else into the words of its end.
///
/// # Errors
/// [`ErrorKind::Error`], [`Panic`](ErrorKind::Panic) and [`Cancelled`](ErrorKind::Cancelled); and
/// [`Reported`](ErrorKind::Reported), if the nursery has ended and has given the error back.
///
/// # Panics
/// If it is polled again after it has given the end.
///
/// ```
/// # futures::executor::block_on(async {
/// use aionursery::{Builder, OnError};
/// Builder::new().on_error(OnError::Collect).nursery(async |n| {
///     let adds = n.start_soon(async { Ok(1 + 1) });
///     let fails = n.named("cook").start_soon(async { Err::<(), _>("no beans") });
///     let stays = n.start_soon(std::future::pending::<Result<(), _>>());
///     stays.cancel();
///     assert_eq!((adds.id(), adds.name(), adds.is_finished()), (1, None, false));
///     assert_eq!(adds.await.unwrap(), 2);
///     let failed = fails.await.unwrap_err();
///     assert_eq!((failed.name(), failed.error()), (Some("cook"), Some(&"no beans")));
///     assert!(stays.await.unwrap_err().cancelled().is_some());
///     Ok(())
/// }).await.unwrap();
/// # });
/// ```
pub struct Child<T, E> {
    task: Handle<T, E>,
    /// Boxed: with this a handle is two words, which go in registers.
    parked: Option<Box<Parked<E>>>,
}

/// An end without a value that was asked for by code that goes no further.
struct Parked<E> {
    fault: Fault<E>,
    stopped: ParkedFuture,
}

/// How a child ended, without its error: what [`Child::end`] gives.
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
    pub fn done(self) -> Option<T> {
        match self {
            Self::Done(value) => Some(value),
            _ => None,
        }
    }
}

/// Cancels a child: see [`Child::cancel_handle`]. It may be cloned, sent to other threads, and kept for longer than
/// the child; it holds no value of the child's, and neither keeps it alive nor ends it when dropped.
#[derive(Clone)]
pub struct CancelHandle(TaskRef);

impl CancelHandle {
    /// As [`Child::cancel`]; without effect if the child has ended.
    pub fn cancel(&self) {
        self.0.cancel()
    }

    /// As [`Child::is_finished`].
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.0.header().state.is_done()
    }

    /// As [`Child::id`].
    #[must_use]
    pub fn id(&self) -> u32 {
        self.0.header().id()
    }

    /// As [`Child::name`].
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.0.header().name().map(|name| &**name)
    }
}

opaque!("CancelHandle", [] CancelHandle, |handle| {
    id: handle.id(),
    name: handle.name(),
    is_finished: handle.is_finished(),
});

impl<T, E> Child<T, E> {
    pub(crate) fn new(task: Handle<T, E>) -> Self {
        Self { task, parked: None }
    }

    /// Cancels this child alone: no error, siblings unharmed (R16). It is dropped the next time
    /// its nursery, or its worker, comes to it; after the shields that stand inside it, but at once
    /// if it is shielded as a whole. It has no cleanup budget and does not hear of it: to end one child gently, run
    /// it in a [`CancelScope`](crate::CancelScope). A child that waits for its place under a
    /// [`limit`](crate::Builder::limit) hears of that scope only when it has it.
    pub fn cancel(&self) {
        self.task.task().cancel()
    }

    /// What cancels this child from elsewhere, while its handle is being awaited or has gone, as tokio's
    /// `AbortHandle`.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use std::{collections::HashMap, future::pending};
    /// aionursery::nursery(async |n| {
    ///     let mut downloads = HashMap::new();
    ///     for name in ["a", "b"] {
    ///         let child = n.start_soon(pending::<Result<(), String>>());
    ///         downloads.insert(name, child.cancel_handle());
    ///     }
    ///     downloads["a"].cancel();
    ///     aionursery::yield_now().await;
    ///     assert!(downloads["a"].is_finished() && !downloads["b"].is_finished());
    ///     downloads["b"].cancel();
    ///     Ok(())
    /// }).await.unwrap();
    /// # });
    /// ```
    pub fn cancel_handle(&self) -> CancelHandle {
        CancelHandle(self.task.task().clone())
    }

    /// Whether it has ended, in whatever way. Of a spawned child another thread may see so a moment after its nursery
    /// has.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.task.header().state.is_done()
    }

    /// Its number in its nursery: 1 for the first that was started. It begins again after some four
    /// thousand million; those that other threads start beside the nursery's own may leave gaps.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.task.header().id()
    }

    /// Its name, if it was given one with [`named`](crate::Nursery::named).
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.task.header().name().map(|name| &**name)
    }

    /// Waits for its end and says how it ended. Takes no error, and no end of the child ends the code that awaits it.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use aionursery::End;
    /// aionursery::nursery(async |n| {
    ///     let stays = n.start_soon(std::future::pending::<Result<(), String>>());
    ///     stays.cancel();
    ///     assert_eq!(stays.end().await, End::Cancelled);
    ///     let adds = n.start_soon(async { Ok(1 + 1) });
    ///     assert_eq!(adds.end().await.done(), Some(2));
    ///     Ok(())
    /// }).await.unwrap();
    /// # });
    /// ```
    pub async fn end(mut self) -> End<T> {
        match std::future::poll_fn(|cx| self.poll_result(cx)).await {
            Ok(value) => End::Done(value),
            Err(Fault::Failed(_)) => End::Failed,
            Err(Fault::Cancelled(_)) => End::Cancelled,
            Err(Fault::Stopped(held)) if held.is_cut_off() => {
                drop(held.take::<E>());
                End::Cancelled
            }
            Err(Fault::Stopped(_)) => End::Panicked,
        }
    }

    /// Its value, for code whose nursery deals with failures. If the child has none, the code that
    /// awaits it ends at this await, as cancelled: a body or a sibling of a child that failed is being
    /// cancelled anyway, but for [`OnError::Collect`](crate::OnError::Collect), which says what it does there. The
    /// child's error stays the nursery's, which gives it back.
    ///
    /// A child that awaits the value of one that was cancelled alone is cancelled, too.
    ///
    /// # Panics
    /// If the child has no value and the code that awaits it cannot be ended: in a task that is no
    /// nursery's, in `spawn_blocking`, in a `block_on` amid another child. Also in a body, if the child's
    /// own handle has cancelled it: to end the body for that would take the nursery's value. Awaiting
    /// the child itself never panics for how it has ended.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let sum = aionursery::nursery(async |n| {
    ///     let a = n.start_soon(async { Ok::<_, std::fmt::Error>(1) });
    ///     let b = n.start_soon(async { Ok(2) });
    ///     Ok(a.value().await + b.value().await)
    /// }).await.unwrap();
    /// assert_eq!(sum, 3);
    /// # });
    /// ```
    pub fn value(mut self) -> impl Future<Output = T> {
        std::future::poll_fn(move |cx| self.poll_value(cx))
    }

    /// Has its end wake this. Returns whether it has ended before.
    #[inline]
    pub(crate) fn register(&self, waker: &Waker) -> bool {
        self.task.register(waker)
    }

    #[inline]
    pub(crate) fn poll_value(&mut self, cx: &mut Context<'_>) -> Poll<T> {
        if self.parked.is_none() {
            match ready!(self.poll_result(cx)) {
                Ok(value) => return Poll::Ready(value),
                Err(fault) => {
                    self.check_body();
                    self.park(fault);
                }
            }
        }
        park_caller(&mut self.parked.as_mut().expect("it was parked").stopped, cx)
    }

    #[inline]
    pub(crate) fn poll_result(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, Fault<E>>> {
        self.task.poll(cx).map(|result| result.expect("a child's result can be awaited once"))
    }
}

impl<T, E> Unpin for Child<T, E> {}

impl<T, E> Future for Child<T, E> {
    type Output = Result<T, ChildError<E>>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.parked.is_none() {
            match ready!(self.poll_result(cx)) {
                Ok(value) => return Poll::Ready(Ok(value)),
                Err(fault) => self.park(fault),
            }
        }
        self.poll_parked(cx)
    }
}

impl<T, E> Child<T, E> {
    #[cold]
    fn park(&mut self, fault: Fault<E>) {
        self.parked = Some(Box::new(Parked { fault, stopped: ParkedFuture::default() }));
    }

    /// The end of a child without a value, unless it would be lost: code that is being cancelled goes
    /// no further.
    #[cold]
    fn poll_parked(&mut self, cx: &Context<'_>) -> Poll<Result<T, ChildError<E>>> {
        let parked = self.parked.as_mut().expect("the caller has looked");
        if is_doomed() && parked.stopped.mark(cx) {
            return Poll::Pending;
        }
        let parked = self.parked.take().expect("it was there just now");
        Poll::Ready(Err(give(parked.fault, self.task.header().label())))
    }

    /// The handle's own cancellation must not take the body along in silence.
    #[cold]
    fn check_body(&self) {
        let header = self.task.header();
        assert!(
            polling::kind() != Kind::Body || !header.state.is_cancelled_by_hand() || is_doomed(),
            "{} was cancelled by its handle and has no value: await the child itself for its end",
            header.label()
        );
    }
}

/// Whether the task that is being polled is dropped at this await: an error given to it would be lost.
#[cold]
fn is_doomed() -> bool {
    polling::ends()
        || (polling::kind().is_open() && polling::current().is_some_and(|scope| scope.is_hard()))
}

/// Why a child has no value, by value.
#[cold]
fn give<E>(fault: Fault<E>, label: Label) -> ChildError<E> {
    let kind = match fault {
        Fault::Failed(held) => held.take().map(ErrorKind::Error),
        Fault::Stopped(held) => held.take(),
        Fault::Cancelled(cause) => {
            let unknown = || Box::new(Cancelled(Cause::new(Source::Host, None)));
            Some(ErrorKind::Cancelled(*cause.unwrap_or_else(unknown)))
        }
    };
    ChildError { kind: kind.unwrap_or(ErrorKind::Reported), label }
}

/// The poll of a value that does not exist: pending for ever. The code that awaits it is ended.
///
/// # Panics
/// If it cannot be.
#[cold]
fn park_caller<R>(stopped: &mut ParkedFuture, cx: &Context<'_>) -> Poll<R> {
    assert!(
        polling::kind() != Kind::Outside && stopped.mark(cx),
        "the value of a child that has none was awaited outside any nursery, or in a `block_on`, \
         where the code that awaits it cannot be ended: await the child itself for its end"
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
