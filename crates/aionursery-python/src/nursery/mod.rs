//! `Nursery`: the object, how it is entered, and what it knows before and after. `class` is what a
//! program sees of it, `start` how a child starts, `join` how it is left, `raise` what it raises,
//! `abandoned` what happens where it cannot be left. Life, errors
//! and cancellation are the tree's; this drives it.

mod abandoned;
mod class;
pub(crate) mod handover;
mod join;
mod leave;
mod leaver;
mod notes;
pub(crate) mod position;
mod raise;
pub(crate) mod start;
pub(crate) mod strict;
mod target;
pub(crate) mod taskgroup;

use std::cell::Cell;

use nursery_core::{Cause, Cleanup, NurseryId, Phase, Settings, Source};
use pyo3::prelude::*;

use crate::cpython::errors::{Fallible, misuse, set_error_text};
use crate::cpython::futures;
use crate::cpython::imports::{imports, running_loop};
use crate::cpython::object::{class, none_ref};
use crate::cpython::owned::Owned;
use crate::cpython::slot::Slot;
use crate::cpython::thread::thread_mark;
use crate::engine::home::{Home, HomeSlot};
use crate::engine::state::LoopState;
use crate::hosts;
use crate::hosts::host;
use crate::scope::{CancelScope, warn_if_meant_as_seconds};

pub(crate) use abandoned::discard;
pub(crate) use class::add_to;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    New,
    Open,
    Closed,
}

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
/// NurseryClosed once it has ended.
#[pyclass(frozen, weakref, subclass, module = "aionursery", name = "Nursery")]
#[derive(Debug)]
pub(crate) struct Nursery {
    stage: Cell<Stage>,
    id: Cell<Option<NurseryId>>,
    collect: bool,
    /// It is anyio's.
    strict: bool,
    home: HomeSlot,
    thread: Cell<usize>,
    host: Slot,
    /// It is being left.
    left: Cell<bool>,
    /// The task that leaves it, by its address: it is alive as long as it awaits the join.
    leaver: Cell<usize>,
    /// The error for the task that leaves it, if it is left as it must not be.
    misuse: Slot,
    /// Its scope as an object, once it was asked for.
    scope: Slot<CancelScope>,
    /// What that object is told if it is made before the block is entered or after it was left.
    settings: Cell<Settings>,
    /// After how many seconds from entry it is cancelled by itself.
    relative: Cell<f64>,
    /// What counts its children's places, if it has a limit.
    gate: Slot,
    /// What is called with each error of a child in the block's place, if anything.
    handler: Slot,
    /// What its children run in, if that was given.
    context: Slot,
    source: Cell<Option<Source>>,
    reason: Slot,
    caught: Cell<bool>,
}

class!(Nursery);

impl Nursery {
    #[inline]
    pub(crate) fn state(&self) -> Option<Home> {
        self.home.cloned().filter(|state| !state.is_gone())
    }

    fn enter(&self, py: Python<'_>) -> Fallible<()> {
        match self.stage.get() {
            Stage::New => {}
            Stage::Open => {
                return Err(misuse(
                    py,
                    "this nursery is already entered; open a new one for each 'async with'",
                ));
            }
            Stage::Closed => {
                let text = "this nursery is closed and cannot be opened again; make a new one";
                return Err(set_error_text(imports(py).parts.closed, text));
            }
        }
        let event_loop = running_loop(py)?;
        let state = LoopState::of(&event_loop)?;
        let task = host::current(&state, "a nursery")?;
        if futures::is_done(&task)? {
            return Err(misuse(
                py,
                "the current task has ended: what runs while it is being ended, as a \
                 destructor or a future's cancel(), cannot enter a nursery",
            ));
        }
        let (mut settings, relative, early) = match self.scope.cloned() {
            Some(scope) => (scope.settings(), scope.relative(), scope.early()),
            None => (self.settings.get(), self.relative.get(), None),
        };
        let timed = settings.deadline.min(relative) < f64::INFINITY || early.is_some();
        let now = if timed { state.now()? } else { 0.0 };
        settings.deadline = settings.deadline.min(now + relative);
        if timed && settings.deadline <= now {
            warn_if_meant_as_seconds(&state, settings.deadline)?;
        }
        let honoured = host::honoured(&task)?;
        let member = hosts::member_of(&state, &task);
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
        if let Some(scope) = self.scope.cloned() {
            scope.bind(state.clone(), scope_id, &task, thread);
        }
        self.id.set(Some(id));
        self.stage.set(Stage::Open);
        self.thread.set(thread);
        self.home.set(state);
        self.host.set(task);
        Ok(())
    }

