//! What crosses threads, run by loom in every order that the memory model allows, up to a number
//! of preemptions. Workers are loom's threads here, each of which polls one carrier.
//!
//! A lost wake-up is a deadlock, which loom reports; an order that is missing between two threads
//! shows in a `Witness`, whose accesses loom checks.

mod adopted;
mod in_task;
mod shields;
mod spawned;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::sync::{Mutex, Notify};
use loom::thread;

use crate::{End, Nursery, OnError, nursery};

/// As `atomic_waker`'s, in loom's terms: what it promises is an order of registering and waking.
pub(crate) struct AtomicWaker(Mutex<Option<Waker>>);

impl AtomicWaker {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(None))
    }

    pub(crate) fn register(&self, waker: &Waker) {
        drop(self.0.lock().unwrap().replace(waker.clone()));
    }

    pub(crate) fn wake(&self) {
        if let Some(waker) = self.take() {
            waker.wake();
        }
    }

    pub(crate) fn take(&self) -> Option<Waker> {
        self.0.lock().unwrap().take()
    }
}

struct Worker(Notify);

impl Worker {
    fn new() -> Arc<Self> {
        Arc::new(Self(Notify::new()))
    }

    fn run<F: Future>(self: &Arc<Self>, mut future: Pin<&mut F>) -> F::Output {
        let waker = Waker::from(self.clone());
        loop {
            match future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(output) => return output,
                Poll::Pending => self.0.wait(),
            }
        }
    }
}

impl Wake for Worker {
    fn wake(self: Arc<Self>) {
        self.0.notify();
    }
}

/// As tokio's, for what has no result.
pub(crate) fn spawn(future: impl Future<Output = ()> + Send + 'static) -> thread::JoinHandle<()> {
    thread::spawn(move || Worker::new().run(pin!(future)))
}

/// One runtime is all there is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct RuntimeId;

pub(crate) fn runtime() -> RuntimeId {
    RuntimeId
}

/// As tokio's.
pub(crate) fn spawn_blocking(function: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    thread::spawn(function)
}

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
    waiter: AtomicWaker,
}

impl Gate {
    fn new() -> Arc<Self> {
        Arc::new(Self { open: AtomicBool::new(false), waiter: AtomicWaker::new() })
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
