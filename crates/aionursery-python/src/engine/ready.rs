//! How a task gets its turn, and the loop its calls. It must never have one handle in the loop's queue
//! twice, nor use one again that somebody has cancelled or that may still be there.

use pyo3::ffi;

use crate::cpython::imports::{imports, is_closed, is_debug, names};
use crate::cpython::object::{Aside, Fallible, Owned, getattr, method0, optional, truth};
use crate::engine::hooks::hooks;
use crate::engine::state::LoopState;
use crate::engine::turns::{SPARE, Turn, is_cancelled};

/// A task takes a step in the loop's next turn. If the loop refuses (it is closed), the error is
/// set and the task is not queued.
#[inline]
pub unsafe fn push(state: &LoopState, task: Owned) -> Fallible<()> {
    // SAFETY: attached.
    unsafe {
        if state.debug.get() {
            return (hooks().step_alone)(state, task);
        }
        if !state.ready.last_is_open() {
            // Once a turn is often enough to notice that somebody has switched debug mode.
            ask_debug(state)?;
            if !state.ready.last_is_open() {
                schedule(state)?;
            }
        }
        state.ready.append(task);
        Ok(())
    }
}

/// As [`push`], where an error has no way out: it is reported. Nothing else would wake the task, so
/// it is queued all the same, unless the loop is closed.
pub unsafe fn push_or_report(state: &LoopState, task: Owned) {
    // SAFETY: attached.
    unsafe {
        let _aside = Aside::new();
        let Err(raised) = push(state, task.clone()) else { return };
        state.report_failure("A task could not be scheduled", raised, task.as_ptr());
        // A loop that cannot say whether it is closed counts as open.
        if optional(is_closed(state.event_loop.get())).unwrap_or(false) {
            return;
        }
        // An interrupt has passed by now, and a lack of memory may have. If the loop still refuses,
        // the next call of the drain takes the task along.
        if let Err(raised) = push(state, task.clone()) {
            state.forget(raised);
            state.ready.append(task);
        }
    }
}

/// A turn whose handle has left the loop's queue.
pub unsafe fn give_back(state: &LoopState, mut turn: Turn) {
    turn.link().end.set(0);
    // SAFETY: attached.
    let usable = state.ready.ways.plain
        && turn.handle.as_ref().is_some_and(|handle| !unsafe { is_cancelled(handle) });
    if !usable {
        drop(turn.handle.take());
    }
    let turns = &state.ready.turns;
    if turns.spare.borrow().len() < SPARE {
        turns.spare.borrow_mut().push(turn);
    }
}

/// Asks the loop whether it is in debug mode. The loop may be the program's code.
pub unsafe fn ask_debug(state: &LoopState) -> Fallible<()> {
    // SAFETY: attached; the state's loop is alive.
    unsafe {
        let event_loop = state.event_loop.get();
        state.debug.set(if state.ready.ways.plain {
            truth(&getattr(event_loop, names().debug)?)?
        } else {
            is_debug(event_loop)?
        });
        Ok(())
    }
}

/// The loop drains the queue once more.
pub unsafe fn schedule(state: &LoopState) -> Fallible<()> {
    // SAFETY: attached.
    unsafe {
        let ready = &state.ready;
        let event_loop = state.event_loop.get();
        let mut turn = ready.turns.fresh(hooks().drain)?;
        // `call_soon` says so if the loop is closed.
        if ready.ways.plain && !truth(&getattr(event_loop, names().closed)?)? {
            let handle = turn.make_handle()?;
            imports().append.call_on(ready.loop_queue.get(), handle.as_ptr())?;
        } else {
            turn.call_soon(event_loop)?;
        }
        ready.turns.push(turn, ready.pushed.get());
        Ok(())
    }
}

/// A turn for what is left of a batch, before everything else if the loop can do that: only a step
/// that runs the loop comes to it. `None` for a loop that cannot be run inside a step.
pub unsafe fn put_rest(state: &LoopState, end: u64) -> Fallible<Option<Turn>> {
    // SAFETY: attached.
    unsafe {
        let ready = &state.ready;
        if !ready.ways.nests {
            return Ok(None);
        }
        let mut turn = ready.turns.fresh(hooks().drain)?;
        turn.link().end.set(end);
        if ready.ways.front {
            let handle = turn.make_handle()?;
            imports().append_left.call_on(ready.loop_queue.get(), handle.as_ptr())?;
        } else {
            turn.call_soon(state.event_loop.get())?;
        }
        Ok(Some(turn))
    }
}

/// Whether what [`put_rest`] has put into the queue will still be called there.
pub unsafe fn rest_stands(state: &LoopState, turn: &Turn) -> bool {
    // SAFETY: attached.
    unsafe {
        let Some(handle) = turn.handle.as_ref().filter(|_| turn.is_due()) else { return false };
        (!state.ready.ways.front || is_first(state, handle)) && !is_cancelled(handle)
    }
}

unsafe fn is_first(state: &LoopState, handle: &Owned) -> bool {
    // SAFETY: a deque, whose first item is looked at.
    unsafe {
        let first = Owned::maybe(ffi::PySequence_GetItem(state.ready.loop_queue.get(), 0));
        if first.is_none() {
            ffi::PyErr_Clear();
        }
        first.is_some_and(|first| first.as_ptr() == handle.as_ptr())
    }
}

/// Takes back what [`put_rest`] has put into the queue.
pub unsafe fn take_rest(state: &LoopState, turn: Turn) {
    // SAFETY: attached; nothing is raised, for the loop goes on as well without.
    unsafe {
        let due = turn.is_due();
        turn.link().end.set(0);
        if let Some(handle) = turn.handle.as_ref().filter(|_| due) {
            if !state.ready.ways.front {
                if let Err(raised) = method0(handle.as_ptr(), names().cancel) {
                    state.forget(raised);
                }
            } else if !is_first(state, handle) {
                // It may stand anywhere, or come back.
                return;
            } else if ffi::PySequence_DelItem(state.ready.loop_queue.get(), 0) < 0 {
                ffi::PyErr_Clear();
                return;
            }
        }
        give_back(state, turn);
    }
}
