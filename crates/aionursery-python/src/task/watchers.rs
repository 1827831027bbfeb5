//! What is kept of those that are to be told of a task's end.

use crate::cpython::owned::Owned;
use crate::cpython::slot::Visitor;

#[derive(Debug)]
pub(crate) enum Watcher<T> {
    /// A callback and the context to call it in.
    Callback(Owned, Owned),
    /// A task of ours that awaits this one.
    Joiner(Owned<T>),
}

impl<T> Clone for Watcher<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Callback(function, context) => Self::Callback(function.clone(), context.clone()),
            Self::Joiner(task) => Self::Joiner(task.clone()),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Watchers<T> {
    pub list: Vec<Watcher<T>>,
}

impl<T> Default for Watchers<T> {
    fn default() -> Self {
        Self { list: Vec::new() }
    }
}

impl<T> Watchers<T> {
    /// Shows the collector what is held.
    pub(crate) fn traverse(&self, visitor: &mut Visitor) {
        for watcher in &self.list {
            match watcher {
                Watcher::Callback(function, context) => {
                    visitor.show(function);
                    visitor.show(context);
                }
                Watcher::Joiner(task) => visitor.show(task.object()),
            }
        }
    }
}
