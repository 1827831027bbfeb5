//! What is due is done: waits end, deadlines and budgets pass, stuck tasks are named. It must never do
//! anything before its time.

use nursery_core::Alarm;

use super::{WaitObject, over};
use crate::cpython::errors::Fallible;
use crate::engine::hooks::hooks;
use crate::engine::state::LoopState;
use crate::engine::stuck;
use crate::engine::timers;

/// It is now `now`: what is due is done.
pub(crate) fn ring(state: &LoopState, now: f64) {
    loop {
        let (alarm, effects) = state.tree.change(|tree, out| tree.advance(now, out));
        if !effects.is_silent() {
            (hooks().deliver)(state, effects);
        }
        match alarm {
            None => break,
            Some(Alarm::Wake(waiting)) => {
                if let Ok(waiting) = waiting.cast::<WaitObject>() {
                    over::fire(&waiting);
                }
            }
            Some(Alarm::Warning(id)) => stuck::warn_stuck(state, id),
            Some(Alarm::Deadline(_) | Alarm::Budget(_)) => {}
        }
    }
}

/// Looks at the clock, for a deadline that has passed while the program computed (R21). Returns what
/// time it is.
pub(crate) fn look(state: &LoopState) -> Fallible<f64> {
    let now = state.now()?;
    let next = state.tree.borrow().next_alarm();
    if next.is_some_and(|next| next <= now) {
        if state.timers.at.get() <= now {
            // Its call is late, and one that the loop could not make, for want of memory, never
            // comes. So another takes its place.
            state.timers.at.set(f64::INFINITY);
        }
        ring(state, now);
        timers::arm(state);
    }
    Ok(now)
}

/// As [`look`], where there may be nothing to look for, and an error has no way out.
#[inline]
pub(crate) fn look_if_armed(state: &LoopState) {
    if state.tree.borrow().next_alarm().is_some()
        && let Err(raised) = look(state)
    {
        state.forget(raised);
    }
}
