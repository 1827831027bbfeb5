//! What a nursery gives back instead of a value: every error of its children and its body, in the
//! order in which they happened. It must never lose one, and never show one twice (R7, R8).

use std::any::Any;
use std::error::Error;
use std::fmt::{self, Debug, Display};
use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::sync::{Arc, PoisonError};

use nursery_core::Identity;

use crate::adopted::{AdoptedError, LostError};
use crate::panics::Panic;
use crate::scope::Cause;
use crate::sync::Mutex;

/// Which child an error comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) id: u32,
    pub(crate) name: Option<Arc<str>>,
}

impl Label {
    pub(crate) const BODY: Self = Self { id: 0, name: None };
}

impl Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, self.id) {
            (Some(name), _) => write!(f, "child {name:?}"),
            (None, 0) => write!(f, "body"),
            (None, id) => write!(f, "child {id}"),
        }
    }
}

/// An error that its nursery keeps until whoever awaits the child takes it.
pub(crate) struct Held<E>(Arc<Mutex<Option<E>>>);

impl<E> Clone for Held<E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<E> Held<E> {
    pub(crate) fn new(error: E) -> Self {
        Self(Arc::new(Mutex::new(Some(error))))
    }

    pub(crate) fn take(&self) -> Option<E> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Why a child has no value, for its handle.
pub(crate) enum Fault<E> {
    Failed(Held<E>),
    Cancelled,
    Panicked,
}

enum Kept<E> {
    Held(Held<E>),
    Error(E),
    Panic(Panic),
    Adopted(AdoptedError),
}

/// One error on its way to the verdict.
pub(crate) struct Failure<E> {
    kept: Kept<E>,
    label: Label,
}

impl<E> Failure<E> {
    pub(crate) fn held(held: Held<E>, label: Label) -> Self {
        Self { kept: Kept::Held(held), label }
    }

    pub(crate) fn error(error: E, label: Label) -> Self {
        Self { kept: Kept::Error(error), label }
    }

    pub(crate) fn panic(payload: Box<dyn Any + Send>, label: Label) -> Self {
        Self { kept: Kept::Panic(Panic::new(payload)), label }
    }

    /// What can go to a nursery with another type of error. `None` if whoever awaited the child
    /// has taken the error.
    pub(crate) fn into_lost(self, erase: fn(E) -> AdoptedError) -> Option<LostError> {
        let kind = match self.kept {
            Kept::Held(held) => ErrorKind::Adopted(erase(held.take()?)),
            Kept::Error(error) => ErrorKind::Adopted(erase(error)),
            Kept::Panic(panic) => ErrorKind::Panic(panic),
            Kept::Adopted(adopted) => ErrorKind::Adopted(adopted),
        };
        Some(ChildError { kind, label: self.label })
    }

    pub(crate) fn label(&self) -> &Label {
        &self.label
    }

    /// The payload of it, if it was a panic.
    pub(crate) fn into_payload(self) -> Result<Box<dyn Any + Send>, Self> {
        match self.kept {
            Kept::Panic(panic) => Ok(panic.into_payload()),
            kept => Err(Self { kept, label: self.label }),
        }
    }

    /// Of a nursery that was dropped.
    pub(crate) fn adopted(lost: LostError) -> Self {
        let kept = match lost.kind {
            ErrorKind::Panic(panic) => Kept::Panic(panic),
            ErrorKind::Adopted(adopted) => Kept::Adopted(adopted),
        };
        Self { kept, label: lost.label }
    }

