//! What crosses threads, run by loom in every order that the memory model allows, up to a number
//! of preemptions. Workers are loom's threads here, each of which polls one carrier.
//!
//! A lost wake-up is a deadlock, which loom reports; an order that is missing between two threads
//! shows in a `Witness`, whose accesses loom checks.

mod adopted;
mod held;
mod in_task;
mod open_nursery;
mod places;
mod shields;
mod spawned;
mod waker_slot;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Poll, Waker};

use loom::cell::UnsafeCell;
use loom::sync::Mutex;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;

use crate::sync::{WakerSlot, Worker};
use crate::{End, Nursery, OnError, nursery};

fn block_on<F: Future>(future: F) -> F::Output {
    Worker::new().run(pin!(future))
}

/// Runs a model. Each preemption more takes ten times as long; few defects need more than two.
fn model(preemptions: usize, program: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    let orders = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = orders.clone();
    builder.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        program();
    });
    println!("{} orders", orders.load(Ordering::Relaxed));
}

/// What one thread writes and another reads: loom says if nothing orders the two.
#[derive(Clone)]
struct Witness(Arc<Seen>);

struct Seen(UnsafeCell<usize>);

// SAFETY: loom checks each access.
unsafe impl Sync for Seen {}

impl Witness {
    fn new() -> Self {
        Self(Arc::new(Seen(UnsafeCell::new(0))))
    }

    fn add(&self) {
        // SAFETY: loom panics if another access is not ordered with this one.
        self.0.0.with_mut(|value| unsafe { *value += 1 });
    }

    fn read(&self) -> usize {
        // SAFETY: as above.
        self.0.0.with(|value| unsafe { *value })
    }
}

/// Adds when it is dropped.
struct OnDrop(Witness);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.add();
    }
}

/// Something to wait for, set on another thread.
struct Gate {
    open: AtomicBool,
    waiter: WakerSlot,
}

impl Gate {
    fn new() -> Arc<Self> {
        Arc::new(Self { open: AtomicBool::new(false), waiter: WakerSlot::new() })
    }

    fn open(&self) {
        self.open.store(true, Ordering::Release);
        self.waiter.wake();
    }

    async fn wait(&self) {
        poll_fn(|cx| {
            self.waiter.register(cx.waker());
            match self.open.load(Ordering::Acquire) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }
}

type Handle = Nursery<'static, &'static str>;

async fn forever() -> Result<(), &'static str> {
    std::future::pending().await
}

/// Waits for ever, and keeps what tells that it was dropped.
async fn forever_with(_end: OnDrop) -> Result<(), &'static str> {
    forever().await
}

/// A child that writes, and returns.
async fn adds(witness: Witness) -> Result<(), &'static str> {
    witness.add();
    Ok(())
}

/// Runs a nursery to its end, which is no error.
fn run<T, F: Future<Output = Result<T, &'static str>>>(body: impl FnOnce(Handle) -> F) -> T {
    block_on(nursery(body)).unwrap()
}

/// Polls it once: it has to wait.
async fn begin<F: Future>(mut future: Pin<&mut F>) {
    poll_fn(|cx| Poll::Ready(assert!(future.as_mut().poll(cx).is_pending()))).await;
}
