//! The handle with which children are started and cancelled, and the builder that says under which
//! rules. It must never run a child: that is the driver's.

use std::future::Future;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nursery_core::{Settings, Source};

use crate::about::{self, Noted, Place, Runs, Watched};
use crate::child::Child;
use crate::clock::{Clock, Own, Time};
use crate::core::Core;
use crate::driver::Block;
use crate::error::{Failure, Label, NurseryClosed};
use crate::limit::Gated;
use crate::scope::{Cause, Reason, SOFT, Scope};
use crate::task::{Handle, Making, Running, make};
use crate::within::Within;

/// Which futures a nursery takes as children of its own task.
///
/// [`Sendable`] nurseries take `Send` futures with `Send` values and may be moved between threads, so
/// they can stand in `tokio::spawn`. [`Local`] ones take any future, and are not `Send` for it.
///
/// ```
/// use aionursery::{Admits, Child, Nursery};
/// /// Works for nurseries of both kinds.
/// fn start<'env, F, M>(n: &Nursery<'env, String, M>, future: F) -> Child<u8, String>
/// where
///     F: Future<Output = Result<u8, String>> + 'env,
///     M: Admits<F>,
/// {
///     n.start_soon(future)
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "this nursery takes no child that is not `Send`",
    label = "this future, or the value it gives, is not `Send`",
    note = "`nursery_local` takes such children, and is itself not `Send`"
)]
pub trait Admits<F>: Mode {}

/// [`Sendable`] or [`Local`].
///
/// ```
/// use aionursery::{Mode, Nursery};
/// fn stop<M: Mode>(n: &Nursery<'_, String, M>) {
///     n.cancel();
/// }
/// ```
pub trait Mode: sealed::Sealed {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Sendable {}
    impl Sealed for super::Local {}
}

/// Children are `Send`: what [`nursery`] makes.
///
/// ```
/// use aionursery::{Nursery, Sendable};
/// fn stop(n: Nursery<'_, String, Sendable>) { // or, for short, Nursery<'_, String>
///     n.cancel();
/// }
/// ```
pub struct Sendable(());

/// Children need not be `Send`: what [`nursery_local`] makes.
///
/// ```
/// use aionursery::{Local, Nursery};
/// fn stop(n: Nursery<'_, String, Local>) { // or, for short, LocalNursery<'_, String>
///     n.cancel();
/// }
/// ```
pub struct Local(PhantomData<*const ()>);

impl Mode for Sendable {}
impl Mode for Local {}

// The value, too: the handle may be on one thread and the nursery on another. The error need not
// be: a handle of a nursery with an error that is not `Send` is itself not `Send`.
impl<F, T, E> Admits<F> for Sendable
where
    F: Future<Output = Result<T, E>> + Send,
    T: Send,
{
}

impl<F> Admits<F> for Local {}

/// A nursery's handle: starts and cancels children. Cheap to clone, may be kept and sent away;
/// once the block has ended it only says [`NurseryClosed`].
///
/// `'env` is what the children of this task may borrow from: anything that outlives the block.
///
/// ```
/// # futures::executor::block_on(async {
/// use aionursery::{Nursery, nursery};
/// async fn fan_out(n: Nursery<'_, String>, children: usize) -> Result<usize, String> {
///     for _ in 0..children {
///         let _ = n.start_soon(async { Ok(()) });
///     }
///     Ok(n.running())
/// }
/// assert_eq!(nursery(|n| fan_out(n, 3)).await.unwrap(), 3);
/// # });
/// ```
pub struct Nursery<'env, E, M = Sendable> {
    core: Arc<Core<E>>,
    name: Option<Arc<str>>,
    shield: bool,
    /// Invariant: a shorter `'env` would let in children that end too early.
    env: PhantomData<fn(&'env ()) -> &'env ()>,
    mode: PhantomData<M>,
}

/// The handle of a [`nursery_local`].
///
/// ```
/// # futures::executor::block_on(async {
/// use aionursery::{LocalNursery, nursery_local};
/// nursery_local(async |n: LocalNursery<'_, String>| {
///     let shared = std::rc::Rc::new(7);
///     n.start_soon(async move { Ok(*shared) }).await
/// }).await.unwrap();
/// # });
/// ```
pub type LocalNursery<'env, E> = Nursery<'env, E, Local>;

