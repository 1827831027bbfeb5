//! Which children of a nursery, and whether its body, may not be dropped yet because a shield
//! stands inside; and the nursery's own wall, for what is around it, while it has shielded
//! children or is shielded itself. It must never be asked about a child that has no mark: most
//! nurseries see no shield.

use std::collections::BTreeMap;

use crate::task::{TaskRef, waker};
use crate::wall::{self, ShieldGuard, WallsInside};

pub(super) struct HeldChildren {
    /// Where the walls begin that were raised in the child that is being polled.
    since: usize,
    inside: Option<Box<Inside>>,
}

#[derive(Default)]
struct Inside {
    /// By address, which the reference keeps from being used again.
    held: BTreeMap<usize, (TaskRef, WallsInside)>,
    own: Option<ShieldGuard>,
    /// For how many the own wall stands.
    shielded: usize,
}

impl Inside {
    const FEW: usize = 16;

    #[cold]
    fn let_go_of_ended(&mut self, waiting: usize) {
        if self.held.len() > Self::FEW.max(2 * waiting) {
            self.held.retain(|_, (task, _)| !task.header().state.is_done());
        }
    }
}

impl HeldChildren {
    pub(super) fn new() -> Self {
        Self { since: wall::count(), inside: None }
    }

    /// Whether no shield was ever seen.
    pub(super) fn is_empty(&self) -> bool {
        self.inside.is_none()
    }

    /// The walls that were raised so far stand in no child here: a turn begins, or the child that was polled has
    /// ended.
    pub(super) fn pass_over(&mut self) {
        self.since = wall::count();
    }

    /// A child of the nursery, or all of it, is shielded.
    pub(super) fn raise(&mut self) {
        let inside = self.inside.get_or_insert_default();
        inside.shielded += 1;
        inside.own.get_or_insert_with(ShieldGuard::new);
        self.pass_over();
    }

    /// One of these has ended.
    pub(super) fn lower(&mut self) {
        if let Some(inside) = &mut self.inside {
            inside.shielded -= 1;
            if inside.shielded == 0 {
                inside.own = None;
            }
        }
    }

    /// Walls were raised in `task`, which has just been polled.
    pub(super) fn take_in(&mut self, task: &TaskRef) {
        let raised = wall::count();
        if raised == self.since {
            return;
        }
        let inside = self.inside.get_or_insert_default();
        let (_, held) = inside
            .held
            .entry(task.address())
            .or_insert_with(|| (task.clone(), WallsInside::default()));
        held.take_in(self.since);
        self.since = raised;
    }

    /// Lets go of the children that have ended, once most have. `waiting`: how many wait after a turn.
    #[inline]
    pub(super) fn end_turn(&mut self, waiting: usize) {
        if let Some(inside) = &mut self.inside {
            inside.let_go_of_ended(waiting);
        }
    }

    /// Whether `task` may not be dropped yet. It is woken as soon as it may.
    pub(super) fn holds(&mut self, task: &TaskRef) -> bool {
        let held = self.inside.as_mut().and_then(|inside| inside.held.get_mut(&task.address()));
        held.is_some_and(|(_, held)| held.stands(&waker(task)))
    }
}
