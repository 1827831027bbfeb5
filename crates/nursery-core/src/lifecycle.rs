//! One nursery's life and verdict: open, joining, closed; what still runs; which errors it raises.
//! It knows neither scopes nor tasks and must never decide what a cancellation reaches.

use std::collections::HashSet;
use std::num::NonZeroUsize;

use crate::outcome::{Identity, Outcome, Verdict};

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

/// What an end means for the nursery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended<E> {
    /// The first failure: the nursery's scope is to be cancelled (R6).
    pub cancel: bool,
    /// The last one is gone: wake the joiner.
    pub closed: bool,
    /// The error, if it was reported before (R7).
    pub again: Option<E>,
}

/// The nursery has closed: nothing can be started in it (R2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

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
    /// With the services.
    running: u32,
    services: u32,
    bare: Option<E>,
    /// One of the errors leaves bare if it is the only one.
    alone: bool,
    errors: Vec<E>,
    /// At this many errors those that are spent go.
    enough: usize,
    #[expect(
        clippy::box_collection,
        reason = "few nurseries have so many errors, and all are made and moved"
    )]
    known: Option<Box<HashSet<NonZeroUsize>>>,
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
            services: 0,
            bare: None,
            alone: false,
            errors: Vec::new(),
            enough: FEW,
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

    /// How many children run, with the services.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running as usize
    }

    /// Whether a cancellation of a scope's ended the body or a child.
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

    /// `count` children start.
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

    /// A service starts: a child that runs for the body and the other children, and ends after them.
    ///
    /// # Errors
    /// [`Closed`] once body and children have ended.
    pub fn service_started(&mut self) -> Result<(), Closed> {
        self.child_started()?;
        self.services += 1;
        Ok(())
    }

    /// Whether there are services.
    #[must_use]
    pub fn has_services(&self) -> bool {
        self.services > 0
    }

    /// Whether body and children have ended, but for the services.
    #[inline]
    #[must_use]
    pub fn is_drained(&self) -> bool {
        !self.body_runs && self.running == self.services
    }

    /// Whether the body has ended and one child runs, beside the services.
    #[inline]
    #[must_use]
    pub fn has_one_left(&self) -> bool {
        !self.body_runs && self.running == self.services + 1
    }

    /// A service has ended. That it was cancelled says nothing of the work: it is how it is ended.
    pub fn service_ended(&mut self, outcome: Outcome<E>) -> Ended<E> {
        debug_assert!(self.services > 0, "more services ended than started");
        self.services -= 1;
        self.child_ended(match outcome {
            Outcome::Cancelled => Outcome::Done,
            Outcome::Group(error) => Outcome::Failed(error),
            outcome => outcome,
        })
    }

    /// `count` children have returned.
    #[inline]
    pub fn children_done(&mut self, count: u32) {
        debug_assert!(self.running >= count, "more children ended than started");
        self.running -= count;
    }

    /// A child has ended.
    #[inline]
    pub fn child_ended(&mut self, outcome: Outcome<E>) -> Ended<E> {
        debug_assert!(self.running > 0, "more children ended than started");
        self.running -= 1;
        let (cancel, again) = match outcome {
            Outcome::Done => (false, None),
            Outcome::Cancelled => {
                self.cancelled = true;
                (false, None)
            }
            outcome => self.note(outcome),
        };
        Ended { cancel, closed: self.phase() == Phase::Closed, again }
    }

    /// As [`body_ended`](Self::body_ended), for a body that has returned: nothing comes of that but, once the
    /// children have ended, the end.
    #[inline]
    pub fn body_returned(&mut self) {
        debug_assert!(self.body_runs, "the body ended twice");
        self.body_runs = false;
    }

    /// The body has ended.
    pub fn body_ended(&mut self, outcome: Outcome<E>) -> Ended<E> {
        debug_assert!(self.body_runs, "the body ended twice");
        self.body_runs = false;
        // A cancellation that ends the body ends the block: its children go too (R15).
        let gone = matches!(outcome, Outcome::Cancelled) && !self.failed;
        let (cancel, again) = self.note(outcome);
        Ended { cancel: cancel || gone, closed: self.phase() == Phase::Closed, again }
    }

    /// An error that belongs to the nursery but ended no child, such as a misuse found at exit.
    pub fn error(&mut self, outcome: Outcome<E>) -> Ended<E> {
        let (cancel, again) = self.note(outcome);
        Ended { cancel, closed: false, again }
    }

    /// An error of what another nursery has left behind, or of a child that was cut off. It cancels nothing, and is
    /// not the first failure here: that is still to come (R6, R28). Returns it if it was there already.
    pub fn adopted(&mut self, outcome: Outcome<E>) -> Option<E> {
        let failed = self.failed;
        let (_, again) = self.note(outcome);
        self.failed = failed;
        again
    }

    /// What the block raises. The errors go with the answer.
    pub fn verdict(&mut self) -> Verdict<E> {
        let errors = std::mem::take(&mut self.errors);
        match self.bare.take() {
            Some(error) => Verdict::Bare { error, beside: errors },
            None if errors.is_empty() => Verdict::Clean,
            None if self.alone && errors.len() == 1 => {
                let mut errors = errors;
                Verdict::Bare { error: errors.remove(0), beside: errors }
            }
            None => Verdict::Errors(errors),
        }
    }

    /// What it would raise, as ends of children of the nursery that joins it. The errors go with the
    /// answer.
    pub fn outcomes(&mut self) -> Vec<Outcome<E>> {
        let bare = self.bare.take().into_iter().map(Outcome::Bare);
        bare.chain(std::mem::take(&mut self.errors).into_iter().map(Outcome::Failed)).collect()
    }

    /// The errors it keeps, for a garbage collector.
    pub fn errors(&self) -> impl Iterator<Item = &E> {
        self.bare.iter().chain(&self.errors)
    }

    /// Returns whether the siblings are to be cancelled, and the error if it was there already.
    fn note(&mut self, outcome: Outcome<E>) -> (bool, Option<E>) {
        let (error, bare, alone) = match outcome {
            Outcome::Done => return (false, None),
            Outcome::Cancelled => {
                self.cancelled = true;
                return (false, None);
            }
            Outcome::Group(error) => {
                self.cancelled = true;
                (error, false, false)
            }
            Outcome::Failed(error) => (error, false, false),
            Outcome::Bare(error) => (error, true, false),
            Outcome::Alone(error) => (error, false, true),
        };
        let mut again = None;
        if !self.is_new(&error) {
            again = Some(error);
        } else if bare && self.bare.is_none() {
            self.bare = Some(error);
        } else {
            self.alone |= alone;
            if self.errors.len() >= self.enough {
                self.let_go_of_spent();
            }
            self.errors.push(error);
        }
        let first = !self.failed;
        let cancels = bare || alone || !self.collect;
        self.failed |= cancels;
        (first && cancels, again)
    }

    /// Looks at all again when there are four times as many as are left, so that it costs each little.
    #[cold]
    fn let_go_of_spent(&mut self) {
        let before = self.errors.len();
        self.errors.retain(|error| !error.is_spent());
        let left = self.errors.len();
        if left < before {
            // The next one may have the identity of one that has gone.
            self.known = None;
            self.errors.shrink_to(2 * left);
        }
        self.enough = left.max(FEW / 4) * 4;
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
            self.known = Some(Box::new(known));
        }
        is_new
    }
}
