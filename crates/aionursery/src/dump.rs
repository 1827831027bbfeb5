//! The live tree of nurseries, scopes and children, as a value that can be printed and walked. It
//! only reads; the locks that it takes are held for as long as it takes to copy.

use std::fmt::{self, Display};
use std::ptr;
use std::sync::{Arc, Weak};

use nursery_core::{ScopeId, Tree, View};

use crate::clock;
use crate::error::{Cause, Reason};
use crate::nursery::Nursery;
use crate::polling;
use crate::scope::info::{ChildRecord, Kind, Runs, Stage};
use crate::scope::tree;
use crate::scope::{HasSignal, Scope, Tokio};

pub use crate::node::{Node, NodeKind, State};
pub use crate::scope::info::record_children;

/// The live tree at one moment: see [`dump`].
///
/// ```
/// # futures::executor::block_on(aionursery::nursery(async |n| {
/// n.named("stuck").start_soon(async { Ok::<_, String>(()) });
/// let dump = n.dump();
/// assert_eq!(dump.roots().len(), 1);
/// for (depth, node) in dump.iter() {
///     println!("{:depth$}{node}", "");
/// }
/// let names = dump.iter().filter_map(|(_, node)| node.name());
/// assert_eq!(names.collect::<Vec<_>>(), ["stuck"]);
/// # Ok(()) })).unwrap();
/// ```
#[derive(Clone, Debug, Default)]
pub struct Dump {
    roots: Vec<Node>,
}

impl Dump {
    /// The outermost nurseries and scopes.
    #[must_use]
    pub fn roots(&self) -> &[Node] {
        &self.roots
    }

    /// Every node with its depth, from the top down, as it is printed.
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
            tree(f, root)?;
        }
        Ok(())
    }
}

/// A node that is being printed.
struct Begun<'a> {
    left: std::slice::Iter<'a, Node>,
    /// Counted once: there may be many children to count.
    unlisted: usize,
    /// How wide the indent of what is below it is.
    width: usize,
}

impl<'a> Begun<'a> {
    fn new(node: &'a Node, width: usize) -> Self {
        Self { left: node.children.iter(), unlisted: node.unlisted(), width }
    }
}

/// Prints a node and what is below it. No step of it calls itself: a tree may be deeper than the
/// stack.
fn tree(f: &mut fmt::Formatter<'_>, root: &Node) -> fmt::Result {
    write!(f, "{root}")?;
    let mut indent = String::new();
    let mut begun = vec![Begun::new(root, 0)];
    while let Some(Begun { left, unlisted, width }) = begun.last_mut() {
        indent.truncate(*width);
        match left.next() {
            Some(below) => {
                let is_last = left.len() == 0 && *unlisted == 0;
                let (first, rest) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
                write!(f, "\n{indent}{first}{below}")?;
                indent.push_str(rest);
                begun.push(Begun::new(below, indent.len()));
            }
            None => {
                match *unlisted {
                    0 => {}
                    1 => write!(f, "\n{indent}└─ 1 child without a name")?,
                    n => write!(f, "\n{indent}└─ {n} children without a name")?,
                }
                begun.pop();
            }
        }
    }
    Ok(())
}

