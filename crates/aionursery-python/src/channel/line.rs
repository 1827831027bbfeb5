//! What waits at a channel, in the order of asking. What has left the line may stand in it for a while, and
//! counts for nothing: so each leaves at once, however many there are. It must never hold a borrow while
//! a reference goes.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use crate::cpython::object::{Object, Typed, Whole};
use crate::cpython::owned::Owned;

/// A line is cleared of those that have left once there are this many.
const FEW: usize = 16;

/// What can stand in a line.
pub(super) trait Stands: Typed + Whole {
    /// Whether it has not left.
    fn stands(&self) -> bool;
}

pub(super) struct Line<T> {
    places: RefCell<VecDeque<Owned<T>>>,
    /// How many of the places are of what has left.
    left: Cell<usize>,
}

impl<T: Stands> Line<T> {
    pub(super) const fn new() -> Self {
        Self { places: RefCell::new(VecDeque::new()), left: Cell::new(0) }
    }

    /// How many wait.
    #[inline]
    pub(super) fn count(&self) -> usize {
        self.places.borrow().len().saturating_sub(self.left.get())
    }

    /// It waits behind all others.
    #[inline]
    pub(super) fn join(&self, last: &T) {
        self.places.borrow_mut().push_back(Owned::share(last));
    }

    /// The first that waits.
    #[inline]
    pub(super) fn first(&self) -> Option<Owned<T>> {
        loop {
            let gone = {
                let mut places = self.places.borrow_mut();
                match places.front() {
                    Some(first) if first.stands() => return Some(first.clone()),
                    Some(_) => places.pop_front(),
                    None => return None,
                }
            };
            self.left.set(self.left.get().saturating_sub(1));
            drop(gone);
        }
    }

    /// The first has left, if it is this one.
    #[inline]
    pub(super) fn take_first(&self, first: &T) {
        let gone = {
            let mut places = self.places.borrow_mut();
            match places.front() {
                Some(it) if std::ptr::eq::<T>(&**it, first) => places.pop_front(),
                _ => None,
            }
        };
        drop(gone);
    }

    /// One that stands anywhere in it has left.
    pub(super) fn note_left(&self) {
        let left = self.left.get() + 1;
        self.left.set(left);
        if left > FEW && left * 2 > self.places.borrow().len() {
            drop(self.take_all(|it| !it.stands()));
            self.left.set(0);
        }
    }

    /// Takes out what this is said of, in order. What says it must run no code of the program's.
    pub(super) fn take_all(&self, is_taken: impl Fn(&T) -> bool) -> Vec<Owned<T>> {
        let (mut taken, mut kept) = (Vec::new(), VecDeque::new());
        for waiting in self.places.take() {
            if is_taken(&waiting) {
                taken.push(waiting);
            } else {
                kept.push_back(waiting);
            }
        }
        // In between nothing of the program's has run, so nothing has joined.
        drop(self.places.replace(kept));
        taken
    }

    /// Those of which this is said, in order, as for [`Self::take_all`].
    pub(super) fn all(&self, is_meant: impl Fn(&T) -> bool) -> Vec<Owned<T>> {
        self.places.borrow().iter().filter(|it| is_meant(it)).cloned().collect()
    }

    /// Gives up everything.
    pub(super) fn clear(&self) -> VecDeque<Owned<T>> {
        self.left.set(0);
        self.places.take()
    }

    /// Shows the collector what is held.
    pub(super) fn traverse(&self, mut visit: impl FnMut(&Object)) {
        if let Ok(places) = self.places.try_borrow() {
            places.iter().for_each(|waiting| visit(waiting.object()));
        }
    }
}
