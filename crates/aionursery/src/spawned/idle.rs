//! Carriers that wait for their next child: a few on each thread, more in one place from which all
//! threads take and to which they give by the batch. It must never hold more than it may, nor keep
//! anything of a runtime that has gone.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Poll, Waker};

use super::child::Load;
use crate::sync::{self, Mutex, RuntimeId, lock, plain};

/// How many go between a thread and the common place at once; a thread has at most twice as many.
const BATCH: usize = 32;

/// A carrier without a child, as spawns see it.
pub(crate) struct Idle {
    runtime: RuntimeId,
    place: Mutex<Assignment>,
}

struct Assignment {
    load: Option<Load>,
    /// None once the carrier is gone, or is to go.
    carrier: Option<Waker>,
}

impl Idle {
    pub(crate) fn new(carrier: &Waker) -> Arc<Self> {
        let place = Assignment { load: None, carrier: Some(carrier.clone()) };
        Arc::new(Self { runtime: sync::runtime(), place: Mutex::new(place) })
    }

    /// Gives it a child, or the child back if it is gone.
    #[inline]
    pub(crate) fn wake(&self, load: Load) -> Result<(), Load> {
        let place = &mut *lock(&self.place);
        let Some(carrier) = &place.carrier else { return Err(load) };
        place.load = Some(load);
        // Under the lock: it only puts a task of tokio's into a queue.
        carrier.wake_by_ref();
        Ok(())
    }

    /// The child that it was given; nothing if it is to go.
    #[inline]
    pub(super) fn poll_load(&self) -> Poll<Option<Load>> {
        let place = &mut *lock(&self.place);
        match place.load.take() {
            None if place.carrier.is_some() => Poll::Pending,
            load => Poll::Ready(load),
        }
    }

    /// The carrier goes. What it was given ends as cancelled.
    pub(super) fn close(&self) {
        let left = {
            let place = &mut *lock(&self.place);
            (place.carrier.take(), place.load.take())
        };
        drop(left);
    }

    /// The carrier has gone with its runtime, whatever keeps it.
    pub(crate) fn lost(&self) {
        self.close();
        GONE.store(true, Ordering::Relaxed);
    }

    /// The carrier is to go, as nothing keeps it.
    fn retire(&self) {
        let carrier = lock(&self.place).carrier.take();
        if let Some(carrier) = carrier {
            carrier.wake();
        }
    }

    pub(crate) fn is_gone(&self) -> bool {
        lock(&self.place).carrier.is_none()
    }
}

thread_local! {
    static HERE: RefCell<Here> = const { RefCell::new(Here { idle: Vec::new(), refused: 0 }) };
}

/// What a thread keeps: carriers of one runtime.
struct Here {
    idle: Vec<Arc<Idle>>,
    /// How many more go before the common place is asked again whether there is room.
    refused: usize,
}

impl Drop for Here {
    fn drop(&mut self) {
        give(std::mem::take(&mut self.idle));
    }
}

static COMMON: std::sync::Mutex<Common> = std::sync::Mutex::new(Common { shelves: Vec::new() });
/// Whether nothing is in `COMMON`; changed under its lock.
static EMPTY: AtomicBool = AtomicBool::new(true);
/// Some of those in it have gone.
static GONE: AtomicBool = AtomicBool::new(false);
/// How many of one runtime may be in it. Where tokio is built to show its tasks, each child has its
/// own.
static MOST: AtomicUsize =
    AtomicUsize::new(if cfg!(any(tokio_unstable, aionursery_loom)) { 0 } else { 1024 });

struct Common {
    shelves: Vec<Shelf>,
}

/// The carriers of one runtime.
struct Shelf {
    runtime: RuntimeId,
    batches: Vec<Vec<Arc<Idle>>>,
    count: usize,
}

impl Common {
    fn shelf(&mut self, runtime: RuntimeId) -> Option<usize> {
        self.shelves.iter().position(|shelf| shelf.runtime == runtime)
    }

    fn take(&mut self, runtime: RuntimeId) -> Option<Vec<Arc<Idle>>> {
        let at = self.shelf(runtime)?;
        let shelf = &mut self.shelves[at];
        let batch = shelf.batches.pop()?;
        shelf.count -= batch.len();
        self.tidy();
        Some(batch)
    }

