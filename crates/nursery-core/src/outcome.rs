//! How a child or a body has ended, and what a nursery raises by that. It must never say what either means
//! for others.

use std::num::NonZeroUsize;

/// What one error object is, so that an object reached on two ways is one error (R7).
pub trait Identity {
    /// The same number for the same object; `None` if no two values can be the same.
    fn identity(&self) -> Option<NonZeroUsize>;

    /// Whether nothing is left to report: another has taken what it held, for good. A nursery lets go of
    /// such an error where it needs room, and its destructor runs there.
    fn is_spent(&self) -> bool {
        false
    }
}

/// How a child or a body ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<E> {
    /// It returned.
    Done,
    /// A cancellation ended it.
    Cancelled,
    /// An error: cancels the siblings and is raised in the group (R6, R8).
    Failed(E),
    /// As `Failed`, by a group of errors that carries a cancellation. The face takes that out before
    /// it raises the errors (R13a).
    Group(E),
    /// An error that leaves the block bare (R9): KeyboardInterrupt, SystemExit.
    Bare(E),
    /// An error that leaves the block bare if it is the only one, and stands in the group beside
    /// others: a body's GeneratorExit (R7).
    Alone(E),
}

/// What an exception is, as far as a nursery's rules tell exceptions apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// A cancellation.
    Cancellation,
    /// A group of nothing but cancellations.
    Cancellations,
    /// A group of errors that carries a cancellation.
    Group,
    /// It ends the program: KeyboardInterrupt, SystemExit.
    Exit,
    /// It closes a generator or a coroutine: GeneratorExit.
    Close,
    /// Any other.
    Error,
}

/// What has raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The nursery's body.
    Body,
    /// The nursery's body, which another task leaves than its host, or the host in the wrong order (R3).
    Misplaced,
    /// A child.
    Child,
}

impl<E> Outcome<E> {
    /// How what raised has ended. The one place that says what leaves a block bare (R7, R9).
    #[must_use]
    pub fn raised(kind: ErrorKind, role: Role, error: E) -> (Self, Option<E>) {
        match (kind, role) {
            (ErrorKind::Cancellation | ErrorKind::Cancellations, _) => {
                (Self::Cancelled, Some(error))
            }
            // The task that closes a generator from outside gets the misuse error instead.
            (ErrorKind::Close, Role::Misplaced) => (Self::Cancelled, Some(error)),
            (ErrorKind::Group, _) => (Self::Group(error), None),
            (ErrorKind::Exit, _) => (Self::Bare(error), None),
            (ErrorKind::Close, Role::Body) => (Self::Alone(error), None),
            (ErrorKind::Close, Role::Child) | (ErrorKind::Error, _) => (Self::Failed(error), None),
        }
    }

    /// The error that it carries, taken out.
    pub(crate) fn into_error(self) -> Option<E> {
        match self {
            Self::Done | Self::Cancelled => None,
            Self::Failed(error) | Self::Group(error) | Self::Bare(error) | Self::Alone(error) => {
                Some(error)
            }
        }
    }

    /// The error that it carries.
    #[must_use]
    pub fn error(&self) -> Option<&E> {
        match self {
            Self::Done | Self::Cancelled => None,
            Self::Failed(error) | Self::Group(error) | Self::Bare(error) | Self::Alone(error) => {
                Some(error)
            }
        }
    }
}

/// What a closed nursery raises, before cancellations are considered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<E> {
    /// Nothing failed.
    Clean,
    /// Raise these together (R8), in the order in which they happened (R7).
    Errors(Vec<E>),
    /// Raise this one alone (R9); report the ones beside it (R7).
    Bare {
        /// What leaves the block.
        error: E,
        /// What cannot be raised and must be reported.
        beside: Vec<E>,
    },
}

impl<E> Verdict<E> {
    /// All errors, the one that leaves bare first.
    pub fn into_errors(self) -> Vec<E> {
        match self {
            Self::Clean => Vec::new(),
            Self::Errors(errors) => errors,
            Self::Bare { error, mut beside } => {
                beside.insert(0, error);
                beside
            }
        }
    }

    /// The same where nothing leaves bare.
    pub(crate) fn together(self) -> Self {
        match self {
            Self::Bare { .. } => Self::Errors(self.into_errors()),
            verdict => verdict,
        }
    }

    /// The same with an error that is told before the others; alone, it is raised as it is. One that
    /// leaves bare still does.
    pub(crate) fn after(self, first: E) -> Self {
        match self {
            Self::Clean => Self::Bare { error: first, beside: Vec::new() },
            Self::Errors(mut errors) => {
                errors.insert(0, first);
                Self::Errors(errors)
            }
            Self::Bare { error, mut beside } => {
                beside.insert(0, first);
                Self::Bare { error, beside }
            }
        }
    }
}
