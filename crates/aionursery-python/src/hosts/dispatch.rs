//! Where the two kinds of tasks are told apart: what is delivered goes to each in its own way. It must
//! never decide who is told.

use nursery_core::{Effects, MemberId};

use super::foreign;
use crate::cpython::object::{Aside, Owned, Raw};
use crate::engine::state::{LoopState, PyFace};
use crate::step;
use crate::task;
use crate::wait;

/// Brings cancellations to their tasks. What one task makes of it can change what the next
/// one's place in the tree is, so each is looked up again when its turn comes.
pub unsafe fn deliver(state: &LoopState, effects: Effects<PyFace>) {
    // SAFETY: attached; the references are taken before anything can run.
    unsafe {
        let out = effects.deliveries;
        let held: Vec<Owned> = out.iter().map(|one| Owned::share(one.key.0)).collect();
        let _aside = Aside::new();
        for delivery in &out {
            if task::is_ours(delivery.key.0) {
                task::charge(delivery.key.0, delivery.charges);
            }
        }
        for delivery in out.into_iter().filter(|delivery| delivery.throw) {
            if task::is_ours(delivery.key.0) {
                step::reach(state, delivery.key.0);
            } else {
                foreign::reach(state, delivery.key.0);
            }
        }
        drop(held);
        for nursery in effects.joined {
            if state.tree.borrow().has_nursery(nursery) {
                wait::wake_joiner(state, nursery);
            }
        }
    }
}

/// The place of a task in the tree, made if it has none.
pub unsafe fn member_of(state: &LoopState, host: Raw) -> MemberId {
    // SAFETY: the caller's task is alive.
    unsafe {
        if task::is_ours(host) { task::member(state, host) } else { foreign::member(state, host) }
    }
}

/// The place of a task in the tree, if it has one.
pub unsafe fn find_member(state: &LoopState, host: Raw) -> Option<MemberId> {
    // SAFETY: the caller's task is alive.
    unsafe {
        if task::is_ours(host) {
            task::data(host).member.get()
        } else {
            foreign::find_member(state, host)
        }
    }
}
