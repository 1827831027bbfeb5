//! Children that are functions, on the threads that tokio keeps for blocking work. It must never
//! cancel one that has begun: that is impossible.

use std::panic::Location;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use super::child::{SpawnedTask, make_spawned};
use super::console;
use crate::child::Child;
use crate::limit::Place;
use crate::nursery::Nursery;
use crate::polling::{self, InScope, Kind};
use crate::scope::info::{Info, Runs};
use crate::special::{Special, wall};
use crate::sync::{Mutex, lock};
use crate::trace::Span;

impl<E: Send + 'static, M> Nursery<'_, E, M> {
    /// Runs a function on the threads that tokio keeps for blocking work. A function that has
    /// begun cannot be cancelled: the nursery waits for it (R3), and what it opens in a `block_on`
    /// is not cancelled either; [`cancelled`](Self::cancelled) tells it. One that is still queued
    /// when it is cancelled does not run: its canceller drops it.
    ///
    /// # Panics
    /// If the nursery is closed, or outside a tokio runtime.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let answer = aionursery::nursery(async |n| {
    ///     Ok(n.spawn_blocking(|| Ok::<_, String>(6 * 7)).value().await)
    /// }).await;
    /// assert_eq!(answer.unwrap(), 42);
    /// # });
    /// ```
    #[track_caller]
    pub fn spawn_blocking<F, T>(&self, function: F) -> Child<T, E>
    where
        F: FnOnce() -> Result<T, E> + Send + 'static,
        T: Send + 'static,
    {
        let core = self.core();
        let id = core.start_spawned().unwrap_or_else(|closed| panic!("{closed}"));
        let recorded = self.record(id, Runs::Blocking, Location::caller());
        let (own, record) =
            (core.clone(), recorded.as_ref().map(|recorded| recorded.record().clone()));
        let mut function = Some(function);
        let run = std::future::poll_fn(move |_| {
            let function = function.take().expect("a future is not polled after its end");
            // Nothing can drop what it awaits in a `block_on`: that has to end by itself.
            let info = Info::thread(record.clone());
            let standing = InScope::enter(wall(own.scope.clone(), info));
            let frame = polling::enter(Kind::Outside, false);
            let returned = function();
            polling::leave(frame);
            drop(standing);
            Poll::Ready(returned)
        });
        let run = Special::new(run, recorded, Place::new(None), None, Span::child(None));
        let options = self.options();
        let name = options.name.clone();
        let (mut task, handle, reach) = make_spawned(core, None, id, options, run);
        let queued = Arc::new(Queued(Mutex::default()));
        task.stop_by(&Waker::from(queued.clone()));
        *lock(&queued.0) = Some(task);
        let slot = QueueSlot(queued);
        console::spawn_blocking(name.as_deref(), || slot.run());
        reach.into_iter().for_each(|child| core.keep(child));
        Child::new(handle)
    }
}

/// A blocking child, until a thread comes to it. What cancels it before that ends it here and
/// now: tokio keeps an aborted function in its queue.
struct Queued(Mutex<Option<SpawnedTask>>);

impl Queued {
    fn take(&self) -> Option<SpawnedTask> {
        lock(&self.0).take()
    }
}

impl Wake for Queued {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        drop(self.take());
    }
}

/// Its place in the queue of tokio's.
struct QueueSlot(Arc<Queued>);

impl QueueSlot {
    fn run(self) {
        if let Some(task) = self.0.take() {
            drop(task.poll(&mut Context::from_waker(Waker::noop())));
        }
    }
}

impl Drop for QueueSlot {
    /// It has run, or its runtime has gone before a thread came to it.
    fn drop(&mut self) {
        drop(self.0.take());
    }
}
