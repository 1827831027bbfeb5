//! One that waits for a wait, beside its first task of ours.

use crate::cpython::object::Owned;

/// A waiter beside the first task of ours.
#[derive(Clone)]
pub enum Waiter {
    Task(Owned),
    /// A function, and the context to call it in.
    Callback(Owned, Owned),
}

impl Waiter {
    pub fn parts(&self) -> impl Iterator<Item = &Owned> {
        let (first, second) = match self {
            Self::Task(task) => (task, None),
            Self::Callback(function, context) => (function, Some(context)),
        };
        std::iter::once(first).chain(second)
    }

    pub fn subject(&self) -> &Owned {
        match self {
            Self::Task(it) | Self::Callback(it, _) => it,
        }
    }
}
