//! `Nursery`: the object, how it is entered, and what it knows before and after. `class` is what a
//! program sees of it, `start` how a child starts, `join` how it is left, `raise` what it raises,
//! `abandoned` what happens where it cannot be left. It must never decide about life, errors
//! or cancellation: the tree does, and this drives it.

mod abandoned;
mod class;
pub(crate) mod handover;
mod join;
mod leave;
mod leaver;
mod notes;
pub(crate) mod position;
mod raise;
pub(crate) mod shields;
pub(crate) mod start;
pub(crate) mod strict;
mod target;
pub(crate) mod taskgroup;

use std::cell::Cell;

use nursery_core::{Cause, Cleanup, NurseryId, Phase, Settings};
use pyo3::prelude::*;

use crate::cpython::errors::{Fallible, misuse, set_error_text};
use crate::cpython::imports::{imports, running_loop};
use crate::cpython::object::{class, none_ref};
use crate::cpython::owned::Owned;
use crate::cpython::slot::Slot;
use crate::cpython::thread::thread_mark;
use crate::engine::home::Home;
use crate::engine::state::LoopState;
use crate::engine::timers;
use crate::hosts;
use crate::hosts::host;
use crate::scope::CancelScope;
use crate::scope::block::{Block, Stage};
use crate::task;

pub(crate) use abandoned::discard;
pub(crate) use class::add_to;

/// A block that owns the tasks started in it.
///
/// Used once, by async with; it is left when body and children have ended. on_error="cancel": the
/// first failure cancels the rest; "collect": it does not; a function: it is called with each
/// Exception of a child, and what it raises is the failure, if anything. deadline is a moment on the loop's
/// clock at which it is cancelled, relative_deadline the same in seconds from entry, the earlier
/// counts; shield keeps out cancellation from outside; cleanup is how many seconds cancelled tasks
/// may go on awaiting (None is for ever, 0 not at all; not given, it is inherited, 10 if there is
/// none). With limit, no more children run at once, and the others wait for their first step in the
/// order of starting. context is what children run in that are given none of their own.
///
/// The block raises MultiError with all that failed, BaseMultiError if something in it is no
/// Exception, and KeyboardInterrupt and SystemExit bare. Entering it again raises RuntimeError, or
/// NurseryClosed once it has ended. Raises ValueError for an unknown on_error, a limit below 1, a NaN
/// and for a negative cleanup or relative_deadline.
#[pyclass(frozen, weakref, subclass, module = "aionursery", name = "Nursery")]
#[derive(Debug)]
pub(crate) struct Nursery {
    /// What its scope knows, as long as that is no object.
    block: Block,
    id: Cell<Option<NurseryId>>,
    collect: bool,
    /// It is anyio's.
    strict: bool,
    /// It is anyio's, and the program's task factory makes its children's tasks.
    by_factory: Cell<bool>,
    /// It is being left.
    left: Cell<bool>,
    /// The task that leaves it, by its address: it is alive as long as it awaits the join.
    leaver: Cell<usize>,
    /// The error for the task that leaves it, if it is left as it must not be.
    misuse: Slot,
    /// Its scope as an object, once it was asked for.
    scope: Slot<CancelScope>,
    /// What counts its children's places, if it has a limit.
    gate: Slot,
    /// The event that says that it is to come to an end, once it was asked for.
    stopping: Slot,
    /// What is called with each error of a child in the block's place, if anything.
    handler: Slot,
    /// What its children run in, if that was given.
    context: Slot,
}

class!(Nursery);

impl Nursery {
    #[inline]
    pub(crate) fn state(&self) -> Option<Home> {
        self.block.state()
    }

    #[inline]
    fn check_new(&self, py: Python<'_>) -> Fallible<()> {
        match self.block.stage.get() {
            Stage::New => Ok(()),
            Stage::Entered => Err(misuse(
                py,
                "this nursery is already entered; open a new one for each 'async with'",
            )),
            Stage::Left => {
                let text = "this nursery is closed and cannot be opened again; make a new one";
                Err(set_error_text(imports(py).parts.closed, text))
            }
        }
    }

    fn enter(&self, py: Python<'_>) -> Fallible<()> {
        self.check_new(py)?;
        let event_loop = running_loop(py)?;
        let state = LoopState::of(&event_loop)?;
        let task = host::current(&state, "a nursery")?;
        if host::has_ended(&task)? {
            return Err(misuse(
                py,
                "the current task has ended: what runs while it is being ended, as a \
                 destructor or a future's cancel(), cannot enter a nursery",
            ));
        }
        let shown = self.scope.cloned();
        let told = shown.as_deref().map_or(&self.block, |scope| scope.block());
        let (settings, now) = told.settings_now(&state)?;
        timers::arm_by(&state, settings.deadline)?;
        let honoured = host::honoured(&task)?;
        // The loop's code has run.
        self.check_new(py)?;
        let early = told.cause();
        let member = hosts::member_of(&state, &task);
        if settings.deadline < f64::INFINITY {
            task::keep(&task);
        }
        let (id, scope_id) = state.change(|tree, out| {
            let id = tree.open(member, settings, self.collect, honoured, now, out);
            let scope = tree.scope(id);
            if self.strict {
                tree.be_strict(id);
            }
            if let Some(cause) = early {
                tree.cancel(scope, cause, now, out);
            }
            (id, scope)
        });
        let thread = thread_mark();
        if let Some(scope) = shown {
            scope.bind(state.clone(), scope_id, task.clone(), thread);
        }
        self.id.set(Some(id));
        self.block.enter(state, task, thread);
        Ok(())
    }

