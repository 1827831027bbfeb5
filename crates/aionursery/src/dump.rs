//! The live tree of nurseries, scopes and children, as a value that can be printed and walked. It
//! only reads; the locks that it takes are held for as long as it takes to copy.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::panic::Location;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use nursery_core::{ScopeId, Tree};

use crate::about::{Kind, Note, Runs, Stage};
use crate::nursery::Nursery;
use crate::scope::{Cause, Domain, Scope, Tokio, lock};

/// What a [`Node`] is.
///
/// ```
/// # use aionursery::{Builder, NodeKind, State};
/// # let dump = futures::executor::block_on(Builder::new().name("kitchen").nursery(async |n| {
/// #     let _ = n.named("cook").start_soon(async { Ok::<_, String>(()) });
/// #     n.cancel_with("closing time");
/// #     Ok(n.dump())
/// # })).unwrap();
/// # let (kitchen, cook) = (&dump.roots()[0], &dump.roots()[0].children()[0]);
/// assert_eq!((kitchen.kind(), cook.kind()), (NodeKind::Nursery, NodeKind::Child));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
///
/// ```
/// # use aionursery::{Builder, NodeKind, State};
/// # let dump = futures::executor::block_on(Builder::new().name("kitchen").nursery(async |n| {
/// #     let _ = n.named("cook").start_soon(async { Ok::<_, String>(()) });
/// #     n.cancel_with("closing time");
/// #     Ok(n.dump())
/// # })).unwrap();
/// # let (kitchen, cook) = (&dump.roots()[0], &dump.roots()[0].children()[0]);
/// assert_eq!((kitchen.state(), cook.state()), (State::Running, State::Waiting));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// One nursery, scope or child in a [`Dump`].
///
/// ```
/// # futures::executor::block_on(async {
/// use aionursery::{Builder, NodeKind, State};
/// Builder::new().name("kitchen").nursery(async |n| {
///     let _ = n.named("cook").start_soon(async { Ok::<_, String>(()) });
///     let dump = n.dump();
///     let kitchen = &dump.roots()[0];
///     assert_eq!((kitchen.kind(), kitchen.name()), (NodeKind::Nursery, Some("kitchen")));
///     assert_eq!((kitchen.state(), kitchen.running()), (State::Running, 1));
///     let cook = &kitchen.children()[0];
///     assert_eq!((cook.kind(), cook.id(), cook.name()), (NodeKind::Child, Some(1), Some("cook")));
///     assert_eq!((cook.state(), cook.is_cancelled()), (State::Waiting, false));
///     assert_eq!(cook.location().unwrap().file(), file!());
///     Ok(())
/// }).await.unwrap();
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct Node {
    kind: NodeKind,
    state: State,
    id: Option<u32>,
    name: Option<Arc<str>>,
    location: Option<&'static Location<'static>>,
    shield: bool,
    cancelled: bool,
    cause: Option<(Cause, Duration)>,
    deadline_in: Option<Duration>,
    running: usize,
    children: Vec<Node>,
}

impl Node {
    /// What it is.
    ///
    /// ```
    /// # use aionursery::{Builder, NodeKind, State};
    /// # let dump = futures::executor::block_on(Builder::new().name("kitchen").nursery(async |n| {
    /// #     let _ = n.named("cook").start_soon(async { Ok::<_, String>(()) });
    /// #     n.cancel_with("closing time");
    /// #     Ok(n.dump())
    /// # })).unwrap();
    /// # let (kitchen, cook) = (&dump.roots()[0], &dump.roots()[0].children()[0]);
    /// assert_eq!((kitchen.kind(), cook.kind()), (NodeKind::Nursery, NodeKind::Child));
    /// ```
    #[must_use]
    pub fn kind(&self) -> NodeKind {
        self.kind
    }

