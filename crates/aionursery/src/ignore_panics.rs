//! Other people's code where its panic can reach no caller: wakers, destructors, hooks. Such a panic
//! must never keep the rest from being done (R29).

use std::any::Any;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

/// Runs it. The panic hook has told of a panic in it.
pub(crate) fn ignore_panics(act: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(act)) {
        discard(payload);
    }
}

/// Drops what a panic has left, and what is left of that if it panics, too. What never comes to an
/// end is leaked.
#[cold]
pub(crate) fn discard(mut payload: Box<dyn Any + Send>) {
    for _ in 0..8 {
        match catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            Ok(()) => return,
            Err(next) => payload = next,
        }
    }
    mem::forget(payload);
}

#[inline]
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