/// Every nursery and every scope of this program that is alive, with its children: those that have
/// a name, or all with [`record_children`]. Each part of the tree is
/// copied at one moment; the program goes on meanwhile. How many children have no name is known as
/// of their nursery's last turn.
///
/// ```
/// # futures::executor::block_on(async {
/// use aionursery::{Builder, yield_now, dump::dump};
/// use std::future::pending;
/// Builder::new().name("kitchen").nursery(async |n| {
///     n.named("cook").start_soon(pending::<Result<(), String>>());
///     n.start_soon(pending::<Result<(), String>>());
///     yield_now().await;
///     // nursery "kitchen" (src/main.rs:4:32), running
///     // ├─ child 1 "cook" (src/main.rs:5:29), running
///     // └─ 1 child without a name
///     println!("{}", dump());
///     # let text = dump().to_string();
///     # assert!(text.starts_with("nursery \"kitchen\" (") && text.contains("├─ child 1 \"cook\" ("));
///     # assert!(text.ends_with("└─ 1 child without a name"));
///     n.cancel();
///     Ok(())
/// }).await.unwrap();
/// assert!(dump().roots().is_empty());
/// # });
/// ```
#[must_use]
pub fn dump() -> Dump {
    // Scopes around that were not asked for yet open now.
    drop(polling::current());
    let mut roots = Vec::new();
    for all in tree::all() {
        let tree = all.lock();
        let host = |root| tree.view(root).host.and_then(Weak::upgrade);
        let hosts: Vec<_> = tree.roots().filter_map(host).collect();
        drop(tree);
        for host in hosts {
            // The clock may be the program's code: it is read outside the lock.
            let now = host.signal().clock.now();
            let mut seen = Vec::new();
            let tree = &all.lock();
            let is_still_there = |root| {
                tree.view(root).host.is_some_and(|it| ptr::addr_eq(it.as_ptr(), &raw const *host))
            };
            if let Some(root) = tree.roots().find(|root| is_still_there(*root)) {
                roots.append(&mut copy(tree, root, now, &mut seen));
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
        drop(polling::current());
        self.scope().dump()
    }
}

impl Scope {
    pub(crate) fn dump(&self) -> Dump {
        let now = self.clock().now();
        let mut seen = Vec::new();
        Dump { roots: copy(&self.tree().lock(), self.id(), now, &mut seen) }
    }
}

/// One scope, while what is below it is copied.
struct Part<'a> {
    scope: ScopeId,
    view: View<'a, Tokio>,
    host: Arc<dyn HasSignal>,
    /// The noted children, then what was opened in others.
    below: Vec<Node>,
    records: Vec<Arc<ChildRecord>>,
    /// The part above it.
    above: usize,
}

/// One scope and what is below it; of one that is over, only what is below. Leaves the scopes that it has
/// looked at in `seen`: to drop the last reference to one takes the lock of the tree.
fn copy(
    tree: &Tree<Tokio>,
    root: ScopeId,
    now: f64,
    seen: &mut Vec<Arc<dyn HasSignal>>,
) -> Vec<Node> {
    let part = |scope, above| {
        let view = tree.view(scope);
        // One that is going is not shown.
        let host = view.host?.upgrade()?;
        let records = host.signal().info.records();
        let below = records.iter().map(|record| child(record, view.is_cancelled)).collect();
        Some(Part { scope, view, host, below, records, above })
    };
    // From the top down, each with those that are beside it, the latest first; then, from the end,
    // each goes to the one above it.
    let mut parts: Vec<_> = part(root, 0).into_iter().collect();
    let mut at = 0;
    while let Some(Part { scope, .. }) = parts.get(at) {
        parts.extend(tree.scopes_below(*scope).filter_map(|scope| part(scope, at)));
        at += 1;
    }
    while let Some(part) = parts.pop() {
        let (above, host) = (part.above, part.host.clone());
        let nodes = part.close(now);
        seen.push(host);
        let opener = seen.last().and_then(|host| host.signal().info.opener.as_ref());
        let Some(above) = parts.get_mut(above) else { return nodes };
        let place = |opener: &Arc<ChildRecord>| {
            // They are in the order of starting.
            above.records.binary_search_by_key(&opener.serial, |record| record.serial).ok()
        };
        match opener.and_then(place) {
            Some(index) => above.below[index].children.extend(nodes),
            None => above.below.extend(nodes),
        }
    }
    Vec::new()
}

impl Part<'_> {
    fn close(self, now: f64) -> Vec<Node> {
        let Self { view, host, below, .. } = self;
        let info = &host.signal().info;
        let running = host.running();
        let state = match (info.kind, info.stage()) {
            (Kind::Wall | Kind::Thread, _) => return below,
            (Kind::Scope | Kind::Nursery, Stage::Open) => State::Running,
            (Kind::Nursery, Stage::Joining) => State::Joining,
            (Kind::Nursery, Stage::Dropped) if running > 0 => State::Dropped,
            (Kind::Scope | Kind::Nursery, _) => return below,
        };
        let time = |nanoseconds: f64| clock::duration(nanoseconds.max(0.0));
        let cause = |(cause, at): (&nursery_core::Cause<Reason>, f64)| {
            (Cause(cause.clone()), time(now - at).unwrap_or_default())
        };
        vec![Node {
            kind: if info.kind == Kind::Nursery { NodeKind::Nursery } else { NodeKind::Scope },
            state,
            id: None,
            name: info.name.clone(),
            location: info.place.get(),
            shield: view.settings.shield,
            cancelled: view.is_cancelled,
            cause: view.cause.map(cause),
            deadline_in: time(view.settings.deadline - now),
            running,
            children: below,
        }]
    }
}

fn child(record: &ChildRecord, cancelled: bool) -> Node {
    Node {
        kind: match record.runs {
            Runs::Here => NodeKind::Child,
            #[cfg(feature = "tokio")]
            Runs::Spawned => NodeKind::Spawned,
            #[cfg(feature = "tokio")]
            Runs::Blocking => NodeKind::Blocking,
        },
        state: if record.has_begun() { State::Running } else { State::Waiting },
        id: Some(record.id()),
        name: record.name.clone(),
        location: record.place,
        shield: record.shield,
        cancelled: cancelled && !record.shield,
        cause: None,
        deadline_in: None,
        running: 0,
        children: Vec::new(),
    }
}
