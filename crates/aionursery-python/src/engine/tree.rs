//! What the tree holds for Python, and the loop's tree of scopes, behind a borrow that Python code never sees. It must never let go of a
//! value of the program's while it is borrowed: what the tree hands back outlives the borrow.

use std::cell::{Ref, RefCell};
use std::num::NonZeroUsize;
use std::ptr::NonNull;

use nursery_core::{Cleanup, Effects, Face, Identity, Tree};

use crate::cpython::object::Object;
use crate::cpython::owned::Owned;
use pyo3::prelude::*;

/// A task, or a join, by its address. One stands in the tree only, and only while its object is alive:
/// the tree holds some tasks (`task/place.rs`); any other, and a join, leaves the tree when it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key(NonNull<Object>);

impl Key {
    #[inline]
    pub(crate) fn of(object: &Object) -> Self {
        Self(NonNull::from(object))
    }

    /// The object, while the tree with the key in it is looked at.
    #[inline]
    #[expect(unsafe_code, reason = "what stands in the tree is alive")]
    pub(crate) fn object<'a>(&'a self, _: Python<'a>) -> &'a Object {
        // SAFETY: what stands in the tree is alive, and nothing changes that while a key is lent.
        unsafe { self.0.as_ref() }
    }

    /// A reference of the caller's own. The key must be of this moment: no code of the program's has run
    /// since the tree gave it.
    #[inline]
    pub(crate) fn share(&self, py: Python<'_>) -> Owned {
        Owned::share(self.object(py))
    }
}

/// An exception, and what the child is called that has raised it.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub error: Owned,
    pub name: Option<Owned>,
}

impl Failure {
    /// An error that no child has raised.
    pub(crate) fn unnamed(error: Owned) -> Self {
        Self { error, name: None }
    }
}

impl Identity for Failure {
    fn identity(&self) -> Option<NonZeroUsize> {
        NonZeroUsize::new(self.error.address())
    }
}

/// What the tree holds for Python.
#[derive(Debug)]
pub(crate) struct PyFace;

impl Face for PyFace {
    type Key = Key;
    type Error = Failure;
    type Reason = Owned;
    /// A wait, which the heap holds.
    type Wake = Owned;
    type Watch = Owned;
    /// A future that a task awaits is told by its `cancel(msg)`.
    const TELLS_WHY: bool = true;
}

/// The seconds that a cancelled task may go on awaiting, where nothing says anything else (R18).
pub(crate) const CLEANUP: f64 = 10.0;
/// The seconds after which a task that was cancelled and has not ended is named.
const WARN_AFTER: f64 = 10.0;

/// A tree.
#[derive(Debug)]
pub(crate) struct SharedTree(RefCell<Tree<PyFace>>);

impl SharedTree {
    pub(crate) fn new() -> Self {
        let mut tree = Tree::new();
        tree.cleanup = Cleanup::Limited(CLEANUP);
        tree.warn_after = WARN_AFTER;
        Self(RefCell::new(tree))
    }

    /// The tree, to be looked at. Nothing that runs Python code may be done meanwhile: to share a
    /// reference does not, to let go of one does.
    #[inline]
    pub(crate) fn borrow(&self) -> Ref<'_, Tree<PyFace>> {
        self.0.borrow()
    }

    /// As [`borrow`](Self::borrow), for the collector.
    pub(crate) fn try_borrow(&self) -> Option<Ref<'_, Tree<PyFace>>> {
        self.0.try_borrow().ok()
    }

    /// Changes what concerns no value of the program's.
    #[inline]
    pub(crate) fn touch<R>(&self, change: impl FnOnce(&mut Tree<PyFace>) -> R) -> R {
        change(&mut self.0.borrow_mut())
    }

    /// Changes the tree. What it no longer keeps comes back with what is to be delivered.
    #[inline]
    pub(crate) fn change<R>(
        &self,
        change: impl FnOnce(&mut Tree<PyFace>, &mut Effects<PyFace>) -> R,
    ) -> (R, Effects<PyFace>) {
        let mut effects = Effects::default();
        let result = change(&mut self.0.borrow_mut(), &mut effects);
        (result, effects)
    }

    /// Takes everything out.
    pub(crate) fn take(&self) -> Tree<PyFace> {
        self.0.replace(Tree::new())
    }
}
