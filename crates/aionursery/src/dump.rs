//! The live tree of nurseries, scopes and children, as a value that can be printed and walked. It
//! only reads; the locks that it takes are held for as long as it takes to copy.

use std::fmt::{self, Display};
use std::sync::Arc;
use std::time::Duration;

use nursery_core::{ScopeId, Tree};

use crate::about::{Kind, Note, Runs, Stage};
use crate::domain;
use crate::frame;
use crate::node::{Node, NodeKind, State};
use crate::nursery::Nursery;
use crate::scope::{Cause, Scope, Tokio, lock};

/// The live tree at one moment: see [`dump`].
///
/// ```
/// # use aionursery::{Builder, NodeKind, State};
/// # let dump = futures::executor::block_on(Builder::new().name("kitchen").nursery(async |n| {
/// #     n.named("cook").start_soon(async { Ok::<_, String>(()) });
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
    /// #     n.named("cook").start_soon(async { Ok::<_, String>(()) });
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
    ///     n.named("stuck").start_soon(async { Ok::<_, String>(()) });
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
/// copied at one moment; the program goes on meanwhile. How many children have no name is known as
/// of their nursery's last turn.
///
/// ```
/// # futures::executor::block_on(async {
/// use aionursery::{Builder, dump, yield_now};
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
    // Scopes around that nobody has asked for yet open now.
    drop(frame::current());
    let mut roots = Vec::new();
    for domain in domain::all() {
        let tree = lock(&domain.tree);
        let hosts: Vec<_> = tree.roots().filter_map(|root| tree.view(root).host.cloned()).collect();
        drop(tree);
        for host in hosts {
            // The clock may be anybody's code: it is read outside the lock.
            let now = host.clock.now();
            let tree = &lock(&domain.tree);
            let is_still_there =
                |root| tree.view(root).host.is_some_and(|it| Arc::ptr_eq(it, &host));
            if let Some(root) = tree.roots().find(|root| is_still_there(*root)) {
                copy(tree, root, now, &mut roots);
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
        drop(frame::current());
        // So that the number of children is of this moment.
        let _ = self.running();
        self.scope().dump()
    }
}

impl Scope {
    pub(crate) fn dump(&self) -> Dump {
        let mut roots = Vec::new();
        let now = self.clock().now();
        copy(&lock(&self.domain().tree), self.id(), now, &mut roots);
        Dump { roots }
    }
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
        let Some(other) = tree.view(id).host else { continue };
        let opener = other
            .about
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
