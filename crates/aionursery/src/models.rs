//! What crosses threads, run by loom in every order that the memory model allows, up to a number
//! of preemptions. Workers are loom's threads here, each of which polls one spawned child.
//!
//! A lost wake-up is a deadlock, which loom reports; an order that is missing between two threads
//! shows in a `Witness`, whose accesses loom checks.

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

/// As tokio's.
pub(crate) struct JoinHandle<T> {
    output: Arc<Mutex<Option<T>>>,
    task: AbortHandle,
}

/// As tokio's.
#[derive(Clone)]
pub(crate) struct AbortHandle(Arc<Task>);

/// As tokio's. A child that panics does not come to it: its nursery has caught that.
pub(crate) struct JoinError;

struct Task {
    done: AtomicBool,
    aborted: AtomicBool,
    joiner: AtomicWaker,
    worker: Arc<Worker>,
}

impl JoinError {
    pub(crate) fn is_panic(&self) -> bool {
        false
    }
}

impl AbortHandle {
    pub(crate) fn abort(&self) {
        self.0.aborted.store(true, Ordering::Release);
        self.0.worker.0.notify();
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.0.done.load(Ordering::Acquire)
    }
}

impl<T> JoinHandle<T> {
    pub(crate) fn abort(&self) {
        self.task.abort();
    }

    pub(crate) fn abort_handle(&self) -> AbortHandle {
        self.task.clone()
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.task.is_finished()
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>> {
        self.task.0.joiner.register(cx.waker());
        match self.is_finished() {
            true => Poll::Ready(self.output.lock().unwrap().take().ok_or(JoinError)),
            false => Poll::Pending,
        }
    }
}

struct Worker(Notify);

impl Worker {
    fn new() -> Arc<Self> {
        Arc::new(Self(Notify::new()))
    }

