//! How an object lets go of what it held where that may be the first of a long chain: a task whose
//! result is a task whose result is a task. Each would go inside the going of the one before, and the
//! stack would not last. It must never keep anything longer than the outermost of them takes to go.

use std::cell::{Cell, RefCell};

use pyo3::gc::PyTraverseError;

use crate::cpython::object::Object;
use crate::cpython::owned::Owned;

/// How many of our objects may go inside each other, as CPython has it for its own.
const DEPTH: usize = 50;

thread_local! {
    static HERE: Trash = const { Trash::new() };
}

/// Lets go of what an object of no loop's held, at once if there is stack for it: an item may be an end of another
/// channel, a reason another scope, what a sleep gives another sleep.
pub(crate) fn let_go(held: impl IntoIterator<Item = Owned>) {
    // A thread that ends lets go of all at once.
    let _ = HERE.try_with(|trash| {
        let going = trash.begin();
        for held in held {
            if going.is_deep() {
                going.put_off(Some(held));
            } else {
                drop(held);
            }
        }
    });
}

/// What objects of one loop, or of one thread, have still to let go of.
#[derive(Debug, Default)]
pub(crate) struct Trash {
    depth: Cell<usize>,
    later: RefCell<Vec<Owned>>,
}

impl Trash {
    const fn new() -> Self {
        Self { depth: Cell::new(0), later: RefCell::new(Vec::new()) }
    }

    pub(crate) fn traverse(
        &self,
        visit: impl Fn(&Object) -> Result<(), PyTraverseError>,
    ) -> Result<(), PyTraverseError> {
        match self.later.try_borrow() {
            Ok(later) => later.iter().try_for_each(|object| visit(object)),
            Err(_) => Ok(()),
        }
    }

    /// An object goes, until what this returns does.
    #[inline]
    pub(crate) fn begin(&self) -> Going<'_> {
        self.depth.set(self.depth.get() + 1);
        Going { trash: self, deep: self.depth.get() > DEPTH }
    }

    /// The list is free each time: to let go may run Python code, and may put off more.
    #[cold]
    fn empty(&self) {
        let next = || self.later.borrow_mut().pop();
        while let Some(object) = next() {
            drop(object);
        }
    }
}

/// See [`Trash::begin`].
#[derive(Debug)]
pub(crate) struct Going<'a> {
    trash: &'a Trash,
    deep: bool,
}

impl Going<'_> {
    /// Whether what it holds must wait.
    #[inline]
    pub(crate) fn is_deep(&self) -> bool {
        self.deep
    }

    /// Lets go of one reference when there is stack for it.
    pub(crate) fn put_off(&self, object: Option<Owned>) {
        self.trash.later.borrow_mut().extend(object);
    }
}

impl Drop for Going<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.trash.depth.get() == 1 && !self.trash.later.borrow().is_empty() {
            self.trash.empty();
        }
        self.trash.depth.set(self.trash.depth.get() - 1);
    }
}
