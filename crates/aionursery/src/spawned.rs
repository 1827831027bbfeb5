//! Children that the runtime runs: on its workers, and on its threads for blocking work. It must
//! leave to the child itself to tell its nursery how it ended.

mod blocking;
mod carrier;
#[expect(unsafe_code, reason = "one piece of memory for future, result and waker")]
mod child;
mod console;
mod idle;

use std::future::Future;
use std::panic::Location;
use std::sync::Arc;

#[cfg(all(test, aionursery_loom))]
pub(crate) use carrier::Carrier;
use child::make_local;
pub(crate) use child::make_spawned;
#[cfg(all(test, aionursery_loom))]
pub(crate) use idle::IdleCarrier;
pub use idle::keep_idle_tasks;

use crate::child::Child;
use crate::error::NurseryClosed;
use crate::limit::Place;
use crate::nursery::Nursery;
use crate::scope::Scope;
use crate::scope::info::{Info, Runs};
use crate::special::{RecordGuard, Special, wall};
use crate::task::TaskOptions;
use crate::trace::Span;

impl<E: Send + 'static, M> Nursery<'_, E, M> {
    /// Starts a child on the runtime's workers. It is joined, cancelled and its errors collected
    /// like any other; it cannot borrow.
    ///
    /// # Panics
    /// If the nursery is closed; [`try_spawn`](Self::try_spawn) says so instead. Outside a tokio
    /// runtime, as `tokio::spawn`.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let answer = aionursery::nursery(async |n| {
    ///     let child = n.spawn(async { Ok::<_, String>(6 * 7) });
    ///     Ok(child.value().await)
    /// }).await;
    /// assert_eq!(answer.unwrap(), 42);
    /// # });
    /// ```
    #[inline]
    #[track_caller]
    pub fn spawn<F, T>(&self, future: F) -> Child<T, E>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
    {
        match self.try_spawn(future) {
            Ok(child) => child,
            Err(closed) => panic!("{closed}"),
        }
    }

    /// As [`spawn`](Self::spawn), for a handle that may have outlived its nursery.
    ///
    /// # Errors
    /// [`NurseryClosed`] once body and children have ended; the future is dropped.
    ///
    /// # Panics
    /// Outside a tokio runtime, as on a plain thread: [`spawn_on`](Self::spawn_on) and
    /// [`try_start_soon`](Self::try_start_soon) work there.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let mut kept = None;
    /// aionursery::nursery(async |n| {
    ///     kept = Some(n.clone());
    ///     Ok(n.try_spawn(async { Ok::<_, String>(7) }).unwrap().value().await)
    /// }).await.unwrap();
    /// assert!(kept.unwrap().try_spawn(async { Ok(7) }).is_err());
    /// # });
    /// ```
    #[inline]
    #[track_caller]
    pub fn try_spawn<F, T>(&self, future: F) -> Result<Child<T, E>, NurseryClosed>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
    {
        if !self.is_plain() {
            return self.spawn_special(future, Location::caller());
        }
        let core = self.core();
        let id = core.start_spawned()?;
        let options = TaskOptions::default();
        let (task, handle, reach) = make_spawned(core, None, id, options, future);
        carrier::send(task);
        // From here on a cancellation reaches it.
        reach.into_iter().for_each(|child| core.keep(child));
        Ok(Child::new(handle))
    }

