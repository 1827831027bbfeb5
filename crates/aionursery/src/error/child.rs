//! One error of a nursery's, with the child that it comes from.

use std::error::Error;
use std::fmt::{self, Debug, Display};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::{AdoptedError, Cancelled, Panic};

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
///         other => eprintln!("{other:?}"),
///     }
/// }
/// # });
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum ErrorKind<E> {
    /// What a child, or the body, failed with.
    Error(E),
    /// It panicked.
    Panic(Panic),
    /// An error of a nursery below that was dropped early (R28).
    Adopted(AdoptedError),
    /// It was cancelled. Awaiting a [`Child`](crate::Child) gives this: a cancelled child is no error of its
    /// nursery's, but one whose runtime was shut down, if its handle was not awaited.
    Cancelled(Cancelled),
    /// It failed or panicked, and its nursery has given that error back already. Only awaiting a
    /// [`Child`](crate::Child) gives this, once the nursery has ended.
    Reported,
}

impl<E> ErrorKind<E> {
    /// An error of any type. What is made of it may run its `Display` and its destructor: a panic there comes in
    /// its place, since what waits for this one has to be told.
    pub(super) fn erased<F>(error: F, erase: fn(F) -> AdoptedError) -> Self {
        match catch_unwind(AssertUnwindSafe(|| erase(error))) {
            Ok(adopted) => Self::Adopted(adopted),
            Err(payload) => Self::Panic(Panic::new(payload)),
        }
    }

    /// With what `own` makes of an error of the nursery's type.
    #[cfg(feature = "tokio")]
    pub(super) fn map_error<F>(self, own: impl FnOnce(E) -> ErrorKind<F>) -> ErrorKind<F> {
        match self {
            Self::Error(error) => own(error),
            Self::Panic(panic) => ErrorKind::Panic(panic),
            Self::Adopted(adopted) => ErrorKind::Adopted(adopted),
            Self::Cancelled(cancelled) => ErrorKind::Cancelled(cancelled),
            Self::Reported => ErrorKind::Reported,
        }
    }
}

/// One of the errors in a [`MultiError`](crate::MultiError): what a child or the body failed with.
/// Also why a child has no value, from awaiting a [`Child`](crate::Child).
///
/// ```
/// # futures::executor::block_on(async {
/// use aionursery::{Builder, ErrorKind, OnError};
/// let errors = Builder::new().on_error(OnError::Collect).nursery(async |n| {
///     n.named("left").start_soon(async { Err::<(), _>("no beans") });
///     n.start_soon(async { if true { panic!("no cups") } Ok(()) });
///     let stays = n.start_soon(std::future::pending::<Result<(), _>>());
///     stays.cancel();
///     assert!(stays.await.unwrap_err().cancelled().is_some());
///     Ok(())
/// }).await.unwrap_err();
/// assert_eq!((errors[0].id(), errors[0].name()), (1, Some("left")));
/// assert_eq!((errors[0].error(), errors[1].error()), (Some(&"no beans"), None));
/// assert_eq!(errors[1].panic().unwrap().message(), "no cups");
/// assert!(matches!(errors[1].kind(), ErrorKind::Panic(_)) && errors[1].adopted().is_none());
/// let [first, second] = errors.into_iter().collect::<Vec<_>>().try_into().unwrap();
/// assert_eq!(first.into_error().unwrap(), "no beans");
/// assert!(matches!(second.into_kind(), ErrorKind::Panic(_)));
/// # });
/// ```
pub struct ChildError<E> {
    pub(crate) kind: ErrorKind<E>,
    pub(crate) label: Label,
}

impl<E> ChildError<E> {
    /// What it is.
    #[must_use]
    pub fn kind(&self) -> &ErrorKind<E> {
        &self.kind
    }

    /// What it is, by value.
    #[must_use]
    pub fn into_kind(self) -> ErrorKind<E> {
        self.kind
    }

    /// The error, unless it was a panic, or is of another type.
    #[must_use]
    pub fn error(&self) -> Option<&E> {
        match &self.kind {
            ErrorKind::Error(error) => Some(error),
            _ => None,
        }
    }

