//! `CancelScope`: how it is entered, and what it knows before and after. `leave` is how it is left,
//! `methods` the rest of what a program sees of it, `settings` the arguments that it shares with
//! nurseries, `block` what both are, `within` the functions that make one, `watch` what a cancellation of it calls, `strict`
//! the scopes of anyio's. It asks the tree for every decision; it must never cancel a task itself.

pub(crate) mod block;
mod leave;
mod methods;
mod settings;
pub(crate) mod strict;
mod watch;
mod within;

use std::cell::Cell;

use nursery_core::{Cause, ScopeId, Settings, Source};
use pyo3::prelude::*;

use crate::cpython::args::Args;
use crate::cpython::called::method;
use crate::cpython::errors::{Fallible, fetch, misuse};
use crate::cpython::function::{Method, This};
use crate::cpython::imports::running_loop;
use crate::cpython::object::class;
use crate::cpython::owned::{Owned, boolean};
use crate::cpython::thread::thread_mark;
use crate::engine::home::Home;
use crate::engine::state::LoopState;
use crate::engine::{threads, timers};
use crate::hosts;
use crate::hosts::host;
use crate::task;
use crate::wait::clock;

use block::{Block, Stage};
pub(crate) use settings::{relative_of, settings_of, warn_if_meant_as_seconds};
pub(crate) use watch::add_to as add_watching;
pub(crate) use within::add_to as add_functions;

/// A part of a program that can be cancelled as one, may have a deadline, and may be shielded.
///
/// Used once, by a plain with. deadline is a moment on the loop's clock at which it is cancelled;
/// shield keeps out cancellation from outside; cleanup is how many seconds cancelled tasks may go
/// on awaiting (None is for ever, 0 not at all; not given, it is inherited, 10 if there is none);
/// reason is what cancel() gives if it is given none. Raises ValueError for a NaN and for a negative
/// cleanup or relative_deadline, RuntimeError if it is entered twice, outside of a task, or left in
/// another task or another order than entered.
#[pyclass(frozen, weakref, subclass, module = "aionursery", name = "CancelScope")]
#[derive(Debug)]
pub(crate) struct CancelScope {
    /// Its reason is what `cancel` gives until it was left.
    block: Block,
    /// Raises TimeoutError if its deadline ends the block.
    fails: bool,
    /// It is anyio's.
    strict: bool,
    /// It is a nursery's, and is left with that.
    is_nurserys: Cell<bool>,
    id: Cell<Option<ScopeId>>,
}

class!(CancelScope);

impl CancelScope {
    pub(crate) fn make(settings: Settings, relative: f64, fails: bool) -> Self {
        Self {
            block: Block::new(settings, relative),
            fails,
            strict: false,
            is_nurserys: Cell::new(false),
            id: Cell::new(None),
        }
    }

    /// A new object.
    pub(crate) fn create(
        py: Python<'_>,
        settings: Settings,
        relative: f64,
        fails: bool,
    ) -> Fallible<Owned<Self>> {
        Owned::make(py, Self::make(settings, relative, fails))
    }

    /// It is a nursery's from now on.
    pub(crate) fn belong_to_nursery(&self) {
        self.is_nurserys.set(true);
    }

    /// It has swallowed its own cancellation after all.
    pub(crate) fn has_caught(&self) {
        self.block.caught.set(true);
    }

    /// What it knows beside the tree.
    pub(crate) fn block(&self) -> &Block {
        &self.block
    }

    /// It stands in a loop's tree from now on, in the thread that `thread` marks.
    pub(crate) fn bind(&self, home: Home, id: ScopeId, host: Owned, thread: usize) {
        self.id.set(Some(id));
        self.block.enter(home, host, thread);
    }

    /// It has left the tree.
    pub(crate) fn keep_end(&self, settings: Settings, cause: Option<Cause<Owned>>, caught: bool) {
        self.id.set(None);
        self.block.leave(settings, cause, caught);
    }

    /// It leaves the tree, or its place there is no longer its own. Runs no Python code.
    pub(crate) fn let_go(&self) {
        self.id.set(None);
    }

    fn state(&self) -> Option<Home> {
        self.block.state()
    }

    /// Where it stands, while it is entered.
    pub(crate) fn place_in_tree(&self) -> Option<(Home, ScopeId)> {
        Some((self.state()?, self.id.get()?))
    }

    /// The loop's part and the place in its tree while it is entered. A scope is not for other
    /// threads.
    fn place(&self, what: &str, instead: &str) -> PyResult<Option<(Home, ScopeId)>> {
        let Some((state, id)) = self.place_in_tree() else { return Ok(None) };
        threads::check(&state, what, instead).map_err(|raised| fetch(state.py(), raised))?;
        Ok(Some((state, id)))
    }

