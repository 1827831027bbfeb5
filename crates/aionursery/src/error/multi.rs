//! All that failed in a nursery, in order, as one error.

use std::error::Error;
use std::fmt::{self, Debug, Display};
use std::iter::successors;
use std::panic::resume_unwind;
use std::sync::Arc;

use super::{AdoptedError, Cause, ChildError, ErrorKind, Failure, LostError, Panic, report};

/// Everything that failed in a nursery, in the order in which it happened; or, if nothing failed,
/// why the nursery was cancelled before its body could give a value.
///
/// It is shown as a tree, each error as `{:#}` shows it: of an `anyhow::Error` or an `eyre::Report`
/// that is the whole chain. [`with_sources`](Self::with_sources) does the same for errors that have
/// sources; it has no [`source`](Error::source) of its own, as there may be several. `{:?}` is a
/// tree, too, of what `{:?}` shows of each, which is what a `main` that returns it prints; `{:#?}`
/// shows the fields.
///
/// ```
/// # futures::executor::block_on(async {
/// let error = aionursery::nursery(async |n| {
///     n.named("left").start_soon(async { Err::<(), _>("no beans") });
///     Ok(())
/// }).await.unwrap_err();
/// assert_eq!(error.to_string(), "1 error in a nursery\n└─ child \"left\": no beans");
/// assert_eq!((error.len(), error.is_empty()), (1, false));
/// assert_eq!(error.cause().unwrap().reason(), Some("child \"left\""));
/// assert_eq!(error.first().unwrap().name(), Some("left"));
/// assert_eq!(error.iter().map(|error| error.id()).collect::<Vec<_>>(), [1]);
/// assert_eq!(error.errors().collect::<Vec<_>>(), [&"no beans"]);
/// assert_eq!((error.panics().count(), error.adopted().count()), (0, 0));
/// assert_eq!(error.into_errors().unwrap(), ["no beans"]);
/// # });
/// ```
pub struct MultiError<E> {
    errors: Vec<ChildError<E>>,
    cause: Option<Cause>,
    /// The nursery's name.
    name: Option<Arc<str>>,
}

impl<E> MultiError<E> {
    pub(crate) fn collect(
        failures: Vec<Failure<E>>,
        cause: Option<Cause>,
        name: Option<Arc<str>>,
    ) -> Self {
        let errors = failures.into_iter().filter_map(Failure::into_child_error).collect();
        Self { errors, cause, name }
    }

    /// Its errors, for what is told of those that are lost.
    #[cfg(feature = "tokio")]
    pub(crate) fn into_lost(self, erase: fn(E) -> AdoptedError) -> Vec<LostError> {
        let lost = |error: ChildError<E>| LostError {
            kind: error.kind.map_error(|error| ErrorKind::erased(error, erase)),
            label: error.label,
        };
        self.errors.into_iter().map(lost).collect()
    }

    pub(crate) fn extend(&mut self, errors: impl IntoIterator<Item = ChildError<E>>) {
        self.errors.extend(errors);
    }

