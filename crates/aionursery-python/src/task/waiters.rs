//! What waits for a task or for one of our waits: tasks of ours, and callbacks. It must never wake one.

use crate::cpython::call::is_equal;
use crate::cpython::errors::Fallible;
use crate::cpython::object::Object;
use crate::cpython::owned::Owned;

/// One that waits. `T` is a task.
#[derive(Debug)]
pub(crate) enum Waiter<T> {
    /// A task of ours, which goes straight to the ready queue.
    Task(Owned<T>),
    /// A function, which the loop calls, and the context to call it in.
    Callback(Owned, Owned),
}

impl<T> Clone for Waiter<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Task(task) => Self::Task(task.clone()),
            Self::Callback(function, context) => Self::Callback(function.clone(), context.clone()),
        }
    }
}

impl<T> Waiter<T> {
    /// What the collector is shown.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &Object> {
        let (first, second): (&Object, Option<&Object>) = match self {
            Self::Task(task) => (task.object(), None),
            Self::Callback(function, context) => (function, Some(context)),
        };
        std::iter::once(first).chain(second)
    }

    /// The task or the function.
    pub(crate) fn subject(&self) -> &Object {
        match self {
            Self::Task(task) => task.object(),
            Self::Callback(function, _) => function,
        }
    }
}

/// What waits for a task, in the order in which it came. Most have one at most, which stands here.
#[derive(Debug, Default)]
pub(crate) enum Waiters<T> {
    #[default]
    None,
    One(Waiter<T>),
    Many(Vec<Waiter<T>>),
}

impl<T> Waiters<T> {
    pub(crate) fn push(&mut self, waiter: Waiter<T>) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(waiter),
            Self::One(first) => Self::Many(vec![first, waiter]),
            Self::Many(mut all) => {
                all.push(waiter);
                Self::Many(all)
            }
        };
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    pub(crate) fn all(&self) -> &[Waiter<T>] {
        match self {
            Self::None => &[],
            Self::One(only) => std::slice::from_ref(only),
            Self::Many(all) => all,
        }
    }

    /// As the function [`take`].
    #[must_use = "what goes may run Python code"]
    pub(crate) fn take(&mut self, addresses: &[usize]) -> Vec<Waiter<T>> {
        self.take_by(|all| take(all, addresses))
    }

    /// Takes out every task at this address.
    #[must_use = "what goes may run Python code"]
    pub(crate) fn take_tasks(&mut self, address: usize) -> Vec<Waiter<T>> {
        let is_it = |waiter: &mut Waiter<T>| {
            matches!(waiter, Waiter::Task(_)) && waiter.subject().address() == address
        };
        self.take_by(|all| all.extract_if(.., is_it).collect())
    }

    fn take_by(
        &mut self,
        take: impl FnOnce(&mut Vec<Waiter<T>>) -> Vec<Waiter<T>>,
    ) -> Vec<Waiter<T>> {
        let mut all = match std::mem::take(self) {
            Self::None => return Vec::new(),
            Self::One(only) => vec![only],
            Self::Many(all) => all,
        };
        let taken = take(&mut all);
        if !all.is_empty() {
            *self = Self::Many(all);
        }
        taken
    }
}

/// The functions among these.
pub(crate) fn callbacks<T>(waiters: &[Waiter<T>]) -> Vec<Owned> {
    let functions = waiters.iter().filter_map(|waiter| match waiter {
        Waiter::Callback(function, _) => Some(function.clone()),
        Waiter::Task(_) => None,
    });
    functions.collect()
}

/// The addresses of those that equal `function`. A callback's `__eq__` may do anything, so it runs on a
/// copy, and what it answers is applied to whatever waits by then.
pub(crate) fn equal(callbacks: &[Owned], function: &Object) -> Fallible<Vec<usize>> {
    let mut found = Vec::new();
    for callback in callbacks {
        if is_equal(callback, function)? {
            found.push(callback.address());
        }
    }
    Ok(found)
}

/// Takes the callbacks out whose functions are at these addresses.
#[must_use = "what goes may run Python code"]
pub(crate) fn take<T>(waiters: &mut Vec<Waiter<T>>, addresses: &[usize]) -> Vec<Waiter<T>> {
    let is_one = |waiter: &mut Waiter<T>| match waiter {
        Waiter::Callback(function, _) => addresses.contains(&function.address()),
        Waiter::Task(_) => false,
    };
    waiters.extract_if(.., is_one).collect()
}
