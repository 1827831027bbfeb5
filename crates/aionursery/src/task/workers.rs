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
    /// How many these are, those that a sweep has taken out just now among them.
    length: AtomicUsize,
}

impl Default for Workers {
    fn default() -> Self {
        Self { tasks: Stack::new(), length: AtomicUsize::new(0) }
    }
}

impl Workers {
    const FEW: usize = 64;

    /// Takes those in that were spawned. The caller looks whether the scope is cancelled
    /// afterwards.
    pub(crate) fn keep(&self, spawned: SpawnedTasks) {
        self.length.fetch_add(spawned.length, Ordering::Relaxed);
        self.push(spawned);
    }

    /// Whether most of these have ended, where `alive` of the scope's children have not.
    #[inline]
    pub(crate) fn are_most_over(&self, alive: u32) -> bool {
        let length = self.length.load(Ordering::Relaxed);
        length > Self::FEW && length > 2 * alive as usize
    }

    fn push(&self, mut spawned: SpawnedTasks) {
        if let Some((latest, last)) = spawned.ends.take() {
            // SAFETY: each has its reference; of a spawned child nothing else uses the link.
            unsafe { self.tasks.push_all(latest, last) };
        }
    }

    /// Lets go of those that have ended. On any thread; the caller looks whether the scope is cancelled afterwards,
    /// which those that are taken out meanwhile do not hear of.
    #[cold]
    pub(crate) fn sweep(&self) {
        let (mut all, mut live) = (self.take(), SpawnedTasks::default());
        let mut over = 0;
        while let Some(child) = all.pop() {
            if child.header().state.is_done() {
                over += 1;
            } else {
                live.push(child);
            }
        }
        self.push(live);
        self.length.fetch_sub(over, Ordering::Relaxed);
    }

    /// The earliest first.
    fn take(&self) -> TaskQueue {
        TaskQueue::of(self.tasks.take())
    }

    /// All have ended.
    pub(crate) fn clear(&self) {
        if !self.tasks.is_empty() {
            self.take_each(drop);
        }
    }

    /// Each is dropped at its next await. A runtime that has gone drops them here and now.
    pub(crate) fn abort(&self) {
        self.take_each(|child| child.stop());
    }

    fn take_each(&self, mut act: impl FnMut(TaskRef)) {
        let (mut all, mut taken) = (self.take(), 0);
        while let Some(child) = all.pop() {
            taken += 1;
            act(child);
        }
        self.length.fetch_sub(taken, Ordering::Relaxed);
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.clear();
    }
}
