//! One loop's ready queue: tasks that are to take a step, drained by one `call_soon` a turn.
//! What becomes ready while it is drained waits for the next turn, so that nothing starves. It
//! must never lose an entry: what a step raises leaves the rest scheduled.
//!
//! The queue is cut into batches, one for each `call_soon`. A task joins the last batch as long as
//! that batch is the last thing in the loop's own queue; so tasks and `call_soon` keep the order in
//! which a program asked for them. A loop that does not show its queue (uvloop) has one batch a
//! turn.
//!
//! A loop that runs handles as asyncio's own loops do is given the same two of them again and again
//! in place of a `call_soon` a turn. Two, because a step may run the loop itself: a handle cannot be
//! run inside its own run, so each is used only while it does not.
//!
//! A host whose nursery closes as the very last thing in the loop's queue goes on at once: it would
//! be first in the next turn, and nobody can tell but by the time that a turn costs.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use pyo3::ffi;
use pyo3::gc::PyTraverseError;
use pyo3::prelude::*;

use crate::entry::guard;
use crate::exit;
use crate::function::Method;
use crate::imports::{imports, is_debug, names};
use crate::object::{
    Aside, Fallible, Owned, Raw, Slot, call, call_method, getattr, method1, truth,
};
use crate::state::LoopState;
use crate::{task, wait};

#[derive(Default)]
struct Queue {
    /// Tasks; each entry holds one reference.
    tasks: VecDeque<Raw>,
    /// How many of them each scheduled drain is to step.
    batches: VecDeque<usize>,
}

/// A handle that a loop runs more than once.
#[derive(Default)]
struct Turn {
    handle: Slot,
    running: Cell<bool>,
}

pub struct Ready {
    queue: RefCell<Queue>,
    /// The loop's own queue, if it shows one.
    loop_queue: Slot,
    /// The handle of the last batch.
    last_handle: Slot,
    /// The bound function that drains, for `call_soon`.
    drain: Slot,
    /// Handles of our own, for a loop that runs them as they are meant; or none.
    turns: Option<[Turn; 2]>,
    /// How many tasks the batch that is being drained still has.
    left: Cell<Option<usize>>,
    /// The join of a host that goes on when the batch has been drained.
    last_join: Slot,
}

impl Ready {
    /// `plain`: the loop schedules and runs handles as asyncio's own loops do.
    pub fn new(loop_queue: Option<Owned>, plain: bool) -> Self {
        let turns = (plain && loop_queue.is_some()).then(Default::default);
        let queue = Slot::empty();
        drop(queue.replace(loop_queue));
        Self {
            queue: RefCell::default(),
            loop_queue: queue,
            last_handle: Slot::empty(),
            drain: Slot::empty(),
            turns,
            left: Cell::new(None),
            last_join: Slot::empty(),
        }
    }

    pub fn traverse(
        &self,
        visit: impl Fn(Raw) -> Result<(), PyTraverseError>,
    ) -> Result<(), PyTraverseError> {
        visit(self.loop_queue.get())?;
        visit(self.last_handle.get())?;
        visit(self.drain.get())?;
        self.turns.iter().flatten().try_for_each(|turn| visit(turn.handle.get()))?;
        visit(self.last_join.get())?;
        if let Ok(queue) = self.queue.try_borrow() {
            queue.tasks.iter().try_for_each(|task| visit(*task))?;
        }
        Ok(())
    }

    pub fn clear(&self) {
        let queue = self.queue.take();
        for task in queue.tasks {
            // SAFETY: each entry holds one reference.
            drop(unsafe { Owned::maybe(task) });
        }
        self.loop_queue.clear();
        self.last_handle.clear();
        self.drain.clear();
        self.turns.iter().flatten().for_each(|turn| turn.handle.clear());
        self.last_join.clear();
    }

    /// Whether nothing waits in the loop's queue; a loop that does not show it may have something.
    unsafe fn is_last(&self) -> bool {
        let queue = self.loop_queue.get();
        // SAFETY: a deque, whose length is asked for.
        unsafe { !queue.is_null() && !self.is_open() && ffi::PySequence_Size(queue) == 0 }
    }

    /// The nursery that `join` waits for has closed. Says whether its host is seen to when this
    /// batch has been drained, because nothing would come before it.
    pub unsafe fn take_last(&self, join: Raw) -> bool {
        // SAFETY: attached; the caller's wait is alive.
        unsafe {
            if self.left.get() != Some(0) || !self.last_join.is_empty() || !self.is_last() {
                return false;
            }
            self.last_join.set(Owned::share(join));
            true
        }
    }

