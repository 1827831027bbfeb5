//! One that waits for a wait, beside its first task of ours.

use crate::cpython::object::Object;
use crate::cpython::owned::Owned;
use crate::task::Task;

/// A waiter beside the first task of ours.
#[derive(Clone)]
pub(super) enum Waiter {
    Task(Owned<Task>),
    /// A function, and the context to call it in.
    Callback(Owned, Owned),
}

impl Waiter {
    pub(super) fn parts(&self) -> impl Iterator<Item = &Object> {
        let (first, second): (&Object, Option<&Object>) = match self {
            Self::Task(task) => (task, None),
            Self::Callback(function, context) => (function, Some(context)),
        };
        std::iter::once(first).chain(second)
    }

    pub(super) fn subject(&self) -> &Object {
        match self {
            Self::Task(task) => task,
            Self::Callback(function, _) => function,
        }
    }
}