impl<E, M> Clone for Nursery<'_, E, M> {
    fn clone(&self) -> Self {
        Self::new(self.core.clone(), self.name.clone(), self.shield)
    }
}

impl<'env, E, M> Nursery<'env, E, M> {
    pub(crate) fn new(core: Arc<Core<E>>, name: Option<Arc<str>>, shield: bool) -> Self {
        Self { core, name, shield, env: PhantomData, mode: PhantomData }
    }

    /// Starts a child that runs on this task and may borrow from outside the block. It does not
    /// run before this returns (R4).
    ///
    /// # Panics
    /// If the nursery is closed; [`try_start_soon`](Self::try_start_soon) says so instead.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let words = vec!["no".to_string(), "beans".to_string()];
    /// let lengths = aionursery::nursery(async |n| {
    ///     let first = n.start_soon(async { Ok::<_, String>(words[0].len()) });
    ///     let second = n.start_soon(async { Ok(words[1].len()) });
    ///     Ok((first.await?, second.await?))
    /// }).await;
    /// assert_eq!(lengths.unwrap(), (2, 5));
    /// # });
    /// ```
    #[inline]
    #[track_caller]
    pub fn start_soon<F, T>(&self, future: F) -> Child<T, E>
    where
        F: Future<Output = Result<T, E>> + 'env,
        M: Admits<F>,
    {
        match self.try_start_soon(future) {
            Ok(child) => child,
            Err(closed) => panic!("{closed}"),
        }
    }

    /// As [`start_soon`](Self::start_soon), for a handle that may have outlived its nursery.
    ///
    /// # Errors
    /// [`NurseryClosed`] once body and children have ended; the future is dropped.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let mut kept = None;
    /// aionursery::nursery(async |n| {
    ///     kept = Some(n.clone());
    ///     Ok::<_, String>(())
    /// }).await.unwrap();
    /// assert!(kept.unwrap().try_start_soon(async { Ok(()) }).is_err());
    /// # });
    /// ```
    #[inline]
    #[track_caller]
    pub fn try_start_soon<F, T>(&self, future: F) -> Result<Child<T, E>, NurseryClosed>
    where
        F: Future<Output = Result<T, E>> + 'env,
        M: Admits<F>,
    {
        let core = &self.core;
        if self.shield || core.gate.is_some() || about::is_noted(self.name.as_ref()) {
            return self.start_special(future, Location::caller());
        }
        let (task, handle) = make(&core.ready, future, Making { shield: false, name: None });
        self.admit(task, handle)
    }

    /// A child that is named, noted or shielded, or that has to wait for its place.
    #[cold]
    fn start_special<F, T>(
        &self,
        future: F,
        place: &'static Location<'static>,
    ) -> Result<Child<T, E>, NurseryClosed>
    where
        F: Future<Output = Result<T, E>> + 'env,
    {
        let core = &self.core;
        let making = Making { shield: self.shield, name: self.name.clone() };
        let noted = about::is_noted(self.name.as_ref()).then(|| {
            Noted::new(&core.scope.signal, self.name.clone(), self.shield, Runs::Here, Some(place))
        });
        let note = noted.as_ref().map(|noted| noted.note().clone());
        let gated = Gated::new(core.gate.clone(), Watched::new(noted, future));
        let within = Within::child(core.scope.clone(), self.shield, note.clone(), gated);
        let (task, handle) = match &self.name {
            Some(name) => make(&core.ready, crate::trace::child(name, within), making),
            None => make(&core.ready, within, making),
        };
        let child = self.admit(task, handle)?;
        if let Some(note) = note {
            note.set_id(child.id());
        }
        Ok(child)
    }

    #[inline]
    fn admit<T>(
        &self,
        task: Running<E>,
        handle: Handle<T, E>,
    ) -> Result<Child<T, E>, NurseryClosed> {
        match self.core.start(task) {
            Ok(()) => Ok(Child::here(handle, self.core.collect)),
            Err(mut task) => {
                drop(task.cancel());
                Err(NurseryClosed)
            }
        }
    }

