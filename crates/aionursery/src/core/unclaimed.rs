//! Errors that a nursery can no longer give back, and what is told of them (R7, R28). It must never lose
//! one.

use std::sync::Arc;

use crate::error::{AdoptedError, Failure};
use crate::scope::Scope;

/// How an error leaves its type behind.
pub(crate) type Erase<E> = fn(E) -> AdoptedError;

/// What is told of the errors that are left when the driver is gone.
pub(crate) enum ErrorSink {
    /// The driver gives them back, or has not left yet.
    Driver,
    /// The nursery that adopted what still runs; without one, the program.
    Adopter(Option<Arc<Scope>>),
    /// They have been given to it: what comes later is the program's.
    Over,
}

/// The errors of a dropped nursery whose last child has ended, and what is told of them.
pub(crate) struct Unclaimed<E> {
    pub(crate) adopter: Option<Arc<Scope>>,
    pub(crate) failures: Vec<Failure<E>>,
    pub(crate) erase: Erase<E>,
}

impl<E> Unclaimed<E> {
    /// Runs the destructors of errors that cannot be kept: not to be called under the lock.
    #[cold]
    pub(crate) fn hand_over(self) {
        let Self { adopter, failures, erase } = self;
        let errors = failures.into_iter().filter_map(|failure| failure.into_lost(erase)).collect();
        match adopter {
            Some(adopter) => adopter.orphans_ended(errors),
            None => crate::error::report(errors),
        }
    }
}
