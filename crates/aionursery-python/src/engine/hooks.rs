//! The one way up: what the engine calls of the layers above it, handed in once at import. It must never
//! grow a function for what the caller could be given.

use std::sync::OnceLock;

use nursery_core::{Effects, NurseryId};

use crate::cpython::errors::Fallible;
use crate::cpython::function::Method;
use crate::cpython::object::Object;
use crate::cpython::owned::Owned;
use crate::engine::link::Link;
use crate::engine::state::{LoopState, PyFace};

/// What the layers above do for the engine.
pub(crate) struct Hooks {
    /// Brings cancellations to their tasks, and wakes the joins of nurseries that have closed.
    pub deliver: fn(&LoopState, Effects<PyFace>),
    /// A nursery has closed that no host waits for any more.
    pub discard: fn(&LoopState, NurseryId),
    /// Takes a step of a task that the loop calls, in the task's context.
    pub step: fn(&Object) -> Fallible<()>,
    /// Has the loop call a task's next step by a handle of its own.
    pub step_alone: fn(&LoopState, Owned) -> Fallible<()>,
    /// What the loop calls for a batch, bound to a turn's link.
    pub drain: &'static Method<Link>,
    /// What the loop calls for its timer, bound to a link.
    pub fire: &'static Method<Link>,
}

static HOOKS: OnceLock<Hooks> = OnceLock::new();

/// Hands the functions in. A second import finds them there.
pub(crate) fn install(hooks: Hooks) {
    HOOKS.get_or_init(|| hooks);
}

#[inline]
pub(crate) fn hooks() -> &'static Hooks {
    HOOKS.get().expect("the module has been imported")
}
