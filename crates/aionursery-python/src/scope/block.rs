//! What a scope and a nursery have alike: where their block stands, what it is told before it is entered,
//! and what is kept of it behind. It must never change the tree.

use std::cell::Cell;

use nursery_core::{Cause, Settings, Source};
use pyo3::gc::PyTraverseError;

use super::settings::warn_if_meant_as_seconds;
use crate::cpython::errors::Fallible;
use crate::cpython::object::Object;
use crate::cpython::owned::Owned;
use crate::cpython::slot::Slot;
use crate::cpython::thread::thread_mark;
use crate::cpython::trash::let_go;
use crate::engine::home::{Home, HomeSlot};
use crate::engine::state::LoopState;

/// How far a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    New,
    Entered,
    Left,
}

/// A block that is used once.
#[derive(Debug)]
pub(crate) struct Block {
    pub stage: Cell<Stage>,
    pub home: HomeSlot,
    pub thread: Cell<usize>,
    /// The task that entered it.
    pub host: Slot,
    /// What it is told when it is entered, and what it was told at its end.
    pub settings: Cell<Settings>,
    /// After how many seconds from entry it is cancelled by itself; infinity for never.
    pub relative: Cell<f64>,
    /// What has cancelled it: before it was entered, or until it was left.
    pub source: Cell<Option<Source>>,
    pub reason: Slot,
    pub caught: Cell<bool>,
}

impl Block {
    pub(crate) fn new(settings: Settings, relative: f64) -> Self {
        Self {
            stage: Cell::new(Stage::New),
            home: HomeSlot::default(),
            thread: Cell::new(0),
            host: Slot::empty(),
            settings: Cell::new(settings),
            relative: Cell::new(relative),
            source: Cell::new(None),
            reason: Slot::empty(),
            caught: Cell::new(false),
        }
    }

    #[inline]
    pub(crate) fn is_new(&self) -> bool {
        self.stage.get() == Stage::New
    }

    #[inline]
    pub(crate) fn is_left(&self) -> bool {
        self.stage.get() == Stage::Left
    }

    /// The loop's part, while that is there.
    #[inline]
    pub(crate) fn state(&self) -> Option<Home> {
        self.home.cloned().filter(|state| !state.is_gone())
    }

    /// Whether the caller runs in the thread that has entered it.
    #[inline]
    pub(crate) fn is_here(&self) -> bool {
        self.thread.get() == thread_mark()
    }

    /// What it is told if it is entered now, and what time it is, where that matters. Runs the loop's clock,
    /// and warns of a deadline that was meant as seconds.
    #[inline(always)]
    pub(crate) fn settings_now(&self, state: &LoopState) -> Fallible<(Settings, f64)> {
        let (mut settings, relative) = (self.settings.get(), self.relative.get());
        let timed = settings.deadline.min(relative) < f64::INFINITY;
        let now = if timed || self.source.get().is_some() { state.now()? } else { 0.0 };
        if timed {
            settings.deadline = settings.deadline.min(now + relative);
            if settings.deadline <= now {
                warn_if_meant_as_seconds(state, settings.deadline)?;
            }
        }
        Ok((settings, now))
    }

    /// Why it was cancelled before it was entered, or until it was left.
    pub(crate) fn cause(&self) -> Option<Cause<Owned>> {
        Some(Cause { source: self.source.get()?, reason: self.reason.cloned() })
    }

    /// It is entered, in the thread that `thread` marks.
    pub(crate) fn enter(&self, home: Home, host: Owned, thread: usize) {
        self.stage.set(Stage::Entered);
        self.thread.set(thread);
        self.home.set(home);
        self.host.set(host);
    }

    /// It was left: `settings` and `cause` are those of its end.
    pub(crate) fn leave(&self, settings: Settings, cause: Option<Cause<Owned>>, caught: bool) {
        self.stage.set(Stage::Left);
        self.settings.set(settings);
        self.caught.set(caught);
        if let Some(cause) = cause {
            self.source.set(Some(cause.source));
            drop(self.reason.replace(cause.reason));
        }
        self.part();
    }

    /// It has a place in no tree any more.
    pub(crate) fn part(&self) {
        self.host.clear();
        self.home.clear();
    }

    pub(crate) fn change_settings(&self, change: impl FnOnce(&mut Settings)) {
        let mut settings = self.settings.get();
        change(&mut settings);
        self.settings.set(settings);
    }

    /// Shows the collector what is held.
    pub(crate) fn traverse(
        &self,
        visit: impl Fn(&Object) -> Result<(), PyTraverseError> + Copy,
    ) -> Result<(), PyTraverseError> {
        [&self.host, &self.reason].into_iter().try_for_each(|slot| slot.show(visit))?;
        self.home.traverse(visit).unwrap_or(Ok(()))
    }

    pub(crate) fn clear(&self) {
        self.host.clear();
        self.let_go_of_reason();
        self.home.clear();
    }

    fn let_go_of_reason(&self) {
        if let Some(reason) = self.reason.take() {
            let_go([reason]);
        }
    }
}

impl Drop for Block {
    /// The reason may be another scope, and so on.
    fn drop(&mut self) {
        self.let_go_of_reason();
    }
}
