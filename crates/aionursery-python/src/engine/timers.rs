//! One loop timer for all of ours: deadlines, budgets and sleeps stand in the tree's heap, and the
//! loop is asked to call back at its head. It must never fire early, and never poll.

use super::hooks::hooks;
use crate::cpython::call::{call_method, float, method0};
use crate::cpython::errors::{Aside, Fallible, raise};
use crate::cpython::imports::{is_known_closed, names};
use crate::engine::link::Link;
use crate::engine::state::LoopState;

/// Sees to it that the loop calls back no later than the next alarm. A call that comes too early,
/// because what it was for is gone, finds nothing to do: most deadlines never pass, and leaving one
/// costs no call into the loop.
#[inline]
pub(crate) fn arm(state: &LoopState) {
    let next = state.tree.borrow().next_alarm();
    if let Some(next) = next.filter(|next| *next < state.timers.at.get()) {
        arm_or_report(state, next);
    }
}

/// Sees to it that the loop calls back by `moment`, before an alarm is set for then: raises what the loop
/// raises, and nothing has begun yet.
#[inline]
pub(crate) fn arm_by(state: &LoopState, moment: f64) -> Fallible<()> {
    if moment < state.timers.at.get() { arm_at(state, moment) } else { Ok(()) }
}

#[cold]
fn arm_or_report(state: &LoopState, when: f64) {
    let _aside = Aside::new(state.py());
    if let Err(raised) = arm_at(state, when) {
        state.report_failure("A deadline could not be scheduled", raised, None);
    }
}

/// Nothing happens on a closed loop any more, so that is no error.
#[cold]
fn arm_at(state: &LoopState, when: f64) -> Fallible<()> {
    let py = state.py();
    let names = names(py);
    let event_loop = state.event_loop();
    let call = || -> Fallible<()> {
        let callback = match state.timers.callback.cloned() {
            Some(callback) => callback,
            None => {
                let made = Link::bind(py, state.this.weakly(), hooks().fire)?;
                state.timers.callback.set(made.clone());
                made
            }
        };
        let moment = float(py, state.timers.moment_for(when))?;
        let handle = call_method(&event_loop, names.call_at, [&moment, &callback])?;
        // Only now, or a loop that refuses this one would have none.
        let before = state.timers.handle();
        state.timers.keep(handle);
        state.timers.at.set(when);
        // One that is not cancelled comes too early, and finds nothing to do.
        if let Some(Err(raised)) = before.map(|before| method0(&before, names.cancel)) {
            state.forget(raised);
        }
        Ok(())
    };
    call().or_else(|raised| {
        let error = raised.take();
        if is_known_closed(&event_loop) { Ok(()) } else { Err(raise(error)) }
    })
}
