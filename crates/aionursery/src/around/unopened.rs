//! A scope for as long as it has no place in the tree. One that no handle has, a limit of time or a shield
//! around one future, must never count anything, nor allocate: most of these end before they take a place.

use std::panic::Location;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Instant;

use super::shared::Shared;
use crate::clock;
use crate::error::Cause;
use crate::scope::info::{self, Info};
use crate::scope::{Owner, Scope, ScopeOptions};

/// Which scope something runs in, and where it was told to.
pub(crate) enum Target {
    /// That of some handles.
    Handles(Arc<Shared>, &'static Location<'static>),
    /// One of its own, until a deadline.
    Until(Option<Instant>, &'static Location<'static>),
    /// One of its own, which shields.
    Shield(&'static Location<'static>),
}

impl Target {
    /// Its place in the tree, below `parent`.
    pub(crate) fn open(&self, parent: Option<Arc<Scope>>) -> Arc<Scope> {
        match self {
            Self::Handles(shared, _) => shared.enter(parent),
            Self::Until(deadline, place) => Self::open_own(parent, *deadline, false, place),
            Self::Shield(place) => Self::open_own(parent, None, true, place),
        }
    }

    fn open_own(
        parent: Option<Arc<Scope>>,
        deadline: Option<Instant>,
        shield: bool,
        place: &'static Location<'static>,
    ) -> Arc<Scope> {
        let options = ScopeOptions { deadline, shield, ..ScopeOptions::default() };
        let info = Info::new(info::Kind::Scope, None, Some(place));
        Scope::open(parent, &options, Owner::one(), info)
    }
}

/// Where something runs without a place in the tree of its own. It lies on the stack of that poll.
pub(crate) struct Outside<'a> {
    target: &'a Target,
    /// The scope that it stands in, if it stands in any.
    pub(crate) parent: Option<Arc<Scope>>,
}

impl<'a> Outside<'a> {
    #[inline(always)]
    pub(crate) fn new(target: &'a Target, parent: Option<Arc<Scope>>) -> Self {
        if let Target::Handles(shared, _) = target {
            shared.stand_in(parent.clone());
        }
        Self { target, parent }
    }
}

/// It is around the running code.
pub(crate) struct Unopened(NonNull<Outside<'static>>);

impl Unopened {
    /// # Safety
    /// This must be gone before `outside` is, and is changed in no other way meanwhile.
    #[inline]
    pub(crate) unsafe fn at(outside: NonNull<Outside<'_>>) -> Self {
        Self(outside.cast())
    }

    #[inline]
    fn outside(&self) -> &Outside<'_> {
        // SAFETY: it lies there as long as this does, and nothing changes it.
        unsafe { self.0.as_ref() }
    }

    /// Takes a place in the tree. Stays as it is: the clock may be the program's code, and panic.
    pub(super) fn open(&self) -> Arc<Scope> {
        self.outside().target.open(self.parent().cloned())
    }

    /// The scope that it stands in.
    pub(super) fn parent(&self) -> Option<&Arc<Scope>> {
        self.outside().parent.as_ref()
    }

    pub(super) fn is_cancelled(&self) -> bool {
        match self.outside().target {
            Target::Handles(shared, _) => shared.is_cancelled(),
            Target::Until(..) => self.parent().is_some_and(|it| it.is_soft()),
            Target::Shield(_) => false,
        }
    }

    pub(super) fn cause(&self) -> Option<Cause> {
        match self.outside().target {
            Target::Handles(shared, _) => shared.cause(),
            Target::Until(..) => self.parent()?.cause(),
            Target::Shield(_) => None,
        }
    }

    /// The time, if it stands in nothing.
    pub(super) fn now(&self) -> Instant {
        match self.outside().target {
            Target::Handles(shared, _) => shared.now(),
            Target::Until(..) | Target::Shield(_) => clock::here(),
        }
    }
}
