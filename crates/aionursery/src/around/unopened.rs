//! A scope that no handle has, for as long as it has no place in the tree: a limit of time or a shield around
//! one future. It must never count anything, nor allocate: most of these end before they take a place.

use std::cell::Cell;
use std::panic::Location;
use std::sync::Arc;
use std::time::Instant;

use crate::scope::info::{self, Info};
use crate::scope::{Owner, Scope, ScopeOptions};

/// What it is opened with.
#[derive(Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) deadline: Option<Instant>,
    pub(crate) shield: bool,
    /// Where it was told to run what runs in it.
    pub(crate) place: &'static Location<'static>,
}

impl Terms {
    /// Takes its place in the tree.
    pub(crate) fn open(self, parent: Option<Arc<Scope>>) -> Arc<Scope> {
        let Self { deadline, shield, place } = self;
        let options = ScopeOptions { deadline, shield, ..ScopeOptions::default() };
        let info = Info::new(info::Kind::Scope, None, Some(place));
        Scope::open(parent, &options, Owner::one(), info)
    }
}

/// It is around the running code. In a box, which the thread keeps for the next one: what is around is moved
/// often, and has to be small.
#[derive(Clone)]
pub(crate) struct Unopened(Box<Outside>);

#[derive(Clone)]
struct Outside {
    terms: Terms,
    parent: Option<Arc<Scope>>,
}

thread_local! {
    static SPARE: Cell<Option<Box<Outside>>> = const { Cell::new(None) };
}

impl Unopened {
    #[inline]
    pub(super) fn new(terms: Terms, parent: Option<Arc<Scope>>) -> Self {
        let outside = Outside { terms, parent };
        match SPARE.try_with(Cell::take).ok().flatten() {
            Some(mut kept) => {
                *kept = outside;
                Self(kept)
            }
            None => Self(Box::new(outside)),
        }
    }

    /// It is around no more. Gives what it stood in.
    #[inline]
    pub(super) fn end(mut self) -> Option<Arc<Scope>> {
        let parent = self.0.parent.take();
        // A thread that is ending keeps nothing.
        let _ = SPARE.try_with(|spare| spare.set(Some(self.0)));
        parent
    }

    /// Takes a place in the tree. Stays as it is: the clock may be the program's code, and panic.
    pub(super) fn open(&self) -> Arc<Scope> {
        self.0.terms.open(self.0.parent.clone())
    }

    /// The scope that it stands in.
    pub(super) fn parent(&self) -> Option<&Arc<Scope>> {
        self.0.parent.as_ref()
    }

    /// Where a cancellation comes from that reaches it.
    pub(super) fn outside(&self) -> Option<&Arc<Scope>> {
        self.parent().filter(|_| !self.0.terms.shield)
    }
}
