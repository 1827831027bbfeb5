//! What a nursery gives back instead of a value: every error of its children and its body, in the
//! order in which they happened. It must never lose one, and never show one twice (R7, R8).

use std::any::Any;
use std::error::Error;
use std::fmt::{self, Debug, Display};
use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::sync::{Arc, PoisonError};

use nursery_core::Identity;

use crate::panics;
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

    /// Only the panic of it: what can go to a nursery with another type of error.
    #[cfg(feature = "tokio")]
    pub(crate) fn into_panic(self) -> Option<(Panic, Label)> {
        match self.kept {
            Kept::Panic(panic) => Some((panic, self.label)),
            _ => None,
        }
    }

    /// The payload of it, if it was a panic.
    pub(crate) fn into_payload(self) -> Option<Box<dyn Any + Send>> {
        match self.kept {
            Kept::Panic(panic) => Some(panic.into_payload()),
            _ => None,
        }
    }

    pub(crate) fn carried((panic, label): (Panic, Label)) -> Self {
        Self { kept: Kept::Panic(panic), label }
    }

    /// `None` if whoever awaited the child has taken the error.
    fn settle(self) -> Option<ChildError<E>> {
        let kind = match self.kept {
            Kept::Held(held) => Kind::Error(held.take()?),
            Kept::Error(error) => Kind::Error(error),
            Kept::Panic(panic) => Kind::Panic(panic),
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

/// A panic of a child: its payload, its message and, with
/// [`record_panic_locations`](crate::record_panic_locations), its place.
///
/// ```
/// # futures::executor::block_on(async {
/// let error = aionursery::nursery(async |n| {
///     n.start_soon(async { if true { panic!("out of beans") } Ok::<_, String>(()) });
///     Ok(())
/// }).await.unwrap_err();
/// assert_eq!(error.panics().next().unwrap().message(), "out of beans");
/// # });
/// ```
pub struct Panic {
    payload: Mutex<Box<dyn Any + Send>>,
    message: Box<str>,
    location: Option<Box<str>>,
}

impl Panic {
    fn new(payload: Box<dyn Any + Send>) -> Self {
        let message = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
            (Some(message), _) => (*message).into(),
            (_, Some(message)) => message.as_str().into(),
            _ => "a payload that is no text".into(),
        };
        Self { payload: Mutex::new(payload), message, location: panics::take_location() }
    }

    /// What it was called with, if that was text.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// `file:line:column`, if locations are recorded.
    #[must_use]
    pub fn location(&self) -> Option<&str> {
        self.location.as_deref()
    }

    /// The payload, as [`std::panic::catch_unwind`] gives it.
    #[must_use]
    pub fn into_payload(self) -> Box<dyn Any + Send> {
        self.payload.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "panicked: {}", self.message)?;
        match &self.location {
            Some(location) => write!(f, " (at {location})"),
            None => Ok(()),
        }
    }
}

impl Debug for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Panic")
            .field("message", &self.message)
            .field("location", &self.location)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
enum Kind<E> {
    Error(E),
    Panic(Panic),
}

/// One of the errors in a [`MultiError`]: what a child or the body failed with.
#[derive(Debug)]
pub struct ChildError<E> {
    kind: Kind<E>,
    label: Label,
}

impl<E> ChildError<E> {
    /// The error, unless it was a panic.
    #[must_use]
    pub fn error(&self) -> Option<&E> {
        match &self.kind {
            Kind::Error(error) => Some(error),
            Kind::Panic(_) => None,
        }
    }

    /// The panic, if it was one.
    #[must_use]
    pub fn panic(&self) -> Option<&Panic> {
        match &self.kind {
            Kind::Panic(panic) => Some(panic),
            Kind::Error(_) => None,
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

    /// The error by value, or the panic.
    ///
    /// # Errors
    /// The panic.
    pub fn into_result(self) -> Result<E, Panic> {
        match self.kind {
            Kind::Error(error) => Ok(error),
            Kind::Panic(panic) => Err(panic),
        }
    }
}

impl<E: Display> Display for ChildError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Error(error) => write!(f, "{}: {error}", self.label),
            Kind::Panic(panic) => write!(f, "{}: {panic}", self.label),
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
    #[must_use]
    pub fn len(&self) -> usize {
        self.errors.len()
    }

    /// Whether there is no error: the nursery was only cancelled.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    /// Whether nothing failed and a cancellation took the body's value.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.errors.is_empty()
    }

    /// Why the nursery was cancelled, if it was (R11).
    #[must_use]
    pub fn cause(&self) -> Option<&Cause> {
        self.cause.as_ref()
    }

    /// Each with its child.
    pub fn iter(&self) -> std::slice::Iter<'_, ChildError<E>> {
        self.errors.iter()
    }

    /// The errors that are no panics.
    pub fn errors(&self) -> impl Iterator<Item = &E> {
        self.errors.iter().filter_map(ChildError::error)
    }

    /// The panics.
    pub fn panics(&self) -> impl Iterator<Item = &Panic> {
        self.errors.iter().filter_map(ChildError::panic)
    }

    /// Goes on with the first panic, if there was one, as if it had happened here.
    #[must_use]
    pub fn resume_panic(mut self) -> Self {
        match self.errors.iter().position(|error| error.panic().is_some()) {
            None => self,
            Some(first) => match self.errors.swap_remove(first).kind {
                Kind::Panic(panic) => resume_unwind(panic.into_payload()),
                Kind::Error(_) => unreachable!("the position is a panic's"),
            },
        }
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NurseryClosed;

impl Display for NurseryClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the nursery is closed: its body and all its children have ended")
    }
}

impl Error for NurseryClosed {}

/// A scope was left because it was cancelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cancelled(pub(crate) Cause);

impl Cancelled {
    /// Why.
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
