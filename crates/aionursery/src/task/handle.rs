//! The side of a child that its starter has: its result, once, and its cancellation. It must
//! never keep the child alive, nor leave a result without an owner.

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr;
#[cfg(feature = "tokio")]
use std::task::ready;
use std::task::{Context, Poll};

use super::{BY_HAND, CANCEL, DONE, HANDLE, Header, JOINED, NEW, REF, SHIELD, TaskRef, free};
use crate::error::Fault;
use crate::sync::atomic::Ordering;

/// The handle's side of a task: the right to its result.
pub(crate) struct Handle<T, E> {
    pub(super) task: ManuallyDrop<TaskRef>,
    pub(super) result: PhantomData<(T, E)>,
}

impl<T, E> Handle<T, E> {
    pub(crate) fn header(&self) -> &Header {
        self.task.header()
    }

    /// Asks for this child alone to be cancelled (R16).
    pub(crate) fn cancel(&self) {
        #[cfg(feature = "tokio")]
        if self.header().is_away() {
            self.header().state.fetch_or(BY_HAND, Ordering::AcqRel);
            return self.task.stop();
        }
        self.header().state.fetch_or(CANCEL | BY_HAND, Ordering::AcqRel);
        self.task.wake_by_ref();
    }

    /// The result, once; then `None`.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, Fault<E>>>> {
        let header = self.task.header();
        if !header.is_done() {
            header.joiner.register(cx.waker());
            // What ends the child sees this, or has ended it before.
            if header.state.fetch_or(JOINED, Ordering::AcqRel) & DONE == 0 {
                return Poll::Pending;
            }
        }
        // As tokio's own handles: a future that awaits many that have ended lets the runtime in between.
        #[cfg(feature = "tokio")]
        if header.is_away() {
            ready!(tokio::task::coop::poll_proceed(cx)).made_progress();
        }
        Poll::Ready(self.take())
    }

    /// What is there of a task that is done.
    fn take(&mut self) -> Option<Result<T, Fault<E>>> {
        let mut output = None;
        // SAFETY: both callers have seen `DONE`, and `self` is the handle, borrowed alone: the stage
        // is its own; `output` is what this type of task writes to.
        unsafe { (self.header().vtable.take)(self.task.0, ptr::from_mut(&mut output).cast()) };
        output
    }
}

impl<T, E> Drop for Handle<T, E> {
    #[inline]
    fn drop(&mut self) {
        let now = self.header().state.load(Ordering::Acquire);
        if now & !SHIELD == HANDLE | (2 * REF)
            && self.header().index.load(Ordering::Relaxed) == NEW
            && self.header().ready().is_driven_here()
        {
            // It was never polled, so there is no waker; the other reference is the driver's,
            // which is on this thread: no step that others see is needed.
            self.header().state.store(now - HANDLE - REF, Ordering::Relaxed);
        } else {
            self.give_up(now);
        }
    }
}

impl<T, E> Handle<T, E> {
    /// The handle goes; others may see the task. `now` is what its state was.
    #[cold]
    fn give_up(&mut self, mut now: usize) {
        while now & DONE == 0 {
            // Without a result there is nothing to drop, and one step does both.
            let then = now - HANDLE - REF;
            let state = &self.header().state;
            match state.compare_exchange_weak(now, then, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    if then < REF {
                        // SAFETY: that was the last reference, so its driver's side has gone and has
                        // left nothing in the stage, whether it was marked as done or not.
                        unsafe { free(self.task.0) };
                    }
                    return;
                }
                Err(other) => now = other,
            }
        }
        let output = self.take();
        // With the only reference no other thread can see it: no step that others see is needed.
        if now < 2 * REF || self.header().state.fetch_sub(HANDLE + REF, Ordering::AcqRel) < 2 * REF
        {
            // SAFETY: that was the last reference, and its stage is empty.
            unsafe { free(self.task.0) };
        }
        drop(output);
    }
}