    /// Takes a batch in, or hands it back if there is no room.
    fn give(&mut self, batch: Vec<Arc<Idle>>) -> Result<(), Vec<Arc<Idle>>> {
        let runtime = batch[0].runtime;
        let at = self.shelf(runtime).unwrap_or_else(|| {
            self.shelves.push(Shelf { runtime, batches: Vec::new(), count: 0 });
            self.shelves.len() - 1
        });
        let shelf = &mut self.shelves[at];
        if shelf.count + batch.len() > MOST.load(Ordering::Relaxed) {
            return Err(batch);
        }
        shelf.count += batch.len();
        shelf.batches.push(batch);
        EMPTY.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Hands out those that have gone, and those that are too many.
    fn sweep(&mut self, most: usize) -> Vec<Arc<Idle>> {
        let mut over = Vec::new();
        for shelf in &mut self.shelves {
            for batch in &mut shelf.batches {
                over.extend(batch.extract_if(.., |idle| idle.is_gone()));
            }
            shelf.batches.retain(|batch| !batch.is_empty());
            shelf.count = shelf.batches.iter().map(Vec::len).sum();
            while shelf.count > most
                && let Some(batch) = shelf.batches.pop()
            {
                shelf.count -= batch.len();
                over.extend(batch);
            }
        }
        self.tidy();
        over
    }

    fn tidy(&mut self) {
        self.shelves.retain(|shelf| !shelf.batches.is_empty());
        EMPTY.store(self.shelves.is_empty(), Ordering::Relaxed);
    }
}

/// Sets how many tasks of tokio's may wait for their next child in each runtime, beside a few on
/// each thread. It is 1024 from the start; with `--cfg tokio_unstable` it is 0.
///
/// A child of [`Nursery::spawn`](crate::Nursery::spawn) takes a task that has carried another one
/// before, if there is one: that spares making it, which would be most of what the child costs. A
/// task without a child does nothing, but tokio counts it (`num_alive_tasks`) until the runtime is
/// dropped. With 0 every child has a task of its own, which ends with it; on other threads those
/// that wait there now go as they are next used.
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
    let mut over = plain(&COMMON).sweep(most);
    if most == 0 {
        let _ =
            HERE.try_with(|here| here.try_borrow_mut().map(|mut here| over.append(&mut here.idle)));
    }
    over.iter().for_each(|idle| idle.retire());
}

/// A carrier of this runtime.
#[inline]
pub(super) fn take(runtime: RuntimeId) -> Option<Arc<Idle>> {
    HERE.try_with(|here| {
        // A child is spawned in a destructor that this module runs: a fresh one will do.
        let here = &mut here.try_borrow_mut().ok()?.idle;
        match here.last() {
            Some(idle) if idle.runtime == runtime => here.pop(),
            _ => fetch(here, runtime),
        }
    })
    .ok()
    .flatten()
}

/// This thread has none of this runtime.
#[cold]
fn fetch(here: &mut Vec<Arc<Idle>>, runtime: RuntimeId) -> Option<Arc<Idle>> {
    if EMPTY.load(Ordering::Relaxed) {
        return None;
    }
    let batch = plain(&COMMON).take(runtime)?;
    give(std::mem::replace(here, batch));
    here.pop()
}

/// Keeps a carrier, which is what `waker` wakes, and makes what spawns see of it. Returns `false` if there
/// is no room for it.
#[inline]
pub(super) fn keep(idle: &mut Option<Arc<Idle>>, waker: &Waker) -> bool {
    if MOST.load(Ordering::Relaxed) == 0 {
        return false;
    }
    HERE.try_with(|here| {
        let Ok(here) = &mut here.try_borrow_mut() else { return false };
        let runtime = sync::runtime();
        let fits = here.idle.last().is_none_or(|other| other.runtime == runtime);
        let keeps = (fits && here.idle.len() < 2 * BATCH) || make_room(here, fits);
        if keeps {
            here.idle.push(idle.get_or_insert_with(|| Idle::new(waker)).clone());
        }
        keeps
    })
    .unwrap_or(false)
}

/// This thread has no room, or has carriers of another runtime.
#[cold]
fn make_room(here: &mut Here, fits: bool) -> bool {
    if !fits {
        give(std::mem::take(&mut here.idle));
    } else if here.refused > 0 {
        here.refused -= 1;
        return false;
    } else {
        // Those that were idle longest: their memory is the coldest.
        let batch = here.idle.drain(..BATCH).collect();
        if let Err(back) = store(batch) {
            here.idle.extend(back);
            here.refused = BATCH;
            return false;
        }
    }
    true
}

/// Puts a batch into the common place; if there is no room, its carriers go.
fn give(batch: Vec<Arc<Idle>>) {
    if !batch.is_empty()
        && let Err(over) = store(batch)
    {
        over.iter().for_each(|idle| idle.retire());
    }
}

fn store(batch: Vec<Arc<Idle>>) -> Result<(), Vec<Arc<Idle>>> {
    let (gone, stored) = {
        let common = &mut *plain(&COMMON);
        let gone = GONE.swap(false, Ordering::Relaxed).then(|| common.sweep(usize::MAX));
        (gone, common.give(batch))
    };
    // Not under the lock: the last that is known of a runtime may go here.
    drop(gone);
    stored
}