    /// How far it is.
    ///
    /// ```
    /// # use aionursery::{Builder, NodeKind, State};
    /// # let dump = futures::executor::block_on(Builder::new().name("kitchen").nursery(async |n| {
    /// #     let _ = n.named("cook").start_soon(async { Ok::<_, String>(()) });
    /// #     n.cancel_with("closing time");
    /// #     Ok(n.dump())
    /// # })).unwrap();
    /// # let (kitchen, cook) = (&dump.roots()[0], &dump.roots()[0].children()[0]);
    /// assert_eq!((kitchen.state(), cook.state()), (State::Running, State::Waiting));
    /// ```
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// A child's number in its nursery, from 1.
    ///
    /// ```
    /// # use aionursery::{Builder, NodeKind, State};
    /// # let dump = futures::executor::block_on(Builder::new().name("kitchen").nursery(async |n| {
    /// #     let _ = n.named("cook").start_soon(async { Ok::<_, String>(()) });
    /// #     n.cancel_with("closing time");
    /// #     Ok(n.dump())
    /// # })).unwrap();
    /// # let (kitchen, cook) = (&dump.roots()[0], &dump.roots()[0].children()[0]);
    /// assert_eq!((kitchen.id(), cook.id()), (None, Some(1)));
    /// ```
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.id
    }

    /// Its name, if it was given one.
    ///
    /// ```
    /// # use aionursery::{Builder, NodeKind, State};
    /// # let dump = futures::executor::block_on(Builder::new().name("kitchen").nursery(async |n| {
    /// #     let _ = n.named("cook").start_soon(async { Ok::<_, String>(()) });
    /// #     n.cancel_with("closing time");
    /// #     Ok(n.dump())
    /// # })).unwrap();
    /// # let (kitchen, cook) = (&dump.roots()[0], &dump.roots()[0].children()[0]);
    /// assert_eq!((kitchen.name(), cook.name()), (Some("kitchen"), Some("cook")));
    /// ```
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Where it was opened or started.
    ///
    /// ```
    /// # use aionursery::{Builder, NodeKind, State};
    /// # let dump = futures::executor::block_on(Builder::new().name("kitchen").nursery(async |n| {
    /// #     let _ = n.named("cook").start_soon(async { Ok::<_, String>(()) });
    /// #     n.cancel_with("closing time");
    /// #     Ok(n.dump())
    /// # })).unwrap();
    /// # let (kitchen, cook) = (&dump.roots()[0], &dump.roots()[0].children()[0]);
    /// let place = cook.location().unwrap();
    /// println!("started at {}:{}", place.file(), place.line());
    /// ```
    #[must_use]
    pub fn location(&self) -> Option<&'static Location<'static>> {
        self.location
    }

    /// Whether cancellation from outside does not come in.
    ///
    /// ```
    /// # use aionursery::{Builder, NodeKind, State};
    /// # let dump = futures::executor::block_on(Builder::new().name("kitchen").nursery(async |n| {
    /// #     let _ = n.named("cook").start_soon(async { Ok::<_, String>(()) });
    /// #     n.cancel_with("closing time");
    /// #     Ok(n.dump())
    /// # })).unwrap();
    /// # let (kitchen, cook) = (&dump.roots()[0], &dump.roots()[0].children()[0]);
    /// assert!(!cook.is_shielded());
    /// ```
    #[must_use]
    pub fn is_shielded(&self) -> bool {
        self.shield
    }

    /// Whether a cancellation reaches it, its own or one from above.
    ///
    /// ```
    /// # use aionursery::{Builder, NodeKind, State};
    /// # let dump = futures::executor::block_on(Builder::new().name("kitchen").nursery(async |n| {
    /// #     let _ = n.named("cook").start_soon(async { Ok::<_, String>(()) });
    /// #     n.cancel_with("closing time");
    /// #     Ok(n.dump())
    /// # })).unwrap();
    /// # let (kitchen, cook) = (&dump.roots()[0], &dump.roots()[0].children()[0]);
    /// assert!(kitchen.is_cancelled() && cook.is_cancelled());
    /// ```
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancelled
    }

    /// Why it was cancelled itself.
    ///
    /// ```
    /// # use aionursery::{Builder, NodeKind, State};
    /// # let dump = futures::executor::block_on(Builder::new().name("kitchen").nursery(async |n| {
    /// #     let _ = n.named("cook").start_soon(async { Ok::<_, String>(()) });
    /// #     n.cancel_with("closing time");
    /// #     Ok(n.dump())
    /// # })).unwrap();
    /// # let (kitchen, cook) = (&dump.roots()[0], &dump.roots()[0].children()[0]);
    /// assert_eq!(kitchen.cause().unwrap().reason(), Some("closing time"));
    /// assert!(cook.cause().is_none()); // it was its nursery that was cancelled
    /// ```
    #[must_use]
    pub fn cause(&self) -> Option<&Cause> {
        self.cause.as_ref().map(|(cause, _)| cause)
    }

    /// How long ago it was cancelled itself.
    ///
    /// ```
    /// # use aionursery::{Builder, NodeKind, State};
    /// # let dump = futures::executor::block_on(Builder::new().name("kitchen").nursery(async |n| {
    /// #     let _ = n.named("cook").start_soon(async { Ok::<_, String>(()) });
    /// #     n.cancel_with("closing time");
    /// #     Ok(n.dump())
    /// # })).unwrap();
    /// # let (kitchen, cook) = (&dump.roots()[0], &dump.roots()[0].children()[0]);
    /// assert!(kitchen.cancelled_for().unwrap() < std::time::Duration::from_secs(60));
    /// ```
    #[must_use]
    pub fn cancelled_for(&self) -> Option<Duration> {
        self.cause.as_ref().map(|(_, ago)| *ago)
    }

    /// The time that is left until its own deadline.
    ///
    /// ```
    /// # use aionursery::{Builder, NodeKind, State};
    /// # let dump = futures::executor::block_on(Builder::new().name("kitchen").nursery(async |n| {
    /// #     let _ = n.named("cook").start_soon(async { Ok::<_, String>(()) });
    /// #     n.cancel_with("closing time");
    /// #     Ok(n.dump())
    /// # })).unwrap();
    /// # let (kitchen, cook) = (&dump.roots()[0], &dump.roots()[0].children()[0]);
    /// assert_eq!(kitchen.deadline_in(), None);
    /// ```
    #[must_use]
    pub fn deadline_in(&self) -> Option<Duration> {
        self.deadline_in
    }

    /// How many children of a nursery have not ended, also those that are not shown.
    ///
    /// ```
    /// # use aionursery::{Builder, NodeKind, State};
    /// # let dump = futures::executor::block_on(Builder::new().name("kitchen").nursery(async |n| {
    /// #     let _ = n.named("cook").start_soon(async { Ok::<_, String>(()) });
    /// #     n.cancel_with("closing time");
    /// #     Ok(n.dump())
    /// # })).unwrap();
    /// # let (kitchen, cook) = (&dump.roots()[0], &dump.roots()[0].children()[0]);
    /// assert_eq!(kitchen.running(), 1);
    /// ```
    #[must_use]
    pub fn running(&self) -> usize {
        self.running
    }

    /// What is below it: a nursery's children, and the scopes and nurseries that were opened in
    /// it, or in a child. Those that a child opened that is not shown stand beside the children.
    ///
    /// ```
    /// # use aionursery::{Builder, NodeKind, State};
    /// # let dump = futures::executor::block_on(Builder::new().name("kitchen").nursery(async |n| {
    /// #     let _ = n.named("cook").start_soon(async { Ok::<_, String>(()) });
    /// #     n.cancel_with("closing time");
    /// #     Ok(n.dump())
    /// # })).unwrap();
    /// # let (kitchen, cook) = (&dump.roots()[0], &dump.roots()[0].children()[0]);
    /// assert_eq!(kitchen.children().len(), 1);
    /// ```
    #[must_use]
    pub fn children(&self) -> &[Node] {
        &self.children
    }

    fn unlisted(&self) -> usize {
        let listed = self.children.iter().filter(|node| node.id.is_some()).count();
        self.running.saturating_sub(listed)
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

/// The live tree at one moment: see [`dump`].
///
/// ```
/// # use aionursery::{Builder, NodeKind, State};
/// # let dump = futures::executor::block_on(Builder::new().name("kitchen").nursery(async |n| {
/// #     let _ = n.named("cook").start_soon(async { Ok::<_, String>(()) });
/// #     n.cancel_with("closing time");
/// #     Ok(n.dump())
/// # })).unwrap();
/// # let (kitchen, cook) = (&dump.roots()[0], &dump.roots()[0].children()[0]);
/// for (depth, node) in dump.iter() {
///     println!("{:depth$}{node}", "");
/// }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Dump {
    roots: Vec<Node>,
}