    /// The error by value, unless it was a panic, a cancellation, or is of another type.
    ///
    /// # Errors
    /// Itself, otherwise.
    pub fn into_error(self) -> Result<E, Self> {
        match self.kind {
            ErrorKind::Error(error) => Ok(error),
            kind => Err(Self { kind, label: self.label }),
        }
    }

    /// The panic, if it was one.
    #[must_use]
    pub fn panic(&self) -> Option<&Panic> {
        match &self.kind {
            ErrorKind::Panic(panic) => Some(panic),
            _ => None,
        }
    }

    /// The error of a nursery below that was dropped early, if it is one (R28): see [`AdoptedError`].
    #[must_use]
    pub fn adopted(&self) -> Option<&AdoptedError> {
        match &self.kind {
            ErrorKind::Adopted(error) => Some(error),
            _ => None,
        }
    }

    /// Why the child was cancelled, if that is how it ended: see [`Child`](crate::Child).
    #[must_use]
    pub fn cancelled(&self) -> Option<&Cancelled> {
        match &self.kind {
            ErrorKind::Cancelled(cancelled) => Some(cancelled),
            _ => None,
        }
    }

    /// The child's name, if it has one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.label.name.as_deref()
    }

    /// The child's number in its nursery, from 1; the body is 0.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.label.id
    }
}

impl<E> ChildError<E> {
    /// Which child, and what: an error as `show` shows it.
    fn write(
        &self,
        f: &mut fmt::Formatter<'_>,
        show: impl FnOnce(&mut fmt::Formatter<'_>, &E) -> fmt::Result,
    ) -> fmt::Result {
        let label = &self.label;
        match &self.kind {
            ErrorKind::Error(error) => {
                write!(f, "{label}: ")?;
                show(f, error)
            }
            ErrorKind::Panic(panic) => write!(f, "{label}: {panic}"),
            ErrorKind::Adopted(error) => {
                write!(f, "{label} of a nursery that was dropped: {error}")
            }
            ErrorKind::Cancelled(cancelled) => write!(f, "{label}: {cancelled}"),
            ErrorKind::Reported => {
                write!(f, "{label}: failed, and its nursery has given the error back")
            }
        }
    }
}

/// The error as `{:#}` shows it: of an `anyhow::Error` that is the whole chain, which `?` would cut off otherwise.
impl<E: Display> Display for ChildError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, |f, error| write!(f, "{error:#}"))
    }
}

impl<E: Debug> Debug for ChildError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, label } = self;
        if f.alternate() {
            return f.debug_struct("ChildError").field("label", label).field("kind", kind).finish();
        }
        self.write(f, |f, error| write!(f, "{error:?}"))
    }
}

impl<E: Debug + Display> Error for ChildError<E> {}

/// The child's own error, if it failed; else one of kind [`Other`](std::io::ErrorKind::Other) that holds
/// the [`ChildError`]. So a body with errors of this type writes `child.await?`.
///
/// ```
/// # futures::executor::block_on(async {
/// use aionursery::{Builder, Nursery, OnError};
/// use std::io::{Error, ErrorKind};
/// let collects = Builder::new().on_error(OnError::Collect);
/// let error = collects.nursery(async |n: Nursery<'_, Error>| {
///     n.start_soon(async { Err::<(), _>(Error::from(ErrorKind::NotFound)) }).await?;
///     Ok(())
/// }).await.unwrap_err();
/// assert_eq!(error.errors().map(Error::kind).collect::<Vec<_>>(), [ErrorKind::NotFound]);
/// # });
/// ```
impl From<ChildError<Self>> for std::io::Error {
    fn from(error: ChildError<Self>) -> Self {
        match error.kind {
            ErrorKind::Error(error) => error,
            kind => Self::other(ChildError { kind, label: error.label }),
        }
    }
}

/// As for [`std::io::Error`]: the child's own error, if it failed; else the words of its end.
impl From<ChildError<Self>> for String {
    fn from(error: ChildError<Self>) -> Self {
        match error.kind {
            ErrorKind::Error(error) => error,
            _ => error.to_string(),
        }
    }
}
