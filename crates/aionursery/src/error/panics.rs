//! A child's panic as an error, and where it happened. The payload does not say where, only the
//! panic hook knows: so that is switched on by the program, never by the library. It must not
//! change what the hook before did.

use std::any::Any;
use std::cell::RefCell;
use std::fmt::{self, Debug, Display};
use std::panic;
use std::sync::{Once, PoisonError};

use crate::sync::Mutex;

/// A panic of a child: its payload, its message and, with
/// [`record_panic_locations`](crate::error::record_panic_locations), its place.
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
    pub(crate) fn new(payload: Box<dyn Any + Send>) -> Self {
        let message = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
            (Some(message), _) => (*message).into(),
            (_, Some(message)) => message.as_str().into(),
            _ => "a payload that is no text".into(),
        };
        Self { payload: Mutex::new(payload), message, location: take_location() }
    }

    /// What it was called with, if that was text.
    ///
    /// ```
    /// # let error = futures::executor::block_on(aionursery::nursery(async |n| {
    /// #     n.start_soon(async { if true { panic!("out of beans") } Ok::<_, String>(()) });
    /// #     Ok(())
    /// # })).unwrap_err();
    /// assert_eq!(error.panics().next().unwrap().message(), "out of beans");
    /// ```
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// `file:line:column`, if locations are recorded.
    ///
    /// ```
    /// aionursery::error::record_panic_locations();
    /// # let error = futures::executor::block_on(aionursery::nursery(async |n| {
    /// #     n.start_soon(async { if true { panic!("out of beans") } Ok::<_, String>(()) });
    /// #     Ok(())
    /// # })).unwrap_err();
    /// let panic = error.panics().next().unwrap();
    /// assert!(panic.location().is_some());
    /// ```
    #[must_use]
    pub fn location(&self) -> Option<&str> {
        self.location.as_deref()
    }

    /// The payload, as [`std::panic::catch_unwind`] gives it.
    ///
    /// ```
    /// # let error = futures::executor::block_on(aionursery::nursery(async |n| {
    /// #     n.start_soon(async { if true { panic!("out of beans") } Ok::<_, String>(()) });
    /// #     Ok(())
    /// # })).unwrap_err();
    /// use aionursery::ErrorKind;
    /// let first = error.into_iter().next().unwrap();
    /// let ErrorKind::Panic(panic) = first.into_kind() else { unreachable!() };
    /// assert_eq!(panic.into_payload().downcast_ref(), Some(&"out of beans"));
    /// ```
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

thread_local! {
    static LAST: RefCell<Option<Box<str>>> = const { RefCell::new(None) };
}

/// From now on a [`Panic`](crate::error::Panic) knows its [`location`](crate::error::Panic::location). Adds to
/// the panic hook that is set at this moment, which goes on to be called; call it once, after
/// setting your own.
///
/// ```
/// aionursery::error::record_panic_locations();
/// ```
pub fn record_panic_locations() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let location = info.location().map(|at| at.to_string().into_boxed_str());
            let _ = LAST.try_with(|last| last.replace(location));
            before(info);
        }));
    });
}

/// The place of the panic that was just caught on this thread.
fn take_location() -> Option<Box<str>> {
    LAST.try_with(RefCell::take).ok().flatten()
}
