//! The handle with which children are started and cancelled. It must never run a child: that is the
//! driver's.

mod mode;

use std::future::Future;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::Arc;
use std::time::Instant;

use nursery_core::Source;

pub use mode::{Admits, Local, Mode, Sendable};

use crate::child::{Child, Handle, Running, make};
use crate::core::Core;
use crate::error::{Cause, Failure, Label, NurseryClosed, Reason};
use crate::limit::{Gate, Place};
use crate::polling;
use crate::scope::info::{Info, Runs};
use crate::scope::{Cancellation, Scope};
use crate::special::{RecordGuard, Special, wall};
use crate::task::{Counted, TaskOptions};
use crate::trace::Span;

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
///         n.start_soon(async { Ok(()) });
///     }
///     assert!(!n.is_cancelled() && !n.is_closed());
///     Ok(n.running())
/// }
/// assert_eq!(nursery(|n| fan_out(n, 3)).await.unwrap(), 3);
/// # });
/// ```
pub struct Nursery<'env, E, M = Sendable> {
    core: Counted<Core<E>>,
    /// Beside it, so that a handle is two words: it is moved with each child that has one.
    options: Option<Arc<TaskOptions>>,
    /// Invariant: a shorter `'env` would let in children that end too early.
    env: PhantomData<fn(&'env ()) -> &'env ()>,
    mode: PhantomData<M>,
}

/// The handle of a [`nursery_local`](crate::nursery_local), whose example has one.
pub type LocalNursery<'env, E> = Nursery<'env, E, Local>;

opaque!("Nursery", [E, M] Nursery<'_, E, M>, |nursery| {
    name: nursery.core.scope.signal.info.name,
    running: nursery.running(),
    cancelled: nursery.core.scope.is_soft(),
});

impl<E, M> Clone for Nursery<'_, E, M> {
    fn clone(&self) -> Self {
        let options = self.options.clone();
        Self { options, ..Self::new(self.core.clone()) }
    }
}

impl<'env, E, M> Nursery<'env, E, M> {
    /// A handle that asks nothing of the children that it starts.
    pub(crate) fn new(core: Counted<Core<E>>) -> Self {
        Self { core, options: None, env: PhantomData, mode: PhantomData }
    }

