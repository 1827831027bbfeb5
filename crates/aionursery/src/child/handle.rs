//! The side of a child that its starter has: its result, once, and its cancellation. It must
//! never keep the child alive, nor leave a result without an owner.

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr;
#[cfg(feature = "tokio")]
use std::task::ready;
use std::task::{Context, Poll, Waker};

use crate::error::Fault;
use crate::ignore_panics::ignore_panics;
use crate::sync::atomic::Ordering;
use crate::task::{Header, NEW, TaskRef, free};

/// The handle's side of a task: the right to its result.
pub(crate) struct Handle<T, E> {
    task: ManuallyDrop<TaskRef>,
    result: PhantomData<(T, E)>,
}

impl TaskRef {
    /// Asks for this child alone to be cancelled (R16).
    pub(crate) fn cancel(&self) {
        #[cfg(feature = "tokio")]
        if self.header().is_spawned() {
            self.header().state.mark_by_hand();
            return self.stop();
        }
        self.header().state.cancel_by_hand();
        self.wake_by_ref();
    }
}

impl<T, E> Handle<T, E> {
    /// # Safety
    /// `task` is the handle's own reference to a task with these types.
    pub(crate) unsafe fn new(task: TaskRef) -> Self {
        Self { task: ManuallyDrop::new(task), result: PhantomData }
    }

    pub(crate) fn header(&self) -> &Header {
        self.task.header()
    }

    pub(crate) fn task(&self) -> &TaskRef {
        &self.task
    }

    /// Has the end of the child wake this. Returns whether it has ended before.
    #[inline]
    pub(crate) fn register(&self, waker: &Waker) -> bool {
        let header = self.task.header();
        header.state.is_done() || {
            header.joiner.register(waker);
            // What ends the child sees this, or has ended it before.
            header.state.join()
        }
    }

    /// The result, once; then `None`.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, Fault<E>>>> {
        if !self.register(cx.waker()) {
            return Poll::Pending;
        }
        // As tokio's own handles: a future that awaits many that have ended lets the runtime in between.
        #[cfg(feature = "tokio")]
        if self.header().is_spawned() {
            ready!(tokio::task::coop::poll_proceed(cx)).made_progress();
        }
        Poll::Ready(self.take())
    }

    /// What is there of a task that is done.
    fn take(&mut self) -> Option<Result<T, Fault<E>>> {
        let mut output = None;
        // SAFETY: both callers have seen `DONE`, and `self` is the handle, borrowed alone: the stage
        // is its own; `output` is what this type of task writes to.
        unsafe {
            (self.header().vtable.take)(self.task.as_ptr(), ptr::from_mut(&mut output).cast())
        };
        output
    }
}

impl<T, E> Drop for Handle<T, E> {
    #[inline]
    fn drop(&mut self) {
        if self.header().state.is_untouched()
            && self.header().index.load(Ordering::Relaxed) == NEW
            && self.header().ready().is_driven_here()
        {
            // It was never polled, so there is no waker; the other reference is the driver's,
            // which is on this thread.
            self.header().state.drop_handle_unseen();
        } else {
            self.give_up();
        }
    }
}

impl<T, E> Handle<T, E> {
    /// The handle goes; others may see the task.
    #[cold]
    fn give_up(&mut self) {
        let task = self.task.as_ptr();
        let header = self.header();
        if header.state.has_joiner() && !header.state.is_done() {
            // Nothing calls the waker any more, and it may hold this very task, which then would never go.
            ignore_panics(|| header.joiner.clear());
        }
        match header.state.drop_handle() {
            // SAFETY: that was the last reference, so its driver's side has gone and has left nothing
            // in the stage, whether it was marked as done or not.
            Some(true) => unsafe { free(task) },
            Some(false) => {}
            None => {
                let output = self.take();
                if self.header().state.drop_handle_of_ended() {
                    // SAFETY: that was the last reference, and its stage is empty.
                    unsafe { free(task) };
                }
                drop(output);
            }
        }
    }
}