    /// `None` if whoever awaited the child has taken the error.
    fn settle(self) -> Option<ChildError<E>> {
        let kind = match self.kept {
            Kept::Held(held) => ErrorKind::Error(held.take()?),
            Kept::Error(error) => ErrorKind::Error(error),
            Kept::Panic(panic) => ErrorKind::Panic(panic),
            Kept::Adopted(adopted) => ErrorKind::Adopted(adopted),
        };
        Some(ChildError { kind, label: self.label })
    }
}

impl<E> Identity for Failure<E> {
    fn identity(&self) -> Option<NonZeroUsize> {
        // Values have no identity: an error that is reached on two ways is moved, not copied.
        None
    }
}

/// What a [`ChildError`] is.
///
/// ```
/// # futures::executor::block_on(async {
/// use aionursery::{ErrorKind, MultiError, nursery};
/// let error: MultiError<&str> = nursery(async |_| Err::<(), _>("no beans")).await.unwrap_err();
/// for error in error {
///     match error.into_kind() {
///         ErrorKind::Error(error) => assert_eq!(error, "no beans"),
///         ErrorKind::Panic(panic) => std::panic::resume_unwind(panic.into_payload()),
///         ErrorKind::Adopted(error) => eprintln!("{error}"),
///     }
/// }
/// # });
/// ```
#[derive(Debug)]
pub enum ErrorKind<E> {
    /// What a child, or the body, failed with.
    Error(E),
    /// It panicked.
    Panic(Panic),
    /// An error of a nursery below that was dropped early (R28).
    Adopted(AdoptedError),
}

/// One of the errors in a [`MultiError`]: what a child or the body failed with.
///
/// ```
/// # futures::executor::block_on(async {
/// let error = aionursery::nursery(async |n| {
///     n.named("left").start_soon(async { Err::<(), _>("no beans") });
///     Ok(())
/// }).await.unwrap_err();
/// assert_eq!(error[0].error(), Some(&"no beans"));
/// assert_eq!((error[0].id(), error[0].name()), (1, Some("left")));
/// # });
/// ```
#[derive(Debug)]
pub struct ChildError<E> {
    pub(crate) kind: ErrorKind<E>,
    pub(crate) label: Label,
}

impl<E> ChildError<E> {
    /// What it is.
    ///
    /// ```
    /// # let error = futures::executor::block_on(aionursery::nursery(async |n| {
    /// #     let _ = n.named("left").start_soon(async { Err::<(), _>("no beans") });
    /// #     Ok(())
    /// # })).unwrap_err();
    /// use aionursery::ErrorKind;
    /// assert!(matches!(error[0].kind(), ErrorKind::Error(error) if *error == "no beans"));
    /// ```
    #[must_use]
    pub fn kind(&self) -> &ErrorKind<E> {
        &self.kind
    }

    /// What it is, by value.
    ///
    /// ```
    /// # let error = futures::executor::block_on(aionursery::nursery(async |n| {
    /// #     let _ = n.named("left").start_soon(async { Err::<(), _>("no beans") });
    /// #     Ok(())
    /// # })).unwrap_err();
    /// use aionursery::ErrorKind;
    /// for error in error {
    ///     if let ErrorKind::Error(error) = error.into_kind() {
    ///         assert_eq!(error, "no beans");
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn into_kind(self) -> ErrorKind<E> {
        self.kind
    }

    /// The error, unless it was a panic, or is of another type.
    ///
    /// ```
    /// # let error = futures::executor::block_on(aionursery::nursery(async |n| {
    /// #     let _ = n.named("left").start_soon(async { Err::<(), _>("no beans") });
    /// #     Ok(())
    /// # })).unwrap_err();
    /// assert_eq!(error[0].error(), Some(&"no beans"));
    /// ```
    #[must_use]
    pub fn error(&self) -> Option<&E> {
        match &self.kind {
            ErrorKind::Error(error) => Some(error),
            _ => None,
        }
    }

    /// The panic, if it was one.
    ///
    /// ```
    /// # let error = futures::executor::block_on(aionursery::nursery(async |n| {
    /// #     let _ = n.start_soon(async { if true { panic!("out of beans") } Ok::<_, String>(()) });
    /// #     Ok(())
    /// # })).unwrap_err();
    /// assert_eq!(error[0].panic().unwrap().message(), "out of beans");
    /// ```
    #[must_use]
    pub fn panic(&self) -> Option<&Panic> {
        match &self.kind {
            ErrorKind::Panic(panic) => Some(panic),
            _ => None,
        }
    }

