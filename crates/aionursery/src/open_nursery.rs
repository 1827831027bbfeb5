//! A nursery without a block: a value that may be held in a struct, and is joined by `close`. Its own task
//! of tokio's drives it. It must never leave a child running that nothing waits for, but for what is
//! aborted because its owner was dropped.

use std::future::{Future, poll_fn};
use std::ops::Deref;
use std::panic::{Location, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use nursery_core::Source;

use crate::builder::Builder;
use crate::cancel_scope::short::shield;
use crate::driver::Block;
use crate::error::{AdoptedError, Cause, MultiError, report};
use crate::nursery::Nursery;
use crate::polling;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{JoinError, JoinHandle, WakerSlot, spawn};

/// A nursery that is a value: for a struct that starts children over a long time and joins them when it is
/// shut down. It has all that a [`Nursery`] has, by `Deref`. Made by [`Builder::open`].
///
/// It stands below no scope, as it has a task of its own, and its children borrow nothing. Where a
/// block will do, take [`nursery`](crate::nursery): that cannot be forgotten.
///
/// If it is dropped without [`close`](Self::close), or the future of `close` is, its children are
/// aborted but for the shielded ones, and nothing waits for their ends (R28): their errors go to
/// [`on_lost_error`](crate::error::on_lost_error). So a limit of time for `close` is
/// [`fail_after(limit, jobs.close())`](crate::fail_after), which cancels the children and waits for them, and not
/// `tokio::time::timeout`, which drops the future. With the default `on_error` the first failure cancels all
/// children, and what is started afterwards is cancelled, too: for jobs that have nothing to do with each
/// other take [`OnError::Collect`](crate::OnError::Collect). An error is kept until `close`, unless
/// awaiting the [`Child`](crate::Child) takes it.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use aionursery::{Builder, MultiError, OnError, OpenNursery};
///
/// struct Mailer {
///     sending: OpenNursery<String>,
/// }
///
/// impl Mailer {
///     fn new() -> Self {
///         Self { sending: Builder::new().on_error(OnError::Collect).open() }
///     }
///
///     fn send(&self, to: &'static str) {
///         self.sending.named(to).spawn(async move {
///             if to.contains('@') { Ok(()) } else { Err(format!("{to} is no address")) }
///         });
///     }
///
///     async fn shut_down(self) -> Result<(), MultiError<String>> {
///         self.sending.close().await
///     }
/// }
///
/// let mailer = Mailer::new();
/// mailer.send("a@example.org");
/// mailer.send("nowhere");
/// let errors = mailer.shut_down().await.unwrap_err();
/// assert_eq!((errors.len(), errors[0].name()), (1, Some("nowhere")));
/// # });
/// ```
#[must_use = "what it has started is aborted when it is dropped"]
pub struct OpenNursery<E> {
    nursery: Nursery<'static, E>,
    end: Arc<End>,
    /// `None` once it has been joined.
    task: Option<JoinHandle<Ended<E>>>,
}

/// How it has ended. What nothing takes is told of as lost: the task may have ended before its owner is
/// dropped (R7).
struct Ended<E> {
    ended: Option<Result<(), MultiError<E>>>,
    erase: fn(E) -> AdoptedError,
}

impl<E> Drop for Ended<E> {
    fn drop(&mut self) {
        if let Some(Err(errors)) = self.ended.take() {
            report(errors.into_lost(self.erase));
        }
    }
}

/// What the body waits for.
struct End {
    reached: AtomicBool,
    body: WakerSlot,
}

impl End {
    async fn wait(self: Arc<Self>) {
        poll_fn(|cx| {
            self.body.register(cx.waker());
            match self.reached.load(Ordering::Acquire) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }

    fn reach(&self) {
        self.reached.store(true, Ordering::Release);
        self.body.wake();
    }
}

impl Builder {
    /// Opens the nursery as a value, to be joined by [`OpenNursery::close`]. A shield has no effect: no
    /// scope is around it.
    ///
    /// # Panics
    /// Outside a tokio runtime, or with a [`deadline`](Self::deadline) on one that was built without
    /// `enable_time`.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// use aionursery::{Builder, OpenNursery};
    /// let jobs: OpenNursery<String> = Builder::new().open();
    /// let answer = jobs.spawn(async { Ok(42) });
    /// assert_eq!(answer.await.unwrap(), 42);
    /// jobs.close().await.unwrap();
    /// # });
    /// ```
    #[track_caller]
    pub fn open<E: Send + 'static>(self) -> OpenNursery<E> {
        let end = Arc::new(End { reached: AtomicBool::new(false), body: WakerSlot::new() });
        let (handle, waits) = (Arc::new(OnceLock::new()), end.clone());
        let opened = handle.clone();
        let body = move |n: Nursery<'static, E>| {
            drop(opened.set(n));
            async move {
                // A cancellation does not end it: what is started afterwards is cancelled, too, and not refused.
                shield(waits.wait()).await;
                Ok(())
            }
        };
        let mut block = Box::pin(Block::new(self.at(Location::caller()), body));
        // Not below the scope that this code stands in: its task is not either.
        let first = polling::apart(|| block.as_mut().poll(&mut Context::from_waker(Waker::noop())));
        let task = spawn(async move {
            let ended = match first {
                // Its deadline had passed.
                Poll::Ready(ended) => ended,
                Poll::Pending => block.await,
            };
            Ended { ended: Some(ended), erase: AdoptedError::keep }
        });
        let nursery = handle.get().expect("the body was called").clone();
        OpenNursery { nursery, end, task: Some(task) }
    }
}

impl<E> OpenNursery<E> {
    /// Waits until all children have ended, and gives their errors. Until then children, and handles outside, may
    /// start more, and it ends only once they stop: to refuse new jobs, set a flag or cancel a token that the code
    /// which starts them looks at. A cancellation of the code that awaits it cancels the nursery, gives it its budget
    /// and waits for it, as for a nursery in a block (R27a). What must not wait calls
    /// [`cancel`](Nursery::cancel) first.
    ///
    /// # Errors
    /// What its children have failed with, and nothing else, but that its runtime has shut down: one that was
    /// only cancelled gives `Ok`, as a block whose body had returned by then
    /// ([`cause`](Nursery::cause) tells).
    ///
    /// # Panics
    /// In a child of its own, which it would wait for: the nursery is dropped then.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let jobs = aionursery::Builder::new().open::<String>();
    /// jobs.spawn(std::future::pending::<Result<(), _>>());
    /// jobs.cancel();
    /// assert!(jobs.close().await.is_ok());
    /// # });
    /// ```
    pub async fn close(self) -> Result<(), MultiError<E>> {
        self.end.reach();
        // A block, so that whatever cancels the code around cancels this, too, and waits for it.
        let waits = Builder::new().name("close").cleanup(Duration::MAX);
        match Block::with(waits, self, Self::join).await {
            Ok(()) => Ok(()),
            Err(ended) => match ended.resume_panic().into_errors().map(|mut errors| errors.pop()) {
                Ok(Some(errors)) => Err(errors),
                _ => unreachable!("the body alone fails, and it has all the time to end"),
            },
        }
    }

    async fn join(mut self, around: Nursery<'_, MultiError<E>>) -> Result<(), MultiError<E>> {
        let is_inside = around.scope().is_below(self.nursery.scope());
        assert!(!is_inside, "a child cannot close its own nursery, which would wait for it");
        let mut cancelled = Some(around.cancelled());
        let joined = poll_fn(|cx| {
            if let Some(cancellation) = &mut cancelled
                && Pin::new(cancellation).poll(cx).is_ready()
            {
                cancelled = None;
                self.nursery.scope().cancel(Source::Host, None);
            }
            Pin::new(self.task.as_mut().expect("it has not been joined")).poll(cx)
        })
        .await;
        self.task = None;
        match joined {
            Ok(mut ended) => match ended.ended.take() {
                // A cancellation has taken nothing: the body has no value.
                Some(Err(errors)) if !errors.is_empty() => Err(errors),
                _ => Ok(()),
            },
            Err(end) => Err(self.fallen(end)),
        }
    }

    /// Its task has ended by itself.
    #[cold]
    fn fallen(&self, end: JoinError) -> MultiError<E> {
        match end.try_into_panic() {
            // A destructor's, of a child that was dropped.
            Ok(payload) => resume_unwind(payload),
            Err(_) => {
                let name = self.nursery.scope().signal.info.name.clone();
                let cause = Cause::new(Source::Host, Some("its runtime has shut down".into()));
                MultiError::collect(Vec::new(), Some(cause), name)
            }
        }
    }
}

impl<E> Deref for OpenNursery<E> {
    type Target = Nursery<'static, E>;

    fn deref(&self) -> &Nursery<'static, E> {
        &self.nursery
    }
}

impl<E> Drop for OpenNursery<E> {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl<E> std::fmt::Debug for OpenNursery<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("OpenNursery").field(&self.nursery).finish()
    }
}