    /// Polls until it is ready, or until it is aborted.
    fn run<F: Future>(
        self: &Arc<Self>,
        mut future: Pin<&mut F>,
        aborted: impl Fn() -> bool,
    ) -> Option<F::Output> {
        let waker = Waker::from(self.clone());
        loop {
            if aborted() {
                return None;
            }
            match future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(output) => return Some(output),
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

pub(crate) fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let task = AbortHandle(Arc::new(Task {
        done: AtomicBool::new(false),
        aborted: AtomicBool::new(false),
        joiner: AtomicWaker::new(),
        worker: Worker::new(),
    }));
    let output = Arc::new(Mutex::new(None));
    let (works, leaves) = (task.0.clone(), output.clone());
    thread::spawn(move || {
        let ended = {
            let future = pin!(future);
            works.worker.run(future, || works.aborted.load(Ordering::Acquire))
        };
        *leaves.lock().unwrap() = ended;
        works.done.store(true, Ordering::Release);
        works.joiner.wake();
    });
    JoinHandle { output, task }
}

pub(crate) fn spawn_blocking<F, T>(function: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    spawn(async { function() })
}

fn block_on<F: Future>(future: F) -> F::Output {
    let output = Worker::new().run(pin!(future), || false);
    output.expect("nobody aborts it")
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

#[test]
fn r3_a_child_that_is_woken_on_another_thread_is_polled_again() {
    model(3, || {
        let gate = Gate::new();
        let opener = gate.clone();
        let other = thread::spawn(move || opener.open());
        let ended = block_on(nursery(async |n: Handle| {
            let gate = gate.clone();
            n.start_soon(async move {
                gate.wait().await;
                Ok(7)
            })
            .await
        }));
        assert_eq!(ended.unwrap(), 7);
        other.join().unwrap();
    });
}

#[test]
fn r3_two_children_that_are_woken_on_two_threads_are_both_polled_again() {
    model(2, || {
        let gates = [Gate::new(), Gate::new()];
        let others = gates.clone().map(|gate| thread::spawn(move || gate.open()));
        let ended = block_on(nursery(async |n: Handle| {
            for gate in gates.clone() {
                drop(n.start_soon(async move {
                    gate.wait().await;
                    Ok(())
                }));
            }
            Ok(())
        }));
        ended.unwrap();
        others.into_iter().for_each(|other| other.join().unwrap());
    });
}

#[test]
fn r29_a_waker_that_is_called_while_its_child_ends_and_later_wakes_nobody() {
    model(3, || {
        let waker = Arc::new(Mutex::new(None::<Waker>));
        let (kept, caught) = (waker.clone(), Witness::new());
        let dropped = caught.clone();
        let other = thread::spawn(move || {
            let waker = kept.lock().unwrap().take();
            if let Some(waker) = waker {
                waker.wake_by_ref();
                waker.wake();
            }
        });
        let ended = block_on(nursery(async move |n: Handle| {
            let end = OnDrop(dropped);
            n.start_soon(async move {
                let _end = end;
                let mut first = true;
                poll_fn(|cx| {
                    *waker.lock().unwrap() = Some(cx.waker().clone());
                    match std::mem::take(&mut first) {
                        true => {
                            cx.waker().wake_by_ref();
                            Poll::Pending
                        }
                        false => Poll::Ready(Ok(())),
                    }
                })
                .await
            })
            .await
        }));
        ended.unwrap();
        assert_eq!(caught.read(), 1);
        other.join().unwrap();
    });
}

#[test]
fn r26_a_value_is_taken_on_another_thread_while_the_child_ends() {
    model(3, || {
        let write = Witness::new();
        let other = block_on(nursery(async move |n: Handle| {
            let child = n.start_soon(async move {
                crate::yield_now().await;
                write.add();
                Ok(write)
            });
            Ok(thread::spawn(move || {
                let mut child = child;
                let written = block_on(&mut child).unwrap();
                // Before the handle goes: that orders more than it need.
                written.read()
            }))
        }));
        assert_eq!(other.unwrap().join().unwrap(), 1);
    });
}

#[test]
fn r5_a_value_whose_handle_is_dropped_while_the_child_ends_is_dropped_once() {
    model(3, || {
        let dropped = Witness::new();
        let count = Arc::new(AtomicUsize::new(0));
        struct Counted(Arc<AtomicUsize>);
        impl Drop for Counted {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let tell = Arc::new(Mutex::new(None));
        let (asks, counted, end) = (tell.clone(), count.clone(), dropped.clone());
        let gate = Gate::new();
        let waits = gate.clone();
        let other = thread::spawn(move || {
            block_on(gate.wait());
            drop(tell.lock().unwrap().take());
        });
        block_on(nursery(async move |n: Handle| {
            let child = n.start_soon(async move {
                let _end = OnDrop(end);
                waits.open();
                Ok(Counted(counted))
            });
            *asks.lock().unwrap() = Some(child);
            Ok(())
        }))
        .unwrap();
        assert_eq!(dropped.read(), 1);
        other.join().unwrap();
        assert_eq!(count.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn r12_a_cancellation_from_another_thread_ends_a_nursery_that_waits() {
    model(3, || {
        let dropped = Witness::new();
        let end = OnDrop(dropped.clone());
        let ended = block_on(nursery(async move |n: Handle| {
            let other = n.clone();
            thread::spawn(move || other.cancel());
            drop(n.start_soon(async move {
                let _end = end;
                forever().await
            }));
            forever().await
        }));
        assert!(ended.unwrap_err().is_cancelled());
        assert_eq!(dropped.read(), 1);
    });
}

#[test]
fn r12_a_cancellation_from_another_thread_reaches_a_child_that_is_being_spawned() {
    model(2, || {
        let dropped = Witness::new();
        let end = OnDrop(dropped.clone());
        let ended = block_on(nursery(async move |n: Handle| {
            let other = n.clone();
            thread::spawn(move || other.cancel());
            drop(n.spawn(async move {
                let _end = end;
                forever().await
            }));
            Ok(())
        }));
        ended.unwrap();
        assert_eq!(dropped.read(), 1);
    });
}

#[test]
fn r17_a_child_that_is_spawned_on_another_thread_during_a_cancellation_ends() {
    model(2, || {
        let dropped = Witness::new();
        let end = OnDrop(dropped.clone());
        let ended = block_on(nursery(async move |n: Handle| {
            let spawner = n.clone();
            thread::spawn(move || {
                drop(spawner.try_spawn(async move {
                    let _end = end;
                    forever().await
                }));
            });
            n.cancel();
            Ok(())
        }));
        ended.unwrap();
    });
}

#[test]
fn r27_who_waits_for_the_cancellation_on_another_thread_hears_it() {
    model(3, || {
        let ended = block_on(nursery(async |n: Handle| {
            let other = n.clone();
            let hears = thread::spawn(move || block_on(other.cancelled()));
            n.cancel();
            hears.join().unwrap();
            Ok(())
        }));
        ended.unwrap();
    });
}

#[test]
fn r2_a_child_that_is_started_elsewhere_while_the_nursery_closes_runs_or_is_refused() {
    model(3, || {
        let ran = Arc::new(AtomicUsize::new(0));
        let counts = ran.clone();
        let started = Arc::new(Mutex::new(None));
        let starts = started.clone();
        block_on(nursery(async move |n: Handle| {
            *starts.lock().unwrap() = Some(thread::spawn(move || {
                let child = n.try_start_soon(async move {
                    counts.fetch_add(1, Ordering::Relaxed);
                    Ok(())
                });
                child.is_ok()
            }));
            Ok(())
        }))
        .unwrap();
        let before = ran.load(Ordering::Relaxed);
        let other = started.lock().unwrap().take().unwrap();
        let admitted = other.join().unwrap();
        assert_eq!(ran.load(Ordering::Relaxed), usize::from(admitted));
        assert!(before == usize::from(admitted), "it was waited for");
    });
}

#[test]
fn r2_a_child_that_is_started_elsewhere_while_the_nursery_waits_is_taken_up() {
    model(3, || {
        let gate = Gate::new();
        block_on(nursery(async |n: Handle| {
            let (starter, opener) = (n.clone(), gate.clone());
            thread::spawn(move || {
                drop(starter.start_soon(async move {
                    opener.open();
                    Ok(())
                }));
            });
            gate.wait().await;
            Ok(())
        }))
        .unwrap();
    });
}

#[test]
fn r4_what_was_started_elsewhere_before_comes_before() {
    model(3, || {
        block_on(nursery(async |n: Handle| {
            let (starter, steps) = (n.clone(), Arc::new(AtomicUsize::new(0)));
            let (step, told) = (steps.clone(), Arc::new(AtomicBool::new(false)));
            let tells = told.clone();
            thread::spawn(move || {
                let started = starter.try_start_soon(async move {
                    step.fetch_add(1, Ordering::Relaxed);
                    Ok(())
                });
                tells.store(started.is_ok(), Ordering::Release);
            });
            crate::yield_now().await;
            if told.load(Ordering::Acquire) {
                drop(n.start_soon(async move {
                    assert_eq!(steps.load(Ordering::Relaxed), 1);
                    Ok(())
                }));
            }
            Ok(())
        }))
        .unwrap();
    });
}

#[test]
fn r3_spawned_children_are_counted_and_the_last_wakes_the_nursery() {
    model(3, || {
        let done = [Witness::new(), Witness::new()];
        let ended = block_on(nursery(async |n: Handle| {
            for done in done.clone() {
                drop(n.spawn(async move {
                    done.add();
                    Ok(())
                }));
            }
            Ok(())
        }));
        ended.unwrap();
        assert_eq!(done.map(|done| done.read()), [1, 1]);
    });
}

#[test]
fn r26_a_spawned_childs_value_comes_to_who_awaits_it() {
    model(3, || {
        let written = Witness::new();
        let ended = block_on(nursery(async |n: Handle| {
            let write = written.clone();
            let child = n.spawn(async move {
                write.add();
                Ok(write)
            });
            Ok(child.await?.read())
        }));
        assert_eq!(ended.unwrap(), 1);
    });
}

#[test]
fn r6_a_failure_on_one_worker_ends_the_child_on_another() {
    model(2, || {
        let dropped = Witness::new();
        let ended = block_on(nursery(async |n: Handle| {
            let end = OnDrop(dropped.clone());
            drop(n.spawn(async move {
                let _end = end;
                forever().await
            }));
            drop(n.spawn(async { Err::<(), _>("stop") }));
            Ok(())
        }));
        assert_eq!(ended.unwrap_err().len(), 1);
        assert_eq!(dropped.read(), 1);
    });
}

#[test]
fn r7_errors_on_two_workers_and_in_the_task_are_all_kept() {
    model(3, || {
        let ended = block_on(crate::Builder::new().on_error(OnError::Collect).nursery(
            async |n: Handle| {
                drop(n.spawn(async { Err::<(), _>("a") }));
                drop(n.spawn(async { Err::<(), _>("b") }));
                drop(n.start_soon(async { Err::<(), _>("c") }));
                Ok(())
            },
        ));
        let mut errors: Vec<_> = ended.unwrap_err().errors().copied().collect();
        errors.sort_unstable();
        assert_eq!(errors, ["a", "b", "c"]);
    });
}

#[test]
fn r16_a_spawned_child_that_is_cancelled_by_hand_ends_alone() {
    model(3, || {
        let dropped = Witness::new();
        let ended = block_on(nursery(async |n: Handle| {
            let end = OnDrop(dropped.clone());
            let child = n.spawn(async move {
                let _end = end;
                forever().await
            });
            child.cancel();
            assert_eq!(child.end().await, End::Cancelled);
            Ok(())
        }));
        ended.unwrap();
        assert_eq!(dropped.read(), 1);
    });
}

#[test]
fn r28_what_a_dropped_nursery_spawned_is_waited_for_by_the_one_above() {
    model(3, || {
        let dropped = Witness::new();
        let ended = block_on(nursery(async |_: Handle| {
            let end = OnDrop(dropped.clone());
            let mut inner = Box::pin(nursery(async move |n: Handle| {
                drop(n.spawn(async move {
                    let _end = end;
                    forever().await
                }));
                forever().await
            }));
            poll_fn(|cx| {
                assert!(inner.as_mut().poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
            drop(inner);
            Ok(())
        }));
        ended.unwrap();
        assert_eq!(dropped.read(), 1);
    });
}

#[test]
fn r28_the_nursery_above_the_one_above_adopts_if_that_has_gone_too() {
    model(2, || {
        let dropped = Witness::new();
        let ended = block_on(nursery(async |_: Handle| {
            let end = OnDrop(dropped.clone());
            let mut middle = Box::pin(nursery(async move |_: Handle| {
                nursery(async move |n: Handle| {
                    drop(n.spawn(async move {
                        let _end = end;
                        forever().await
                    }));
                    forever().await
                })
                .await
                .map_err(|_| "inner")
            }));
            poll_fn(|cx| {
                assert!(middle.as_mut().poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
            drop(middle);
            Ok(())
        }));
        ended.unwrap();
        assert_eq!(dropped.read(), 1);
    });
}

#[test]
fn r28_a_child_that_returns_while_its_nursery_is_dropped_is_counted_once() {
    model(2, || {
        let done = Witness::new();
        let ended = block_on(nursery(async |_: Handle| {
            let end = OnDrop(done.clone());
            let mut inner = Box::pin(nursery(async move |n: Handle| {
                drop(n.spawn(async move {
                    drop(end);
                    Ok(())
                }));
                forever().await
            }));
            poll_fn(|cx| {
                assert!(inner.as_mut().poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
            drop(inner);
            Ok(())
        }));
        ended.unwrap();
        assert_eq!(done.read(), 1);
    });
}

#[test]
fn r3_a_limit_gives_each_place_on_to_a_child_that_waits() {
    model(3, || {
        let inside = Witness::new();
        let ended = block_on(crate::Builder::new().limit(1).nursery(async |n: Handle| {
            for _ in 0..2 {
                let inside = inside.clone();
                drop(n.spawn(async move {
                    inside.add();
                    Ok(())
                }));
            }
            Ok(())
        }));
        ended.unwrap();
        assert_eq!(inside.read(), 2);
    });
}

/// Opens a nursery with a shielded child that fails on a worker, polls it once and drops it. Says
/// how many errors it gave back itself: one, if the child was quick.
async fn dropped_with_a_child_that_fails() -> usize {
    let mut inner = Box::pin(nursery(async |n: Handle| {
        drop(n.shielded().spawn(async { Err::<(), _>("late") }));
        forever().await
    }));
    poll_fn(|cx| match inner.as_mut().poll(cx) {
        Poll::Ready(ended) => Poll::Ready(ended.unwrap_err().len()),
        Poll::Pending => Poll::Ready(0),
    })
    .await
}

/// That and what came back from above are one error, whichever way it went (R7).
fn is_reported_once(seen: &Witness, ended: Result<(), crate::MultiError<&'static str>>) {
    let above = ended.map_or_else(|error| error.adopted().count(), |()| 0);
    assert_eq!(seen.read() + above, 1);
}

#[test]
fn r7_r28_the_error_of_what_was_adopted_wakes_who_adopted_it() {
    model(3, || {
        let seen = Witness::new();
        let ended = block_on(nursery(async |_: Handle| {
            for _ in 0..dropped_with_a_child_that_fails().await {
                seen.add();
            }
            Ok(())
        }));
        is_reported_once(&seen, ended);
    });
}

#[test]
fn r7_r28_what_was_adopted_by_a_nursery_that_is_dropped_too_reaches_the_next_one() {
    model(3, || {
        let seen = Witness::new();
        let ended = block_on(nursery(async |_: Handle| {
            let mut middle = Box::pin(nursery(async |_: Handle| {
                for _ in 0..dropped_with_a_child_that_fails().await {
                    seen.add();
                }
                forever().await
            }));
            poll_fn(|cx| Poll::Ready(assert!(middle.as_mut().poll(cx).is_pending()))).await;
            drop(middle);
            Ok(())
        }));
        is_reported_once(&seen, ended);
    });
}
