//! The error of a nursery that was dropped before it could give it back (R28), for the nursery that
//! adopts what is left, whose type of error may be another. It must keep what may be kept of it.

use std::any::{Any, type_name};
use std::error::Error;
use std::fmt::{self, Display};
use std::sync::{Mutex, PoisonError};

use crate::sync::plain;

/// An error of a nursery that was dropped early, in the [`MultiError`](crate::MultiError) of the
/// nearest nursery above that was still alive. That nursery's errors may be of another type, so
/// this one is of any.
///
/// The value is kept if the dropped nursery had `spawn`ed children, whose errors are
/// `Send + 'static`; of any other only the type's name is left.
///
/// ```
/// # #[cfg(feature = "tokio")]
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use aionursery::{ErrorKind, MultiError, Nursery, nursery};
/// use futures::FutureExt;
///
/// let ended: Result<(), MultiError<std::io::Error>> = nursery(async |_| {
///     let inner = nursery(async |n: Nursery<'_, String>| {
///         n.shielded().spawn(async { Err::<(), _>("the disk is full".into()) });
///         std::future::pending().await
///     });
///     let _: Option<Result<(), _>> = inner.now_or_never(); // polled once, then dropped
///     Ok(())
/// }).await;
/// let error = ended.unwrap_err().into_iter().next().unwrap();
/// assert_eq!(error.to_string(), "child 1 of a nursery that was dropped: the disk is full");
/// let ErrorKind::Adopted(adopted) = error.into_kind() else { unreachable!() };
/// assert!(adopted.is::<String>() && adopted.type_name().ends_with("String"));
/// assert_eq!(adopted.downcast::<String>().unwrap(), "the disk is full");
/// # });
/// ```
pub struct AdoptedError {
    /// `None` if its type may borrow, or may not change threads.
    error: Option<Mutex<Box<dyn Any + Send>>>,
    type_name: &'static str,
    text: Option<Box<str>>,
}

impl AdoptedError {
    /// With its value, for a caller that knows that it may be kept.
    #[cfg(feature = "tokio")]
    pub(crate) fn keep<E: Send + 'static>(error: E) -> Self {
        let text = text(&error).map(String::into_boxed_str);
        let error: Box<dyn Any + Send> = Box::new(error);
        Self { error: Some(Mutex::new(error)), type_name: type_name::<E>(), text }
    }

    /// Without its value, which is dropped here.
    pub(crate) fn record<E>(error: E) -> Self {
        drop(error);
        Self { error: None, type_name: type_name::<E>(), text: None }
    }

    /// What its type is called.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        self.type_name
    }

    /// Whether the value is there, and a `T`.
    #[must_use]
    pub fn is<T: 'static>(&self) -> bool {
        self.error.as_ref().is_some_and(|error| plain(error).is::<T>())
    }

    /// The value, if it is there and a `T`.
    ///
    /// # Errors
    /// Itself, otherwise.
    pub fn downcast<T: 'static>(self) -> Result<T, Self> {
        let Self { error: Some(error), type_name, text } = self else { return Err(self) };
        match error.into_inner().unwrap_or_else(PoisonError::into_inner).downcast() {
            Ok(error) => Ok(*error),
            Err(error) => Err(Self { error: Some(Mutex::new(error)), type_name, text }),
        }
    }
}

impl Display for AdoptedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Some(text) => f.write_str(text),
            None => write!(f, "an error of the type `{}`", self.type_name),
        }
    }
}

opaque!("AdoptedError", [] AdoptedError, |error| {
    type_name: error.type_name,
    text: error.text,
});

impl Error for AdoptedError {}

/// The words of an error, for the types that are errors most often where nothing is known of them
/// but that they are `'static`.
#[cfg(feature = "tokio")]
fn text(error: &dyn Any) -> Option<String> {
    fn of<T: Display + 'static>(error: &dyn Any) -> Option<String> {
        error.downcast_ref::<T>().map(T::to_string)
    }
    let known = [
        of::<String>,
        of::<&'static str>,
        of::<Box<str>>,
        of::<std::sync::Arc<str>>,
        of::<std::borrow::Cow<'static, str>>,
        of::<std::io::Error>,
        of::<Box<dyn Error + Send + Sync>>,
        of::<Box<dyn Error + Send>>,
        of::<fmt::Error>,
    ];
    known.into_iter().find_map(|of| of(error))
}
