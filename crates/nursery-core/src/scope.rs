//! One scope: what it was told (deadline, shield, budget), whether it is cancelled, and its links
//! in the tree. Only [`Tree`](crate::Tree) changes it; it must never reach beyond itself.

use crate::slab::NONE;
use crate::timers::TimerId;

/// A scope in a tree, valid until it is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ScopeId {
    pub(crate) at: u32,
    /// Tells it from every other scope that has stood or will stand at the same place.
    pub(crate) serial: u32,
}

/// What brought a cancellation (R11).
///
/// ```
/// use nursery_core::{Cause, Source};
/// let cause = Cause { source: Source::Deadline, reason: None::<String> };
/// assert_ne!(cause.source, Source::Explicit);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `cancel` was called.
    Explicit,
    /// A child or the body failed.
    Failure,
    /// The deadline passed.
    Deadline,
    /// The host was cancelled from outside, or its body left by a cancellation.
    Host,
}

/// Why a scope was cancelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause<R> {
    /// What brought it.
    pub source: Source,
    /// The face's words for it.
    pub reason: Option<R>,
}

/// What a scope is told when it is entered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// When it is cancelled by itself; infinity for never (R21).
    pub deadline: f64,
    /// Whether it keeps out cancellation from outside (R19).
    pub shield: bool,
    /// How long a task may still await after the scope was cancelled (R18).
    pub cleanup: Cleanup,
    /// Its cancellation takes from a task even what the task has waited for and got, as
    /// `asyncio.TaskGroup` does (R12a). Its budget counts for itself only.
    pub abrupt: bool,
}

/// For how long a task may await after its scope was cancelled (R18).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Cleanup {
    /// As long as the nearest scope above says that says anything, or the tree.
    #[default]
    Inherited,
    /// For ever: the cancellation is delivered once.
    Never,
    /// For so long; with 0 every await is cancelled.
    Limited(f64),
    /// As `Limited`, and for at least so long also after a cancellation of a scope above (R27a).
    Guaranteed(f64),
}

impl Default for Settings {
    fn default() -> Self {
        Self { deadline: f64::INFINITY, shield: false, cleanup: Cleanup::Inherited, abrupt: false }
    }
}

/// How often the task that stands here was asked to cancel, and whether it has been told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Charge {
    /// Added to the task's count of cancellations and taken back when the scope is left (R14).
    pub(crate) count: u32,
    /// A `CancelledError` was thrown for it, or one in flight stands for it.
    pub(crate) delivered: bool,
    /// When it was, last: the how many of all that the task has heard of. 0 if it never was. An error
    /// that took the place of the one in flight leaves this as it is.
    pub(crate) heard: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Scope<R> {
    pub(crate) serial: u32,
    pub(crate) parent: u32,
    pub(crate) first_child: u32,
    pub(crate) next: u32,
    pub(crate) prev: u32,
    /// The task that entered it.
    pub(crate) host: u32,
    /// The nursery whose scope it is.
    pub(crate) nursery: u32,
    /// Nothing asks for it, and it goes with its host: the face has let go of it, or the tree has made
    /// it for a shielded child.
    pub(crate) released: bool,
    pub(crate) settings: Settings,
    /// Its shield lets a bare cancellation of the task in, as anyio's do.
    pub(crate) porous: bool,
    /// It was opened in the cleanup after an abrupt cancellation: it is a shield that lets a bare one in, too, until
    /// something around it is cancelled that is not abrupt.
    pub(crate) cleans_up: bool,
    pub(crate) deadline: Option<TimerId>,
    pub(crate) budget: Option<TimerId>,
    pub(crate) warning: Option<TimerId>,
    pub(crate) cause: Option<Cause<R>>,
    pub(crate) cancelled_at: f64,
    /// Which of the tree's cancellations that was.
    pub(crate) order: u64,
    /// How many of the tree's cancellations there had been when its host could last hear of what lies
    /// outside its shield; 0 if it never could, or if there was nothing to hear of (R18).
    pub(crate) raised_after: u64,
    /// A cancellation is visible from here: its own, or one above with no shield between.
    pub(crate) effective: bool,
    /// Something is to be called when that comes to be so (R12b).
    pub(crate) watched: bool,
    /// When its shield was lifted: nothing below could hear of what lies above before (R18).
    pub(crate) lifted_at: f64,
    /// What the host owes to this scope.
    pub(crate) charge: Charge,
    /// The host's honoured cancellations from outside when it entered (R13).
    pub(crate) baseline: u32,
}

impl<R> Scope<R> {
    /// What it says of budgets to what is below it. One that is abrupt speaks for itself only.
    pub(crate) fn gives(&self) -> Option<Cleanup> {
        let Settings { cleanup, abrupt, .. } = self.settings;
        (cleanup != Cleanup::Inherited && !abrupt).then_some(cleanup)
    }

    /// For how long what is in it may await at the least, whatever is cancelled above (R27a).
    pub(crate) fn floor(&self) -> f64 {
        if let Cleanup::Guaranteed(allowed) = self.settings.cleanup { allowed } else { 0.0 }
    }

    /// Its own budget, where that from above is known.
    pub(crate) fn cleanup(&self, given: Cleanup) -> Cleanup {
        let own = self.settings.cleanup;
        if own == Cleanup::Inherited && !self.settings.abrupt { given } else { own }
    }

    /// Whether it is a shield that keeps out a bare cancellation of a task in it, too (R20).
    pub(crate) fn holds_bare(&self) -> bool {
        self.settings.shield && !(self.porous || self.cleans_up)
    }

    pub(crate) fn new(parent: u32, host: u32, settings: Settings, baseline: u32) -> Self {
        Self {
            serial: 0,
            parent,
            first_child: NONE,
            next: NONE,
            prev: NONE,
            host,
            nursery: NONE,
            released: false,
            settings,
            porous: false,
            cleans_up: false,
            deadline: None,
            budget: None,
            warning: None,
            cause: None,
            cancelled_at: f64::INFINITY,
            order: 0,
            raised_after: 0,
            effective: false,
            watched: false,
            lifted_at: f64::NEG_INFINITY,
            charge: Charge::default(),
            baseline,
        }
    }
}
