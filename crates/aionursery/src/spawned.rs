//! Children on the runtime's workers: tokio's task around a future that tells its nursery how it
//! ended, after it was dropped and before anybody can see the task as finished. It must tell
//! exactly once, however it ends: value, error, panic, abort, the runtime's shutdown.

use std::future::Future;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use nursery_core::{Outcome, Settings};
use pin_project_lite::pin_project;

use crate::about::{About, Note, Noted, Runs, Watched};
use crate::child::Child;
use crate::core::Core;
use crate::error::{Failure, Fault, Held, Label, NurseryClosed};
use crate::frame::{self, Kind, Standing};
use crate::limit::Gated;
use crate::nursery::Nursery;
use crate::ready::Share;
use crate::scope::{Reason, Scope, lock};
use crate::sync::{AbortHandle, Mutex, spawn, spawn_blocking};

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
    ///     child.await
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
    ///     n.try_spawn(async { Ok::<_, String>(7) }).unwrap().await
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
        let label = Label { id, name: None };
        let join = spawn(Spawned::new(core, label, core.scope.clone(), false, future));
        // From here on a cancellation reaches it.
        core.keep(join.abort_handle());
        Ok(Child::away(join, id, None, core.collect))
    }

    /// A child that is named, noted or shielded, or that has to wait for its place.
    #[cold]
    fn spawn_special<F, T>(
        &self,
        future: F,
        place: &'static Location<'static>,
    ) -> Result<Child<T, E>, NurseryClosed>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
    {
        let core = self.core();
        let (name, shield) = self.options();
        let id = core.start_spawned()?;
        let noted = (core.records || name.is_some()).then(|| {
            let noted =
                Noted::new(&core.scope.signal, name.clone(), shield, Runs::Away, Some(place));
            noted.note().set_id(id);
            noted
        });
        let scope = match shield {
            true => wall(core, noted.as_ref().map(|noted| noted.note().clone())),
            false => core.scope.clone(),
        };
        let label = Label { id, name: name.clone() };
        let gated = Gated::new(core.gate.clone(), Watched::new(noted, future));
        let join = match &name {
            Some(name) => {
                let traced = crate::trace::child(name, gated);
                crate::trace::spawn(name, Spawned::new(core, label, scope, shield, traced))
            }
            None => spawn(Spawned::new(core, label, scope, shield, gated)),
        };
        if !shield {
            core.keep(join.abort_handle());
        }
        Ok(Child::away(join, id, name, core.collect))
    }

    /// Runs a function on the threads that tokio keeps for blocking work. A function that has
    /// begun cannot be cancelled: the nursery waits for it (R3).
    ///
    /// # Panics
    /// If the nursery is closed, or outside a tokio runtime.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let answer = aionursery::nursery(async |n| {
    ///     n.spawn_blocking(|| Ok::<_, String>(6 * 7)).await
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
        let (name, shield) = self.options();
        let id = core.start_spawned().unwrap_or_else(|closed| panic!("{closed}"));
        let collect = core.collect;
        let mut end = Blocking(Teller::new(core, Label { id, name: name.clone() }));
        let hears = (!shield).then(|| core.scope.clone());
        let place = Some(Location::caller());
        let noted = (core.records || name.is_some())
            .then(|| Noted::new(&core.scope.signal, name.clone(), shield, Runs::Blocking, place));
        if let Some(noted) = &noted {
            noted.note().set_id(id);
        }
        let run = move || {
            if let Some(noted) = &noted {
                noted.note().begin();
            }
            if hears.is_some_and(|scope| scope.is_hard()) {
                return end.0.tell(None);
            }
            end.0.tell(Some(catch_unwind(AssertUnwindSafe(function))))
        };
        let join = match &name {
            Some(name) => crate::trace::spawn_blocking(name, run),
            None => spawn_blocking(run),
        };
        Child::away(join, id, name, collect)
    }
}

/// Tells the nursery once how a child ended. Whoever has it must do so.
struct Teller<E> {
    /// `None` once it was told.
    core: Option<Arc<Core<E>>>,
    label: Label,
}

type Ended<T, E> = std::thread::Result<Result<T, E>>;

impl<E> Teller<E> {
    #[inline]
    fn new(core: &Arc<Core<E>>, label: Label) -> Self {
        Self { core: Some(core.clone()), label }
    }

    #[inline]
    fn returned<T>(&mut self, value: T) -> Result<T, Fault<E>> {
        if let Some(core) = self.core.take() {
            core.spawned_returned();
        }
        Ok(value)
    }

    /// `None` for cancelled.
    fn tell<T>(&mut self, end: Option<Ended<T, E>>) -> Result<T, Fault<E>> {
        match end {
            Some(Ok(Ok(value))) => self.returned(value),
            Some(Ok(Err(error))) => Err(self.tell_fault(Some(Ok(error)))),
            Some(Err(payload)) => Err(self.tell_fault(Some(Err(payload)))),
            None => Err(self.tell_fault(None)),
        }
    }

