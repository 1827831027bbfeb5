//! A start that waits for a place under the nursery's limit: back-pressure. It must never decide which start comes
//! next: the gate does.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;

use crate::child::Child;
use crate::error::NurseryClosed;
use crate::limit::Place;
use crate::nursery::{Admits, Nursery, Sendable};
use crate::plain::Plain;

/// A place in a nursery with a limit, for one child: see [`Nursery::reserve`]. If it is dropped, the place
/// is free again.
///
/// ```
/// # futures::executor::block_on(async {
/// use aionursery::{Builder, Nursery, Permit};
/// Builder::new().limit(1).nursery(async |n: Nursery<'_, String>| {
///     let permit: Permit<'_, String> = n.reserve().await;
///     // Or, for a child on the runtime's workers, `spawn`.
///     Ok(permit.named("only").start_soon(async { Ok(()) }).value().await)
/// }).await.unwrap();
/// # });
/// ```
#[must_use = "a place that is dropped is free again"]
pub struct Permit<'env, E, M = Sendable> {
    nursery: Nursery<'env, E, M>,
    place: Place,
}

impl<'env, E, M> Nursery<'env, E, M> {
    /// Waits until one more child may run under the nursery's [`limit`](crate::Builder::limit), and keeps
    /// that place for it. So a loop takes its next item only when there is a place for it, in place of
    /// starting children that wait for theirs. Without a limit there is a place at once.
    ///
    /// Callers that wait here and children that wait for their first step stand in one queue, in the order in which
    /// they are first polled. A body that has all the places itself waits for ever: each ends with its permit or its
    /// child. A permit does not keep the nursery open: once that has closed, a start with one panics, also with one
    /// that is reserved afterwards; [`try_start_soon`](Permit::try_start_soon) and `try_spawn` say so.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use aionursery::{Builder, Nursery, yield_now};
    /// Builder::new().limit(2).nursery(async |n: Nursery<'_, String>| {
    ///     for _ in 0..100 {
    ///         let permit = n.reserve().await;
    ///         assert!(n.running() < 2);
    ///         permit.start_soon(async { yield_now().await; Ok(()) });
    ///     }
    ///     Ok(())
    /// }).await.unwrap();
    /// # });
    /// ```
    pub async fn reserve(&self) -> Permit<'env, E, M> {
        let mut place = Place::new(self.gate());
        poll_fn(|cx| match place.poll(cx.waker()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
        Permit { nursery: self.clone(), place }
    }
}

impl<'env, E, M> Permit<'env, E, M> {
    /// The child that is started with it has this name, as with [`Nursery::named`].
    pub fn named(self, name: impl Into<Arc<str>>) -> Self {
        Self { nursery: self.nursery.named(name), place: self.place }
    }

    /// Starts a child in this place, as [`Nursery::start_soon`] does.
    ///
    /// # Panics
    /// If the nursery is closed.
    #[track_caller]
    pub fn start_soon<F, T>(self, future: F) -> Child<T, E>
    where
        F: Future<Output = Result<T, E>> + 'env,
        M: Admits<F>,
    {
        self.try_start_soon(future).unwrap_or_else(|closed| panic!("{closed}"))
    }

    /// As [`start_soon`](Self::start_soon), for a permit that the nursery does not wait for: one that was reserved by a
    /// handle outside of it.
    ///
    /// # Errors
    /// [`NurseryClosed`] once body and children have ended; the future is dropped.
    #[track_caller]
    pub fn try_start_soon<F, T>(self, future: F) -> Result<Child<T, E>, NurseryClosed>
    where
        F: Future<Output = Result<T, E>> + 'env,
        M: Admits<F>,
    {
        self.nursery.start_in(self.place, future)
    }
}

impl<'env, E: 'env, M> Permit<'env, E, M> {
    /// Starts a child that cannot fail in this place, as [`Nursery::start_plain`] does.
    ///
    /// # Panics
    /// If the nursery is closed.
    #[track_caller]
    pub fn start_plain<F>(self, future: F) -> Child<F::Output, E>
    where
        F: Future + 'env,
        M: Admits<Plain<F, E>>,
    {
        self.start_soon(Plain::new(future))
    }
}

#[cfg(feature = "tokio")]
impl<E: Send + 'static, M> Permit<'_, E, M> {
    /// Starts a child in this place, as [`Nursery::spawn`] does.
    ///
    /// # Panics
    /// If the nursery is closed, or outside a tokio runtime.
    #[track_caller]
    pub fn spawn<F, T>(self, future: F) -> Child<T, E>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
    {
        self.try_spawn(future).unwrap_or_else(|closed| panic!("{closed}"))
    }

    /// As [`spawn`](Self::spawn), for a permit that the nursery does not wait for.
    ///
    /// # Errors
    /// [`NurseryClosed`] once body and children have ended; the future is dropped.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let jobs = aionursery::Builder::new().limit(1).open::<String>();
    /// let handle = jobs.clone();
    /// let submitter = tokio::spawn(async move {
    ///     let permit = handle.reserve().await;
    ///     tokio::task::yield_now().await; // the nursery is closed meanwhile
    ///     permit.try_spawn(async { Ok(()) }).is_err()
    /// });
    /// jobs.close().await.unwrap();
    /// assert!(submitter.await.unwrap());
    /// # });
    /// ```
    #[track_caller]
    pub fn try_spawn<F, T>(self, future: F) -> Result<Child<T, E>, NurseryClosed>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
    {
        self.nursery.spawn_in(self.place, future)
    }

    /// Starts a child that cannot fail in this place, as [`Nursery::spawn_plain`] does.
    ///
    /// # Panics
    /// If the nursery is closed, or outside a tokio runtime.
    #[track_caller]
    pub fn spawn_plain<F>(self, future: F) -> Child<F::Output, E>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.spawn(Plain::new(future))
    }
}

opaque!("Permit", [E, M] Permit<'_, E, M>, |permit| { nursery: permit.nursery });
