//! Children that the runtime runs: on its workers, and on its threads for blocking work. It must
//! leave to the child itself to tell its nursery how it ended.

mod blocking;

use std::future::Future;
use std::panic::Location;
use std::sync::Arc;

use nursery_core::Settings;

use crate::carrier;
use crate::child::Child;
use crate::core::Core;
use crate::error::NurseryClosed;
use crate::limit::{Gated, Place};
use crate::nursery::Nursery;
use crate::scope::about::{About, Noted, Runs, Watched};
use crate::scope::{Owner, Scope, lock};
use crate::sync::Mutex;
use crate::task::{Making, TaskRef, make_away, make_here};

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
        let making = Making { shield: false, name: None };
        let (load, handle, reach) = make_away(core, core.scope.clone(), id, making, future);
        carrier::send(load);
        // From here on a cancellation reaches it.
        reach.into_iter().for_each(|child| core.keep(child));
        Ok(Child::new(handle))
    }

    /// As [`spawn`](Self::spawn), on another runtime than the one that this code runs on: the child is
    /// this nursery's like any other, and its deadlines and budgets are told by this nursery's clock.
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
        let away = self.prepare(Location::caller()).unwrap_or_else(|closed| panic!("{closed}"));
        let Away { id, noted, scope, making } = away;
        let gated = Gated::new(Place::new(core.gate.clone()), Watched::new(noted, future));
        let (load, handle, reach) = match &making.name.clone() {
            Some(name) => {
                let traced = traced(core, name, gated);
                make_here(core, scope, id, making, traced)
            }
            None => make_here(core, scope, id, making, gated),
        };
        drop(tokio::task::spawn_local(load));
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
        let Away { id, noted, scope, making } = self.prepare(place)?;
        let gated = Gated::new(seat, Watched::new(noted, future));
        let (handle, reach) = match &making.name.clone() {
            Some(name) => {
                let traced = traced(core, name, gated);
                let (load, handle, reach) = make_away(core, scope, id, making, traced);
                crate::trace::send(name, load);
                (handle, reach)
            }
            None => {
                let (load, handle, reach) = make_away(core, scope, id, making, gated);
                carrier::send(load);
                (handle, reach)
            }
        };
        reach.into_iter().for_each(|child| core.keep(child));
        Ok(Child::new(handle))
    }

    /// Counts a child that is to be spawned.
    fn prepare(&self, place: &'static Location<'static>) -> Result<Away, NurseryClosed> {
        let core = self.core();
        let (name, shield) = self.options();
        let id = core.start_spawned()?;
        let noted = self.note(id, Runs::Away, place);
        let scope = match shield {
            true => wall(core, About::wall(noted.as_ref().map(|noted| noted.note().clone()))),
            false => core.scope.clone(),
        };
        let making = Making { shield, name };
        Ok(Away { id, noted, scope, making })
    }

    /// What a dump shows of a child.
    fn note(&self, id: u32, runs: Runs, place: &'static Location<'static>) -> Option<Noted> {
        let core = self.core();
        let (name, shield) = self.options();
        (core.records || name.is_some()).then(|| {
            let noted = Noted::new(&core.scope.signal, name, shield, runs, Some(place));
            noted.note().set_id(id);
            noted
        })
    }
}

/// What a child is made of, beside its future.
struct Away {
    id: u32,
    noted: Option<Noted>,
    scope: Arc<Scope>,
    making: Making,
}

/// The future of a counted child with a name.
fn traced<F, E>(
    core: &Core<E>,
    name: &Arc<str>,
    future: F,
) -> impl Future<Output = F::Output> + use<F, E>
where
    F: Future,
{
    let counted = Counted(core);
    let traced = crate::trace::child(name, future);
    std::mem::forget(counted);
    traced
}

/// A child that is counted and is not there yet: a subscriber of `tracing` may panic before that.
struct Counted<'a, E>(&'a Core<E>);

impl<E> Drop for Counted<'_, E> {
    fn drop(&mut self) {
        self.0.spawned_returned();
    }
}

/// What can end the spawned children of one scope: for the code that cancels it, on whatever thread. Holds
/// the memory of a few that have ended, and nothing in it.
#[derive(Default)]
pub(crate) struct Workers(Mutex<Tasks>);

#[derive(Default)]
struct Tasks {
    children: Vec<TaskRef>,
    /// At this length those that have ended are looked for.
    full: usize,
}

impl Workers {
    const FEW: usize = 64;

    /// Takes those in that were spawned. The caller looks whether the scope is cancelled
    /// afterwards.
    pub(crate) fn keep(&self, spawned: impl IntoIterator<Item = TaskRef>) {
        // Not dropped under the lock: what has ended may still hold a waker of its handle's (R29).
        let ended: Vec<TaskRef> = {
            let tasks = &mut *lock(&self.0);
            tasks.children.extend(spawned);
            if tasks.children.len() <= tasks.full.max(Self::FEW) {
                return;
            }
            let ended = tasks.children.extract_if(.., |child| child.header().is_done()).collect();
            tasks.full = tasks.children.len() * 2;
            ended
        };
        drop(ended);
    }

    /// All have ended.
    pub(crate) fn clear(&self) {
        let children = std::mem::take(&mut lock(&self.0).children);
        drop(children);
    }

    /// Each is dropped at its next await. Not under the lock: a runtime that has gone drops them
    /// here and now.
    pub(crate) fn abort(&self) {
        let children = std::mem::take(&mut lock(&self.0).children);
        children.iter().for_each(TaskRef::stop);
    }
}

/// The scope of a child that no cancellation reaches.
fn wall<E>(core: &Arc<Core<E>>, about: About) -> Arc<Scope> {
    let settings = Settings { shield: true, ..Settings::default() };
    let parent = Some(core.scope.clone());
    Scope::open(parent, None, |_| settings, Owner::one(), about)
}
