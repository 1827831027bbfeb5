//! The calls that a loop is asked for, and the handles that stand for them in its queue. A loop that
//! runs handles as asyncio's own loops do is given the same few of them again and again in place of
//! a `call_soon` a turn. It must never have one handle in the loop's queue twice, nor use one again
//! that somebody has cancelled or that may still be there.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use pyo3::ffi;
use pyo3::gc::PyTraverseError;

use crate::cpython::imports::{imports, is_debug, names};
use crate::cpython::object::{Fallible, Owned, Raw, call, call_method, getattr, method0, truth};
use crate::engine::hooks::hooks;
use crate::engine::link::{Address, Link};
use crate::engine::state::LoopState;

/// How many turns are kept for another time.
const SPARE: usize = 16;

/// A call of the drain.
pub struct Turn {
    /// The drain is bound to it.
    link: Owned,
    drain: Owned,
    /// While it stands in the loop's queue, and for another time.
    handle: Option<Owned>,
}

impl Turn {
    unsafe fn create(address: &Address) -> Fallible<Self> {
        // SAFETY: attached.
        unsafe {
            let link = Link::create(address)?;
            let drain = hooks().drain.bind(link.as_ptr())?;
            Ok(Self { link, drain, handle: None })
        }
    }

    fn parts(&self) -> impl Iterator<Item = &Owned> {
        [&self.link, &self.drain].into_iter().chain(&self.handle)
    }

    fn link(&self) -> &Link {
        // SAFETY: made as a link.
        unsafe { Link::of(self.link.as_ptr()) }
    }

    fn handle(&self) -> Raw {
        self.handle.as_ref().map_or(std::ptr::null_mut(), Owned::as_ptr)
    }

    /// Whether its call is still to come, as far as we have seen.
    pub fn is_due(&self) -> bool {
        self.link().end.get() != 0
    }

    /// A handle as the loop would make it; the context is one that keeps nothing of the caller's.
    unsafe fn make_handle(&mut self) -> Fallible<Owned> {
        // SAFETY: attached.
        unsafe {
            if let Some(made) = &self.handle {
                return Ok(made.clone());
            }
            let args = Owned::new(ffi::PyTuple_New(0))?;
            let context = Owned::new(ffi::PyContext_New())?;
            let (drain, link) = (self.drain.as_ptr(), self.link.as_ptr());
            let mut args = [std::ptr::null_mut(), drain, args.as_ptr(), link, context.as_ptr()];
            let made = call(imports().handle_type, &mut args)?;
            self.handle = Some(made.clone());
            Ok(made)
        }
    }

    unsafe fn call_soon(&mut self, state: &LoopState) -> Fallible<()> {
        // SAFETY: attached.
        unsafe {
            let mut args = [std::ptr::null_mut(), self.drain.as_ptr()];
            let (event_loop, nothing) = (state.event_loop.get(), std::ptr::null_mut());
            self.handle = Some(call_method(event_loop, names().call_soon, &mut args, nothing)?);
            Ok(())
        }
    }
}

/// Whether somebody has cancelled a handle; one that cannot say has not been.
pub unsafe fn is_cancelled(handle: &Owned) -> bool {
    // SAFETY: attached; the handle is alive.
    unsafe {
        let imports = imports();
        if let Some(offset) = imports.handle_cancelled
            && ffi::Py_TYPE(handle.as_ptr()).cast() == imports.handle_type
        {
            return is_set(handle, offset);
        }
        let answer = method0(handle.as_ptr(), names().cancelled);
        answer.and_then(|answer| truth(&answer)).unwrap_or_else(|raised| {
            raised.forget();
            false
        })
    }
}

/// Whether a slot of a handle is True.
#[inline]
pub unsafe fn is_set(handle: &Owned, offset: isize) -> bool {
    // SAFETY: the slot is where the handle's type has it; it is null before `__init__`.
    unsafe { *handle.as_ptr().cast::<u8>().offset(offset).cast::<Raw>() == ffi::Py_True() }
}