    fn make(settings: Settings, relative: f64, collect: bool) -> Self {
        Self {
            block: Block::new(settings, relative),
            id: Cell::new(None),
            collect,
            strict: false,
            by_factory: Cell::new(false),
            left: Cell::new(false),
            leaver: Cell::new(0),
            misuse: Slot::empty(),
            scope: Slot::empty(),
            gate: Slot::empty(),
            stopping: Slot::empty(),
            handler: Slot::empty(),
            context: Slot::empty(),
        }
    }

    /// Its scope as an object: most nurseries never need one.
    fn scope(&self, py: Python<'_>) -> Fallible<Owned<CancelScope>> {
        if let Some(scope) = self.scope.cloned() {
            return Ok(scope);
        }
        let settings = self.block.settings.get();
        let relative = if self.block.is_new() { self.block.relative.get() } else { f64::INFINITY };
        let scope = CancelScope::create(py, settings, relative, false)?;
        self.show(scope.clone());
        Ok(scope)
    }

    /// This new object stands for its scope from now on.
    fn show(&self, scope: Owned<CancelScope>) {
        self.scope.set(scope.clone());
        scope.belong_to_nursery();
        if let (Some((state, id)), Some(host)) = (self.place(), self.block.host.cloned()) {
            let id = state.tree.borrow().scope(id);
            scope.bind(state.clone(), id, host, self.block.thread.get());
        } else if self.block.is_left() {
            let Block { settings, caught, .. } = &self.block;
            scope.keep_end(settings.get(), self.block.cause(), caught.get());
        }
    }

    /// It leaves the tree: what runs from here on finds it closed. Runs no Python code.
    fn retire(&self) {
        self.block.stage.set(Stage::Left);
        self.id.set(None);
        if let Some(scope) = self.scope.cloned() {
            scope.let_go();
        }
    }

    /// Its own cancellation was found in a group of errors, and taken out.
    fn has_caught(&self) {
        self.block.caught.set(true);
        if let Some(scope) = self.scope.cloned() {
            scope.has_caught();
        }
    }

    /// Its own cancellation acts as asyncio's groups do it (R12a, R18).
    pub(crate) fn act_as_task_group(&self) {
        self.block.change_settings(|settings| {
            (settings.abrupt, settings.cleanup) = (true, Cleanup::Never);
        });
    }

    /// Where it stands in its loop's tree, while it is open or joining.
    #[inline(always)]
    pub(crate) fn place(&self) -> Option<(Home, NurseryId)> {
        Some((self.state()?, self.id.get()?))
    }

    /// Whether the caller runs in the thread of the nursery's loop.
    #[inline]
    pub(crate) fn is_here(&self) -> bool {
        self.block.is_here()
    }

    /// Whether the caller runs in another loop than the nursery's, while that is open.
    #[inline]
    pub(crate) fn is_elsewhere(&self, py: Python<'_>) -> Fallible<bool> {
        let Some(state) = self.state() else { return Ok(false) };
        if self.is_here() && state.running.get() != 0 {
            return Ok(false);
        }
        let running = imports(py).peek_running_loop.call()?;
        Ok(self.id.get().is_some() && !running.is(none_ref(py)) && !state.is_loop(&running))
    }

    /// Whether its body runs and nothing has cancelled it.
    #[inline]
    pub(crate) fn is_accepting(&self) -> bool {
        self.place().is_some_and(|(state, id)| {
            let tree = state.tree.borrow();
            tree.phase(id) == Phase::Open && tree.cause(tree.scope(id)).is_none()
        })
    }

    /// Whether its block has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.block.is_left()
    }

    /// Its block has ended, as `settings` and `cause` say.
    fn leave(&self, settings: Settings, cause: Option<Cause<Owned>>, caught: bool) {
        self.id.set(None);
        if let Some(scope) = self.scope.cloned() {
            self.block.stage.set(Stage::Left);
            scope.keep_end(settings, cause, caught);
            self.block.part();
        } else {
            self.block.leave(settings, cause, caught);
        }
    }
}

impl Drop for Nursery {
    fn drop(&mut self) {
        self.give_up();
        if let (Some(_), Some(scope)) = (self.id.get(), self.scope.cloned()) {
            scope.let_go();
        }
    }
}