    /// As `place`, with the time. The clock may be the program's code, and leave the scope.
    fn place_now(
        &self,
        py: Python<'_>,
        what: &str,
        instead: &str,
    ) -> PyResult<Option<(Home, ScopeId, f64)>> {
        let Some((state, _)) = self.place(what, instead)? else {
            return Ok(None);
        };
        let now = state.now().map_err(|raised| fetch(py, raised))?;
        Ok(self.id.get().map(|id| (state, id, now)))
    }

    pub(crate) fn request(&self, py: Python<'_>, reason: Option<Owned>) -> PyResult<()> {
        match self.place_now(py, "scope.cancel", "scope.cancel")? {
            Some((state, id, now)) => {
                // The caller's reference outlives the change of the tree.
                let kept = reason.clone();
                let cause = Cause { source: Source::Explicit, reason };
                state.change(|tree, out| tree.cancel(id, cause, now, out));
                drop(kept);
            }
            None if self.block.source.get().is_none() => {
                self.block.source.set(Some(Source::Explicit));
                drop(self.block.reason.replace(reason));
            }
            None => {}
        }
        Ok(())
    }

    /// Whether it was cancelled is asked: a deadline that has passed while the program computed has
    /// cancelled it (R21).
    fn look_at_deadline(&self, state: &LoopState, id: ScopeId) {
        let timed = {
            let tree = state.tree.borrow();
            tree.cause(id).is_none() && tree.settings(id).deadline < f64::INFINITY
        };
        if timed && self.block.is_here() {
            clock::look_if_armed(state);
        }
    }

    /// As above, for a scope that was not entered: it is cancelled from its first await on.
    fn look_at_deadline_before_entry(&self, py: Python<'_>) {
        let deadline = self.block.settings.get().deadline;
        if !self.block.is_new() || self.block.source.get().is_some() || deadline == f64::INFINITY {
            return;
        }
        // Outside of a loop there is no clock, and that error is taken back.
        let now = LoopState::current(py).and_then(|state| state.now());
        if now.is_ok_and(|now| deadline <= now) {
            self.block.source.set(Some(Source::Deadline));
        }
    }

    /// A nursery's scope is entered and left with the nursery.
    fn check_own(&self, py: Python<'_>) -> Fallible<()> {
        if self.is_nurserys.get() {
            return Err(misuse(
                py,
                "this CancelScope is a nursery's: it is entered and left with the nursery",
            ));
        }
        Ok(())
    }

    #[inline]
    fn check_new(&self, py: Python<'_>) -> Fallible<()> {
        let text = match self.block.stage.get() {
            Stage::New => return Ok(()),
            Stage::Entered => "this CancelScope is already entered; make a new one for each 'with'",
            Stage::Left => "this CancelScope was already used; make a new one for each 'with'",
        };
        Err(misuse(py, text))
    }

    #[inline(always)]
    fn enter(&self, py: Python<'_>) -> Fallible<()> {
        self.check_own(py)?;
        self.check_new(py)?;
        let event_loop = running_loop(py)?;
        let state = LoopState::of(&event_loop)?;
        let task = host::current(&state, "a CancelScope")?;
        let (settings, now) = self.block.settings_now(&state)?;
        timers::arm_by(&state, settings.deadline)?;
        let honoured = host::honoured(&task)?;
        // The loop's code has run.
        self.check_new(py)?;
        self.block.settings.set(settings);
        let member = hosts::member_of(&state, &task);
        if settings.deadline < f64::INFINITY {
            task::keep(&task);
        }
        let early = self.block.cause();
        let id = state.change(|tree, out| {
            let id = tree.enter(member, settings, honoured, now, out);
            if self.strict {
                tree.be_porous(id);
            }
            if let Some(cause) = early {
                tree.cancel(id, cause, now, out);
            }
            id
        });
        self.bind(state, id, task, thread_mark());
        Ok(())
    }
}

fn enter(this: &This<'_, CancelScope>, args: Args<'_>) -> Fallible<Owned> {
    let [] = args.parse(this.py(), "__enter__", [], 0)?;
    this.enter(this.py())?;
    Ok(Owned::share(this.object()))
}

fn exit(this: &This<'_, CancelScope>, args: Args<'_>) -> Fallible<Owned> {
    let py = this.py();
    let names = ["exc_type", "exc_value", "traceback"];
    let [_, exception, _] = args.parse(py, "__exit__", names, 3)?;
    Ok(boolean(py, this.exit(this.object(), exception)?))
}

static ENTER: Method<CancelScope> =
    method!(fast CancelScope, c"__enter__", enter).documented(c"__enter__($self)\n--\n\n");
static EXIT: Method<CancelScope> = method!(fast CancelScope, c"__exit__", exit)
    .documented(c"__exit__($self, exc_type, exc_value, traceback, /)\n--\n\n");

/// Puts the class and the functions that make one into the module.
pub(crate) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<CancelScope>()?;
    ENTER.add_to_class(module.py())?;
    EXIT.add_to_class(module.py())
}
