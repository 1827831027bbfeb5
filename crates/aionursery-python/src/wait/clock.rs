//! What is due is done: waits end, deadlines and budgets pass, stuck tasks are named. It must never do
//! anything before its time.

use nursery_core::Alarm;

use super::over;
use crate::cpython::object::{Fallible, Owned};
use crate::engine::hooks::hooks;
use crate::engine::state::{Key, LoopState};
use crate::engine::stuck;
use crate::engine::timers;

/// It is now `now`: what is due is done.
pub unsafe fn ring(state: &LoopState, now: f64) {
    // SAFETY: attached.
    unsafe {
        loop {
            let (alarm, effects) = state.tree.change(|tree, out| tree.advance(now, out));
            if !effects.deliveries.is_empty() {
                (hooks().deliver)(state, effects);
            }
            match alarm {
                None => break,
                Some(Alarm::Wake(Key(waiting))) => {
                    if let Some(waiting) = Owned::maybe(waiting) {
                        over::fire(&waiting);
                    }
                }
                Some(Alarm::Warning(id)) => stuck::warn_stuck(state, id),
                Some(Alarm::Deadline(_) | Alarm::Budget(_)) => {}
            }
        }
    }
}

/// Looks at the clock, for a deadline that has passed while the program computed (R21). Returns what
/// time it is.
pub unsafe fn look(state: &LoopState) -> Fallible<f64> {
    // SAFETY: attached.
    unsafe {
        let now = state.now()?;
        let next = state.tree.borrow().next_alarm();
        if next.is_some_and(|next| next <= now) {
            ring(state, now);
            timers::arm(state);
        }
        Ok(now)
    }
}

/// As [`look`], where there may be nothing to look for, and an error has no way out.
#[inline]
pub unsafe fn look_if_armed(state: &LoopState) {
    if state.tree.borrow().next_alarm().is_some() {
        // SAFETY: attached; the error is taken back.
        unsafe {
            if let Err(raised) = look(state) {
                state.forget(raised);
            }
        }
    }
}
