//! The calls that a loop is asked for, and the handles that stand for them in its queue. A loop that
//! runs handles as asyncio's own loops do is given the same few of them again and again in place of
//! a `call_soon` a turn. It must never have one handle in the loop's queue twice, nor use one again
//! that was cancelled or that may still be there.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use pyo3::gc::PyTraverseError;

use crate::cpython::call::{call, empty_context, has_class, method0, method1, truth_of};
use crate::cpython::containers::tuple;
use crate::cpython::errors::{Fallible, optional};
use crate::cpython::function::Method;
use crate::cpython::imports::{imports, names};
use crate::cpython::myself::Weakly;
use crate::cpython::object::Object;
use crate::cpython::owned::Owned;
use crate::engine::link::Link;
use pyo3::prelude::*;

/// How many turns are kept for another time.
pub(crate) const SPARE: usize = 16;

/// A call of the drain.
#[derive(Debug)]
pub(crate) struct Turn {
    /// The drain is bound to it.
    link: Owned<Link>,
    drain: Owned,
    /// While it stands in the loop's queue, and for another time.
    pub handle: Option<Owned>,
}

impl Turn {
    fn create(py: Python<'_>, state: &Weakly, drain: &'static Method<Link>) -> Fallible<Self> {
        let link = Link::create(py, state)?;
        let drain = drain.bind(&link)?;
        Ok(Self { link, drain, handle: None })
    }

    fn parts(&self) -> impl Iterator<Item = &Object> {
        [self.link.object(), &self.drain].into_iter().chain(self.handle.as_deref())
    }

    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    /// Whether its call is still to come, as far as we have seen.
    pub(crate) fn is_due(&self) -> bool {
        self.link().end.get() != 0
    }

    /// A handle as the loop would make it; the context is one that keeps nothing of the caller's.
    pub(crate) fn make_handle(&mut self) -> Fallible<Owned> {
        if let Some(made) = &self.handle {
            return Ok(made.clone());
        }
        let py = self.drain.py();
        let (args, context) = (tuple(py, &[])?, empty_context(py)?);
        let class = imports(py).handle_type;
        let made = call(class, [&*self.drain, &*args, self.link.object(), &*context])?;
        self.handle = Some(made.clone());
        Ok(made)
    }

    pub(crate) fn call_soon(&mut self, event_loop: &Object) -> Fallible<()> {
        self.handle = Some(method1(event_loop, names(event_loop.py()).call_soon, &self.drain)?);
        Ok(())
    }
}

/// Whether a handle was cancelled; `false` for one that cannot say.
pub(crate) fn is_cancelled(handle: &Object) -> bool {
    let imports = imports(handle.py());
    if has_class(handle, imports.handle_type)
        && let Some(cancelled) = imports.handle_cancelled.and_then(|it| it.is_true(handle))
    {
        return cancelled;
    }
    optional(truth_of(method0(handle, imports.names.cancelled))).unwrap_or(false)
}

/// One loop's turns.
#[derive(Debug)]
pub(crate) struct Turns {
    state: Weakly,
    /// Those that the loop is still to call, in its order. The last one has no end yet.
    due: RefCell<VecDeque<Turn>>,
    /// The address of the handle of the last one; 0 if there is none.
    last: Cell<usize>,
    pub spare: RefCell<Vec<Turn>>,
}

impl Turns {
    pub(crate) fn new(state: &Weakly) -> Self {
        Self {
            state: state.clone(),
            due: RefCell::default(),
            last: Cell::new(0),
            spare: RefCell::default(),
        }
    }

    pub(crate) fn traverse(
        &self,
        visit: &impl Fn(&Object) -> Result<(), PyTraverseError>,
    ) -> Result<(), PyTraverseError> {
        let visit_one = |turn: &Turn| turn.parts().try_for_each(visit);
        if let Ok(due) = self.due.try_borrow() {
            due.iter().try_for_each(visit_one)?;
        }
        if let Ok(spare) = self.spare.try_borrow() {
            spare.iter().try_for_each(visit_one)?;
        }
        Ok(())
    }

    pub(crate) fn clear(&self) {
        self.last.set(0);
        let gone = (self.due.take(), self.spare.take());
        drop(gone);
    }

    /// See the field.
    #[inline]
    pub(crate) fn last(&self) -> usize {
        self.last.get()
    }

    /// A new last one; the one before it ends with the last task that has come by now.
    pub(crate) fn push(&self, turn: Turn, pushed: u64) {
        let mut due = self.due.borrow_mut();
        if let Some(before) = due.back() {
            before.link().end.set(pushed);
        }
        self.last.set(turn.handle.as_ref().map_or(0, |handle| handle.address()));
        due.push_back(turn);
    }

    /// The loop makes the call that `link` is for. What it was to call before that is lost, and must
    /// not be used again: what took it out of the queue may put it back.
    pub(crate) fn begin(&self, link: &Object, pushed: u64) -> Option<Turn> {
        let (turn, lost) = {
            let mut due = self.due.borrow_mut();
            let place = due.iter().position(|turn| turn.link.object().is(link))?;
            let lost: Vec<Turn> = due.drain(..place).collect();
            let turn = due.pop_front();
            if due.is_empty() {
                self.last.set(0);
                turn.iter().for_each(|turn| turn.link().end.set(pushed));
            }
            (turn, lost)
        };
        lost.iter().for_each(|turn| turn.link().end.set(0));
        drop(lost);
        turn
    }

    /// Whether the last one's call was cancelled.
    pub(crate) fn is_last_cancelled(&self) -> bool {
        let handle = self.due.borrow().back().and_then(|turn| turn.handle.clone());
        handle.is_some_and(|handle| is_cancelled(&handle))
    }

    /// A turn that is not due: one that was before, or a new one, which calls `drain`.
    pub(crate) fn fresh(&self, py: Python<'_>, drain: &'static Method<Link>) -> Fallible<Turn> {
        let spare = self.spare.borrow_mut().pop();
        match spare {
            Some(turn) => Ok(turn),
            None => Turn::create(py, &self.state, drain),
        }
    }
}