    /// As [`spawn`](Self::spawn), on another runtime than the one that this code runs on, also from a thread outside of
    /// any: the child is this nursery's like any other. Without a [`Clock`](crate::time::Clock) of the program's, its
    /// time and that of the scopes which it opens is its own runtime's, which differs where one of the two is paused.
    /// If that runtime is shut down before the child has ended, the child ends as cancelled. The others go on, and the
    /// nursery gives that back as an [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled), unless the handle was awaited.
    ///
    /// # Panics
    /// If the nursery is closed.
    ///
    /// ```
    /// let other = tokio::runtime::Runtime::new().unwrap();
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let ran_on = aionursery::nursery(async |n| {
    ///     let child = n.spawn_on(other.handle(), async {
    ///         Ok::<_, String>(tokio::runtime::Handle::current().id())
    ///     });
    ///     Ok(child.value().await)
    /// }).await;
    /// assert_eq!(ran_on.unwrap(), other.handle().id());
    /// # });
    /// ```
    #[track_caller]
    pub fn spawn_on<F, T>(&self, runtime: &tokio::runtime::Handle, future: F) -> Child<T, E>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
    {
        let _entered = runtime.enter();
        self.spawn(future)
    }

    /// As [`spawn`](Self::spawn), for a future that is not `Send`, on the `LocalSet` that this code runs
    /// in: a task of its own on this thread, of any nursery's.
    ///
    /// The error has to be `Send` all the same: if the nursery is dropped early, the nursery above gets it, which
    /// may be on another thread (R28). With another error a [`nursery_local`](crate::nursery_local) has
    /// [`start_soon`](Self::start_soon).
    ///
    /// # Panics
    /// If the nursery is closed, or outside a `LocalSet`, as `tokio::task::spawn_local`.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// use std::rc::Rc;
    /// let set = tokio::task::LocalSet::new();
    /// let answered = set.run_until(aionursery::nursery(async |n| {
    ///     let shared = Rc::new(42);
    ///     Ok(n.spawn_local(async move { Ok::<_, String>(*shared) }).value().await)
    /// }));
    /// assert_eq!(answered.await.unwrap(), 42);
    /// # });
    /// ```
    #[track_caller]
    pub fn spawn_local<F, T>(&self, future: F) -> Child<T, E>
    where
        F: Future<Output = Result<T, E>> + 'static,
        T: 'static,
    {
        let core = self.core();
        let place = Place::new(core.gate.clone());
        let special = self.prepare(future, place, Location::caller());
        let Prepared { id, wall, options, special } =
            special.unwrap_or_else(|closed| panic!("{closed}"));
        let (task, handle, reach) = make_local(core, wall, id, options, special);
        drop(tokio::task::spawn_local(task));
        reach.into_iter().for_each(|child| core.keep(child));
        Child::new(handle)
    }

    /// Spawns a child in a place that it was given beforehand.
    #[track_caller]
    pub(crate) fn spawn_in<F, T>(
        &self,
        seat: Place,
        future: F,
    ) -> Result<Child<T, E>, NurseryClosed>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
    {
        match self.is_plain() {
            true => self.try_spawn(future),
            false => self.spawn_seated(future, seat, Location::caller()),
        }
    }

    /// Apart from the way of a plain child, which makes no place.
    #[cold]
    #[inline(never)]
    fn spawn_special<F, T>(
        &self,
        future: F,
        place: &'static Location<'static>,
    ) -> Result<Child<T, E>, NurseryClosed>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
    {
        self.spawn_seated(future, Place::new(self.gate()), place)
    }

    /// A child that is named, noted or shielded, or that has to wait for its place.
    fn spawn_seated<F, T>(
        &self,
        future: F,
        seat: Place,
        place: &'static Location<'static>,
    ) -> Result<Child<T, E>, NurseryClosed>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
    {
        let core = self.core();
        let Prepared { id, wall, options, special } = self.prepare(future, seat, place)?;
        let name = options.name.clone();
        let (task, handle, reach) = make_spawned(core, wall, id, options, special);
        console::send(name.as_deref(), task);
        reach.into_iter().for_each(|child| core.keep(child));
        Ok(Child::new(handle))
    }

    /// Counts a child that is to be spawned, and makes its future one of ours.
    fn prepare<F>(
        &self,
        future: F,
        seat: Place,
        place: &'static Location<'static>,
    ) -> Result<Prepared<F>, NurseryClosed> {
        let core = self.core();
        let options = self.options();
        // A subscriber's code, which may panic: the child is not counted yet.
        let span = Span::child(options.name.as_deref());
        let id = core.start_spawned()?;
        let recorded = self.record(id, Runs::Spawned, place);
        let wall = options.shield.then(|| {
            let record = recorded.as_ref().map(|recorded| recorded.record().clone());
            wall(core.scope.clone(), Info::wall(record))
        });
        let special = Special::new(future, recorded, seat, None, span);
        Ok(Prepared { id, wall, options, special })
    }

    /// What a dump shows of a child.
    fn record(
        &self,
        id: u32,
        runs: Runs,
        place: &'static Location<'static>,
    ) -> Option<RecordGuard> {
        let core = self.core();
        let TaskOptions { name, shield } = self.options();
        (core.records || name.is_some()).then(|| {
            let recorded = RecordGuard::new(&core.scope, name, shield, runs, place);
            recorded.record().set_id(id);
            recorded
        })
    }
}

/// What a child that is not a plain one is made of.
struct Prepared<F> {
    id: u32,
    wall: Option<Arc<Scope>>,
    options: TaskOptions,
    special: Special<F>,
}