/// One loop's turns.
pub struct Turns {
    address: Address,
    /// Those that the loop is still to call, in its order. The last one has no end yet.
    due: RefCell<VecDeque<Turn>>,
    /// The handle of the last one, borrowed; null if there is none.
    last: Cell<Raw>,
    spare: RefCell<Vec<Turn>>,
}

impl Turns {
    pub fn new(address: &Address) -> Self {
        Self {
            address: address.clone(),
            due: RefCell::default(),
            last: Cell::new(std::ptr::null_mut()),
            spare: RefCell::default(),
        }
    }

    pub fn traverse(
        &self,
        visit: &impl Fn(Raw) -> Result<(), PyTraverseError>,
    ) -> Result<(), PyTraverseError> {
        let visit_one = |turn: &Turn| turn.parts().try_for_each(|part| visit(part.as_ptr()));
        if let Ok(due) = self.due.try_borrow() {
            due.iter().try_for_each(visit_one)?;
        }
        if let Ok(spare) = self.spare.try_borrow() {
            spare.iter().try_for_each(visit_one)?;
        }
        Ok(())
    }

    pub fn clear(&self) {
        self.last.set(std::ptr::null_mut());
        let gone = (self.due.take(), self.spare.take());
        drop(gone);
    }

    /// See the field.
    #[inline]
    pub fn last(&self) -> Raw {
        self.last.get()
    }

    /// A new last one; the one before it ends with the last task that has come by now.
    fn push(&self, turn: Turn, pushed: u64) {
        let mut due = self.due.borrow_mut();
        if let Some(before) = due.back() {
            before.link().end.set(pushed);
        }
        self.last.set(turn.handle());
        due.push_back(turn);
    }

    /// The loop makes the call that `link` is for. What it was to call before that is lost, and must
    /// not be used again: whoever took it out of the queue may put it back.
    pub fn begin(&self, link: Raw, pushed: u64) -> Option<Turn> {
        let (turn, lost) = {
            let mut due = self.due.borrow_mut();
            let place = due.iter().position(|turn| turn.link.as_ptr() == link)?;
            let lost: Vec<Turn> = due.drain(..place).collect();
            let turn = due.pop_front();
            if due.is_empty() {
                self.last.set(std::ptr::null_mut());
                turn.iter().for_each(|turn| turn.link().end.set(pushed));
            }
            (turn, lost)
        };
        lost.iter().for_each(|turn| turn.link().end.set(0));
        drop(lost);
        turn
    }

    unsafe fn fresh(&self) -> Fallible<Turn> {
        let spare = self.spare.borrow_mut().pop();
        match spare {
            Some(turn) => Ok(turn),
            // SAFETY: attached.
            None => unsafe { Turn::create(&self.address) },
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
        let mut turn = ready.turns.fresh()?;
        // `call_soon` says so if the loop is closed.
        if ready.ways.plain && !truth(&getattr(event_loop, names().closed)?)? {
            let handle = turn.make_handle()?;
            imports().append.call_on(ready.loop_queue.get(), handle.as_ptr())?;
        } else {
            turn.call_soon(state)?;
        }
        ready.turns.push(turn, ready.pushed.get());
        Ok(())
    }
}

/// A turn for what is left of a batch, before everything else if the loop can do that: only who runs
/// the loop inside a step comes to it. None for a loop that nobody can run there.
pub unsafe fn put_rest(state: &LoopState, end: u64) -> Fallible<Option<Turn>> {
    // SAFETY: attached.
    unsafe {
        let ready = &state.ready;
        if !ready.ways.nests {
            return Ok(None);
        }
        let mut turn = ready.turns.fresh()?;
        turn.link().end.set(end);
        if ready.ways.front {
            let handle = turn.make_handle()?;
            imports().append_left.call_on(ready.loop_queue.get(), handle.as_ptr())?;
        } else {
            turn.call_soon(state)?;
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
