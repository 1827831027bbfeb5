//! The start handshake: a child that says when it is ready, and its starter waits for that
//! (R24). A child that fails before is an error of its starter, not of the nursery.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::child::Child;
use crate::error::NurseryClosed;
use crate::ignore_panics::ignore_panics;
use crate::nursery::{Admits, Nursery};
use crate::polling;
use crate::scope::Scope;
use crate::sync::{Mutex, WakerSlot, lock};

/// Why a child did not come to say that it had started: what [`Nursery::start`] gives then.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotStarted<E> {
    /// It failed before.
    Failed(E),
    /// It ended, was cancelled or panicked before. A panic is the nursery's.
    Ended,
    /// The nursery is closed.
    Closed,
}

impl<E: std::fmt::Display> std::fmt::Display for NotStarted<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Failed(error) => {
                write!(f, "the child failed before it had started: {error:#}")
            }
            Self::Ended => f.write_str("the child ended without having called `started`"),
            Self::Closed => write!(f, "{}", crate::NurseryClosed),
        }
    }
}

impl<E: std::fmt::Debug + std::fmt::Display> std::error::Error for NotStarted<E> {}

/// The child's own error, if it failed; else one of kind [`Other`](std::io::ErrorKind::Other) that holds this. So a
/// body with errors of this type writes `n.start(serve).await?`.
impl From<NotStarted<Self>> for std::io::Error {
    fn from(end: NotStarted<Self>) -> Self {
        match end {
            NotStarted::Failed(error) => error,
            other => Self::other(other),
        }
    }
}

/// What a child says to its starter.
struct Shared<V, E> {
    answer: Mutex<Answer<V, E>>,
    starter: WakerSlot,
}

enum Answer<V, E> {
    /// The starter waits for it in this scope.
    Awaited(Option<Arc<Scope>>),
    Given(Result<V, NotStarted<E>>),
    /// It was heard, or is not waited for.
    Over,
}

impl<V, E> Shared<V, E> {
    /// Gives the answer back if one was given before, or if it is not waited for.
    fn tell(&self, answer: Result<V, NotStarted<E>>) -> Result<(), Result<V, NotStarted<E>>> {
        let around = {
            let kept = &mut *lock(&self.answer);
            match kept {
                // What awaits it is about to be dropped: the child stays its caller's, and ends with it (R24). Where
                // that has time to clean up, it takes the value.
                Answer::Awaited(Some(scope)) if answer.is_ok() && scope.is_hard() => {
                    return Err(answer);
                }
                Answer::Awaited(_) => std::mem::replace(kept, Answer::Given(answer)),
                Answer::Given(_) | Answer::Over => return Err(answer),
            }
        };
        drop(around);
        // This may be the end of a child that has panicked.
        ignore_panics(|| self.starter.wake());
        Ok(())
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<V, NotStarted<E>>> {
        self.starter.register(cx.waker());
        let around = Answer::Awaited(polling::current());
        let before = {
            let kept = &mut *lock(&self.answer);
            let next = if matches!(kept, Answer::Awaited(_)) { around } else { Answer::Over };
            std::mem::replace(kept, next)
        };
        match before {
            Answer::Given(answer) => Poll::Ready(answer),
            Answer::Awaited(_) | Answer::Over => Poll::Pending,
        }
    }

    /// From here on no other answer is taken. What is given back is the caller's to drop, without the lock.
    fn replace(&self, answer: Answer<V, E>) -> Answer<V, E> {
        std::mem::replace(&mut *lock(&self.answer), answer)
    }
}

/// With this a child says that it has started; see [`Nursery::start`]. If it is dropped unused, the
/// starter goes on waiting, until the child ends.
///
/// ```
/// use aionursery::TaskStatus;
/// async fn serve(status: TaskStatus<u16, String>) -> Result<(), String> {
///     status.started(8080);
///     std::future::pending().await
/// }
/// ```
pub struct TaskStatus<V, E>(Arc<Shared<V, E>>);

opaque!("TaskStatus", [V, E] TaskStatus<V, E>);

impl<V, E> TaskStatus<V, E> {
    /// Hands `value` to the child's starter. From here on its errors are the nursery's.
    pub fn started(self, value: V) {
        let _ = self.0.tell(Ok(value));
    }
}

/// Tells the starter when the child ends without having started.
struct Watch<V, E>(Arc<Shared<V, E>>);

impl<V, E> Drop for Watch<V, E> {
    fn drop(&mut self) {
        let _ = self.0.tell(Err(NotStarted::Ended));
    }
}

impl<'env, E: 'env, M> Nursery<'env, E, M> {
    /// Starts a child, and waits until it has said that it is ready, with what it hands over. The call
    /// starts it; awaiting what the call gives back waits. Until the child has said so it is the caller's: it is
    /// cancelled if the future of this call is dropped, as it is where the caller is cancelled (R24); then it is gone
    /// in the nursery's next turn, or, if it is spawned, once its worker has come to it. Under a full
    /// [`limit`](crate::Builder::limit) it waits for a place first: for ever, if none gets free.
    ///
    /// There is no [`Child`]: what is to end the child later is handed over with [`started`](TaskStatus::started), as
    /// a [`CancelScope`](crate::CancelScope) that it runs in.
    ///
    /// # Errors
    /// [`NotStarted`]: the nursery is closed, or the child failed or ended before. A failure is then no
    /// error of the nursery (R24), unless the future of this call was dropped before it could give
    /// the error back.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use aionursery::{TaskStatus, error::NotStarted, nursery_local};
    /// nursery_local(async |n| {
    ///     let port = n.start(async |status| {
    ///         status.started(8080);
    ///         Ok::<_, String>(())
    ///     }).await;
    ///     assert_eq!(port, Ok(8080));
    ///     let port = n.start(async |_status: TaskStatus<u16, String>| {
    ///         Err(String::from("the port is taken"))
    ///     }).await;
    ///     assert_eq!(port, Err(NotStarted::Failed("the port is taken".into())));
    ///     Ok(())
    /// }).await.unwrap();
    /// # });
    /// ```
    #[track_caller]
    pub fn start<V, C, F>(
        &self,
        child: C,
    ) -> impl Future<Output = Result<V, NotStarted<E>>> + use<'env, V, C, F, E, M>
    where
        C: FnOnce(TaskStatus<V, E>) -> F,
        F: Future<Output = Result<(), E>> + 'env,
        V: 'env,
        M: Admits<Starting<F, V, E>>,
    {
        let (shared, starting) = prepare(child);
        Starter::new(shared, self, self.try_start_soon(starting))
    }
}

