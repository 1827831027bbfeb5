//! Where the two kinds of tasks are told apart: what is delivered goes to each in its own way. It must
//! never decide which host is told.

use nursery_core::{Effects, Event, MemberId};

use super::foreign;
use crate::cpython::call::call0;
use crate::cpython::errors::Aside;
use crate::cpython::object::Object;
use crate::cpython::owned::Owned;
use crate::engine::state::{Failure, LoopState, PyFace};
use crate::step;
use crate::task::{self, Task};
use crate::wait;

/// Brings cancellations to their tasks. What one task makes of it can change what the next one was
/// told, and that comes by a delivery of its own, before the next one's turn. Then what watches a scope is
/// called.
pub(crate) fn deliver(state: &LoopState, effects: Effects<PyFace>) {
    let py = state.py();
    // The references are taken before anything can run.
    let held: Vec<(Owned, _)> =
        effects.deliveries.into_iter().map(|one| (one.key.share(py), one)).collect();
    let _aside = Aside::new(py);
    // All are told in the same moment (R12): nothing of the program's has run by then.
    for (task, delivery) in &held {
        if let Some(task) = task.object().cast::<Task>() {
            task::tell(task, delivery);
        }
    }
    for (task, delivery) in held.iter().filter(|(_, delivery)| delivery.throw) {
        match task.object().cast::<Task>() {
            Some(task) => step::reach(state, task, delivery.reason.as_deref()),
            None => foreign::reach(state, task),
        }
    }
    drop(held);
    // Behind the tasks: they have heard whatever what is called does.
    for event in effects.events {
        happen(state, event);
    }
}

fn happen(state: &LoopState, event: Event<PyFace>) {
    match event {
        Event::Lost(Failure { error, .. }) => {
            state.report_error("A nursery was never left", error, None);
        }
        Event::Joined(nursery) => wait::wake_joiner(state, nursery),
        Event::Called(watch) => {
            if let Err(raised) = call0(&watch) {
                let text = "A function that on_cancel() was given has failed";
                state.report_failure(text, raised, None);
            }
        }
        Event::Uncalled(_) => {}
    }
}

/// The place of a task in the tree, made if it has none.
pub(crate) fn member_of(state: &LoopState, host: &Object) -> MemberId {
    match host.cast::<Task>() {
        Some(host) => task::member(state, host),
        None => foreign::member(state, host),
    }
}
