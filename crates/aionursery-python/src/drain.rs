//! One turn's work: the tasks of a batch take their steps. A step may run the loop itself (a nested
//! `run_until_complete`, a modal dialog); then what is left of the batch runs there. It must never
//! leave a task of its batch without a call that will come to it.

use pyo3::ffi;

use crate::cpython::function::Method;
use crate::cpython::guard::guard;
use crate::cpython::object::{Aside, Fallible, Owned, Raw, call1, none};
use crate::cpython::thread::thread_mark;
use crate::engine::current;
use crate::engine::home::Home;
use crate::engine::link::Link;
use crate::engine::ready;
use crate::engine::state::LoopState;
use crate::engine::timers;
use crate::engine::turns::Turn;
use crate::step;
use crate::task;
use crate::wait;
use crate::wait::clock;

/// What the loop calls, bound to a turn's link.
pub static DRAIN: Method = Method::no_args(c"run_ready_tasks", drain);

unsafe extern "C" fn drain(this: Raw, _: Raw) -> Raw {
    // SAFETY: bound to a link, which the call keeps alive.
    unsafe {
        guard(std::ptr::null_mut(), |_| {
            let link = Link::of(this);
            let Some(state) = Home::behind(link) else {
                return none().into_ptr();
            };
            let turn = state.ready.turns.begin(this, state.ready.pushed.get());
            let end = link.end.replace(0);
            let result = run(&state, end);
            if let Some(turn) = turn {
                ready::give_back(&state, turn);
            }
            match result {
                Ok(()) => none().into_ptr(),
                Err(_) => std::ptr::null_mut(),
            }
        })
    }
}

unsafe fn run(state: &LoopState, end: u64) -> Fallible<()> {
    // SAFETY: attached; the loop calls this.
    unsafe {
        // A deadline that passed while the program computed acts at the first await (R21).
        clock::look_if_armed(state);
        let mut batch = Batch::begin(state, end);
        loop {
            while let Some(task) = batch.next() {
                step::run(state, task)?;
                state.check_interrupt()?;
            }
            let Some(join) = state.ready.last_join.take() else {
                return Ok(());
            };
            if state.ready.is_last() {
                resume_host(state, &join)?;
            } else {
                wait::notify(join.as_ptr());
            }
            state.check_interrupt()?;
        }
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

    /// The next task to step.
    #[inline]
    unsafe fn next(&mut self) -> Option<Owned> {
        let (task, left) = self.state.ready.take(self.end)?;
        // SAFETY: attached; a batch does without what cannot be put into the queue.
        unsafe {
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
        }
        Some(task)
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        let (state, ready) = (self.state, &self.state.ready);
        // SAFETY: attached; an exception that is on its way out is put aside.
        unsafe {
            current::leave(state);
            state.lingering.set(self.outer_lingers);
            ready.current.set(self.outer_end);
            let rest = self.rest.take();
            if ready.taken.get() >= self.end && rest.is_none() && ready.last_join.is_empty() {
                return;
            }
            let _aside = Aside::new();
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
            if let Some(join) = ready.last_join.take() {
                wait::notify(join.as_ptr());
            }
        }
    }
}

/// What the loop calls for its timer, bound to a link.
pub static FIRE: Method = Method::no_args(c"fire_timers", fire);

unsafe extern "C" fn fire(this: Raw, _: Raw) -> Raw {
    // SAFETY: bound to a link, which the call keeps alive.
    unsafe {
        guard(std::ptr::null_mut(), |_| {
            let Some(state) = Home::behind(Link::of(this)) else {
                return none().into_ptr();
            };
            let _outside = state.ready.outside_batch();
            state.thread.set(thread_mark());
            let armed = state.timers.at.replace(f64::INFINITY);
            state.timers.handle.clear();
            state.timers.weak_handle.clear();
            // The loop says it is time; its clock may lag behind by its resolution.
            let now = match state.now() {
                Ok(now) => now.max(armed),
                Err(raised) => return raised.null(),
            };
            clock::ring(&state, now);
            timers::arm(&state);
            match state.check_interrupt() {
                Ok(()) => none().into_ptr(),
                Err(raised) => raised.null(),
            }
        })
    }
}

/// Steps the host whose join is over, here and now. Only what leaves the loop is raised.
unsafe fn resume_host(state: &LoopState, object: &Owned) -> Fallible<()> {
    // SAFETY: attached; a drain has just ended a step.
    unsafe {
        let this = wait::wait(object.as_ptr());
        if let Some(task) = this.take_task() {
            wait::notify(object.as_ptr());
            return resume(state, task);
        }
        let Some((function, context)) = this.take_only_callback() else {
            wait::notify(object.as_ptr());
            return Ok(());
        };
        // A task of asyncio's makes itself the current one, and refuses if another is.
        current::leave(state);
        if ffi::PyContext_Enter(context.as_ptr()) < 0 {
            ffi::PyErr_Clear();
            this.put_back(function, context);
            wait::notify(object.as_ptr());
            return Ok(());
        }
        let result = call1(function.as_ptr(), object.as_ptr()).map(drop);
        let aside = if result.is_err() { Some(Aside::new()) } else { None };
        if ffi::PyContext_Exit(context.as_ptr()) < 0 {
            ffi::PyErr_Clear();
        }
        drop(aside);
        result
    }
}

/// Steps a task at once that [`task::wake`] would have queued.
unsafe fn resume(state: &LoopState, task: Owned) -> Fallible<()> {
    // SAFETY: attached; called between two steps.
    unsafe {
        let ours = task::data(task.as_ptr());
        if ours.has(task::flag::DONE | task::flag::SCHEDULED | task::flag::RUNNING) {
            return Ok(());
        }
        ours.raise_flags(task::flag::SCHEDULED);
        step::run(state, task)
    }
}