    fn make(settings: Settings, relative: f64, collect: bool) -> Self {
        Self {
            stage: Cell::new(Stage::New),
            id: Cell::new(None),
            collect,
            strict: false,
            home: HomeSlot::default(),
            thread: Cell::new(0),
            host: Slot::empty(),
            left: Cell::new(false),
            leaver: Cell::new(0),
            misuse: Slot::empty(),
            scope: Slot::empty(),
            settings: Cell::new(settings),
            relative: Cell::new(relative),
            gate: Slot::empty(),
            handler: Slot::empty(),
            context: Slot::empty(),
            source: Cell::new(None),
            reason: Slot::empty(),
            caught: Cell::new(false),
        }
    }

    /// Its scope as an object: most nurseries never need one.
    fn scope(&self, py: Python<'_>) -> Fallible<Owned<CancelScope>> {
        if let Some(scope) = self.scope.cloned() {
            return Ok(scope);
        }
        let settings = self.settings.get();
        let new = self.stage.get() == Stage::New;
        let relative = if new { self.relative.get() } else { f64::INFINITY };
        let scope = CancelScope::create(py, settings, relative, false)?;
        self.show(scope.clone());
        Ok(scope)
    }

    /// This new object stands for its scope from now on.
    fn show(&self, scope: Owned<CancelScope>) {
        self.scope.set(scope.clone());
        scope.belong_to_nursery();
        if let (Some((state, id)), Some(host)) = (self.place(), self.host.cloned()) {
            let id = state.tree.borrow().scope(id);
            scope.bind(state.clone(), id, &host, self.thread.get());
        } else if self.stage.get() == Stage::Closed {
            let reason = self.reason.cloned();
            let cause = self.source.get().map(|source| Cause { source, reason });
            scope.keep_end(self.settings.get(), cause, self.caught.get());
        }
    }

    /// It leaves the tree: what runs from here on finds it closed. Runs no Python code.
    fn retire(&self) {
        self.stage.set(Stage::Closed);
        self.id.set(None);
        if let Some(scope) = self.scope.cloned() {
            scope.let_go();
        }
    }

    /// Its own cancellation was found in a group of errors, and taken out.
    fn has_caught(&self) {
        self.caught.set(true);
        if let Some(scope) = self.scope.cloned() {
            scope.has_caught();
        }
    }

    /// Its own cancellation acts as asyncio's groups do it (R12a, R18).
    pub(crate) fn act_as_task_group(&self) {
        let settings = self.settings.get();
        self.settings.set(Settings { abrupt: true, cleanup: Cleanup::Never, ..settings });
    }

    /// Where it stands in its loop's tree, while it is open or joining.
    #[inline(always)]
    pub(crate) fn place(&self) -> Option<(Home, NurseryId)> {
        Some((self.state()?, self.id.get()?))
    }

    /// Whether the caller runs in the thread of the nursery's loop.
    #[inline]
    pub(crate) fn is_here(&self) -> bool {
        self.thread.get() == thread_mark()
    }

    /// Whether the caller runs in another loop than the nursery's, while that is open.
    #[inline]
    pub(crate) fn is_elsewhere(&self, py: Python<'_>) -> Fallible<bool> {
        let Some(state) = self.state() else { return Ok(false) };
        if self.is_here() && (state.running.get() != 0 || state.ready.is_open()) {
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
        self.stage.get() == Stage::Closed
    }

    /// It is over.
    fn leave(&self, settings: Settings, cause: Option<Cause<Owned>>, caught: bool) {
        self.stage.set(Stage::Closed);
        self.id.set(None);
        if let Some(scope) = self.scope.cloned() {
            scope.keep_end(settings, cause, caught);
        } else {
            self.settings.set(settings);
            self.caught.set(caught);
            if let Some(cause) = cause {
                self.source.set(Some(cause.source));
                drop(self.reason.replace(cause.reason));
            }
        }
        self.host.clear();
        self.home.clear();
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
