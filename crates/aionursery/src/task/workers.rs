//! What can end the spawned children of one scope. It must never drop a child under its lock.

use std::mem;

use super::TaskRef;
use crate::sync::{Mutex, lock};

/// What can end the spawned children of one scope: for the code that cancels it, on whatever thread. Holds
/// the memory of a few that have ended, and nothing in it.
#[derive(Default)]
pub(crate) struct Workers(Mutex<Tasks>);

#[derive(Default)]
struct Tasks {
    children: Vec<TaskRef>,
    /// At this length those that have ended are looked for.
    full: usize,
}

impl Workers {
    const FEW: usize = 64;

    /// Takes those in that were spawned. The caller looks whether the scope is cancelled
    /// afterwards.
    pub(crate) fn keep(&self, mut spawned: Vec<TaskRef>) {
        // Not dropped under the lock: what has ended may still hold a waker of its handle's (R29).
        let ended: Vec<TaskRef> = {
            let tasks = &mut *lock(&self.0);
            if tasks.children.is_empty() {
                mem::swap(&mut tasks.children, &mut spawned);
            } else {
                tasks.children.append(&mut spawned);
            }
            if tasks.children.len() <= tasks.full.max(Self::FEW) {
                return;
            }
            let ended =
                tasks.children.extract_if(.., |child| child.header().state.is_done()).collect();
            tasks.full = tasks.children.len() * 2;
            ended
        };
        drop(ended);
    }

    /// All have ended.
    pub(crate) fn clear(&self) {
        let children = std::mem::take(&mut lock(&self.0).children);
        drop(children);
    }

    /// Each is dropped at its next await. Not under the lock: a runtime that has gone drops them
    /// here and now.
    pub(crate) fn abort(&self) {
        let children = std::mem::take(&mut lock(&self.0).children);
        children.iter().for_each(TaskRef::stop);
    }
}