impl Dump {
    /// The outermost nurseries and scopes.
    ///
    /// ```
    /// # use aionursery::{Builder, NodeKind, State};
    /// # let dump = futures::executor::block_on(Builder::new().name("kitchen").nursery(async |n| {
    /// #     let _ = n.named("cook").start_soon(async { Ok::<_, String>(()) });
    /// #     n.cancel_with("closing time");
    /// #     Ok(n.dump())
    /// # })).unwrap();
    /// # let (kitchen, cook) = (&dump.roots()[0], &dump.roots()[0].children()[0]);
    /// assert_eq!(dump.roots().len(), 1);
    /// ```
    #[must_use]
    pub fn roots(&self) -> &[Node] {
        &self.roots
    }

    /// Every node with its depth, from the top down, as it is printed.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// aionursery::nursery(async |n| {
    ///     let _ = n.named("stuck").start_soon(async { Ok::<_, String>(()) });
    ///     let dump = n.dump();
    ///     let names = dump.iter().filter_map(|(_, node)| node.name());
    ///     assert_eq!(names.collect::<Vec<_>>(), ["stuck"]);
    ///     Ok(())
    /// }).await.unwrap();
    /// # });
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Node)> {
        let mut waiting: Vec<_> = self.roots.iter().rev().map(|node| (0, node)).collect();
        std::iter::from_fn(move || {
            let (depth, node) = waiting.pop()?;
            waiting.extend(node.children.iter().rev().map(|below| (depth + 1, below)));
            Some((depth, node))
        })
    }
}