    #[cold]
    fn tell_fault(&mut self, end: Option<std::thread::Result<E>>) -> Fault<E> {
        let label = || self.label.clone();
        let (fault, outcome) = match end {
            Some(Ok(error)) => {
                let held = Held::new(error);
                (Fault::Failed(held.clone()), Outcome::Failed(Failure::held(held, label())))
            }
            Some(Err(payload)) => {
                (Fault::Panicked, Outcome::Failed(Failure::panic(payload, label())))
            }
            None => (Fault::Cancelled, Outcome::Cancelled),
        };
        if let Some(core) = self.core.take() {
            core.ended(outcome, || Reason::from(self.label.to_string()));
        }
        fault
    }
}

/// A function that may never run, as the runtime has gone: then it ends as cancelled.
struct Blocking<E>(Teller<E>);

impl<E> Drop for Blocking<E> {
    fn drop(&mut self) {
        if self.0.core.is_some() {
            let _ = self.0.tell_fault(None);
        }
    }
}

/// What can end the spawned children of one scope: for who cancels it, on whatever thread. Holds
/// the memory of a few that have ended, and nothing in it.
#[derive(Default)]
pub(crate) struct Workers(Mutex<Tasks>);

#[derive(Default)]
struct Tasks {
    handles: Vec<AbortHandle>,
    /// At this length those that have ended are looked for.
    full: usize,
}

impl Workers {
    const FEW: usize = 64;

    /// Takes those in that were spawned. Whoever calls it looks whether the scope is cancelled
    /// afterwards.
    pub(crate) fn keep(&self, spawned: impl IntoIterator<Item = AbortHandle>) {
        let tasks = &mut *lock(&self.0);
        tasks.handles.extend(spawned);
        if tasks.handles.len() > tasks.full.max(Self::FEW) {
            tasks.handles.retain(|handle| !handle.is_finished());
            tasks.full = tasks.handles.len() * 2;
        }
    }

    /// Each is dropped at its next await. Not under the lock: a runtime that has gone drops them
    /// here and now.
    pub(crate) fn abort(&self) {
        let handles = std::mem::take(&mut lock(&self.0).handles);
        handles.iter().for_each(AbortHandle::abort);
    }
}

pin_project! {
    struct Spawned<F, E> {
        #[pin]
        future: Option<F>,
        // `None` while the thread stands in it.
        scope: Option<Arc<Scope>>,
        shield: bool,
        teller: Teller<E>,
    }

    impl<F, E> PinnedDrop for Spawned<F, E> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if this.teller.core.is_some() {
                abandoned(this.future, this.teller);
            }
        }
    }
}

/// Dropped by an abort or by the runtime: the future goes first, then it is told.
#[cold]
fn abandoned<F, E>(mut future: Pin<&mut Option<F>>, teller: &mut Teller<E>) {
    let end = catch_unwind(AssertUnwindSafe(|| future.set(None)));
    let panicked = end.is_err();
    let _ = teller.tell_fault(end.err().map(Err));
    if panicked && !std::thread::panicking() {
        // The nursery has the payload; the handle is to know what became of its child.
        resume_unwind(Box::new("a panic that the nursery was told of"));
    }
}

/// The scope of a shielded child.
fn wall<E>(core: &Arc<Core<E>>, note: Option<Arc<Note>>) -> Arc<Scope> {
    let settings = Settings { shield: true, ..Settings::default() };
    let parent = Some(core.scope.clone());
    Scope::open(parent, None, |_| settings, Share::new(), About::wall(note))
}

impl<F, E> Spawned<F, E> {
    #[inline]
    fn new(core: &Arc<Core<E>>, label: Label, scope: Arc<Scope>, shield: bool, future: F) -> Self {
        Self { future: Some(future), scope: Some(scope), shield, teller: Teller::new(core, label) }
    }
}

impl<F, T, E> Future for Spawned<F, E>
where
    F: Future<Output = Result<T, E>>,
{
    type Output = Result<T, Fault<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let scope = this.scope.take().expect("a child is not polled while it is being polled");
        let mut stop = !*this.shield && scope.is_hard();
        let mut end = None;
        if !stop {
            let standing = Standing::in_scope(scope);
            let frame = frame::enter(if *this.shield { Kind::Shielded } else { Kind::Open });
            let polled = catch_unwind(AssertUnwindSafe(|| {
                let future = this.future.as_mut().as_pin_mut().expect("polled after its end");
                match future.poll(cx) {
                    Poll::Ready(value) => {
                        end = Some(Ok(value));
                        this.future.set(None);
                    }
                    Poll::Pending => {}
                }
            }));
            stop = frame::leave(frame);
            let scope = standing.leave();
            if let Err(payload) = polled {
                let lost = end.replace(Err(payload));
                // One panic is enough.
                let _ = catch_unwind(AssertUnwindSafe(|| drop(lost)));
            }
            if let Some(Ok(Ok(value))) = end {
                // Nothing is left of it, whoever was cancelled meanwhile.
                return Poll::Ready(this.teller.returned(value));
            }
            // Who is cancelled while it runs has come to its next await.
            stop |= !*this.shield && scope.is_hard();
            *this.scope = Some(scope);
        }
        if end.is_none() && !stop {
            return Poll::Pending;
        }
        if this.future.is_some()
            && let Err(payload) = catch_unwind(AssertUnwindSafe(|| this.future.set(None)))
            && !matches!(end, Some(Err(_)))
        {
            end = Some(Err(payload));
        }
        Poll::Ready(this.teller.tell(end))
    }
}
