//! One turn's work: the tasks of a batch take their steps. A step may run the loop itself (a nested
//! `run_until_complete`, a modal dialog); then what is left of the batch runs there. It must never
//! leave a task of its batch without a call that will come to it.

use crate::cpython::call::{call1, enter_context, exit_context, getattr, truth_of};
use crate::cpython::called::method;
use crate::cpython::errors::{Aside, Fallible, optional};
use crate::cpython::function::{Method, This};
use crate::cpython::imports::names;
use crate::cpython::object::Object;
use crate::cpython::owned::{Owned, none};
use crate::cpython::thread::thread_mark;
use crate::engine::current;
use crate::engine::home::Home;
use crate::engine::link::Link;
use crate::engine::ready;
use crate::engine::state::LoopState;
use crate::engine::timers;
use crate::engine::turns::Turn;
use crate::step;
use crate::task::{self, Task};
use crate::wait::clock;
use crate::wait::{self, WaitObject};

/// What the loop calls, bound to a turn's link.
pub(crate) static DRAIN: Method<Link> = method!(no_args Link, c"run_ready_tasks", drain);

fn drain(link: &This<'_, Link>) -> Fallible<Owned> {
    let py = link.py();
    let Some(state) = Home::behind(link) else {
        return Ok(none(py));
    };
    let turn = state.ready.turns.begin(link.object(), state.ready.pushed.get());
    let end = link.end.replace(0);
    let result = run(&state, end);
    if let Some(turn) = turn {
        let _aside = Aside::of(py, &result);
        ready::give_back(&state, turn);
    }
    result.map(|()| none(py))
}

fn run(state: &LoopState, end: u64) -> Fallible<()> {
    // A deadline that passed while the program computed acts at the first await (R21).
    clock::look_if_armed(state);
    let mut batch = Batch::begin(state, end);
    loop {
        while let Some(task) = batch.next() {
            if let Some(task) = task.object().cast::<Task>() {
                step::run(state, task)?;
            }
            drop(task);
            state.check_interrupt()?;
        }
        let Some(last) = state.ready.last.take() else {
            return Ok(());
        };
        let goes_on = !stops(state) && state.ready.is_last();
        match last.object().cast::<WaitObject>() {
            _ if !goes_on => queue_last(state, last),
            Some(join) => resume_host(state, join)?,
            None => run_last(state, &last)?,
        }
        state.check_interrupt()?;
    }
}

/// The batch that is being drained. Sees to what is left of it, however it ends.
struct Batch<'a> {
    state: &'a LoopState,
    end: u64,
    /// What stands in the loop's queue for the tasks behind the one whose step runs.
    rest: Option<Turn>,
    /// Of the batch around it, if a step of that runs the loop.
    outer_end: u64,
    outer_lingers: bool,
}

impl Batch<'_> {
    fn begin(state: &LoopState, end: u64) -> Batch<'_> {
        state.thread.set(thread_mark());
        Batch {
            state,
            end,
            rest: None,
            outer_end: state.ready.current.replace(end),
            outer_lingers: state.lingering.replace(false),
        }
    }

    /// The next task to step. A batch does without what cannot be put into the queue.
    #[inline]
    fn next(&mut self) -> Option<Owned> {
        let (task, left) = self.state.ready.take(self.end)?;
        if left == 1 {
            if let Some(rest) = self.rest.take() {
                ready::take_rest(self.state, rest);
            }
        } else if self.rest.is_none() {
            self.rest = ready::put_rest(self.state, self.end).unwrap_or_else(|raised| {
                self.state.forget(raised);
                None
            });
        }
        Some(task)
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        let (state, ready) = (self.state, &self.state.ready);
        current::leave(state);
        state.lingering.set(self.outer_lingers);
        ready.current.set(self.outer_end);
        let rest = self.rest.take();
        if ready.taken.get() >= self.end && rest.is_none() && ready.last.is_empty() {
            return;
        }
        let _aside = Aside::new(state.py());
        if ready.taken.get() >= self.end {
            if let Some(rest) = rest {
                ready::take_rest(state, rest);
            }
        } else if rest.is_none_or(|rest| !ready::rest_stands(state, &rest)) {
            // What is due already comes before it, and drains what is left in the right order.
            if let Err(raised) = ready::schedule(state) {
                state.report_unraisable(raised);
            }
        }
        if let Some(last) = ready.last.take() {
            queue_last(state, last);
        }
    }
}

/// What the loop calls for its timer, bound to a link.
pub(crate) static FIRE: Method<Link> = method!(no_args Link, c"fire_timers", fire);

fn fire(link: &This<'_, Link>) -> Fallible<Owned> {
    let py = link.py();
    let Some(state) = Home::behind(link) else {
        return Ok(none(py));
    };
    let _outside = state.ready.outside_batch();
    state.thread.set(thread_mark());
    let armed = state.timers.at.replace(f64::INFINITY);
    state.timers.handle.clear();
    state.timers.weak_handle.clear();
    let now = state.timers.time_of_call(state.now()?, armed);
    clock::ring(&state, now);
    timers::arm(&state);
    state.check_interrupt()?;
    Ok(none(py))
}

/// Steps the host whose join is over, here and now. Only what leaves the loop is raised.
fn resume_host(state: &LoopState, join: &WaitObject) -> Fallible<()> {
    if let Some(task) = join.take_task() {
        wait::notify(join);
        return resume(state, &task);
    }
    let Some((function, context)) = join.take_only_callback() else {
        wait::notify(join);
        return Ok(());
    };
    // A task of asyncio's makes itself the current one, and refuses if another is.
    current::leave(state);
    if enter_context(&context).is_err() {
        join.put_back(function, context);
        wait::notify(join);
        return Ok(());
    }
    let result = call1(&function, join.object()).map(drop);
    let aside = Aside::of(state.py(), &result);
    exit_context(&context);
    drop(aside);
    result
}

/// Whether the loop was told to stop after this turn: nothing more is stepped in it then. uvloop stops by a
/// call that stands in its queue.
fn stops(state: &LoopState) -> bool {
    let stopping = || truth_of(getattr(&state.event_loop(), names(state.py()).stopping));
    !state.ready.loop_queue.is_empty() && optional(stopping()).unwrap_or(true)
}

/// What would have gone on in this turn goes on in the next.
fn queue_last(state: &LoopState, last: Owned) {
    match last.object().cast::<WaitObject>() {
        Some(join) => wait::notify(join),
        None => ready::push_or_report(state, last),
    }
}

/// Steps a task that alone awaited the last one to end, and counts as queued since then.
fn run_last(state: &LoopState, task: &Object) -> Fallible<()> {
    task.cast::<Task>().map_or(Ok(()), |task| step::run(state, task))
}

/// Steps a task at once that [`task::wake`] would have queued.
fn resume(state: &LoopState, task: &Task) -> Fallible<()> {
    let ours = task.data();
    if ours.has(task::flag::DONE | task::flag::SCHEDULED | task::flag::RUNNING) {
        return Ok(());
    }
    ours.raise_flags(task::flag::SCHEDULED);
    step::run(state, task)
}