    /// A handle whose children bear this name, in errors and in traces.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// aionursery::nursery(async |n| {
    ///     let child = n.named("reader").start_soon(async { Ok::<_, String>(()) });
    ///     assert_eq!(child.name(), Some("reader"));
    ///     child.await
    /// }).await.unwrap();
    /// # });
    /// ```
    #[must_use]
    pub fn named(&self, name: impl Into<Arc<str>>) -> Self {
        Self::new(self.core.clone(), Some(name.into()), self.shield)
    }

    /// A handle whose children cancellation does not reach (R19): the nursery still waits for
    /// them, and their errors are errors like any other.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let paid = std::cell::Cell::new(false);
    /// let error = aionursery::nursery_local(async |n| {
    ///     let _ = n.shielded().start_soon(async {
    ///         aionursery::yield_now().await;
    ///         paid.set(true);
    ///         Ok(())
    ///     });
    ///     let _ = n.start_soon(async { Err::<(), _>("no signal for the SMS") });
    ///     Ok(())
    /// }).await.unwrap_err();
    /// assert_eq!((paid.get(), error.len()), (true, 1));
    /// # });
    /// ```
    #[must_use]
    pub fn shielded(&self) -> Self {
        Self::new(self.core.clone(), self.name.clone(), true)
    }

    /// Cancels body and children: they are dropped at their next await, or once the cleanup
    /// budget is spent (R27).
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let end = aionursery::nursery(async |n| {
    ///     let _ = n.start_soon(std::future::pending::<Result<(), String>>());
    ///     n.cancel();
    ///     Ok(7)
    /// }).await;
    /// assert_eq!(end.unwrap(), 7);
    /// # });
    /// ```
    pub fn cancel(&self) {
        self.core.scope.cancel(Source::Explicit, None);
    }

    /// As [`cancel`](Self::cancel), and says why.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let error = aionursery::nursery(async |n| {
    ///     n.cancel_with("enough");
    ///     std::future::pending::<Result<(), String>>().await
    /// }).await.unwrap_err();
    /// assert!(error.is_cancelled());
    /// assert_eq!(error.cause().unwrap().reason(), Some("enough"));
    /// # });
    /// ```
    pub fn cancel_with(&self, reason: impl Into<Reason>) {
        self.core.scope.cancel(Source::Explicit, Some(reason.into()));
    }

    /// Ends when the nursery is cancelled, for a child that wants to clean up first. Gives time
    /// only where there is a cleanup budget, or a shield.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use std::time::Duration;
    /// aionursery::Builder::new().cleanup(Duration::from_secs(5)).nursery(async |n| {
    ///     let hears = n.clone();
    ///     let server = n.start_soon(async move {
    ///         hears.cancelled().await;
    ///         Ok::<_, String>("said goodbye")
    ///     });
    ///     n.cancel();
    ///     assert_eq!(server.await?, "said goodbye");
    ///     Ok(())
    /// }).await.unwrap();
    /// # });
    /// ```
    pub fn cancelled(&self) -> Cancellation {
        Cancellation::new(self.core.scope.clone())
    }

    /// Whether the nursery is cancelled.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// # aionursery::nursery(async |n| {
    /// assert!(!n.is_cancelled());
    /// n.cancel();
    /// assert!(n.is_cancelled());
    /// # Ok::<_, String>(()) }).await.unwrap() });
    /// ```
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.core.scope.is_soft()
    }

    /// Why the nursery is cancelled, if it is.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// # aionursery::nursery(async |n| {
    /// n.cancel_with("enough");
    /// assert_eq!(n.cause().unwrap().to_string(), "by request: enough");
    /// # Ok::<_, String>(()) }).await.unwrap() });
    /// ```
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        self.core.scope.is_soft().then(|| self.core.scope.cause()).flatten()
    }