    pub(crate) fn add(&mut self, failure: Failure<E>) {
        self.errors.extend(failure.into_child_error());
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
        self.is_empty()
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

    /// The one that happened first; none if the nursery was only cancelled.
    #[must_use]
    pub fn first(&self) -> Option<&ChildError<E>> {
        self.errors.first()
    }

    /// The errors of this type by value, if there is nothing else in it.
    ///
    /// # Errors
    /// Itself, if something has panicked, was adopted, or if there is no error: the nursery was only
    /// cancelled. None of that is to go without a look.
    pub fn into_errors(self) -> Result<Vec<E>, Self> {
        if self.errors.is_empty() || self.errors.iter().any(|error| error.error().is_none()) {
            return Err(self);
        }
        Ok(self.errors.into_iter().filter_map(|error| error.into_error().ok()).collect())
    }

    /// The errors of this type: without panics, and without what was adopted.
    pub fn errors(&self) -> impl Iterator<Item = &E> {
        self.errors.iter().filter_map(ChildError::error)
    }

    /// The panics.
    pub fn panics(&self) -> impl Iterator<Item = &Panic> {
        self.errors.iter().filter_map(ChildError::panic)
    }

    /// The errors of nurseries below that were dropped early (R28): see [`AdoptedError`].
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
    /// #         n.shielded().spawn(async { Err::<(), _>(String::from("full")) });
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

    /// Shows the tree with the sources of each error, for types that do not show these themselves.
    ///
    /// ```
    /// # #[derive(Debug, thiserror::Error)]
    /// # #[error("no coffee")]
    /// # struct NoCoffee(#[source] std::fmt::Error);
    /// # let error = futures::executor::block_on(aionursery::nursery(async |n| {
    /// #     n.named("left").start_soon(async { Err::<(), _>(NoCoffee(std::fmt::Error)) });
    /// #     Ok(())
    /// # })).unwrap_err();
    /// assert_eq!(
    ///     error.with_sources().to_string(),
    ///     "1 error in a nursery\n\
    ///      └─ child \"left\": no coffee\n   \
    ///         caused by: an error occurred when formatting an argument"
    /// );
    /// ```
    #[must_use]
    pub fn with_sources(&self) -> impl Display + use<'_, E>
    where
        E: Error,
    {
        WithSources(self)
    }

    fn write_tree(
        &self,
        f: &mut fmt::Formatter<'_>,
        show: impl Fn(&ChildError<E>) -> String,
    ) -> fmt::Result {
        let nursery = match &self.name {
            Some(name) => format!("nursery {name:?}"),
            None if self.errors.is_empty() => "nursery".into(),
            None => "a nursery".into(),
        };
        match (self.errors.len(), &self.cause) {
            (0, Some(cause)) => return write!(f, "{nursery} cancelled: {cause}"),
            (0, None) => return write!(f, "{nursery} cancelled"),
            (1, _) => write!(f, "1 error in {nursery}")?,
            (n, _) => write!(f, "{n} errors in {nursery}")?,
        }
        for (index, error) in self.errors.iter().enumerate() {
            let last = index + 1 == self.errors.len();
            let (first, rest) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            for (line, text) in show(error).lines().enumerate() {
                write!(f, "\n{}{text}", if line == 0 { first } else { rest })?;
            }
        }
        Ok(())
    }

    /// Goes on with the first panic, if there was one, as if it had happened here. Of other panics
    /// the program is told, as of errors that are lost: see
    /// [`on_lost_error`](crate::error::on_lost_error).
    ///
    /// ```
    /// # let error = futures::executor::block_on(aionursery::nursery(async |n| {
    /// #     n.start_soon(async { if true { panic!("out of beans") } Ok::<_, String>(()) });
    /// #     Ok(())
    /// # })).unwrap_err();
    /// let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| error.resume_panic()));
    /// assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"out of beans"));
    /// ```
    #[must_use]
    pub fn resume_panic(self) -> Self {
        let mut first = None;
        let (mut others, mut errors) = (Vec::new(), Vec::new());
        for ChildError { kind, label } in self.errors {
            match kind {
                ErrorKind::Panic(panic) if first.is_none() => first = Some(panic),
                ErrorKind::Panic(panic) => {
                    others.push(LostError { kind: ErrorKind::Panic(panic), label });
                }
                kind => errors.push(ChildError { kind, label }),
            }
        }
        if let Some(panic) = first {
            report(others);
            resume_unwind(panic.into_payload());
        }
        Self { errors, cause: self.cause, name: self.name }
    }
}

impl<E> std::ops::Index<usize> for MultiError<E> {
    type Output = ChildError<E>;

    /// # Panics
    /// If there are no more than `index` errors.
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
        self.write_tree(f, |error| format!("{error:#}"))
    }
}

impl<E: Debug> Debug for MultiError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !f.alternate() {
            return self.write_tree(f, |error| format!("{error:?}"));
        }
        f.debug_struct("MultiError")
            .field("errors", &self.errors)
            .field("cause", &self.cause)
            .field("name", &self.name)
            .finish()
    }
}

struct WithSources<'a, E>(&'a MultiError<E>);

impl<E: Error> Display for WithSources<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write_tree(f, |error| {
            let sources = successors(error.error().and_then(E::source), |&error| error.source());
            sources.fold(error.to_string(), |text, source| format!("{text}\ncaused by: {source}"))
        })
    }
}

impl<E: Debug + Display> Error for MultiError<E> {}