    /// Whether anything is queued.
    #[inline]
    pub fn is_open(&self) -> bool {
        !self.queue.borrow().batches.is_empty()
    }

    /// Whether a task can join the last batch without overtaking anything.
    #[inline]
    unsafe fn last_is_open(&self) -> bool {
        if self.queue.borrow().batches.is_empty() {
            return false;
        }
        let queue = self.loop_queue.get();
        if queue.is_null() {
            return true;
        }
        // SAFETY: a deque, whose last item is looked at.
        unsafe {
            let last = Owned::maybe(ffi::PySequence_GetItem(queue, -1));
            match last {
                Some(last) => last.as_ptr() == self.last_handle.get(),
                None => {
                    ffi::PyErr_Clear();
                    false
                }
            }
        }
    }
}

/// A task takes a step in the loop's next turn. If the loop refuses (it is closed), the error is
/// set and the task is not queued.
#[inline]
pub unsafe fn push(state: &LoopState, task: Owned) -> Fallible<()> {
    // SAFETY: attached.
    unsafe {
        if state.debug.get() {
            return push_alone(state, task);
        }
        let ready = &state.ready;
        if ready.last_is_open() {
            let mut queue = ready.queue.borrow_mut();
            queue.tasks.push_back(task.into_ptr());
            if let Some(last) = queue.batches.back_mut() {
                *last += 1;
            }
            return Ok(());
        }
        schedule(state)?;
        let mut queue = ready.queue.borrow_mut();
        queue.tasks.push_back(task.into_ptr());
        queue.batches.push_back(1);
        Ok(())
    }
}

/// As [`push`], where an error has no way out: it is reported.
pub unsafe fn push_or_report(state: &LoopState, task: Owned) {
    // SAFETY: attached.
    unsafe {
        let _aside = Aside::new();
        if push(state, task.clone()).is_err() {
            let exception = crate::object::take_raised();
            state.report("A task could not be scheduled", Some(&exception), task.as_ptr());
        }
    }
}

/// In debug mode every step is a handle of its own, so that the loop can say which one was slow.
#[cold]
unsafe fn push_alone(state: &LoopState, task: Owned) -> Fallible<()> {
    // SAFETY: attached.
    unsafe {
        let step = task::bound_step(task.as_ptr())?;
        let mut args = [std::ptr::null_mut(), step.as_ptr(), task::context(task.as_ptr())];
        call_method(state.event_loop.get(), names().call_soon, &mut args, imports().kw_context)?;
        Ok(())
    }
}

/// The loop drains the queue once more.
unsafe fn schedule(state: &LoopState) -> Fallible<()> {
    // SAFETY: attached.
    unsafe {
        let handle = match own_handle(state)? {
            Some(handle) => {
                method1(state.ready.loop_queue.get(), names().append, handle.as_ptr())?;
                handle
            }
            None => call_soon(state)?,
        };
        state.ready.last_handle.set(handle);
        // Once a turn is often enough to notice that somebody has switched debug mode.
        let event_loop = state.event_loop.get();
        state.debug.set(if state.ready.turns.is_some() {
            truth(&getattr(event_loop, names().debug)?)?
        } else {
            is_debug(event_loop)
        });
        Ok(())
    }
}

/// A handle of our own that is free to be run, if the loop is one for it.
unsafe fn own_handle(state: &LoopState) -> Fallible<Option<Owned>> {
    // SAFETY: attached.
    unsafe {
        let free = state.ready.turns.as_ref().and_then(|turns| {
            let number = turns.iter().position(|turn| !turn.running.get())?;
            Some((&turns[number].handle, number))
        });
        let Some((handle, number)) = free else {
            return Ok(None);
        };
        let event_loop = state.event_loop.get();
        if truth(&getattr(event_loop, names().closed)?)? {
            // `call_soon` says so.
            return Ok(None);
        }
        if let Some(made) = handle.cloned() {
            return Ok(Some(made));
        }
        let drain = TURNS[number].bind(state.this.get())?;
        let args = Owned::new(ffi::PyTuple_New(0))?;
        let context = Owned::new(ffi::PyContext_New())?;
        let mut args =
            [std::ptr::null_mut(), drain.as_ptr(), args.as_ptr(), event_loop, context.as_ptr()];
        let made = call(imports().handle_type, &mut args)?;
        handle.set(made.clone());
        Ok(Some(made))
    }
}