    fn with(&self, options: TaskOptions) -> Self {
        Self { options: Some(Arc::new(options)), ..Self::new(self.core.clone()) }
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

    /// As [`start_soon`](Self::start_soon), for a handle that may have outlived its nursery: the example of
    /// [`NurseryClosed`] keeps one.
    ///
    /// # Errors
    /// [`NurseryClosed`] once body and children have ended; the future is dropped.
    #[inline]
    #[track_caller]
    pub fn try_start_soon<F, T>(&self, future: F) -> Result<Child<T, E>, NurseryClosed>
    where
        F: Future<Output = Result<T, E>> + 'env,
        M: Admits<F>,
    {
        let core = &self.core;
        if !self.is_plain() {
            return self.start_seated(future, Place::new(self.gate()), Location::caller());
        }
        let (task, handle) = make(core.ready(), future, TaskOptions { shield: false, name: None });
        self.admit(task, handle)
    }

    /// A child that is named, noted or shielded, or that has to wait for its place. Apart from the way of a
    /// plain one.
    #[cold]
    #[inline(never)]
    fn start_seated<F, T>(
        &self,
        future: F,
        seat: Place,
        place: &'static Location<'static>,
    ) -> Result<Child<T, E>, NurseryClosed>
    where
        F: Future<Output = Result<T, E>> + 'env,
    {
        let core = &self.core;
        let options = self.options();
        let TaskOptions { name, shield } = &options;
        let recorded = (core.records || name.is_some())
            .then(|| RecordGuard::new(&core.scope, name.clone(), *shield, Runs::Here, place));
        let record = recorded.as_ref().map(|recorded| recorded.record().clone());
        let scope = match *shield {
            true => wall(core.scope.clone(), Info::wall(record.clone())),
            false => core.scope.clone(),
        };
        let span = Span::child(name.as_deref());
        let special = Special::new(future, recorded, seat, Some(scope), span);
        let (task, handle) = make(core.ready(), special, options);
        let child = self.admit(task, handle)?;
        if let Some(record) = record {
            record.set_id(child.id());
        }
        Ok(child)
    }

    /// Starts a child in a place that it was given beforehand.
    #[track_caller]
    pub(crate) fn start_in<F, T>(
        &self,
        seat: Place,
        future: F,
    ) -> Result<Child<T, E>, NurseryClosed>
    where
        F: Future<Output = Result<T, E>> + 'env,
        M: Admits<F>,
    {
        match self.is_plain() {
            true => self.try_start_soon(future),
            false => self.start_seated(future, seat, Location::caller()),
        }
    }

    pub(crate) fn gate(&self) -> Option<Arc<Gate>> {
        self.core.gate.clone()
    }

    #[inline]
    fn admit<T>(
        &self,
        task: Running<E>,
        handle: Handle<T, E>,
    ) -> Result<Child<T, E>, NurseryClosed> {
        match self.core.start(task) {
            Ok(()) => Ok(Child::new(handle)),
            Err(mut task) => {
                drop(task.cancel());
                Err(NurseryClosed)
            }
        }
    }

    /// A handle whose children bear this name, in errors, in dumps and in traces.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// aionursery::nursery(async |n| {
    ///     let child = n.named("reader").start_soon(async { Ok::<_, String>(()) });
    ///     assert_eq!(child.name(), Some("reader"));
    ///     Ok(child.value().await)
    /// }).await.unwrap();
    /// # });
    /// ```
    #[must_use]
    pub fn named(&self, name: impl Into<Arc<str>>) -> Self {
        self.with(TaskOptions { name: Some(name.into()), ..self.options() })
    }

    /// A handle whose children cancellation does not reach (R19): the nursery still waits for
    /// them, and their errors are errors like any other.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let paid = std::cell::Cell::new(false);
    /// let error = aionursery::nursery_local(async |n| {
    ///     n.shielded().start_soon(async {
    ///         aionursery::yield_now().await;
    ///         paid.set(true);
    ///         Ok(())
    ///     });
    ///     n.start_soon(async { Err::<(), _>("no signal for the SMS") });
    ///     Ok(())
    /// }).await.unwrap_err();
    /// assert_eq!((paid.get(), error.len()), (true, 1));
    /// # });
    /// ```
    #[must_use]
    pub fn shielded(&self) -> Self {
        self.with(TaskOptions { shield: true, ..self.options() })
    }

    /// Cancels body and children: they are dropped at their next await, or once the cleanup
    /// budget is spent (R27).
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let end = aionursery::nursery(async |n| {
    ///     n.start_soon(std::future::pending::<Result<(), String>>());
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
    ///     assert!(n.is_cancelled());
    ///     assert_eq!(n.cause().unwrap().reason(), Some("enough"));
    ///     std::future::pending::<Result<(), String>>().await
    /// }).await.unwrap_err();
    /// assert!(error.is_cancelled());
    /// # });
    /// ```
    pub fn cancel_with(&self, reason: impl Into<Reason>) {
        self.core.scope.cancel(Source::Explicit, Some(reason.into()));
    }

    /// Ends when the nursery is cancelled, for a child that wants to clean up first. Gives time
    /// only where there is a cleanup budget, or a shield: see [`Builder::cleanup`](crate::Builder::cleanup).
    pub fn cancelled(&self) -> Cancellation {
        Cancellation::new(self.core.scope.clone())
    }

    /// Whether the nursery is cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        polling::hear(&self.core.scope);
        self.core.scope.look_at_tokens();
        self.core.scope.is_soft()
    }

    /// Why the nursery is cancelled, if it is.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        self.core.scope.look_at_tokens();
        self.core.scope.cause()
    }

    /// Whether body and children have ended: nothing can be started any more. The block itself may
    /// still wait, for what a nursery that was dropped below it has left (R28).
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.core.is_closed()
    }

    /// How many children have not ended.
    #[must_use]
    pub fn running(&self) -> usize {
        self.core.running()
    }

    /// Moves the nursery's deadline; one that has passed acts at the next await (R21).
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use aionursery::{nursery, error::Source, time::current_time};
    /// let error = nursery(async |n| {
    ///     n.set_deadline(current_time());
    ///     std::future::pending::<Result<(), String>>().await
    /// }).await.unwrap_err();
    /// assert_eq!(error.cause().unwrap().source(), Source::Deadline);
    /// # });
    /// ```
    pub fn set_deadline(&self, deadline: impl Into<Instant>) {
        let scope = &self.core.scope;
        scope.set_deadline(scope.clock().nanoseconds(deadline.into()));
    }

    /// The earliest deadline that reaches this nursery, `None` for never (R21); a moment that has
    /// passed if it is already cancelled. See
    /// [`current_effective_deadline`](crate::time::current_effective_deadline).
    #[must_use]
    pub fn effective_deadline(&self) -> Option<Instant> {
        let scope = &self.core.scope;
        scope.clock().moment(scope.effective_deadline())
    }

    /// An error of a child that has ended without it.
    pub(crate) fn fail(&self, error: E, id: u32) {
        let label = Label { id, name: self.options().name };
        self.core.fail(Failure::error(error, label));
    }

    pub(crate) fn scope(&self) -> &Scope {
        &self.core.scope
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn core(&self) -> &Counted<Core<E>> {
        &self.core
    }

    /// What it starts is neither named, noted nor shielded, and need not wait for a place.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        !self.core.special && self.options.is_none()
    }

    pub(crate) fn options(&self) -> TaskOptions {
        self.options.as_deref().cloned().unwrap_or_default()
    }
}
