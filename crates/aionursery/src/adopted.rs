//! Errors of nurseries that were dropped before they could give them back (R28): they go to the
//! nursery that adopts what is left, whose type of error may be another, or, if there is none, to
//! the program's hook. It must never let one go silently (R7).

use std::any::{Any, type_name};
use std::convert::Infallible;
use std::error::Error;
use std::fmt::{self, Debug, Display};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::ChildError;
use crate::quiet::quietly;
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
    /// With its value, for whoever knows that it may be kept.
    #[cfg(feature = "tokio")]
    pub(crate) fn keep<E: Send + 'static>(error: E) -> Self {
        let text = text(&error).map(String::into_boxed_str);
        let error: Box<dyn Any + Send> = Box::new(error);
        Self { error: Some(Mutex::new(error)), type_name: type_name::<E>(), text }
    }

    /// Without its value, which is dropped here.
    pub(crate) fn note<E>(error: E) -> Self {
        drop(error);
        Self { error: None, type_name: type_name::<E>(), text: None }
    }

    /// What its type is called.
    ///
    /// ```
    /// # fn check(adopted: &aionursery::AdoptedError) -> bool {
    /// adopted.type_name().ends_with("String")
    /// # }
    /// ```
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        self.type_name
    }

    /// Whether the value is there, and a `T`.
    ///
    /// ```
    /// # fn check(adopted: &aionursery::AdoptedError) -> bool {
    /// adopted.is::<std::io::Error>()
    /// # }
    /// ```
    #[must_use]
    pub fn is<T: 'static>(&self) -> bool {
        self.error.as_ref().is_some_and(|error| plain(error).is::<T>())
    }

    /// The value, if it is there and a `T`.
    ///
    /// # Errors
    /// Itself, otherwise.
    ///
    /// ```
    /// # fn check(adopted: aionursery::AdoptedError) -> Result<(), aionursery::AdoptedError> {
    /// let error = adopted.downcast::<std::io::Error>()?;
    /// println!("{:?}", error.kind());
    /// # Ok(())
    /// # }
    /// ```
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

impl Debug for AdoptedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdoptedError")
            .field("type_name", &self.type_name)
            .field("text", &self.text)
            .finish_non_exhaustive()
    }
}

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
        of::<Arc<str>>,
        of::<std::borrow::Cow<'static, str>>,
        of::<std::io::Error>,
        of::<Box<dyn Error + Send + Sync>>,
        of::<Box<dyn Error + Send>>,
        of::<fmt::Error>,
    ];
    known.into_iter().find_map(|of| of(error))
}

/// What is left of a dropped nursery: an error of any type, or a panic, with its child.
///
/// ```
/// aionursery::on_lost_error(|error: aionursery::LostError| {
///     eprintln!("{} failed, and nobody waits for it: {error}", error.name().unwrap_or("a child"));
/// });
/// ```
pub type LostError = ChildError<Infallible>;

type Hook = Arc<dyn Fn(LostError) + Send + Sync>;

static HOOK: Mutex<Option<Hook>> = Mutex::new(None);

/// From now on `hook` is told of every error that no nursery can give back: the nursery was
/// dropped before it had ended, and there is no nursery above that is alive; or another panic was
/// resumed in its place ([`resume_panic`](crate::MultiError::resume_panic)). Until then such an
/// error is a `tracing` event, if there is a subscriber for it (feature `tracing`), or else a line
/// on stderr.
///
/// It is one hook for the program; a later call replaces it. A library should not set it.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let (send, receive) = std::sync::mpsc::channel();
/// aionursery::on_lost_error(move |error| send.send(error.to_string()).unwrap());
/// let block = aionursery::nursery(async |n| {
///     n.named("disk").start_soon(async { Err::<(), _>("full") });
///     n.shielded().start_soon(std::future::pending::<Result<(), _>>());
///     Ok(())
/// });
/// let _ = futures::FutureExt::now_or_never(block);
/// let lost = "child \"disk\" of a nursery that was dropped: an error of the type `&str`";
/// assert_eq!(receive.recv().unwrap(), lost);
/// # });
/// ```
pub fn on_lost_error(hook: impl Fn(LostError) + Send + Sync + 'static) {
    let before = plain(&HOOK).replace(Arc::new(hook));
    drop(before);
}

/// Tells the hook, or whoever looks. A hook that panics is no reason not to tell of the others.
pub(crate) fn report(errors: Vec<LostError>) {
    let hook = plain(&HOOK).clone();
    for error in errors {
        quietly(|| match &hook {
            Some(hook) => hook(error),
            None => tell(&error),
        });
    }
}

fn tell(error: &LostError) {
    #[cfg(feature = "tracing")]
    if tracing::enabled!(tracing::Level::ERROR) {
        tracing::error!(%error, "nobody waits for this error");
        return;
    }
    eprintln!("aionursery: nobody waits for this error: {error}");
}
