//! A nursery that is dropped early: what it leaves, and what is told of errors that it can no longer
//! give back (R7, R28). It must never lose one.

use std::sync::Arc;

use super::{Core, State};
use crate::error::{AdoptedError, Failure};
use crate::scope::Scope;
use crate::scope::about::Stage;
use crate::task::{Running, Seat};

/// What is told of the errors that are left when the driver is gone.
pub(super) enum Heir {
    /// The driver gives them back, or has not left yet.
    Driver,
    /// The nursery that adopted what still runs; without one, the program.
    Adopter(Option<Arc<Scope>>),
    /// They have been given to it: what comes later is the program's.
    Over,
}

/// The errors of a dropped nursery whose last child has ended, and what is told of them.
pub(super) type Left<E> = Option<(Option<Arc<Scope>>, Vec<Failure<E>>, fn(E) -> AdoptedError)>;

impl<E> Core<E> {
    /// The driver goes. Hands out what was not taken up; spawned children that are left are
    /// given to the nearest nursery above that is alive (R28).
    pub(crate) fn abandon(&self, seat: &mut Seat) -> Vec<Running<E>> {
        let local = self.local.own(seat);
        let mut left = local.fresh.take();
        {
            let state = &mut *self.state();
            state.gone = true;
            self.catch_up(local, state);
            left.append(&mut state.inbox);
        }
        #[cfg(feature = "tokio")]
        self.keep_all(local.spawned.take());
        self.scope.close_to_orphans(true);
        self.scope.signal.about.set_stage(Stage::Dropped);
        self.scope.signal.tell_holders();
        left
    }

    /// The driver's own children are gone, this many. What is left is adopted, with every error that
    /// was not seen.
    pub(crate) fn leave_orphans(&self, gone: u32) {
        self.scope.pass_on_orphans();
        let is_clean = {
            let state = &mut *self.state();
            self.tell(state, gone);
            let clean = state.life.running() == 0 && state.life.errors().next().is_none();
            if clean {
                state.heir = Heir::Over;
            }
            clean
        };
        if is_clean {
            return;
        }
        let adopter = self.scope.adopter();
        let left = {
            let state = &mut *self.state();
            state.heir = Heir::Adopter(adopter);
            self.tell(state, 0);
            self.farewell(state)
        };
        hand_over(left);
    }

    /// What the last of an abandoned nursery's children tells the nursery that adopted it.
    pub(super) fn farewell(&self, state: &mut State<E>) -> Left<E> {
        if !state.gone || state.life.running() > 0 {
            return None;
        }
        match std::mem::replace(&mut state.heir, Heir::Over) {
            Heir::Adopter(adopter) => Some((adopter, state.errors(), self.erase())),
            heir => {
                state.heir = heir;
                None
            }
        }
    }

    pub(super) fn erase(&self) -> fn(E) -> AdoptedError {
        self.erase.get().copied().unwrap_or(AdoptedError::note)
    }
}

/// Runs the destructors of errors that cannot be kept: not to be called under the lock.
pub(super) fn hand_over<E>(left: Left<E>) {
    let Some((adopter, failures, erase)) = left else { return };
    let errors = failures.into_iter().filter_map(|failure| failure.into_lost(erase)).collect();
    match adopter {
        Some(adopter) => adopter.orphans_ended(errors),
        None => crate::error::report(errors),
    }
}