unsafe fn call_soon(state: &LoopState) -> Fallible<Owned> {
    // SAFETY: attached.
    unsafe {
        if state.ready.drain.is_empty() {
            state.ready.drain.set(DRAIN.bind(state.this.get())?);
        }
        let drain = state.ready.drain.cloned();
        let drain = drain.ok_or(crate::object::Raised)?;
        let mut args = [std::ptr::null_mut(), drain.as_ptr()];
        call_method(state.event_loop.get(), names().call_soon, &mut args, std::ptr::null_mut())
    }
}

static DRAIN: Method = Method::no_args(c"run_ready_tasks", drain_once);
static TURNS: [Method; 2] = [
    Method::no_args(c"run_ready_tasks", drain_in_turn::<0>),
    Method::no_args(c"run_ready_tasks", drain_in_turn::<1>),
];

unsafe extern "C" fn drain_once(this: Raw, _: Raw) -> Raw {
    // SAFETY: as the loop calls it.
    unsafe { drain(this, None) }
}

unsafe extern "C" fn drain_in_turn<const NUMBER: usize>(this: Raw, _: Raw) -> Raw {
    // SAFETY: as the loop calls it.
    unsafe { drain(this, Some(NUMBER)) }
}

/// The turn's handle is run until this goes.
struct Running<'a>(Option<&'a Turn>);

impl<'a> Running<'a> {
    fn begin(turn: Option<&'a Turn>) -> Self {
        if let Some(turn) = turn {
            turn.running.set(true);
        }
        Self(turn)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(turn) = self.0 {
            turn.running.set(false);
        }
    }
}

unsafe fn drain(this: Raw, number: Option<usize>) -> Raw {
    // SAFETY: bound to a state, which the call keeps alive.
    unsafe {
        guard(std::ptr::null_mut(), |py| {
            let this = Bound::from_borrowed_ptr(py, this);
            let state = this.cast_unchecked::<LoopState>().get();
            let turn = number.and_then(|number| state.ready.turns.as_ref()?.get(number));
            let _running = Running::begin(turn);
            let _inside = exit::Inside::enter();
            match run_batch(state) {
                Ok(()) => crate::object::none().into_ptr(),
                Err(_) => std::ptr::null_mut(),
            }
        })
    }
}

/// The batch that is being drained. Puts what is left of it back, however it ends.
struct Batch<'a> {
    state: &'a LoopState,
    /// What was left of the batch around it, if a step runs the loop itself.
    outer: Option<usize>,
}

impl Batch<'_> {
    fn begin(state: &LoopState) -> Batch<'_> {
        let size = state.ready.queue.borrow_mut().batches.pop_front().unwrap_or(0);
        Batch { state, outer: state.ready.left.replace(Some(size)) }
    }

    /// The next task to step; the outer `None` is the end.
    fn next(&self) -> Option<Option<Owned>> {
        let left = self.state.ready.left.get().filter(|left| *left > 0)?;
        self.state.ready.left.set(Some(left - 1));
        let task = self.state.ready.queue.borrow_mut().tasks.pop_front();
        // SAFETY: the queue's reference.
        Some(task.and_then(|task| unsafe { Owned::maybe(task) }))
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        // SAFETY: attached; an exception that is on its way out is put aside.
        unsafe {
            task::leave(self.state);
            let ready = &self.state.ready;
            let left = ready.left.replace(self.outer).unwrap_or(0);
            if left > 0 {
                let _aside = Aside::new();
                ready.queue.borrow_mut().batches.push_front(left);
                if schedule(self.state).is_err() {
                    ffi::PyErr_WriteUnraisable(self.state.event_loop.get());
                }
                // The handle just made runs last but serves the first batch: nothing may join it.
                ready.last_handle.clear();
            }
        }
    }
}

unsafe fn run_batch(state: &LoopState) -> Fallible<()> {
    // SAFETY: attached; the loop calls this.
    unsafe {
        let batch = Batch::begin(state);
        loop {
            while let Some(task) = batch.next() {
                exit::pause();
                if let Some(task) = task {
                    task::run(state, task)?;
                }
            }
            let Some(join) = state.ready.last_join.take() else {
                return Ok(());
            };
            exit::pause();
            if state.ready.is_last() {
                wait::resume(state, &join)?;
            } else {
                wait::notify(join.as_ptr());
            }
        }
    }
}