    /// The error of a nursery below that was dropped early, if it is one (R28).
    ///
    /// ```
    /// # #[cfg(feature = "tokio")]
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let ended = aionursery::nursery(async |_: aionursery::Nursery<'_, String>| {
    /// #     let inner = aionursery::nursery(async |n| {
    /// #         let _ = n.shielded().spawn(async { Err::<(), _>(String::from("full")) });
    /// #         std::future::pending::<Result<(), String>>().await
    /// #     });
    /// #     let _ = futures::FutureExt::now_or_never(inner);
    /// #     Ok(())
    /// # });
    /// # let error = ended.await.unwrap_err();
    /// assert_eq!(error[0].adopted().unwrap().to_string(), "full");
    /// # });
    /// ```
    #[must_use]
    pub fn adopted(&self) -> Option<&AdoptedError> {
        match &self.kind {
            ErrorKind::Adopted(error) => Some(error),
            _ => None,
        }
    }

    /// The child's name, if it has one.
    ///
    /// ```
    /// # let error = futures::executor::block_on(aionursery::nursery(async |n| {
    /// #     let _ = n.named("left").start_soon(async { Err::<(), _>("no beans") });
    /// #     Ok(())
    /// # })).unwrap_err();
    /// assert_eq!(error[0].name(), Some("left"));
    /// ```
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.label.name.as_deref()
    }

    /// The child's number in its nursery, from 1; the body is 0.
    ///
    /// ```
    /// # let error = futures::executor::block_on(aionursery::nursery(async |n| {
    /// #     let _ = n.named("left").start_soon(async { Err::<(), _>("no beans") });
    /// #     Ok(())
    /// # })).unwrap_err();
    /// assert_eq!(error[0].id(), 1);
    /// ```
    #[must_use]
    pub fn id(&self) -> u32 {
        self.label.id
    }
}

impl<E: Display> Display for ChildError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label = &self.label;
        match &self.kind {
            ErrorKind::Error(error) => write!(f, "{label}: {error}"),
            ErrorKind::Panic(panic) => write!(f, "{label}: {panic}"),
            ErrorKind::Adopted(error) => {
                write!(f, "{label} of a nursery that was dropped: {error}")
            }
        }
    }
}

impl<E: Debug + Display> Error for ChildError<E> {}

/// Everything that failed in a nursery, in the order in which it happened; or, if nothing failed,
/// why the nursery was cancelled before its body could give a value.
///
/// ```
/// # futures::executor::block_on(async {
/// let error = aionursery::nursery(async |n| {
///     n.named("left").start_soon(async { Err::<(), _>("no beans") });
///     Ok(())
/// }).await.unwrap_err();
/// assert_eq!(error.errors().collect::<Vec<_>>(), [&"no beans"]);
/// assert_eq!(error.to_string(), "1 error in a nursery\n└─ child \"left\": no beans");
/// # });
/// ```
#[derive(Debug)]
pub struct MultiError<E> {
    errors: Vec<ChildError<E>>,
    cause: Option<Cause>,
}

impl<E> MultiError<E> {
    pub(crate) fn settle(failures: Vec<Failure<E>>, cause: Option<Cause>) -> Self {
        let errors = failures.into_iter().filter_map(Failure::settle).collect();
        Self { errors, cause }
    }

