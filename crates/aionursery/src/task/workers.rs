//! What can end the spawned children of one scope. It must never wait for a thread that is at it.

use std::mem;
use std::ptr::{self, NonNull};

use super::TaskRef;
use super::seat::TaskQueue;
use super::stack::{Link, Stack};
use crate::sync::atomic::{AtomicUsize, Ordering};

/// Spawned children that one thread has started, linked through themselves, the latest first. Each entry's
/// reference is in it.
#[derive(Default)]
pub(crate) struct SpawnedTasks {
    /// The latest and the earliest.
    ends: Option<(NonNull<Link>, NonNull<Link>)>,
    length: usize,
}

// SAFETY: it stands for the `TaskRef`s in it, which are `Send`.
unsafe impl Send for SpawnedTasks {}

impl SpawnedTasks {
    pub(crate) fn is_empty(&self) -> bool {
        self.ends.is_none()
    }

    pub(crate) fn push(&mut self, child: TaskRef) {
        // A task begins with its link, which of a spawned child nothing else uses.
        let link = child.as_ptr().cast::<Link>();
        mem::forget(child);
        let (next, last) =
            self.ends.map_or((ptr::null_mut(), link), |(latest, last)| (latest.as_ptr(), last));
        // SAFETY: the reference keeps it alive.
        unsafe { link.as_ref() }.set_next(next);
        self.ends = Some((link, last));
        self.length += 1;
    }
}

impl Drop for SpawnedTasks {
    fn drop(&mut self) {
        if let Some((latest, _)) = self.ends {
            drop(TaskQueue::of(latest.as_ptr()));
        }
    }
}

/// What can end the spawned children of one scope: for the code that cancels it, on whatever thread. Holds
/// the memory of a few that have ended, and nothing in it.
pub(crate) struct Workers {
    tasks: Stack,
    /// How many these are. It may be off by a few where several threads keep some at once.
    length: AtomicUsize,
    /// At this length those that have ended are looked for.
    full: AtomicUsize,
}

impl Default for Workers {
    fn default() -> Self {
        let (length, full) = (AtomicUsize::new(0), AtomicUsize::new(Self::FEW));
        Self { tasks: Stack::new(), length, full }
    }
}

impl Workers {
    const FEW: usize = 64;

    /// Takes those in that were spawned. The caller looks whether the scope is cancelled
    /// afterwards.
    pub(crate) fn keep(&self, spawned: SpawnedTasks) {
        let length = self.length.load(Ordering::Relaxed) + spawned.length;
        self.length.store(length, Ordering::Relaxed);
        self.push(spawned);
        if length > self.full.load(Ordering::Relaxed) {
            self.sweep();
        }
    }

    fn push(&self, mut spawned: SpawnedTasks) {
        if let Some((latest, last)) = spawned.ends.take() {
            // SAFETY: each has its reference; of a spawned child nothing else uses the link.
            unsafe { self.tasks.push_all(latest, last) };
        }
    }

    /// Lets go of those that have ended.
    #[cold]
    fn sweep(&self) {
        let (mut all, mut live) = (self.take(), SpawnedTasks::default());
        while let Some(child) = all.pop() {
            if !child.header().state.is_done() {
                live.push(child);
            }
        }
        self.length.store(live.length, Ordering::Relaxed);
        self.full.store((live.length * 2).max(Self::FEW), Ordering::Relaxed);
        self.push(live);
    }

    /// The earliest first.
    fn take(&self) -> TaskQueue {
        self.length.store(0, Ordering::Relaxed);
        TaskQueue::of(self.tasks.take())
    }

    /// All have ended.
    pub(crate) fn clear(&self) {
        if !self.tasks.is_empty() {
            drop(self.take());
        }
    }

    /// Each is dropped at its next await. A runtime that has gone drops them here and now.
    pub(crate) fn abort(&self) {
        let mut children = self.take();
        while let Some(child) = children.pop() {
            child.stop();
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.clear();
    }
}