impl Display for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, root) in self.roots.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{root}")?;
            branches(f, root, "")?;
        }
        Ok(())
    }
}

fn branches(f: &mut fmt::Formatter<'_>, node: &Node, indent: &str) -> fmt::Result {
    let unlisted = node.unlisted();
    for (index, below) in node.children.iter().enumerate() {
        let is_last = index + 1 == node.children.len() && unlisted == 0;
        let (first, rest) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        write!(f, "\n{indent}{first}{below}")?;
        branches(f, below, &format!("{indent}{rest}"))?;
    }
    match unlisted {
        0 => Ok(()),
        1 => write!(f, "\n{indent}└─ 1 child without a name"),
        n => write!(f, "\n{indent}└─ {n} children without a name"),
    }
}

/// Every nursery and every scope of this program that is alive, with its children: those that have
/// a name, or all with [`record_children`](crate::record_children). Each part of the tree is
/// copied at one moment; the program goes on meanwhile.
///
/// ```
/// # futures::executor::block_on(async {
/// use aionursery::{Builder, dump};
/// Builder::new().name("kitchen").nursery(async |n| {
///     let _ = n.named("cook").start_soon(async { Ok::<_, String>(()) });
///     let _ = n.start_soon(async { Ok::<_, String>(()) });
///     // nursery "kitchen" (src/main.rs:4:5), running
///     // ├─ child 1 "cook" (src/main.rs:5:15), waiting to start
///     // └─ 1 child without a name
///     println!("{}", dump());
///     # let text = dump().to_string();
///     # assert!(text.starts_with("nursery \"kitchen\" (") && text.contains("├─ child 1 \"cook\" ("));
///     # assert!(text.ends_with("└─ 1 child without a name"));
///     Ok(())
/// }).await.unwrap();
/// assert!(dump().roots().is_empty());
/// # });
/// ```
#[must_use]
pub fn dump() -> Dump {
    let mut roots = Vec::new();
    for shard in &DOMAINS {
        let domains: Vec<_> = lock(shard).values().filter_map(Weak::upgrade).collect();
        for domain in domains {
            if let Some(&root) = domain.root.get() {
                node(&domain, root, &mut roots);
            }
        }
    }
    Dump { roots }
}