    /// How many errors there are.
    ///
    /// ```
    /// # let error = futures::executor::block_on(aionursery::nursery(async |n| {
    /// #     let _ = n.named("left").start_soon(async { Err::<(), _>("no beans") });
    /// #     Ok(())
    /// # })).unwrap_err();
    /// assert_eq!(error.len(), 1);
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.errors.len()
    }

    /// Whether there is no error: the nursery was only cancelled.
    ///
    /// ```
    /// # let error = futures::executor::block_on(aionursery::nursery(async |n| {
    /// #     let _ = n.named("left").start_soon(async { Err::<(), _>("no beans") });
    /// #     Ok(())
    /// # })).unwrap_err();
    /// assert!(!error.is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    /// Whether nothing failed and a cancellation took the body's value.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let error = aionursery::nursery(async |n| {
    ///     n.cancel();
    ///     std::future::pending::<Result<(), String>>().await
    /// }).await.unwrap_err();
    /// assert!(error.is_cancelled() && error.is_empty());
    /// # });
    /// ```
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.errors.is_empty()
    }

    /// Why the nursery was cancelled, if it was (R11).
    ///
    /// ```
    /// # let error = futures::executor::block_on(aionursery::nursery(async |n| {
    /// #     let _ = n.named("left").start_soon(async { Err::<(), _>("no beans") });
    /// #     Ok(())
    /// # })).unwrap_err();
    /// assert_eq!(error.cause().unwrap().reason(), Some("child \"left\""));
    /// ```
    #[must_use]
    pub fn cause(&self) -> Option<&Cause> {
        self.cause.as_ref()
    }

    /// Each with its child.
    ///
    /// ```
    /// # let error = futures::executor::block_on(aionursery::nursery(async |n| {
    /// #     let _ = n.named("left").start_soon(async { Err::<(), _>("no beans") });
    /// #     Ok(())
    /// # })).unwrap_err();
    /// for error in error.iter() {
    ///     println!("{}: {error}", error.name().unwrap_or("somebody"));
    /// }
    /// ```
    pub fn iter(&self) -> std::slice::Iter<'_, ChildError<E>> {
        self.errors.iter()
    }

    /// The errors of this type: without panics, and without what was adopted.
    ///
    /// ```
    /// # let error = futures::executor::block_on(aionursery::nursery(async |n| {
    /// #     let _ = n.named("left").start_soon(async { Err::<(), _>("no beans") });
    /// #     Ok(())
    /// # })).unwrap_err();
    /// assert_eq!(error.errors().collect::<Vec<_>>(), [&"no beans"]);
    /// ```
    pub fn errors(&self) -> impl Iterator<Item = &E> {
        self.errors.iter().filter_map(ChildError::error)
    }

    /// The panics.
    ///
    /// ```
    /// # let error = futures::executor::block_on(aionursery::nursery(async |n| {
    /// #     let _ = n.start_soon(async { if true { panic!("out of beans") } Ok::<_, String>(()) });
    /// #     Ok(())
    /// # })).unwrap_err();
    /// assert_eq!(error.panics().count(), 1);
    /// ```
    pub fn panics(&self) -> impl Iterator<Item = &Panic> {
        self.errors.iter().filter_map(ChildError::panic)
    }

    /// The errors of nurseries below that were dropped early (R28).
    ///
    /// ```
    /// # #[cfg(feature = "tokio")]
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let ended = aionursery::nursery(async |_: aionursery::Nursery<'_, String>| {
    /// #     let inner = aionursery::nursery(async |n| {
    /// #         let _ = n.shielded().spawn(async { Err::<(), _>(String::from("full")) });
    /// #         std::future::pending::<Result<(), String>>().await
    /// #     });
    /// #     let _ = futures::FutureExt::now_or_never(inner);
    /// #     Ok(())
    /// # });
    /// # let error = ended.await.unwrap_err();
    /// let adopted: Vec<_> = error.adopted().map(|error| error.to_string()).collect();
    /// assert_eq!(adopted, ["full"]);
    /// # });
    /// ```
    pub fn adopted(&self) -> impl Iterator<Item = &AdoptedError> {
        self.errors.iter().filter_map(ChildError::adopted)
    }

    /// Makes errors of this type of those that were adopted and are of this type.
    ///
    /// ```
    /// # #[cfg(feature = "tokio")]
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let ended = aionursery::nursery(async |_: aionursery::Nursery<'_, String>| {
    /// #     let inner = aionursery::nursery(async |n| {
    /// #         let _ = n.shielded().spawn(async { Err::<(), _>(String::from("full")) });
    /// #         std::future::pending::<Result<(), String>>().await
    /// #     });
    /// #     let _ = futures::FutureExt::now_or_never(inner);
    /// #     Ok(())
    /// # });
    /// # let error = ended.await.unwrap_err();
    /// assert_eq!(error.errors().count(), 0);
    /// let error = error.claim_adopted();
    /// assert_eq!(error.errors().collect::<Vec<_>>(), ["full"]);
    /// # });
    /// ```
    #[must_use]
    pub fn claim_adopted(mut self) -> Self
    where
        E: 'static,
    {
        let claim = |ChildError { kind, label }| {
            let kind = match kind {
                ErrorKind::Adopted(error) => match error.downcast() {
                    Ok(error) => ErrorKind::Error(error),
                    Err(error) => ErrorKind::Adopted(error),
                },
                kind => kind,
            };
            ChildError { kind, label }
        };
        self.errors = self.errors.into_iter().map(claim).collect();
        self
    }

    /// Goes on with the first panic, if there was one, as if it had happened here.
    ///
    /// ```
    /// # let error = futures::executor::block_on(aionursery::nursery(async |n| {
    /// #     let _ = n.start_soon(async { if true { panic!("out of beans") } Ok::<_, String>(()) });
    /// #     Ok(())
    /// # })).unwrap_err();
    /// let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| error.resume_panic()));
    /// assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"out of beans"));
    /// ```
    #[must_use]
    pub fn resume_panic(self) -> Self {
        let Self { mut errors, cause } = self;
        if let Some(first) = errors.iter().position(|error| error.panic().is_some())
            && let ErrorKind::Panic(panic) = errors.swap_remove(first).kind
        {
            resume_unwind(panic.into_payload());
        }
        Self { errors, cause }
    }
}

impl<E> std::ops::Index<usize> for MultiError<E> {
    type Output = ChildError<E>;
    fn index(&self, index: usize) -> &ChildError<E> {
        &self.errors[index]
    }
}

impl<E> IntoIterator for MultiError<E> {
    type Item = ChildError<E>;
    type IntoIter = std::vec::IntoIter<ChildError<E>>;
    fn into_iter(self) -> Self::IntoIter {
        self.errors.into_iter()
    }
}

impl<'a, E> IntoIterator for &'a MultiError<E> {
    type Item = &'a ChildError<E>;
    type IntoIter = std::slice::Iter<'a, ChildError<E>>;
    fn into_iter(self) -> Self::IntoIter {
        self.errors.iter()
    }
}

impl<E: Display> Display for MultiError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.errors.len(), &self.cause) {
            (0, Some(cause)) => return write!(f, "nursery cancelled: {cause}"),
            (0, None) => return write!(f, "nursery cancelled"),
            (1, _) => write!(f, "1 error in a nursery")?,
            (n, _) => write!(f, "{n} errors in a nursery")?,
        }
        for (index, error) in self.errors.iter().enumerate() {
            let last = index + 1 == self.errors.len();
            let (first, rest) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            for (line, text) in error.to_string().lines().enumerate() {
                write!(f, "\n{}{text}", if line == 0 { first } else { rest })?;
            }
        }
        Ok(())
    }
}