#[cfg(feature = "tokio")]
impl<'env, E: Send + 'static, M> Nursery<'env, E, M> {
    /// As [`start`](Self::start), for a child on the runtime's workers, as
    /// [`spawn`](Self::spawn) starts it.
    ///
    /// # Errors
    /// [`NotStarted`], as for [`start`](Self::start).
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[track_caller]
    pub fn start_spawn<V, C, F>(
        &self,
        child: C,
    ) -> impl Future<Output = Result<V, NotStarted<E>>> + use<'env, V, C, F, E, M>
    where
        C: FnOnce(TaskStatus<V, E>) -> F,
        F: Future<Output = Result<(), E>> + Send + 'static,
        V: Send + 'static,
    {
        let (shared, starting) = prepare(child);
        Starter::new(shared, self, self.try_spawn(starting))
    }
}

fn prepare<V, C, F, E>(child: C) -> (Arc<Shared<V, E>>, Starting<F, V, E>)
where
    C: FnOnce(TaskStatus<V, E>) -> F,
{
    let (answer, starter) = (Mutex::new(Answer::Awaited(None)), WakerSlot::new());
    let shared = Arc::new(Shared { answer, starter });
    let future = child(TaskStatus(shared.clone()));
    let watch = Watch(shared.clone());
    (shared, Starting { future, watch })
}

/// Waits for the answer. If it goes before the child has answered, the child is cancelled; before it has heard
/// that the child failed, the error is the nursery's again: nothing else has it (R7).
struct Starter<'env, V, E, M> {
    shared: Arc<Shared<V, E>>,
    nursery: Nursery<'env, E, M>,
    child: Option<Child<(), E>>,
}

impl<'env, V, E, M> Starter<'env, V, E, M> {
    fn new(
        shared: Arc<Shared<V, E>>,
        nursery: &Nursery<'env, E, M>,
        child: Result<Child<(), E>, NurseryClosed>,
    ) -> Self {
        if child.is_err() {
            // The refused child has said that it ended; say why instead.
            drop(shared.replace(Answer::Given(Err(NotStarted::Closed))));
        }
        Self { shared, nursery: nursery.clone(), child: child.ok() }
    }
}

impl<V, E, M> Future for Starter<'_, V, E, M> {
    type Output = Result<V, NotStarted<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.shared.poll(cx)
    }
}

impl<V, E, M> Drop for Starter<'_, V, E, M> {
    fn drop(&mut self) {
        let unheard = self.shared.replace(Answer::Over);
        ignore_panics(|| self.shared.starter.clear());
        let Some(child) = &self.child else { return };
        match unheard {
            Answer::Awaited(_) => ignore_panics(|| child.cancel()),
            Answer::Given(Err(NotStarted::Failed(error))) => self.nursery.fail(error, child.id()),
            Answer::Given(_) | Answer::Over => {}
        }
    }
}

pin_project_lite::pin_project! {
    /// A child that has not said yet that it has started: what [`Nursery::start`] makes of a future.
    pub struct Starting<F, V, E> {
        #[pin]
        future: F,
        watch: Watch<V, E>,
    }
}

opaque!("Starting", [F, V, E] Starting<F, V, E>);

impl<F, V, E> Future for Starting<F, V, E>
where
    F: Future<Output = Result<(), E>>,
{
    type Output = Result<(), E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        let this = self.project();
        match this.future.poll(cx) {
            Poll::Ready(Err(error)) => {
                Poll::Ready(match this.watch.0.tell(Err(NotStarted::Failed(error))) {
                    Ok(()) => Ok(()),
                    Err(Err(NotStarted::Failed(error))) => Err(error),
                    Err(_) => unreachable!("the answer that was refused comes back"),
                })
            }
            polled => polled,
        }
    }
}
