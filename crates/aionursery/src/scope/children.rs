//! How many children a nursery has: for its core, which counts them, and for the owners of scopes
//! above, which wait for the spawned ones (R27a). It must never be asked for more than a number.

use crate::sync::atomic::{AtomicU32, Ordering};

#[derive(Default)]
pub(crate) struct Children {
    /// Those that have not ended, as the lifecycle will count them once it is told.
    pub(crate) alive: AtomicU32,
    /// Of these, those that the lifecycle was told of and that have not started. The driver's to
    /// change.
    pub(crate) spare: AtomicU32,
    /// Of these, those that have returned and that it was not told of. The driver's to change.
    pub(crate) done: AtomicU32,
    /// Of these, those that the driver holds, as of the end of its last turn.
    pub(crate) held: AtomicU32,
    /// Of these, those that wait for the driver to take them up, and were started elsewhere.
    pub(crate) waiting: AtomicU32,
}

impl Children {
    /// How many have not ended. Exact where the nursery is driven; elsewhere as of a moment ago.
    pub(crate) fn running(&self) -> u32 {
        let not_running = self.spare.load(Ordering::Relaxed) + self.done.load(Ordering::Relaxed);
        self.alive.load(Ordering::Acquire).saturating_sub(not_running)
    }

    /// How many of them end by themselves. Between two turns of the driver it is exact.
    pub(crate) fn spawned(&self) -> u32 {
        // Not a plain look: a spawned child counts itself out and looks then whether an owner waits
        // for it, which has said so before it comes here.
        let alive = self.alive.fetch_add(0, Ordering::AcqRel);
        let others = [&self.spare, &self.done, &self.held, &self.waiting];
        alive.saturating_sub(others.iter().map(|count| count.load(Ordering::Relaxed)).sum())
    }
}
