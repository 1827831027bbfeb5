//! A scope for as long as it has no place in the tree. One that no handle has, a limit of time or a shield
//! around one future, must never count anything, nor allocate: most of these end before they take a place.

use std::cell::Cell;
use std::panic::Location;
use std::sync::Arc;
use std::time::Instant;

use super::shared::Shared;
use crate::clock;
use crate::error::Cause;
use crate::scope::info::{self, Info};
use crate::scope::{Owner, Scope, ScopeOptions};

/// Which scope something runs in.
#[derive(Clone)]
pub(crate) enum Target {
    /// That of some handles, and where it was told to run this.
    Handles(Arc<Shared>, &'static Location<'static>),
    /// One of its own.
    Own(Terms),
}

/// What a scope without a handle is opened with.
#[derive(Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) deadline: Option<Instant>,
    pub(crate) shield: bool,
    /// Where it was told to run what runs in it.
    pub(crate) place: &'static Location<'static>,
}

impl Target {
    /// Its place in the tree, below `parent`.
    pub(crate) fn open(&self, parent: Option<Arc<Scope>>) -> Arc<Scope> {
        match self {
            Self::Handles(shared, _) => shared.enter(parent),
            Self::Own(Terms { deadline, shield, place }) => {
                let (deadline, shield) = (*deadline, *shield);
                let options = ScopeOptions { deadline, shield, ..ScopeOptions::default() };
                let info = Info::new(info::Kind::Scope, None, Some(place));
                Scope::open(parent, &options, Owner::one(), info)
            }
        }
    }
}

/// It is around the running code. In a box, which the thread keeps for the next one: what is around is moved
/// often, and has to be small.
pub(crate) struct Unopened(Box<Outside>);

struct Outside {
    target: Target,
    parent: Option<Arc<Scope>>,
}

thread_local! {
    static SPARE: Cell<Option<Box<Outside>>> = const { Cell::new(None) };
}

impl Unopened {
    #[inline]
    pub(super) fn new(target: &Target, parent: Option<Arc<Scope>>) -> Self {
        if let Target::Handles(shared, _) = target {
            shared.state().parent = parent.clone();
        }
        let outside = Outside { target: target.clone(), parent };
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
        // What handles share is not kept, and a thread that is ending keeps nothing.
        if let Target::Own(_) = self.0.target {
            let _ = SPARE.try_with(|spare| spare.set(Some(self.0)));
        }
        parent
    }

    /// Takes a place in the tree. Stays as it is: the clock may be the program's code, and panic.
    pub(super) fn open(&self) -> Arc<Scope> {
        self.0.target.open(self.0.parent.clone())
    }

    /// The scope that it stands in.
    pub(super) fn parent(&self) -> Option<&Arc<Scope>> {
        self.0.parent.as_ref()
    }

    pub(super) fn is_cancelled(&self) -> bool {
        match &self.0.target {
            Target::Handles(shared, _) => shared.is_cancelled(),
            Target::Own(terms) => !terms.shield && self.parent().is_some_and(|it| it.is_soft()),
        }
    }

    pub(super) fn cause(&self) -> Option<Cause> {
        match &self.0.target {
            Target::Handles(shared, _) => shared.cause(),
            Target::Own(terms) => self.parent().filter(|_| !terms.shield)?.cause(),
        }
    }

    /// The time, if it stands in nothing.
    pub(super) fn now(&self) -> Instant {
        match &self.0.target {
            Target::Handles(shared, _) => shared.now(),
            Target::Own(_) => clock::here(),
        }
    }
}
