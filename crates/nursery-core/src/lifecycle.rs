//! One nursery's life and verdict: open, joining, closed; who still runs; which errors it raises.
//! It knows neither scopes nor tasks and must never decide whom a cancellation reaches.

use std::collections::HashSet;
use std::num::NonZeroUsize;

/// What one error object is, so that an object reached on two ways is one error (R7).
pub trait Identity {
    /// The same number for the same object; `None` if no two values can be the same.
    fn identity(&self) -> Option<NonZeroUsize>;
}

/// Where a nursery stands (R1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The body runs.
    Open,
    /// The body has ended, children run.
    Joining,
    /// Body and all children have ended.
    Closed,
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
    /// An error that leaves the block bare (R9): KeyboardInterrupt, SystemExit.
    Bare(E),
}

/// What an end means for the nursery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The first failure: the nursery's scope is to be cancelled (R6).
    pub cancel: bool,
    /// The last one is gone: wake the joiner.
    pub closed: bool,
}

/// The nursery has closed: nothing can be started in it (R2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

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

/// Beyond this many errors a set finds the ones that were there already.
const FEW: usize = 16;

/// One nursery's life.
///
/// ```
/// use nursery_core::{Identity, Lifecycle, Outcome, Phase, Verdict};
/// #[derive(Debug, PartialEq)]
/// struct Trouble(u8);
/// impl Identity for Trouble {
///     fn identity(&self) -> Option<std::num::NonZeroUsize> {
///         None
///     }
/// }
/// let mut life = Lifecycle::new(false);
/// life.child_started().unwrap();
/// life.body_ended(Outcome::Done);
/// assert_eq!(life.phase(), Phase::Joining);
/// let ended = life.child_ended(Outcome::Failed(Trouble(1)));
/// assert!(ended.cancel && ended.closed);
/// assert!(life.child_started().is_err());
/// assert_eq!(life.verdict(), Verdict::Errors(vec![Trouble(1)]));
/// ```
#[derive(Clone, Debug)]
pub struct Lifecycle<E> {
    body_runs: bool,
    collect: bool,
    failed: bool,
    cancelled: bool,
    running: u32,
    bare: Option<E>,
    errors: Vec<E>,
    known: Option<HashSet<NonZeroUsize>>,
}

impl<E: Identity> Lifecycle<E> {
    /// An open nursery whose body runs. With `collect`, a failure leaves the siblings alone.
    #[must_use]
    pub fn new(collect: bool) -> Self {
        Self {
            body_runs: true,
            collect,
            failed: false,
            cancelled: false,
            running: 0,
            bare: None,
            errors: Vec::new(),
            known: None,
        }
    }

    /// Where it stands.
    #[inline]
    #[must_use]
    pub fn phase(&self) -> Phase {
        match (self.body_runs, self.running) {
            (true, _) => Phase::Open,
            (false, 0) => Phase::Closed,
            (false, _) => Phase::Joining,
        }
    }

    /// How many children run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running as usize
    }

    /// Whether a cancellation ended the body or a child.
    #[must_use]
    pub fn saw_cancellation(&self) -> bool {
        self.cancelled
    }

    /// A child starts.
    ///
    /// # Errors
    /// [`Closed`] once body and children have ended.
    #[inline]
    pub fn child_started(&mut self) -> Result<(), Closed> {
        self.children_started(1)
    }

    /// So many children start.
    ///
    /// # Errors
    /// [`Closed`] once body and children have ended.
    #[inline]
    pub fn children_started(&mut self, count: u32) -> Result<(), Closed> {
        if self.phase() == Phase::Closed {
            return Err(Closed);
        }
        self.running += count;
        Ok(())
    }

    /// So many children have returned.
    #[inline]
    pub fn children_done(&mut self, count: u32) {
        debug_assert!(self.running >= count, "more children ended than started");
        self.running -= count;
    }

    /// A child has ended.
    #[inline]
    pub fn child_ended(&mut self, outcome: Outcome<E>) -> Ended {
        debug_assert!(self.running > 0, "more children ended than started");
        self.running -= 1;
        let cancel = match outcome {
            Outcome::Done => false,
            outcome => self.note(outcome),
        };
        Ended { cancel, closed: self.phase() == Phase::Closed }
    }

    /// The body has ended.
    pub fn body_ended(&mut self, outcome: Outcome<E>) -> Ended {
        debug_assert!(self.body_runs, "the body ended twice");
        self.body_runs = false;
        // A cancellation that ends the body ends the block: its children go too (R15).
        let gone = matches!(outcome, Outcome::Cancelled) && !self.failed;
        let cancel = self.note(outcome) || gone;
        Ended { cancel, closed: self.phase() == Phase::Closed }
    }

    /// An error that belongs to the nursery but ended no child, such as a misuse found at exit.
    pub fn error(&mut self, error: E) {
        if self.is_new(&error) {
            self.errors.push(error);
        }
    }

    /// What the block raises. The errors go with the answer.
    pub fn verdict(&mut self) -> Verdict<E> {
        let errors = std::mem::take(&mut self.errors);
        match self.bare.take() {
            Some(error) => Verdict::Bare { error, beside: errors },
            None if errors.is_empty() => Verdict::Clean,
            None => Verdict::Errors(errors),
        }
    }

    /// The errors it keeps, for a garbage collector.
    pub fn errors(&self) -> impl Iterator<Item = &E> {
        self.bare.iter().chain(&self.errors)
    }

    fn note(&mut self, outcome: Outcome<E>) -> bool {
        let (error, bare) = match outcome {
            Outcome::Done => return false,
            Outcome::Cancelled => {
                self.cancelled = true;
                return false;
            }
            Outcome::Failed(error) => (error, false),
            Outcome::Bare(error) => (error, true),
        };
        if self.is_new(&error) {
            if bare && self.bare.is_none() {
                self.bare = Some(error);
            } else {
                self.errors.push(error);
            }
        }
        let first = !self.failed;
        let cancels = bare || !self.collect;
        self.failed |= cancels;
        first && cancels
    }

    fn is_new(&mut self, error: &E) -> bool {
        let Some(identity) = error.identity() else {
            return true;
        };
        if let Some(known) = &mut self.known {
            return known.insert(identity);
        }
        let is_new = self.errors().all(|other| other.identity() != Some(identity));
        if self.errors.len() >= FEW {
            let mut known: HashSet<_> = self.errors().filter_map(Identity::identity).collect();
            known.insert(identity);
            self.known = Some(known);
        }
        is_new
    }
}
