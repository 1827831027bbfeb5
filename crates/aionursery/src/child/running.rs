//! The driver's side of a child: the right to poll its future, and the duty to end it. It must never
//! let go of a child that has a future.

use std::marker::PhantomData;
use std::mem;
use std::ptr;
use std::task::Context;

use nursery_core::Outcome;

use crate::error::Failure;
use crate::ignore_panics::ignore_panics;
use crate::polling::{self, Kind};
use crate::sync::atomic::Ordering;
use crate::task::{Header, Step, TaskRef, free, waker};

/// The driver's side of a task.
pub(crate) struct Running<E> {
    pub(super) task: TaskRef,
    /// Its error comes out of it, whatever holds it.
    pub(super) error: PhantomData<fn() -> E>,
}

impl<E> Running<E> {
    pub(crate) fn header(&self) -> &Header {
        self.task.header()
    }

    pub(crate) fn task(&self) -> &TaskRef {
        &self.task
    }

    /// Its number in its nursery. A task is admitted once.
    pub(crate) fn admit(&self, id: u32) {
        self.header().id.store(id, Ordering::Relaxed);
    }

    /// Lets go of a task that has ended: what dropping it does, in fewer steps.
    #[inline]
    pub(crate) fn release(self) {
        let raw = self.task.as_ptr();
        if self.header().state.is_only_reference() {
            mem::forget(self);
            // SAFETY: the only reference was ours, so no other can be made; no handle is left.
            unsafe { free(raw) };
        }
    }

    /// Polls the child. [`Step::Ended`] leaves its outcome in `out`.
    ///
    /// # Panics
    /// If it has ended.
    #[inline]
    pub(crate) fn poll(&mut self, out: &mut Option<Outcome<Failure<E>>>) -> Step {
        let waker = waker(&self.task);
        self.run(Some(&mut Context::from_waker(&waker)), out)
    }

    /// Drops the child's future: it ends as cancelled, or in the panic of a destructor.
    ///
    /// # Panics
    /// If it has ended.
    pub(crate) fn cancel(&mut self) -> Outcome<Failure<E>> {
        let mut outcome = None;
        Self::apart(|| self.cut(&mut outcome));
        outcome.expect("a child without a future has ended")
    }

    /// Runs destructors of children that go: what these mark is for no other future.
    pub(crate) fn apart<R>(act: impl FnOnce() -> R) -> R {
        let frame = polling::enter(Kind::Open, false);
        let returned = act();
        polling::leave(frame);
        returned
    }

    /// As [`cancel`](Self::cancel), within [`apart`](Self::apart). Leaves the outcome in `out`.
    ///
    /// # Panics
    /// If it has ended.
    #[inline]
    pub(crate) fn cut(&mut self, out: &mut Option<Outcome<Failure<E>>>) {
        self.run(None, out);
    }

    #[inline]
    fn run(&mut self, cx: Option<&mut Context<'_>>, out: &mut Option<Outcome<Failure<E>>>) -> Step {
        assert!(!self.header().state.is_done(), "the child has ended");
        // SAFETY: `self` is the driver's side, borrowed alone, and has not set `DONE`; `out` is
        // what this type of task writes to.
        unsafe { (self.header().vtable.poll)(self.task.as_ptr(), cx, ptr::from_mut(out).cast()) }
    }
}

impl<E> Drop for Running<E> {
    fn drop(&mut self) {
        if !self.header().state.is_done() {
            // Other code has panicked through its owner.
            ignore_panics(|| drop(self.cancel()));
        }
    }
}
