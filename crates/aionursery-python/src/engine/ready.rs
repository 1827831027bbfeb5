//! How a task gets its turn, and the loop its calls. It must never have one handle in the loop's queue
//! twice, nor use one again that was cancelled or that may still be there.

use crate::cpython::call::{getattr, method0, truth_of};
use crate::cpython::containers::{delete_item, item};
use crate::cpython::errors::{Aside, Fallible};
use crate::cpython::imports::{imports, is_debug, is_known_closed, names};
use crate::cpython::object::Object;
use crate::cpython::owned::Owned;
use crate::engine::hooks::hooks;
use crate::engine::state::LoopState;
use crate::engine::turns::{SPARE, Turn, is_cancelled};

/// A task takes a step in the loop's next turn. If the loop refuses (it is closed), the error is
/// set and the task is not queued.
#[inline(always)]
pub(crate) fn push(state: &LoopState, task: Owned) -> Fallible<()> {
    append(state, task, true)
}

/// `asks`: where a turn is asked for, so is debug mode.
#[inline(always)]
fn append(state: &LoopState, task: Owned, asks: bool) -> Fallible<()> {
    if state.debug.get() {
        return (hooks().step_alone)(state, task);
    }
    if !state.ready.last_is_open() {
        // Once a turn is often enough to notice that debug mode was switched.
        if asks {
            ask_debug(state)?;
        }
        if !state.ready.last_is_open() {
            schedule(state)?;
        }
    }
    state.ready.append(task);
    Ok(())
}

/// As [`push`], for a task that has begun, and where an error has no way out: it is reported. Nothing
/// else would wake the task, so it is queued all the same, unless the loop is closed. A loop that must
/// be called for its debug mode is asked where a task begins, as asyncio's own tasks ask it.
pub(crate) fn push_or_report(state: &LoopState, task: Owned) {
    let _aside = Aside::new(state.py());
    let again = || append(state, task.clone(), state.ready.ways.plain);
    let Err(raised) = again() else { return };
    state.report_failure("A task could not be scheduled", raised, Some(&task));
    if is_known_closed(&state.event_loop()) {
        return;
    }
    // An interrupt has passed by now, and a lack of memory may have. If the loop still refuses,
    // the next call of the drain takes the task along.
    if let Err(raised) = again() {
        state.forget(raised);
        state.ready.append(task);
    }
}

/// A turn whose handle has left the loop's queue.
pub(crate) fn give_back(state: &LoopState, mut turn: Turn) {
    turn.link().end.set(0);
    let usable = state.ready.ways.plain
        && turn.handle.as_deref().is_some_and(|handle| !is_cancelled(handle));
    if !usable {
        drop(turn.handle.take());
    }
    let turns = &state.ready.turns;
    if turns.spare.borrow().len() < SPARE {
        turns.spare.borrow_mut().push(turn);
    }
}

/// Asks the loop whether it is in debug mode. The loop may be the program's code.
pub(crate) fn ask_debug(state: &LoopState) -> Fallible<()> {
    let event_loop = state.event_loop();
    state.debug.set(if state.ready.ways.plain {
        truth_of(getattr(&event_loop, names(state.py()).debug))?
    } else {
        is_debug(&event_loop)?
    });
    Ok(())
}

/// The loop drains the queue once more.
pub(crate) fn schedule(state: &LoopState) -> Fallible<()> {
    let py = state.py();
    let ready = &state.ready;
    let event_loop = state.event_loop();
    let mut turn = ready.turns.fresh(py, hooks().drain)?;
    // `call_soon` says so if the loop is closed.
    match ready.loop_queue.cloned() {
        Some(queue) if ready.ways.plain && !truth_of(getattr(&event_loop, names(py).closed))? => {
            let handle = turn.make_handle()?;
            imports(py).append.call_on(&queue, &handle)?;
        }
        _ => {
            turn.call_soon(&event_loop)?;
            turn.handle.iter().for_each(|handle| ready.prove(handle));
        }
    }
    ready.turns.push(turn, ready.pushed.get());
    Ok(())
}

/// Sees to it that the loop will drain the queue, for a task that stands in it: the program may have taken
/// the call out of the loop's own queue.
pub(crate) fn insist(state: &LoopState) {
    if state.ready.has_tasks()
        && !state.ready.last_is_open()
        && let Err(raised) = schedule(state)
    {
        state.forget(raised);
    }
}

/// A turn for what is left of a batch, before everything else if the loop can do that: only a step
/// that runs the loop comes to it. `None` for a loop that cannot be run inside a step.
pub(crate) fn put_rest(state: &LoopState, end: u64) -> Fallible<Option<Turn>> {
    let py = state.py();
    let ready = &state.ready;
    if !ready.ways.nests {
        return Ok(None);
    }
    let mut turn = ready.turns.fresh(py, hooks().drain)?;
    turn.link().end.set(end);
    match ready.loop_queue.cloned() {
        Some(queue) if ready.ways.front => {
            let handle = turn.make_handle()?;
            imports(py).append_left.call_on(&queue, &handle)?;
        }
        _ => turn.call_soon(&state.event_loop())?,
    }
    Ok(Some(turn))
}

/// Whether what [`put_rest`] has put into the queue will still be called there.
pub(crate) fn rest_stands(state: &LoopState, turn: &Turn) -> bool {
    let Some(handle) = turn.handle.as_deref().filter(|_| turn.is_due()) else { return false };
    (!state.ready.ways.front || is_first(state, handle)) && !is_cancelled(handle)
}

fn is_first(state: &LoopState, handle: &Object) -> bool {
    let queue = state.ready.loop_queue.cloned();
    queue.is_some_and(|queue| item(&queue, 0).is_ok_and(|first| first.is(handle)))
}

/// Takes back what [`put_rest`] has put into the queue. Nothing is raised, for the loop goes on as well
/// without.
pub(crate) fn take_rest(state: &LoopState, turn: Turn) {
    let due = turn.is_due();
    turn.link().end.set(0);
    if let Some(handle) = turn.handle.as_deref().filter(|_| due) {
        if !state.ready.ways.front {
            if let Err(raised) = method0(handle, names(state.py()).cancel) {
                state.forget(raised);
            }
        } else if !is_first(state, handle) {
            // It may stand anywhere, or come back.
            return;
        } else if state.ready.loop_queue.cloned().is_none_or(|it| delete_item(&it, 0).is_err()) {
            return;
        }
    }
    give_back(state, turn);
}
