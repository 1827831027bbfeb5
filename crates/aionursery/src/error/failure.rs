//! Errors on their way: what a nursery keeps of a child's failure, and what the child's handle sees
//! of it. It must never show an error to both.

use std::any::Any;
use std::num::NonZeroUsize;
use std::sync::Arc;

use nursery_core::Identity;

use super::{AdoptedError, Cancelled, ChildError, ErrorKind, Label, LostError, Panic};
use crate::sync::{Mutex, lock};

/// An error that its nursery keeps until the future that awaits the child takes it.
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
        lock(&self.0).take()
    }

    fn is_taken(&self) -> bool {
        lock(&self.0).is_none()
    }
}

/// What has stopped a child that is neither an error nor a cancellation of its nursery's; held as an error is.
/// One type for both, for each word and each kind of a fault is a cost of children that have none.
enum Stop {
    Panic(Option<Panic>),
    /// Its runtime has gone, and nothing had asked for its end.
    #[cfg_attr(not(feature = "tokio"), expect(dead_code, reason = "workers are a runtime's"))]
    CutOff(Option<Cancelled>),
}

#[derive(Clone)]
pub(crate) struct HeldStop(Arc<Mutex<Stop>>);

impl HeldStop {
    fn new(stop: Stop) -> Self {
        Self(Arc::new(Mutex::new(stop)))
    }

    pub(crate) fn panic(panic: Panic) -> Self {
        Self::new(Stop::Panic(Some(panic)))
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn cut_off(cause: Cancelled) -> Self {
        Self::new(Stop::CutOff(Some(cause)))
    }

    pub(crate) fn take<E>(&self) -> Option<ErrorKind<E>> {
        match &mut *lock(&self.0) {
            Stop::Panic(panic) => panic.take().map(ErrorKind::Panic),
            Stop::CutOff(cause) => cause.take().map(ErrorKind::Cancelled),
        }
    }

    fn take_panic(&self) -> Option<Panic> {
        match &mut *lock(&self.0) {
            Stop::Panic(panic) => panic.take(),
            Stop::CutOff(_) => None,
        }
    }

    pub(crate) fn is_cut_off(&self) -> bool {
        matches!(*lock(&self.0), Stop::CutOff(_))
    }

    fn is_taken(&self) -> bool {
        matches!(*lock(&self.0), Stop::Panic(None) | Stop::CutOff(None))
    }
}

/// Why a child has no value, for its handle.
pub(crate) enum Fault<E> {
    Failed(Held<E>),
    /// Why, if a handle may ask.
    Cancelled(Option<Box<Cancelled>>),
    Stopped(HeldStop),
}

enum Kept<E> {
    Error(Held<E>),
    Stop(HeldStop),
    Adopted(AdoptedError),
}

/// One error on its way to the verdict.
pub(crate) struct Failure<E> {
    kept: Kept<E>,
    label: Label,
}

impl<E> Failure<E> {
    pub(crate) fn held(held: Held<E>, label: Label) -> Self {
        Self { kept: Kept::Error(held), label }
    }

    pub(crate) fn stop(held: HeldStop, label: Label) -> Self {
        Self { kept: Kept::Stop(held), label }
    }

    pub(crate) fn error(error: E, label: Label) -> Self {
        Self::held(Held::new(error), label)
    }

    pub(crate) fn panic(payload: Box<dyn Any + Send>, label: Label) -> Self {
        Self::stop(HeldStop::panic(Panic::new(payload)), label)
    }

    /// What can go to a nursery with another type of error. `None` if the future that awaited the child
    /// has taken the error, and of a child that was cut off: so was its nursery.
    pub(crate) fn into_lost(self, erase: fn(E) -> AdoptedError) -> Option<LostError> {
        match &self.kept {
            Kept::Stop(held) if held.is_cut_off() => None,
            _ => self.open(|error| ErrorKind::erased(error, erase)),
        }
    }

    /// `None` if the future that awaited the child has taken the error.
    pub(super) fn into_child_error(self) -> Option<ChildError<E>> {
        self.open(ErrorKind::Error)
    }

    fn open<F>(self, own: impl FnOnce(E) -> ErrorKind<F>) -> Option<ChildError<F>> {
        let kind = match self.kept {
            Kept::Error(held) => own(held.take()?),
            Kept::Stop(held) => held.take()?,
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
            Kept::Stop(held) => held
                .take_panic()
                .map(Panic::into_payload)
                .ok_or(Self { kept: Kept::Stop(held), label: self.label }),
            kept => Err(Self { kept, label: self.label }),
        }
    }

    /// Of a nursery that was dropped.
    pub(crate) fn adopted(lost: LostError) -> Self {
        let kept = match lost.kind {
            ErrorKind::Panic(panic) => Kept::Stop(HeldStop::panic(panic)),
            ErrorKind::Adopted(adopted) => Kept::Adopted(adopted),
            ErrorKind::Cancelled(_) | ErrorKind::Reported => {
                unreachable!("no error of a nursery's")
            }
        };
        Self { kept, label: lost.label }
    }
}

impl<E> Identity for Failure<E> {
    fn identity(&self) -> Option<NonZeroUsize> {
        // Values have no identity: an error that is reached on two ways is moved, not copied.
        None
    }

    /// What is left of it then has no code of the program's: it may go under the nursery's lock.
    fn is_spent(&self) -> bool {
        match &self.kept {
            Kept::Error(held) => held.is_taken(),
            Kept::Stop(held) => held.is_taken(),
            Kept::Adopted(_) => false,
        }
    }
}
