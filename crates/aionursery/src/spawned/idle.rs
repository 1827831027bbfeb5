//! Carriers that wait for their next child, on the thread on which they have ended the last one. It must
//! never hold more than it may, nor keep anything of a runtime that has gone.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, Waker};

use super::child::SpawnedTask;
use crate::sync::{self, Mutex, RuntimeId, lock};

/// A carrier without a child, as spawns see it.
pub(crate) struct IdleCarrier {
    runtime: RuntimeId,
    place: Mutex<Assignment>,
}

struct Assignment {
    task: Option<SpawnedTask>,
    /// None once the carrier is gone, or is to go.
    carrier: Option<Waker>,
}

impl IdleCarrier {
    pub(crate) fn new(carrier: &Waker) -> Arc<Self> {
        let place = Assignment { task: None, carrier: Some(carrier.clone()) };
        Arc::new(Self { runtime: sync::runtime(), place: Mutex::new(place) })
    }

    /// Gives it a child, or the child back if it is gone.
    #[inline]
    pub(crate) fn wake(&self, task: SpawnedTask) -> Result<(), SpawnedTask> {
        let place = &mut *lock(&self.place);
        let Some(carrier) = &place.carrier else { return Err(task) };
        place.task = Some(task);
        // Under the lock: it only puts a task of tokio's into a queue.
        carrier.wake_by_ref();
        Ok(())
    }

    /// The child that it was given; nothing if it is to go.
    #[inline]
    pub(super) fn poll_task(&self) -> Poll<Option<SpawnedTask>> {
        let place = &mut *lock(&self.place);
        match place.task.take() {
            None if place.carrier.is_some() => Poll::Pending,
            task => Poll::Ready(task),
        }
    }

    /// The carrier goes. What it was given ends as cancelled.
    pub(crate) fn close(&self) {
        let left = {
            let place = &mut *lock(&self.place);
            (place.carrier.take(), place.task.take())
        };
        drop(left);
    }

    /// The carrier is to go, as nothing keeps it.
    fn retire(&self) {
        let carrier = lock(&self.place).carrier.take();
        if let Some(carrier) = carrier {
            carrier.wake();
        }
    }
}

thread_local! {
    static HERE: RefCell<Here> = const { RefCell::new(Here(Vec::new())) };
}

/// What a thread keeps: carriers of one runtime.
struct Here(Vec<Arc<IdleCarrier>>);

impl Drop for Here {
    fn drop(&mut self) {
        retire(std::mem::take(&mut self.0));
    }
}

/// Nothing keeps these any more.
#[cold]
fn retire(idle: Vec<Arc<IdleCarrier>>) {
    idle.iter().for_each(|idle| idle.retire());
}

/// How many a thread may keep. Where tokio is built to show its tasks, each child has its own.
static MOST: AtomicUsize =
    AtomicUsize::new(if cfg!(any(tokio_unstable, aionursery_loom)) { 0 } else { 1024 });

/// Sets how many tasks of tokio's may wait for their next child on each thread. It is 1024 from the
/// start; with `--cfg tokio_unstable` it is 0.
///
/// A child of [`Nursery::spawn`](crate::Nursery::spawn) takes a task that has carried another one
/// before, if there is one: that spares making it, which would be most of what the child costs. A
/// task without a child does nothing, but tokio counts it (`num_alive_tasks`) until the runtime is
/// dropped. With less than before, on other threads those that are too many go as they are next used;
/// with 0 every child has a task of its own, which ends with it.
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// aionursery::runtime::keep_idle_tasks(0);
/// aionursery::nursery(async |n| Ok(n.spawn(async { Ok::<_, String>(()) }).value().await)).await.unwrap();
/// # tokio::task::yield_now().await;
/// assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
/// # });
/// ```
pub fn keep_idle_tasks(most: usize) {
    MOST.store(most, Ordering::Relaxed);
    let over = HERE.try_with(|here| {
        let here = &mut here.try_borrow_mut().ok()?.0;
        Some(here.split_off(most.min(here.len())))
    });
    retire(over.ok().flatten().unwrap_or_default());
}

/// A carrier of this runtime.
#[inline]
pub(super) fn take(runtime: RuntimeId) -> Option<Arc<IdleCarrier>> {
    HERE.try_with(|here| {
        // A child is spawned in a destructor that this module runs: a fresh one will do.
        let here = &mut here.try_borrow_mut().ok()?.0;
        here.pop_if(|idle| idle.runtime == runtime)
    })
    .ok()
    .flatten()
}

/// Keeps a carrier, which is what `waker` wakes, and makes what spawns see of it. Returns `false` if there
/// is no room for it.
#[inline]
pub(super) fn keep(idle: &mut Option<Arc<IdleCarrier>>, waker: &Waker) -> bool {
    HERE.try_with(|here| {
        let Ok(here) = &mut here.try_borrow_mut() else { return false };
        let runtime = idle.as_ref().map_or_else(sync::runtime, |idle| idle.runtime);
        if here.0.last().is_some_and(|other| other.runtime != runtime) {
            retire(std::mem::take(&mut here.0));
        }
        let has_room = here.0.len() < MOST.load(Ordering::Relaxed);
        if has_room {
            here.0.push(idle.get_or_insert_with(|| IdleCarrier::new(waker)).clone());
        }
        has_room
    })
    .unwrap_or(false)
}
