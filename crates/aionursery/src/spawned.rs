//! Children on the runtime's workers: tokio's task around a future that tells its nursery how it
//! ended, after it was dropped and before anybody can see the task as finished. It must tell
//! exactly once, however it ends: value, error, panic, abort, the runtime's shutdown.

use std::future::Future;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
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
use crate::scope::{HARD, Reason, Scope};
use crate::sync::{spawn, spawn_blocking};

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
    #[track_caller]
    pub fn try_spawn<F, T>(&self, future: F) -> Result<Child<T, E>, NurseryClosed>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
    {
        let core = self.core();
        let (name, shield) = self.options();
        let place = Location::caller();
        let id = core.start_spawned()?;
        let collect = core.collect;
        let label = Label { id, name: name.clone() };
        let noted = (core.records || name.is_some()).then(|| {
            let noted =
                Noted::new(&core.scope.signal, name.clone(), shield, Runs::Away, Some(place));
            noted.note().set_id(id);
            noted
        });
        let note = noted.as_ref().map(|noted| noted.note().clone());
        let gate = core.gate.clone();
        let join = match noted.is_some() || gate.is_some() {
            false => spawn(Spawned::new(core, label, shield, None, future)),
            true => {
                let gated = Gated::new(gate, Watched::new(noted, future));
                match &name {
                    Some(name) => {
                        let traced = crate::trace::child(name, gated);
                        let spawned = Spawned::new(core, label, shield, note, traced);
                        crate::trace::spawn(name, spawned)
                    }
                    None => spawn(Spawned::new(core, label, shield, note, gated)),
                }
            }
        };
        Ok(Child::away(join, id, name, collect))
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
        let mut end = Teller::new(core, Label { id, name: name.clone() });
        let hears = (!shield).then(|| core.scope.clone());
        let place = Some(Location::caller());
        let noted = (core.records || name.is_some())
            .then(|| Noted::new(&core.scope.signal, name.clone(), shield, Runs::Blocking, place));
        if let Some(noted) = &noted {
            noted.note().set_id(id);
        }
        let join = spawn_blocking(move || {
            if let Some(noted) = &noted {
                noted.note().begin();
            }
            if hears.is_some_and(|scope| scope.is_hard()) {
                return end.tell(None);
            }
            end.tell(Some(catch_unwind(AssertUnwindSafe(function))))
        });
        Child::away(join, id, name, collect)
    }
}

/// Tells the nursery once how a child ended.
struct Teller<E> {
    core: Option<Arc<Core<E>>>,
    label: Label,
}

type Ended<T, E> = std::thread::Result<Result<T, E>>;

impl<E> Teller<E> {
    fn new(core: &Arc<Core<E>>, label: Label) -> Self {
        Self { core: Some(core.clone()), label }
    }

    /// `None` for cancelled.
    fn tell<T>(&mut self, end: Option<Ended<T, E>>) -> Result<T, Fault<E>> {
        let label = || self.label.clone();
        let (output, outcome) = match end {
            Some(Ok(Ok(value))) => (Ok(value), Outcome::Done),
            Some(Ok(Err(error))) => {
                let held = Held::new(error);
                (Err(Fault::Failed(held.clone())), Outcome::Failed(Failure::held(held, label())))
            }
            Some(Err(payload)) => {
                (Err(Fault::Panicked), Outcome::Failed(Failure::panic(payload, label())))
            }
            None => (Err(Fault::Cancelled), Outcome::Cancelled),
        };
        if let Some(core) = self.core.take() {
            core.ended(outcome, || Reason::from(self.label.to_string()));
        }
        output
    }
}

impl<E> Drop for Teller<E> {
    fn drop(&mut self) {
        if self.core.is_some() {
            let _: Result<(), _> = self.tell(None);
        }
    }
}

pin_project! {
    struct Spawned<F, E> {
        #[pin]
        future: Option<F>,
        // `None` while the thread stands in it.
        scope: Option<Arc<Scope>>,
        signal: Arc<Scope>,
        place: Option<u32>,
        seen: u8,
        shield: bool,
        teller: Teller<E>,
    }

    impl<F, E> PinnedDrop for Spawned<F, E> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if this.teller.core.is_none() {
                return;
            }
            this.signal.signal.unregister(this.place);
            // Dropped by an abort or by the runtime: the future goes first, then it is told.
            let end = match catch_unwind(AssertUnwindSafe(|| this.future.set(None))) {
                Ok(()) => None,
                Err(payload) => Some(Err(payload)),
            };
            let _: Result<(), _> = this.teller.tell(end);
        }
    }
}

impl<F, E> Spawned<F, E> {
    fn new(
        core: &Arc<Core<E>>,
        label: Label,
        shield: bool,
        note: Option<Arc<Note>>,
        future: F,
    ) -> Self {
        let scope = if shield {
            let settings = Settings { shield, ..Settings::default() };
            let parent = Some(core.scope.clone());
            Scope::open(parent, None, |_| settings, Share::new(), About::wall(note))
        } else {
            core.scope.clone()
        };
        Self {
            future: Some(future),
            signal: scope.clone(),
            scope: Some(scope),
            place: None,
            seen: 0,
            shield,
            teller: Teller::new(core, label),
        }
    }
}

impl<F, T, E> Future for Spawned<F, E>
where
    F: Future<Output = Result<T, E>>,
{
    type Output = Result<T, Fault<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let signal = &this.signal.signal;
        let end = loop {
            let seen = signal.flags();
            if seen & HARD != 0 && !*this.shield {
                break None;
            }
            let standing = this.scope.take().map(Standing::in_scope);
            let kind = if *this.shield { Kind::Shielded } else { Kind::Open };
            let frame = frame::enter(kind);
            let future = this.future.as_mut().as_pin_mut().expect("polled after its end");
            let polled = catch_unwind(AssertUnwindSafe(|| future.poll(cx)));
            let stop = frame::leave(frame);
            *this.scope = standing.map(Standing::leave);
            match polled {
                Ok(Poll::Pending) if stop => break None,
                Ok(Poll::Pending) => {}
                Ok(Poll::Ready(end)) => break Some(Ok(end)),
                Err(payload) => break Some(Err(payload)),
            }
            if *this.shield {
                return Poll::Pending;
            }
            if this.place.is_some() && *this.seen == seen && signal.flags() == seen {
                return Poll::Pending;
            }
            if signal.register(this.place, cx.waker(), seen) {
                *this.seen = seen;
                return Poll::Pending;
            }
        };
        signal.unregister(this.place);
        let dropped = catch_unwind(AssertUnwindSafe(|| this.future.set(None)));
        let end = match (end, dropped) {
            (Some(Err(payload)), _) | (_, Err(payload)) => Some(Err(payload)),
            (end, Ok(())) => end,
        };
        Poll::Ready(this.teller.tell(end))
    }
}
