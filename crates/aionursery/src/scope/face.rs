//! What the core's tree is filled in with for this crate. It must never do anything.

use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::sync::Arc;

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

pub(crate) struct Tokio;

impl Face for Tokio {
    type Key = Arc<Signal>;
    type Error = NoError;
    type Reason = Reason;
    type Wake = Infallible;
    type Watch = Infallible;
}