impl<E: Debug + Display> Error for MultiError<E> {}

/// Body and children have ended: nothing can be started any more (R2).
///
/// ```
/// # futures::executor::block_on(async {
/// use aionursery::{NurseryClosed, nursery};
/// let mut kept = None;
/// nursery(async |n| {
///     kept = Some(n.clone());
///     Ok::<_, String>(())
/// }).await.unwrap();
/// let refused = kept.unwrap().try_start_soon(async { Ok(()) });
/// assert!(matches!(refused, Err(NurseryClosed)));
/// # });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NurseryClosed;

impl Display for NurseryClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the nursery is closed: its body and all its children have ended")
    }
}

impl Error for NurseryClosed {}

/// A scope was left because it was cancelled.
///
/// ```
/// # futures::executor::block_on(async {
/// use aionursery::{Cancelled, CancelScope};
/// let scope = CancelScope::new();
/// scope.cancel();
/// let end: Result<(), Cancelled> = scope.run(std::future::pending()).await;
/// assert_eq!(end.unwrap_err().to_string(), "cancelled: by request");
/// # });
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cancelled(pub(crate) Cause);

impl Cancelled {
    /// Why.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let scope = aionursery::CancelScope::new();
    /// scope.cancel_with("enough");
    /// let cancelled = scope.run(std::future::pending::<()>()).await.unwrap_err();
    /// assert_eq!(cancelled.cause().reason(), Some("enough"));
    /// # });
    /// ```
    #[must_use]
    pub fn cause(&self) -> &Cause {
        &self.0
    }
}

impl Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cancelled: {}", self.0)
    }
}

impl Error for Cancelled {}