impl<E, M> Nursery<'_, E, M> {
    /// This nursery and what is below it: see [`dump`].
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// aionursery::nursery(async |n| {
    ///     n.cancel_with("enough");
    ///     let text = n.dump().to_string();
    ///     assert!(text.contains("running, cancelled 0.0 s ago (by request: enough)"));
    ///     Ok::<_, String>(())
    /// }).await.unwrap();
    /// # });
    /// ```
    #[must_use]
    pub fn dump(&self) -> Dump {
        self.scope().dump()
    }
}

impl Scope {
    fn dump(&self) -> Dump {
        let mut roots = Vec::new();
        node(self.domain(), self.id(), &mut roots);
        Dump { roots }
    }
}

/// Every domain that is alive, by its address; in parts, so that threads which open roots of
/// their own need not wait for each other.
static DOMAINS: [Mutex<BTreeMap<usize, Weak<Domain>>>; 16] =
    [const { Mutex::new(BTreeMap::new()) }; 16];

fn shard(address: usize) -> &'static Mutex<BTreeMap<usize, Weak<Domain>>> {
    &DOMAINS[(address >> 8) % DOMAINS.len()]
}

/// A domain has come to be; it says [`forget`] when it goes.
pub(crate) fn remember(domain: &Arc<Domain>) {
    let address = Arc::as_ptr(domain).addr();
    lock(shard(address)).insert(address, Arc::downgrade(domain));
}

pub(crate) fn forget(domain: &Domain) {
    let address = std::ptr::from_ref(domain).addr();
    let gone = lock(shard(address)).remove(&address);
    drop(gone);
}

fn node(domain: &Domain, scope: ScopeId, out: &mut Vec<Node>) {
    let now = domain.clock.now();
    copy(&lock(&domain.tree), scope, now, out);
}

/// Appends one scope and what is below it; of one that is over, only what is below.
fn copy(tree: &Tree<Tokio>, scope: ScopeId, now: f64, out: &mut Vec<Node>) {
    let view = tree.view(scope);
    let about = &view.host.expect("a scope of this face goes before its member").about;
    let running = about.running();
    let notes = about.notes();
    let mut listed: Vec<Node> = notes.iter().map(|note| child(note, view.is_cancelled)).collect();
    let mut below: Vec<_> = tree.scopes_below(scope).collect();
    below.reverse();
    let mut beside = Vec::new();
    for id in below {
        let Some(other) = tree.view(id).host.map(|signal| &signal.about) else { continue };
        let opener = other
            .opener
            .as_ref()
            .and_then(|opener| notes.iter().position(|note| Arc::ptr_eq(note, opener)));
        copy(tree, id, now, opener.map_or(&mut beside, |index| &mut listed[index].children));
    }
    listed.append(&mut beside);
    let state = match (about.kind, about.stage()) {
        (Kind::Wall, _) => return out.append(&mut listed),
        (Kind::Scope, _) | (Kind::Nursery, Stage::Open) => State::Running,
        (Kind::Nursery, Stage::Joining) => State::Joining,
        (Kind::Nursery, Stage::Dropped) if running > 0 => State::Dropped,
        (Kind::Nursery, _) => return out.append(&mut listed),
    };
    let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds.max(0.0)).ok();
    out.push(Node {
        kind: if about.kind == Kind::Nursery { NodeKind::Nursery } else { NodeKind::Scope },
        state,
        id: None,
        name: about.name.clone(),
        location: about.place,
        shield: view.settings.shield,
        cancelled: view.is_cancelled,
        cause: view
            .cause
            .map(|(cause, at)| (Cause(cause.clone()), seconds(now - at).unwrap_or_default())),
        deadline_in: seconds(view.settings.deadline - now),
        running,
        children: listed,
    });
}

fn child(note: &Note, cancelled: bool) -> Node {
    Node {
        kind: match note.runs {
            Runs::Here => NodeKind::Child,
            #[cfg(feature = "tokio")]
            Runs::Away => NodeKind::Spawned,
            #[cfg(feature = "tokio")]
            Runs::Blocking => NodeKind::Blocking,
        },
        state: if note.has_begun() { State::Running } else { State::Waiting },
        id: Some(note.id()),
        name: note.name.clone(),
        location: note.place,
        shield: note.shield,
        cancelled: cancelled && !note.shield,
        cause: None,
        deadline_in: None,
        running: 0,
        children: Vec::new(),
    }
}
