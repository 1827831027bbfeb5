//! The trees that scopes stand in: one for each outermost scope and all that is below it. An empty one
//! is kept for the next outermost scope on the thread, as most are opened and left within one turn
//! of a server's. It must never hand out a tree that is in use.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use nursery_core::{Cleanup, Effects, MemberId, ScopeId, Tree};

use super::face::{HasSignal, Tokio};
use crate::sync::{Mutex, MutexGuard, lock, plain};

/// The tree of one outermost scope.
pub(crate) struct ScopeTree(Mutex<Tree<Tokio>>);

impl ScopeTree {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Tree<Tokio>> {
        lock(&self.0)
    }
}

/// How many empty ones a thread keeps; none in the models, whose locks live for one run.
const KEPT: usize = if cfg!(aionursery_loom) { 0 } else { 16 };
/// One that has held more scopes at once is not kept.
const FEW: usize = 64;

/// Where a scope stands in its tree.
pub(crate) type Standing = (MemberId, ScopeId);

/// One that no scope uses. It may have a place for an outermost one without settings, which needs only to be
/// named: entering and leaving one anew is most of what that costs.
pub(crate) struct Empty {
    tree: Arc<ScopeTree>,
    standing: Option<Standing>,
}

thread_local! {
    static EMPTY: RefCell<Vec<Empty>> = const { RefCell::new(Vec::new()) };
}

/// An empty one.
pub(crate) fn take() -> Empty {
    let kept = EMPTY.try_with(|empty| empty.borrow_mut().pop()).ok().flatten();
    kept.unwrap_or_else(|| {
        let mut tree = Tree::new();
        // A future that is cancelled is dropped, unless it was given time (R27).
        tree.cleanup = Cleanup::Limited(0.0);
        let tree = Arc::new(ScopeTree(Mutex::new(tree)));
        remember(&tree);
        Empty { tree, standing: None }
    })
}

impl Empty {
    /// For an outermost scope: the tree, and its place if there is one for it.
    pub(crate) fn open(self, is_plain: bool) -> (Arc<ScopeTree>, Option<Standing>) {
        let Self { tree, standing } = self;
        if let Some((member, scope)) = standing.filter(|_| !is_plain) {
            leave(&mut tree.lock(), member, scope);
        }
        (tree, standing.filter(|_| is_plain))
    }
}

/// A scope leaves the tree.
pub(crate) fn leave(tree: &mut Tree<Tokio>, member: MemberId, scope: ScopeId) {
    tree.leave_branch(member, scope, &mut Effects::default());
}

/// The outermost scope of a tree leaves it. In its place stands `none` until the next one comes.
pub(crate) fn give(tree: Arc<ScopeTree>, (member, scope): Standing, none: Weak<dyn HasSignal>) {
    let (is_small, standing) = {
        let tree = &mut *tree.lock();
        let stays = tree.is_as_entered(member, scope);
        match stays {
            true => drop(tree.succeed(member, none)),
            false => leave(tree, member, scope),
        }
        (tree.room() <= FEW, stays.then_some((member, scope)))
    };
    // A dump that is being made may hold it for a moment; then it goes.
    if !is_small || Arc::strong_count(&tree) > 1 {
        return;
    }
    // A thread that ends keeps nothing.
    let _ = EMPTY.try_with(|empty| {
        let empty = &mut *empty.borrow_mut();
        if empty.len() < KEPT {
            empty.push(Empty { tree, standing });
        }
    });
}

/// Every one that is alive, by its address; in parts, so that threads which make some of their own
/// need not wait for each other.
static ALL: [std::sync::Mutex<BTreeMap<usize, Weak<ScopeTree>>>; 16] =
    [const { std::sync::Mutex::new(BTreeMap::new()) }; 16];

fn shard(address: usize) -> &'static std::sync::Mutex<BTreeMap<usize, Weak<ScopeTree>>> {
    &ALL[(address >> 8) % ALL.len()]
}

/// Every one that is alive.
pub(crate) fn all() -> impl Iterator<Item = Arc<ScopeTree>> {
    ALL.iter().flat_map(|shard| {
        let trees: Vec<_> = plain(shard).values().filter_map(Weak::upgrade).collect();
        trees
    })
}

fn remember(tree: &Arc<ScopeTree>) {
    let address = Arc::as_ptr(tree).addr();
    plain(shard(address)).insert(address, Arc::downgrade(tree));
}

impl Drop for ScopeTree {
    fn drop(&mut self) {
        let address = std::ptr::from_ref(self).addr();
        let gone = plain(shard(address)).remove(&address);
        drop(gone);
    }
}
