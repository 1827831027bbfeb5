//! One nursery, scope or child of a dump, as it was when the dump was made: what a program can ask
//! it, and the line in which it is printed. Knows nothing of the live tree.

use std::fmt::{self, Display};
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Cause;

/// What a [`Node`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeKind {
    /// A nursery.
    Nursery,
    /// A scope without a nursery: `CancelScope`, `fail_after`, `shield`.
    Scope,
    /// A child that its nursery's own task polls.
    Child,
    /// A child on the runtime's workers.
    Spawned,
    /// A function on a thread for blocking work.
    Blocking,
}

/// How far a [`Node`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// A child that has not had its first step, for want of a turn or of a free place.
    Waiting,
    /// A child or a scope that runs; a nursery whose body runs.
    Running,
    /// A nursery whose body has ended.
    Joining,
    /// A nursery whose future was dropped; its spawned children have not ended yet.
    Dropped,
}

/// One nursery, scope or child in a [`Dump`](crate::dump::Dump).
///
/// ```
/// # futures::executor::block_on(async {
/// use aionursery::{Builder, dump::{NodeKind, State}};
/// Builder::new().name("kitchen").nursery(async |n| {
///     n.named("cook").start_soon(async { Ok::<_, String>(()) });
///     let dump = n.dump();
///     let kitchen = &dump.roots()[0];
///     assert_eq!((kitchen.kind(), kitchen.name()), (NodeKind::Nursery, Some("kitchen")));
///     assert_eq!((kitchen.state(), kitchen.running()), (State::Running, 1));
///     let cook = &kitchen.children()[0];
///     assert_eq!((cook.kind(), cook.id(), cook.name()), (NodeKind::Child, Some(1), Some("cook")));
///     assert_eq!((cook.state(), cook.is_cancelled()), (State::Waiting, false));
///     assert_eq!(cook.location().unwrap().file(), file!());
///     assert!(!cook.is_shielded() && cook.children().is_empty());
///     n.cancel_with("closing time");
///     let dump = n.dump();
///     let kitchen = &dump.roots()[0];
///     assert_eq!(kitchen.cause().unwrap().reason(), Some("closing time"));
///     assert!(kitchen.cancelled_for().is_some() && kitchen.deadline_in().is_none());
///     assert!(kitchen.children()[0].cause().is_none()); // it was its nursery that was cancelled
///     Ok(())
/// }).await.unwrap();
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct Node {
    pub(crate) kind: NodeKind,
    pub(crate) state: State,
    pub(crate) id: Option<u32>,
    pub(crate) name: Option<Arc<str>>,
    pub(crate) location: Option<&'static Location<'static>>,
    pub(crate) shield: bool,
    pub(crate) cancelled: bool,
    pub(crate) cause: Option<(Cause, Duration)>,
    pub(crate) deadline_in: Option<Duration>,
    pub(crate) running: usize,
    pub(crate) children: Vec<Node>,
}

impl Node {
    /// What it is.
    #[must_use]
    pub fn kind(&self) -> NodeKind {
        self.kind
    }

    /// How far it is.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// A child's number in its nursery, from 1.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.id
    }

    /// Its name, if it was given one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Where it was opened or started.
    #[must_use]
    pub fn location(&self) -> Option<&'static Location<'static>> {
        self.location
    }

    /// Whether cancellation from outside does not come in.
    #[must_use]
    pub fn is_shielded(&self) -> bool {
        self.shield
    }

    /// Whether a cancellation reaches it, its own or one from above.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancelled
    }

    /// Why it was cancelled itself.
    #[must_use]
    pub fn cause(&self) -> Option<&Cause> {
        self.cause.as_ref().map(|(cause, _)| cause)
    }

    /// How long ago it was cancelled itself.
    #[must_use]
    pub fn cancelled_for(&self) -> Option<Duration> {
        self.cause.as_ref().map(|(_, ago)| *ago)
    }

    /// The time that is left until its own deadline.
    #[must_use]
    pub fn deadline_in(&self) -> Option<Duration> {
        self.deadline_in
    }

    /// How many children of a nursery have not ended, also those that are not shown.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running
    }

    /// What is below it: a nursery's children, and the scopes and nurseries that were opened in
    /// it, or in a child. Those that a child opened that is not shown stand beside the children.
    #[must_use]
    pub fn children(&self) -> &[Node] {
        &self.children
    }

    /// Its children that are not shown.
    pub(crate) fn unlisted(&self) -> usize {
        let listed = self.children.iter().filter(|node| node.id.is_some()).count();
        self.running.saturating_sub(listed)
    }
}

impl Drop for Node {
    /// One after the other: a tree may be deeper than the stack.
    fn drop(&mut self) {
        let mut below = std::mem::take(&mut self.children);
        while let Some(mut node) = below.pop() {
            below.append(&mut node.children);
        }
    }
}

impl Display for Node {
    /// One line, without what is below.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            NodeKind::Nursery => "nursery",
            NodeKind::Scope => "scope",
            NodeKind::Child => "child",
            NodeKind::Spawned => "spawned child",
            NodeKind::Blocking => "blocking child",
        })?;
        if let Some(id) = self.id {
            write!(f, " {id}")?;
        }
        if let Some(name) = &self.name {
            write!(f, " {name:?}")?;
        }
        if let Some(location) = self.location {
            write!(f, " ({location})")?;
        }
        f.write_str(match self.state {
            State::Waiting => ", waiting to start",
            State::Running => ", running",
            State::Joining => ", joining",
            State::Dropped => ", dropped",
        })?;
        if self.shield {
            f.write_str(", shielded")?;
        }
        match &self.cause {
            Some((cause, ago)) => write!(f, ", cancelled {:.1} s ago ({cause})", ago.as_secs_f64()),
            None if self.cancelled => f.write_str(", cancelled from above"),
            None => Ok(()),
        }?;
        match self.deadline_in {
            Some(left) if !self.cancelled => write!(f, ", {:.1} s left", left.as_secs_f64()),
            _ => Ok(()),
        }
    }
}
