//! What the core's tree is filled in with for this crate. It must never do anything.

use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::sync::Weak;

use nursery_core::{Face, Identity};

use super::signal::Signal;
use crate::error::Reason;

/// Errors stay in each nursery's own lifecycle; the tree carries none.
pub(crate) struct NoError(Infallible);

impl Identity for NoError {
    fn identity(&self) -> Option<NonZeroUsize> {
        match self.0 {}
    }
}

/// A scope, to its tree.
pub(crate) trait HasSignal: Send + Sync {
    fn signal(&self) -> &Signal;
    /// How many children of its nursery have not ended.
    fn running(&self) -> usize;
}

pub(crate) struct Tokio;

impl Face for Tokio {
    /// What it says of a scope that is going is heard by nothing.
    type Key = Weak<dyn HasSignal>;
    type Error = NoError;
    type Reason = Reason;
    type Wake = Infallible;
    type Watch = Infallible;
}
