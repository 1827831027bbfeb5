//! One loop's ready queue: tasks that are to take a step, in the order in which they became ready.
//! What becomes ready while a turn is drained waits for the next one, so that nothing starves. It
//! must never lose an entry: neither what a step raises nor what the program does to the loop's own
//! queue takes more than a turn away.
//!
//! The queue is cut into batches, one for each call that the loop was asked for (`turns`), each drained
//! by that call (`drain`). A task joins the last batch as long as that batch is the last thing in the
//! loop's own queue; so tasks and `call_soon` keep the order in which a program asked for them. A loop
//! that does not show its queue (uvloop) has one batch a turn.
//!
//! A batch is an end: how many tasks, counted from the beginning, have been stepped when it is done.
//! So a batch whose call never came is made up for by the next one.
//!
//! What waits for the end of a task, and is the very last thing in the loop's queue, goes on at once: a host
//! whose nursery closes, a task that alone awaits another. It would be first in the next turn.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use pyo3::gc::PyTraverseError;
use pyo3::prelude::*;

use super::turns::{self as turn, Turns};
use crate::cpython::containers::{item, size};
use crate::cpython::direct::Member;
use crate::cpython::imports::imports;
use crate::cpython::myself::Weakly;
use crate::cpython::object::Object;
use crate::cpython::owned::Owned;
use crate::cpython::slot::Slot;

/// What a loop lets us do.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ways {
    /// It schedules and runs handles as asyncio's own loops do, so it is given ours.
    pub plain: bool,
    /// What is put at the front of its queue runs next.
    pub front: bool,
    /// A step may run it.
    pub nests: bool,
}

#[derive(Debug)]
pub(crate) struct Ready {
    /// Tasks of ours.
    tasks: RefCell<VecDeque<Owned>>,
    /// How many tasks came in, and how many were taken out, from the beginning.
    pub pushed: Cell<u64>,
    pub taken: Cell<u64>,
    pub turns: Turns,
    /// The loop's own queue, if it shows one.
    pub loop_queue: Slot,
    /// That of a loop that shows it to nothing but the collector: good for whether anything waits in it.
    hidden_queue: Slot,
    /// A call that the loop was asked for was seen in that queue.
    is_proved: Cell<bool>,
    pub ways: Ways,
    /// Where the handles that the loop is given say that they are cancelled, if they are ours.
    pub cancelled: Option<Member>,
    /// The end of the batch whose step runs; 0 for none.
    pub current: Cell<u64>,
    /// What goes on when the batch has been drained: the join of a host, or a task.
    pub last: Slot,
}

impl Ready {
    pub(crate) fn new(
        py: Python<'_>,
        loop_queue: Option<Owned>,
        hidden_queue: Option<Owned>,
        ways: Ways,
        state: &Weakly,
    ) -> Self {
        let (queue, hidden) = (Slot::empty(), Slot::empty());
        drop(queue.replace(loop_queue));
        drop(hidden.replace(hidden_queue));
        Self {
            tasks: RefCell::default(),
            pushed: Cell::new(0),
            taken: Cell::new(0),
            turns: Turns::new(state),
            loop_queue: queue,
            hidden_queue: hidden,
            is_proved: Cell::new(false),
            ways,
            cancelled: imports(py).handle_cancelled.filter(|_| ways.plain),
            current: Cell::new(0),
            last: Slot::empty(),
        }
    }

    pub(crate) fn traverse(
        &self,
        visit: impl Fn(&Object) -> Result<(), PyTraverseError>,
    ) -> Result<(), PyTraverseError> {
        self.loop_queue.show(&visit)?;
        self.hidden_queue.show(&visit)?;
        self.last.show(&visit)?;
        self.turns.traverse(&visit)?;
        if let Ok(tasks) = self.tasks.try_borrow() {
            tasks.iter().try_for_each(|task| visit(task))?;
        }
        Ok(())
    }

    pub(crate) fn clear(&self) {
        let tasks = self.tasks.take();
        self.taken.set(self.pushed.get());
        drop(tasks);
        self.turns.clear();
        self.loop_queue.clear();
        self.hidden_queue.clear();
        self.last.clear();
    }

    /// Whether nothing waits in the loop's queue; one that cannot be seen may have something.
    pub(crate) fn is_last(&self) -> bool {
        if self.is_open() {
            return false;
        }
        let queue = match self.loop_queue.cloned() {
            None if self.is_proved.get() => self.hidden_queue.cloned(),
            shown => shown,
        };
        queue.is_some_and(|queue| size(&queue).is_ok_and(|it| it == 0))
    }

    /// The loop was asked for a call: either its handle is the last thing in the hidden queue, or that is
    /// not the loop's.
    pub(crate) fn prove(&self, handle: &Object) {
        if self.is_proved.get() {
            return;
        }
        let Some(queue) = self.hidden_queue.cloned() else { return };
        self.is_proved.set(item(&queue, -1).is_ok_and(|last| last.is(handle)));
        if !self.is_proved.get() {
            self.hidden_queue.clear();
        }
    }

    /// What waits here is over: a join, or the wait of a task. Returns whether that is seen to when this
    /// batch has been drained, because nothing would come before it.
    pub(crate) fn take_last(&self, waiting: &Object) -> bool {
        let drained = self.current.get() != 0 && self.current.get() == self.taken.get();
        if !drained || !self.last.is_empty() || !self.is_last() {
            return false;
        }
        self.last.set(Owned::share(waiting));
        true
    }

    /// What runs until this goes is no step of the batch around it, which may end much later: a step
    /// can run the loop itself.
    #[inline]
    pub(crate) fn outside_batch(&self) -> Outside<'_> {
        Outside { ready: self, outer: self.current.replace(0) }
    }

    /// Whether anything is queued.
    #[inline]
    fn is_open(&self) -> bool {
        self.turns.last() != 0
    }

    /// Whether a task can join the last batch without overtaking anything, and without sharing the
    /// fate of a call that was cancelled.
    #[inline(always)]
    pub(crate) fn last_is_open(&self) -> bool {
        let handle = self.turns.last();
        if handle == 0 {
            return false;
        }
        let Some(queue) = self.loop_queue.cloned() else {
            return !self.ways.nests || !self.turns.is_last_cancelled();
        };
        item(&queue, -1).is_ok_and(|last| {
            last.address() == handle
                && match &self.cancelled {
                    Some(member) => member.is_true(&last) != Some(true),
                    None => !turn::is_cancelled(&last),
                }
        })
    }

    /// Whether a task stands in it.
    pub(crate) fn has_tasks(&self) -> bool {
        !self.tasks.borrow().is_empty()
    }

    /// Enters a task into the last batch.
    #[inline]
    pub(crate) fn append(&self, task: Owned) {
        self.tasks.borrow_mut().push_back(task);
        self.pushed.set(self.pushed.get() + 1);
    }

    /// Takes the first task out of those before `end`. Returns it, and how many those were.
    #[inline]
    pub(crate) fn take(&self, end: u64) -> Option<(Owned, u64)> {
        let left = end.checked_sub(self.taken.get()).filter(|left| *left > 0)?;
        let task = self.tasks.borrow_mut().pop_front()?;
        self.taken.set(self.taken.get() + 1);
        Some((task, left))
    }
}

/// See [`Ready::outside_batch`].
#[derive(Debug)]
pub(crate) struct Outside<'a> {
    ready: &'a Ready,
    outer: u64,
}

impl Drop for Outside<'_> {
    #[inline]
    fn drop(&mut self) {
        self.ready.current.set(self.outer);
    }
}
