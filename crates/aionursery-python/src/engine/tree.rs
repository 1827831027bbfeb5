//! What the tree holds for Python, and the loop's tree of scopes, behind a borrow that Python code never sees. It must never let go of a
//! value of the program's while it is borrowed: what the tree hands back outlives the borrow.

use std::cell::{Ref, RefCell};
use std::num::NonZeroUsize;

use nursery_core::{Cleanup, Effects, Face, Identity, Tree};

use crate::cpython::object::{Owned, Raw};

/// A task, or a wait, by its address. The tree's owner holds the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(pub Raw);

/// An exception, and what the child is called that has raised it.
#[derive(Clone, Debug)]
pub struct Failure {
    pub error: Owned,
    pub name: Option<Owned>,
}

impl Failure {
    /// An error that no child has raised.
    pub fn unnamed(error: Owned) -> Self {
        Self { error, name: None }
    }
}

impl Identity for Failure {
    fn identity(&self) -> Option<NonZeroUsize> {
        NonZeroUsize::new(self.error.as_ptr() as usize)
    }
}

/// What the tree holds for Python.
pub struct PyFace;

impl Face for PyFace {
    type Key = Key;
    type Error = Failure;
    type Reason = Owned;
    type Wake = Key;
}

/// The seconds that a cancelled task may go on awaiting, where nothing says anything else (R18).
pub const CLEANUP: f64 = 10.0;
/// The seconds after which a task that was cancelled and has not ended is named.
const WARN_AFTER: f64 = 10.0;

/// A tree.
pub struct SharedTree(RefCell<Tree<PyFace>>);

impl SharedTree {
    pub fn new() -> Self {
        let mut tree = Tree::new();
        tree.cleanup = Cleanup::Seconds(CLEANUP);
        tree.warn_after = WARN_AFTER;
        Self(RefCell::new(tree))
    }

    /// The tree, to be looked at. Nothing that runs Python code may be done meanwhile: to share a
    /// reference does not, to let go of one does.
    #[inline]
    pub fn borrow(&self) -> Ref<'_, Tree<PyFace>> {
        self.0.borrow()
    }

    /// As [`borrow`](Self::borrow), for the collector.
    pub fn try_borrow(&self) -> Option<Ref<'_, Tree<PyFace>>> {
        self.0.try_borrow().ok()
    }

    /// Changes what concerns no value of the program's.
    #[inline]
    pub fn touch<R>(&self, change: impl FnOnce(&mut Tree<PyFace>) -> R) -> R {
        change(&mut self.0.borrow_mut())
    }

    /// Changes the tree. What it no longer keeps comes back with what is to be delivered.
    #[inline]
    pub fn change<R>(
        &self,
        change: impl FnOnce(&mut Tree<PyFace>, &mut Effects<PyFace>) -> R,
    ) -> (R, Effects<PyFace>) {
        let mut effects = Effects::default();
        let result = change(&mut self.0.borrow_mut(), &mut effects);
        (result, effects)
    }

    /// Takes everything out.
    pub fn take(&self) -> Tree<PyFace> {
        self.0.replace(Tree::new())
    }
}
