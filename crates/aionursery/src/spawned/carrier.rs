//! Tasks of tokio's that carry one spawned child after another: what has ended waits for the next
//! child in place of ending, and the next spawn wakes it in place of making a task. A child that is
//! being carried is all that its task has: its budget, its place in the runtime's queues, its
//! abort. It must never poll a child on another runtime than the one it was spawned on.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::child::SpawnedTask;
use super::idle::{self, IdleCarrier};
use crate::sync;

/// Has a child carried on the runtime that this thread is in.
///
/// # Panics
/// Outside a tokio runtime.
#[inline]
#[track_caller]
pub(crate) fn send(mut task: SpawnedTask) {
    let runtime = sync::runtime();
    while let Some(idle) = idle::take(runtime) {
        match idle.wake(task) {
            Ok(()) => return,
            Err(back) => task = back,
        }
    }
    drop(sync::spawn(Carrier { task: Some(task), idle: None }));
}

/// A task that ends with its one child.
#[cfg(all(feature = "tracing", tokio_unstable, not(aionursery_loom)))]
pub(crate) async fn alone(task: SpawnedTask) {
    let mut task = Some(task);
    std::future::poll_fn(|cx| poll(&mut task, cx)).await
}

fn poll(task: &mut Option<SpawnedTask>, cx: &mut Context<'_>) -> Poll<()> {
    if let Some(child) = task.take()
        && let Err(child) = child.poll(cx)
    {
        *task = Some(child);
        return Poll::Pending;
    }
    Poll::Ready(())
}

pub(crate) struct Carrier {
    task: Option<SpawnedTask>,
    /// There once it has been idle.
    idle: Option<Arc<IdleCarrier>>,
}

#[cfg(all(test, aionursery_loom))]
impl Carrier {
    /// One that has ended a child before.
    pub(crate) fn waiting(idle: Arc<IdleCarrier>) -> Self {
        Self { task: None, idle: Some(idle) }
    }
}

impl Future for Carrier {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.task.is_none()
            && let Some(idle) = &self.idle
        {
            match ready!(idle.poll_task()) {
                None => return Poll::Ready(()),
                task => self.task = task,
            }
        }
        ready!(poll(&mut self.task, cx));
        if idle::keep(&mut self.idle, cx.waker()) {
            return Poll::Pending;
        }
        if let Some(idle) = self.idle.take() {
            idle.close();
        }
        Poll::Ready(())
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        if let Some(idle) = &self.idle {
            idle.close();
        }
    }
}
