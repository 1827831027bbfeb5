//! Other people's code where nobody can hear of its panic: wakers, destructors, hooks. Such a panic
//! must never keep the rest from being done (R29).

use std::any::Any;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

/// Runs it. The panic hook has told of a panic in it.
pub(crate) fn quietly(act: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(act)) {
        discard(payload);
    }
}

/// Drops what a panic has left. If that panics, too, its own payload is leaked: it could go on like
/// this for ever.
#[cold]
pub(crate) fn discard(payload: Box<dyn Any + Send>) {
    if let Err(next) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        mem::forget(next);
    }
}

/// The first panic of two steps that were both taken.
pub(crate) fn first(first: thread::Result<()>, second: thread::Result<()>) -> thread::Result<()> {
    match (first, second) {
        (Err(first), Err(second)) => {
            discard(second);
            Err(first)
        }
        (first, second) => first.and(second),
    }
}
