//! What is around the running code: nothing, a scope, or one that is not open yet.
//!
//! Most of what runs in a scope is ready at once and asks for nothing. So a scope has no place in the
//! tree before it needs one: when what runs in it opens something below or asks for what is around,
//! or when it has to wait. It must never be told apart from one that was open from the start.

mod shared;
#[expect(unsafe_code, reason = "what is around lies on the stack of a poll")]
mod unopened;

use std::sync::Arc;
use std::time::Instant;

pub(crate) use shared::{Shared, end};
pub(crate) use unopened::{Outside, Target, Unopened};

use crate::clock;
use crate::error::Cause;
use crate::scope::{Scope, info};

/// What is around the running code.
#[derive(Default)]
pub(crate) enum Around {
    #[default]
    Nothing,
    Scope(Arc<Scope>),
    /// A scope that opens when it is asked for: most end before that.
    Unopened(Unopened),
}

impl Around {
    /// The scope, where this is none that is to be opened first.
    #[inline]
    pub(crate) fn into_open(self) -> Option<Arc<Scope>> {
        match self {
            Self::Scope(scope) => Some(scope),
            Self::Nothing | Self::Unopened(_) => None,
        }
    }

    /// Whether nothing of ours polls what stands in it.
    #[inline]
    pub(crate) fn is_outermost(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::Scope(scope) => scope.signal.info.kind == info::Kind::Thread,
            Self::Unopened(_) => false,
        }
    }

    /// The scope, which opens for this.
    pub(crate) fn scope(&mut self) -> Option<Arc<Scope>> {
        match self {
            Self::Nothing => None,
            Self::Scope(scope) => Some(scope.clone()),
            Self::Unopened(it) => {
                let scope = it.open();
                *self = Self::Scope(scope.clone());
                Some(scope)
            }
        }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        match self {
            Self::Nothing => false,
            Self::Scope(scope) => scope.is_soft(),
            Self::Unopened(it) => it.is_cancelled(),
        }
    }

    pub(crate) fn cause(&self) -> Option<Cause> {
        match self {
            Self::Nothing => None,
            Self::Scope(scope) => scope.cause(),
            Self::Unopened(it) => it.cause(),
        }
    }

    /// Whether it is `scope`, or below it.
    pub(crate) fn is_below(&self, scope: &Arc<Scope>) -> bool {
        self.nearest().is_some_and(|open| open.is_below(scope))
    }

    /// Whether `scope` is it, or below it.
    pub(crate) fn is_above(&self, scope: &Arc<Scope>) -> bool {
        self.nearest().is_some_and(|open| scope.is_below(open))
    }

    /// The nearest scope that is open: it, or the one that it stands in.
    fn nearest(&self) -> Option<&Arc<Scope>> {
        match self {
            Self::Nothing => None,
            Self::Scope(scope) => Some(scope),
            Self::Unopened(it) => it.parent(),
        }
    }

    pub(crate) fn now(&self) -> Instant {
        match (self.nearest(), self) {
            (Some(open), _) => open.clock().instant(),
            (None, Self::Unopened(it)) => it.now(),
            (None, _) => clock::here(),
        }
    }
}
