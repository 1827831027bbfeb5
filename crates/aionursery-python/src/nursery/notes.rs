//! What a nursery's join remembers: the nursery, until it has been left, which cancellations came
//! meanwhile, and whether the tree has the join, which it must then leave. It must never say what follows
//! from a cancellation.

use nursery_core::NurseryId;

use super::Nursery;
use crate::cpython::errors::{Fallible, misuse};
use crate::cpython::owned::Owned;
use crate::engine::state::LoopState;
use crate::wait::{Wait, WaitObject};

/// A cancellation of the host came while it joined.
pub(super) const HELD: u8 = 1;
/// ... and was thrown in, so that the join's value is that error and not the body's.
pub(super) const THROWN: u8 = 1 << 1;
/// The tree wakes it when its nursery has closed: it is the one join that leaves that.
pub(super) const JOINER: u8 = 1 << 2;

/// Notes these of a join.
pub(super) fn note(join: &Wait, what: u8) {
    join.notes().set(join.notes().get() | what);
}

/// Takes a note out. Returns whether it was there.
fn take(join: &Wait, what: u8) -> bool {
    let before = join.notes().get();
    join.notes().set(before & !what);
    before & what != 0
}

/// Whether a cancellation of the host came while it joined; asked once.
pub(super) fn take_held(join: &Wait) -> bool {
    take(join, HELD)
}

/// Whether what a join holds was thrown into it, and is not what the body ended with.
pub(super) fn was_thrown(join: &Wait) -> bool {
    join.notes().get() & THROWN != 0
}

/// The tree, which does not hold a join, no longer wakes this one. Returns `false` if it did not before.
pub(super) fn leave_tree(join: &Wait, state: &LoopState, id: NurseryId) -> bool {
    let was = take(join, JOINER);
    if was && state.tree.borrow().has_nursery(id) {
        state.tree.touch(|tree| tree.set_joiner(id, None, None));
    }
    was
}

/// The nursery that a join waits for, if it has not been left.
pub(super) fn payload(join: &Wait) -> Option<Owned<Nursery>> {
    join.payload().cloned()?.cast().ok()
}

/// As [`payload`]; raises if there is none.
pub(super) fn nursery(join: &WaitObject) -> Fallible<Owned<Nursery>> {
    payload(join).ok_or_else(|| misuse(join.py(), "this nursery's exit was already awaited"))
}
