//! One error of a nursery's, with the child that it comes from.

use std::error::Error;
use std::fmt::{self, Debug, Display};

use super::Label;
use crate::adopted::AdoptedError;
use crate::panics::Panic;

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
}

/// One of the errors in a [`MultiError`](crate::MultiError): what a child or the body failed with.
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
pub struct ChildError<E> {
    pub(crate) kind: ErrorKind<E>,
    pub(crate) label: Label,
}

impl<E> ChildError<E> {
    /// What it is.
    ///
    /// ```
    /// # let error = futures::executor::block_on(aionursery::nursery(async |n| {
    /// #     n.named("left").start_soon(async { Err::<(), _>("no beans") });
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
    /// #     n.named("left").start_soon(async { Err::<(), _>("no beans") });
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
    /// #     n.named("left").start_soon(async { Err::<(), _>("no beans") });
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
    /// #     n.start_soon(async { if true { panic!("out of beans") } Ok::<_, String>(()) });
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
    /// #         n.shielded().spawn(async { Err::<(), _>(String::from("full")) });
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
    /// #     n.named("left").start_soon(async { Err::<(), _>("no beans") });
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
    /// #     n.named("left").start_soon(async { Err::<(), _>("no beans") });
    /// #     Ok(())
    /// # })).unwrap_err();
    /// assert_eq!(error[0].id(), 1);
    /// ```
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
        }
    }
}

impl<E: Display> Display for ChildError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match f.alternate() {
            true => self.write(f, |f, error| write!(f, "{error:#}")),
            false => self.write(f, |f, error| write!(f, "{error}")),
        }
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