    /// Whether body and children have ended: nothing can be started any more.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// # aionursery::nursery(async |n| {
    /// assert!(!n.is_closed());
    /// # Ok::<_, String>(()) }).await.unwrap() });
    /// ```
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.core.is_closed()
    }

    /// How many children have not ended.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// # aionursery::nursery(async |n| {
    /// let _ = n.start_soon(async { Ok(()) });
    /// assert_eq!(n.running(), 1);
    /// # Ok::<_, String>(()) }).await.unwrap() });
    /// ```
    #[must_use]
    pub fn running(&self) -> usize {
        self.core.running()
    }

    /// Moves the nursery's deadline; one that has passed acts at the next await (R21).
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use aionursery::{Source, nursery};
    /// let error = nursery(async |n| {
    ///     n.set_deadline(std::time::Instant::now());
    ///     std::future::pending::<Result<(), String>>().await
    /// }).await.unwrap_err();
    /// assert_eq!(error.cause().unwrap().source(), Source::Deadline);
    /// # });
    /// ```
    pub fn set_deadline(&self, deadline: impl Into<Instant>) {
        let scope = &self.core.scope;
        scope.set_deadline(scope.clock().seconds(deadline.into()));
    }

    /// The earliest deadline that reaches this nursery, `None` for never (R21).
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use std::time::Duration;
    /// use aionursery::{Nursery, fail_after, nursery};
    /// fail_after(Duration::from_secs(60), nursery(async |n: Nursery<'_, String>| {
    ///     assert!(n.effective_deadline().is_some());
    ///     Ok(())
    /// })).await.unwrap().unwrap();
    /// # });
    /// ```
    #[must_use]
    pub fn effective_deadline(&self) -> Option<Instant> {
        let scope = &self.core.scope;
        scope.clock().moment(scope.effective_deadline())
    }

    /// An error of a child that has ended without it.
    pub(crate) fn fail(&self, error: E, id: u32) {
        let label = Label { id, name: self.name.clone() };
        self.core.fail(Failure::error(error, label));
    }

    pub(crate) fn scope(&self) -> &Scope {
        &self.core.scope
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn core(&self) -> &Arc<Core<E>> {
        &self.core
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn options(&self) -> (Option<Arc<str>>, bool) {
        (self.name.clone(), self.shield)
    }
}

/// The future of [`Nursery::cancelled`].
///
/// ```
/// # futures::executor::block_on(async {
/// # aionursery::nursery(async |n| {
/// let cancelled: aionursery::Cancellation = n.cancelled();
/// n.cancel();
/// cancelled.await;
/// # Ok::<_, String>(()) }).await.unwrap() });
/// ```
#[must_use = "futures do nothing unless polled"]
pub struct Cancellation {
    scope: Arc<Scope>,
    place: Option<u32>,
}

impl Cancellation {
    pub(crate) fn new(scope: Arc<Scope>) -> Self {
        Self { scope, place: None }
    }
}

impl Future for Cancellation {
    type Output = ();

    fn poll(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<()> {
        let this = self.get_mut();
        let signal = &this.scope.signal;
        loop {
            let flags = signal.flags();
            if flags & SOFT != 0 {
                return std::task::Poll::Ready(());
            }
            if signal.register(&mut this.place, cx.waker(), flags) {
                return std::task::Poll::Pending;
            }
        }
    }
}

impl Drop for Cancellation {
    fn drop(&mut self) {
        self.scope.signal.unregister(&mut self.place);
    }
}

/// What a child's error does to its siblings (R6).
///
/// ```
/// # futures::executor::block_on(async {
/// use aionursery::{Builder, OnError, yield_now};
/// let error = Builder::new().on_error(OnError::Collect).nursery(async |n| {
///     let _ = n.start_soon(async { Err::<(), _>("one") });
///     let _ = n.start_soon(async { yield_now().await; Err::<(), _>("two") });
///     Ok(())
/// }).await.unwrap_err();
/// assert_eq!(error.len(), 2);
/// # });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// It cancels them.
    #[default]
    Cancel,
    /// It leaves them alone; the block gives all errors at its end.
    Collect,
}

/// A nursery with rules of its own.
///
/// ```
/// # futures::executor::block_on(async {
/// use aionursery::{Builder, OnError};
/// let error = Builder::new().on_error(OnError::Collect).limit(2).nursery(async |n| {
///     for number in 0..5 {
///         let _ = n.start_soon(async move { if number % 2 == 0 { Err(number) } else { Ok(()) } });
///     }
///     Ok(())
/// }).await.unwrap_err();
/// assert_eq!(error.errors().collect::<Vec<_>>(), [&0, &2, &4]);
/// # });
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until it makes a nursery"]
pub struct Builder {
    pub(crate) on_error: OnError,
    pub(crate) limit: Option<usize>,
    pub(crate) shield: bool,
    pub(crate) cleanup: Option<Duration>,
    pub(crate) deadline: Option<Instant>,
    pub(crate) clock: Option<Own>,
    pub(crate) name: Option<Arc<str>>,
    pub(crate) place: Place,
}

impl Builder {
    /// The rules of [`nursery`].
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let value = aionursery::Builder::new().nursery(async |_| Ok::<_, String>(7)).await;
    /// assert_eq!(value.unwrap(), 7);
    /// # });
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// What a child's error does to its siblings.
    ///
    /// ```
    /// use aionursery::{Builder, OnError};
    /// let builder = Builder::new().on_error(OnError::Collect);
    /// # drop(builder);
    /// ```
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.on_error = on_error;
        self
    }

    /// At most so many children run at once (at least one); the others wait for their first step.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use aionursery::{Builder, yield_now};
    /// Builder::new().limit(1).nursery(async |n| {
    ///     let first = n.start_soon(async { yield_now().await; Ok::<_, String>(()) });
    ///     let second = n.start_soon(async move {
    ///         assert!(first.is_finished());
    ///         Ok(())
    ///     });
    ///     second.await
    /// }).await.unwrap();
    /// # });
    /// ```
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Cancellation from outside does not come in (R19).
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use aionursery::{Builder, nursery, yield_now};
    /// let saved = std::sync::atomic::AtomicBool::new(false);
    /// nursery(async |outer| {
    ///     let _ = outer.shielded().start_soon(async {
    ///         let save = Builder::new().shield(true).nursery(async |_| {
    ///             yield_now().await;
    ///             saved.store(true, std::sync::atomic::Ordering::Relaxed);
    ///             Ok::<_, String>(())
    ///         });
    ///         save.await.map_err(|errors| errors.to_string())
    ///     });
    ///     outer.cancel();
    ///     Ok(())
    /// }).await.unwrap();
    /// assert!(saved.into_inner());
    /// # });
    /// ```
    pub fn shield(mut self, shield: bool) -> Self {
        self.shield = shield;
        self
    }

    /// How long a cancelled child may go on to clean up, before it is dropped (R18, R27).
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use std::time::Duration;
    /// let cleaned = aionursery::Builder::new().cleanup(Duration::from_secs(5)).nursery(async |n| {
    ///     let hears = n.clone();
    ///     let child = n.start_soon(async move { hears.cancelled().await; Ok::<_, String>("clean") });
    ///     n.cancel();
    ///     child.await
    /// }).await;
    /// assert_eq!(cleaned.unwrap(), "clean");
    /// # });
    /// ```
    pub fn cleanup(mut self, budget: Duration) -> Self {
        self.cleanup = Some(budget);
        self
    }

    /// When the nursery is cancelled by itself (R21): a moment of the standard library's, or
    /// tokio's.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use std::time::{Duration, Instant};
    /// use aionursery::Builder;
    /// let soon = Instant::now() + Duration::from_millis(5);
    /// let error = Builder::new().deadline(soon).nursery(async |n| {
    ///     n.start_soon(std::future::pending::<Result<(), String>>()).await
    /// }).await.unwrap_err();
    /// assert_eq!(error.to_string(), "nursery cancelled: the deadline has passed");
    /// # });
    /// ```
    pub fn deadline(mut self, deadline: impl Into<Instant>) -> Self {
        self.deadline = Some(deadline.into());
        self
    }

    /// Who tells the nursery the time, and everything below it; without effect inside a nursery
    /// or a scope, where it is the one of the outermost. See [`Clock`].
    ///
    /// ```
    /// # struct Virtual;
    /// # impl aionursery::Clock for Virtual {
    /// #     fn now(&self) -> std::time::Instant { std::time::Instant::now() }
    /// #     fn sleep_until(&self, _: std::time::Instant) -> aionursery::Sleep {
    /// #         Box::pin(std::future::pending())
    /// #     }
    /// # }
    /// # futures::executor::block_on(async {
    /// let builder = aionursery::Builder::new().clock(Virtual);
    /// assert!(builder.nursery(async |_| Ok::<_, String>(())).await.is_ok());
    /// # });
    /// ```
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Some(Own::new(clock));
        self
    }

    /// The nursery's name, in traces.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use aionursery::Builder;
    /// Builder::new().name("kitchen").nursery(async |n| {
    ///     assert_eq!(n.dump().roots()[0].name(), Some("kitchen"));
    ///     Ok::<_, String>(())
    /// }).await.unwrap();
    /// # });
    /// ```
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The nursery; see [`nursery`].
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use aionursery::Builder;
    /// let sum = Builder::new().limit(10).nursery(async |n| {
    ///     Ok::<_, String>(n.start_soon(async { Ok(3) }).await? + 4)
    /// }).await;
    /// assert_eq!(sum.unwrap(), 7);
    /// # });
    /// ```
    #[track_caller]
    pub fn nursery<'env, T, E, B, F>(self, body: B) -> Block<'env, T, E, B, F>
    where
        B: FnOnce(Nursery<'env, E>) -> F,
        F: Future<Output = Result<T, E>>,
    {
        Block::new(self.at(Location::caller()), body)
    }

    fn at(mut self, place: &'static Location<'static>) -> Self {
        self.place = Some(place);
        self
    }

    /// The nursery; see [`nursery_local`].
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use std::rc::Rc;
    /// let shared = Rc::new(3);
    /// let sum = aionursery::Builder::new().limit(10).nursery_local(async |n| {
    ///     let other = shared.clone();
    ///     Ok::<_, String>(n.start_soon(async move { Ok(*other) }).await? + *shared)
    /// }).await;
    /// assert_eq!(sum.unwrap(), 6);
    /// # });
    /// ```
    #[track_caller]
    pub fn nursery_local<'env, T, E, B, F>(self, body: B) -> Block<'env, T, E, B, F, Local>
    where
        B: FnOnce(LocalNursery<'env, E>) -> F,
        F: Future<Output = Result<T, E>>,
    {
        Block::new(self.at(Location::caller()), body)
    }

    pub(crate) fn settings(&self, clock: &Time) -> Settings {
        Settings {
            deadline: self.deadline.map_or(f64::INFINITY, |moment| clock.seconds(moment)),
            shield: self.shield,
            cleanup: self.cleanup.map(|budget| budget.as_secs_f64()),
        }
    }
}

/// Runs `body` with a nursery, and gives its value once it and all children have ended.
///
/// # Errors
/// [`MultiError`](crate::MultiError) if anything failed or panicked, or if a cancellation took
/// the body's value.
///
/// ```
/// # async fn fetch(client: &str, what: &str) -> Result<usize, std::io::Error> {
/// #     Ok(client.len() + what.len())
/// # }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> { futures::executor::block_on(async {
/// let client = String::from("client");
/// let both = aionursery::nursery(async |n| {
///     let a = n.start_soon(fetch(&client, "a"));
///     let b = n.start_soon(fetch(&client, "b"));
///     Ok(a.await? + b.await?)
/// }).await?;
/// assert_eq!(both, 14);
/// # Ok(()) }) }
/// ```
#[track_caller]
pub fn nursery<'env, T, E, B, F>(body: B) -> Block<'env, T, E, B, F>
where
    B: FnOnce(Nursery<'env, E>) -> F,
    F: Future<Output = Result<T, E>>,
{
    Block::new(Builder::new().at(Location::caller()), body)
}

/// As [`nursery`], for children that are not `Send`. The future is not `Send` either: it can be
/// awaited in `block_on`, in `#[tokio::main]`, in a `LocalSet`, but not in `tokio::spawn`.
///
/// # Errors
/// As [`nursery`].
///
/// ```
/// # futures::executor::block_on(async {
/// use std::rc::Rc;
/// let shared = Rc::new(5);
/// let sum = aionursery::nursery_local(async |n| {
///     let other = shared.clone();
///     let child = n.start_soon(async move { Ok::<_, String>(*other) });
///     Ok(child.await? + *shared)
/// }).await;
/// assert_eq!(sum.unwrap(), 10);
/// # });
/// ```
#[track_caller]
pub fn nursery_local<'env, T, E, B, F>(body: B) -> Block<'env, T, E, B, F, Local>
where
    B: FnOnce(LocalNursery<'env, E>) -> F,
    F: Future<Output = Result<T, E>>,
{
    Block::new(Builder::new().at(Location::caller()), body)
}
