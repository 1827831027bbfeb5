//! A child's panic as an error, and where it happened. The payload does not say where, only the
//! panic hook knows: so that is switched on by the program, never by the library. It must not
//! change what the hook before did.

use std::any::Any;
use std::cell::RefCell;
use std::fmt::{self, Display};
use std::panic;
use std::sync::{Once, PoisonError};

use crate::sync::Mutex;

/// A panic of a child: its payload, its message and, with
/// [`record_panic_locations`](crate::error::record_panic_locations), its place.
///
/// ```
/// # futures::executor::block_on(async {
/// use aionursery::{ErrorKind, error::record_panic_locations, nursery};
/// record_panic_locations();
/// let errors = nursery(async |n| {
///     n.start_soon(async { if true { panic!("out of beans") } Ok::<_, String>(()) });
///     Ok(())
/// }).await.unwrap_err();
/// let panic = errors.panics().next().unwrap();
/// assert_eq!(panic.message(), "out of beans");
/// assert!(panic.location().unwrap().contains(".rs:"));
/// let ErrorKind::Panic(panic) = errors.into_iter().next().unwrap().into_kind() else { unreachable!() };
/// assert_eq!(panic.into_payload().downcast_ref(), Some(&"out of beans"));
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

opaque!("Panic", [] Panic, |panic| { message: panic.message, location: panic.location });

thread_local! {
    static LAST: RefCell<Option<Box<str>>> = const { RefCell::new(None) };
}

/// From now on a [`Panic`] knows its [`location`](Panic::location). Adds to
/// the panic hook that is set at this moment, which goes on to be called; call it once, after
/// setting your own.
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
