//! What stands in for tokio and for the slot of a waker in the models, in loom's terms: a task is a thread of
//! loom's. It must never be weaker than what it stands for.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use loom::sync::atomic::{AtomicBool, Ordering};
use loom::sync::{Mutex, Notify};
use loom::thread;

/// As the slot itself, which has a model of its own.
pub(crate) struct WakerSlot(Mutex<Option<Waker>>);

impl WakerSlot {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(None))
    }

    pub(crate) fn register(&self, waker: &Waker) {
        drop(self.0.lock().unwrap().replace(waker.clone()));
    }

    pub(crate) fn wake(&self) {
        let waker = self.0.lock().unwrap().take();
        waker.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn clear(&self) {
        drop(self.0.lock().unwrap().take());
    }
}

/// Polls a future on the thread that it is run on.
pub(crate) struct Worker(Notify);

impl Worker {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Notify::new()))
    }

    pub(crate) fn run<F: Future>(self: &Arc<Self>, mut future: Pin<&mut F>) -> F::Output {
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

/// As tokio's.
pub(crate) fn spawn<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    let (end, joiner) = (Mutex::new(None), WakerSlot::new());
    let aborted = AtomicBool::new(false);
    let task = Arc::new(Task { worker: Worker::new(), aborted, end, joiner });
    let runs = task.clone();
    thread::spawn(move || {
        let end = {
            let mut future = pin!(future);
            runs.worker.clone().run(pin!(poll_fn(|cx| {
                match runs.aborted.load(Ordering::Acquire) {
                    true => Poll::Ready(Err(JoinError)),
                    false => future.as_mut().poll(cx).map(Ok),
                }
            })))
        };
        *runs.end.lock().unwrap() = Some(end);
        runs.joiner.wake();
    });
    JoinHandle(task)
}

struct Task<T> {
    worker: Arc<Worker>,
    aborted: AtomicBool,
    end: Mutex<Option<Result<T, JoinError>>>,
    joiner: WakerSlot,
}

/// As tokio's: dropping it detaches the task.
pub(crate) struct JoinHandle<T>(Arc<Task<T>>);

impl<T> JoinHandle<T> {
    pub(crate) fn abort(&self) {
        self.0.aborted.store(true, Ordering::Release);
        self.0.worker.0.notify();
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.joiner.register(cx.waker());
        self.0.end.lock().unwrap().take().map_or(Poll::Pending, Poll::Ready)
    }
}

/// It was aborted; what panics ends the model.
pub(crate) struct JoinError;

impl JoinError {
    pub(crate) fn try_into_panic(self) -> Result<Box<dyn std::any::Any + Send>, Self> {
        Err(self)
    }
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
