//! R18, R21 without tokio: deadlines and cleanup budgets by the crate's own thread, by an
//! executor's timers, and in a test's virtual time.

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use aionursery::{
    Builder, CancelScope, cancelled,
    error::Source,
    fail_after, move_on_after, move_on_at, nursery_local,
    time::{Clock, Sleep, current_effective_deadline, current_time},
};

const SECOND: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_millis(2);

/// A time that passes when the test says so.
#[derive(Clone)]
struct Virtual(Arc<Mutex<Hands>>);

struct Hands {
    now: Instant,
    sleepers: Vec<(Instant, Waker)>,
}

impl Virtual {
    fn new() -> Self {
        Self::at(Instant::now())
    }

    fn at(now: Instant) -> Self {
        Self(Arc::new(Mutex::new(Hands { now, sleepers: Vec::new() })))
    }

    fn pass(&self, time: Duration) {
        let due: Vec<_> = {
            let hands = &mut *self.0.lock().unwrap();
            hands.now += time;
            let now = hands.now;
            let (due, later) = hands.sleepers.drain(..).partition(|(moment, _)| *moment <= now);
            hands.sleepers = later;
            due
        };
        due.into_iter().for_each(|(_, waker)| waker.wake());
    }

    /// The moments that are waited for, in seconds from now.
    fn waits(&self) -> Vec<u64> {
        let hands = &*self.0.lock().unwrap();
        hands.sleepers.iter().map(|(moment, _)| (*moment - hands.now).as_secs()).collect()
    }
}

impl Clock for Virtual {
    fn now(&self) -> Instant {
        self.0.lock().unwrap().now
    }

    fn sleep_until(&self, moment: Instant) -> Sleep {
        let hands = self.0.clone();
        Box::pin(poll_fn(move |cx| {
            let hands = &mut *hands.lock().unwrap();
            if hands.now >= moment {
                return Poll::Ready(());
            }
            hands.sleepers.retain(|(other, _)| *other != moment);
            hands.sleepers.push((moment, cx.waker().clone()));
            Poll::Pending
        }))
    }
}

fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn r21_a_deadline_in_virtual_time_acts_when_it_has_come_and_not_before() {
    let clock = Virtual::new();
    let builder = Builder::new().clock(clock.clone()).deadline(clock.now() + 10 * SECOND);
    let mut block = pin!(builder.nursery_local(async |n| {
        n.start_soon(pending::<Result<(), ()>>()).value().await;
        Ok(())
    }));
    assert!(poll(block.as_mut()).is_pending());
    assert_eq!(clock.waits(), [10]);
    clock.pass(9 * SECOND);
    assert!(poll(block.as_mut()).is_pending());
    clock.pass(2 * SECOND);
    let Poll::Ready(Err(error)) = poll(block.as_mut()) else { panic!("the deadline has passed") };
    assert_eq!(error.cause().unwrap().source(), Source::Deadline);
}

#[test]
fn r21_what_is_below_runs_on_the_clock_of_the_outermost() {
    let clock = Virtual::new();
    let left = Cell::new(None);
    let mut block = pin!(Builder::new().clock(clock.clone()).nursery_local(async |n| {
        // By the same clock, though it is not passed on.
        left.set(move_on_after(5 * SECOND, pending::<()>()).await);
        let inner = Builder::new().clock(Virtual::new()).deadline(clock.now() + 3 * SECOND);
        let inner = inner.nursery_local(async |_| pending::<Result<(), ()>>().await);
        let error = inner.await.unwrap_err();
        assert_eq!(error.cause().unwrap().source(), Source::Deadline);
        n.set_deadline(clock.now() + SECOND);
        assert_eq!(n.effective_deadline().map(|at| (at - clock.now()).as_secs()), Some(1));
        pending::<Result<(), ()>>().await
    }));
    assert!(poll(block.as_mut()).is_pending());
    assert_eq!(clock.waits(), [5]);
    clock.pass(6 * SECOND);
    assert!(poll(block.as_mut()).is_pending());
    assert_eq!((left.get(), clock.waits()), (None, vec![3]));
    clock.pass(4 * SECOND);
    assert!(poll(block.as_mut()).is_pending());
    clock.pass(2 * SECOND);
    assert!(poll(block.as_mut()).is_ready());
}

#[test]
fn r18_a_cleanup_budget_is_spent_in_virtual_time() {
    let clock = Virtual::new();
    let log = RefCell::new(Vec::new());
    let builder = Builder::new().clock(clock.clone()).cleanup(5 * SECOND);
    let mut block = pin!(builder.nursery_local(async |n| {
        let log = &log;
        n.start_soon(async move {
            cancelled().await;
            log.borrow_mut().push("hears it");
            pending::<Result<(), ()>>().await
        });
        n.cancel();
        Ok(())
    }));
    assert!(poll(block.as_mut()).is_pending());
    clock.pass(4 * SECOND);
    assert!(poll(block.as_mut()).is_pending());
    assert_eq!(*log.borrow(), ["hears it"]);
    clock.pass(2 * SECOND);
    assert!(poll(block.as_mut()).is_ready());
}

#[test]
fn r21_a_scope_of_its_own_takes_a_clock_too() {
    let clock = Virtual::new();
    let scope = CancelScope::new().clock(clock.clone()).deadline(clock.now() + SECOND);
    let mut run = pin!(scope.run(pending::<()>()));
    assert!(poll(run.as_mut()).is_pending());
    clock.pass(2 * SECOND);
    assert!(matches!(poll(run.as_mut()), Poll::Ready(Err(_))));
}

#[test]
fn r13_a_scope_whose_budget_ran_out_unseen_ends_alone_when_another_opens_in_it() {
    let clock = Virtual::new();
    let outer = CancelScope::new().clock(clock.clone()).cleanup(SECOND);
    let mut run = pin!(outer.run(aionursery::shield(async {
        let inner = CancelScope::new().deadline(clock.now() + SECOND);
        let ended = inner.run(async {
            cancelled().await;
            clock.pass(2 * SECOND);
            move_on_after(SECOND, pending::<()>()).await
        });
        let ended = ended.await.map_err(|cancelled| cancelled.cause().source());
        aionursery::yield_now().await;
        ended
    })));
    assert!(poll(run.as_mut()).is_pending());
    clock.pass(SECOND);
    assert!(poll(run.as_mut()).is_pending());
    assert_eq!(poll(run.as_mut()), Poll::Ready(Ok(Err(Source::Deadline))));
}

#[test]
fn r21_the_current_time_is_that_of_the_clock_around() {
    let clock = Virtual::new();
    clock.pass(1000 * SECOND);
    let seen = futures::executor::block_on(CancelScope::new().clock(clock.clone()).run(async {
        let first = current_time();
        clock.pass(SECOND);
        let below = nursery_local(async |_| Ok::<_, ()>(current_time()));
        (first, below.await.unwrap())
    }));
    assert_eq!(seen.unwrap(), (clock.now() - SECOND, clock.now()));
    assert!(current_time() < clock.now());
}

#[test]
fn r21_a_clock_may_show_a_time_before_the_program_began() {
    let Some(earlier) = Instant::now().checked_sub(Duration::from_millis(1500)) else { return };
    let clock = Virtual::at(earlier);
    let scope = CancelScope::new().clock(clock.clone()).deadline(clock.now() + SECOND);
    let mut run = pin!(scope.run(async {
        assert_eq!(current_effective_deadline().unwrap().duration_since(clock.now()), SECOND);
        pending::<()>().await
    }));
    assert!(poll(run.as_mut()).is_pending());
    clock.pass(SECOND - Duration::from_nanos(1));
    assert!(poll(run.as_mut()).is_pending());
    clock.pass(Duration::from_nanos(1));
    assert!(matches!(poll(run.as_mut()), Poll::Ready(Err(_))));
}

async fn deadlines_of_every_kind() {
    let late = fail_after(SOON, pending::<()>()).await.unwrap_err();
    assert_eq!(late.cause().source(), Source::Deadline);
    assert_eq!(move_on_at(Instant::now(), pending::<()>()).await, None);
    assert_eq!(move_on_after(3600 * SECOND, async { 7 }).await, Some(7));
    let order = RefCell::new(Vec::new());
    nursery_local(async |n| {
        // Started in another order than they end in; one that is never reached is in between.
        for turns in [9, 1, 5] {
            let order = &order;
            n.start_soon(async move {
                let _ = move_on_after(turns * 10 * SOON, pending::<()>()).await;
                order.borrow_mut().push(turns);
                Ok::<_, ()>(())
            });
        }
        let hour = fail_after(3600 * SECOND, pending::<()>());
        n.start_soon(async { hour.await.map_err(drop) });
        while order.borrow().len() < 3 {
            let _ = move_on_after(SOON, pending::<()>()).await;
        }
        n.cancel();
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(*order.borrow(), [1, 5, 9]);
}

#[test]
fn r21_deadlines_need_no_runtime() {
    futures::executor::block_on(deadlines_of_every_kind());
    smol::block_on(deadlines_of_every_kind());
    smol::block_on(smol::LocalExecutor::new().run(deadlines_of_every_kind()));
}

#[test]
fn r18_a_budget_is_spent_without_a_runtime() {
    smol::block_on(async {
        let heard = Cell::new(false);
        Builder::new()
            .cleanup(SOON)
            .nursery_local(async |n| {
                n.start_soon(async {
                    cancelled().await;
                    heard.set(true);
                    pending::<Result<(), ()>>().await
                });
                n.cancel();
                Ok(())
            })
            .await
            .unwrap();
        assert!(heard.get());
    });
}

#[test]
fn r21_an_executors_own_timers_can_be_the_clock() {
    struct Smol;
    impl Clock for Smol {
        fn now(&self) -> Instant {
            Instant::now()
        }
        fn sleep_until(&self, moment: Instant) -> Sleep {
            Box::pin(async move {
                smol::Timer::at(moment).await;
            })
        }
    }
    smol::block_on(async {
        let nursery = Builder::new().clock(Smol).deadline(Instant::now() + SOON);
        let ended = nursery.nursery(async |_| pending::<Result<(), ()>>().await).await;
        assert_eq!(ended.unwrap_err().cause().unwrap().source(), Source::Deadline);
    });
}

#[test]
fn r29_a_waker_that_panics_does_not_stop_the_clock() {
    struct Bomb;
    impl std::task::Wake for Bomb {
        fn wake(self: Arc<Self>) {
            panic!("a waker");
        }
    }
    let mut late = pin!(fail_after(SOON, pending::<()>()));
    let bomb = Waker::from(Arc::new(Bomb));
    assert!(late.as_mut().poll(&mut Context::from_waker(&bomb)).is_pending());
    smol::block_on(deadlines_of_every_kind());
    assert!(matches!(poll(late), Poll::Ready(Err(_))));
}

#[test]
fn r29_a_clock_may_ask_the_scope_that_is_told_the_time() {
    struct Asks(Arc<Mutex<Option<CancelScope>>>);
    impl Clock for Asks {
        fn now(&self) -> Instant {
            let scope = self.0.lock().unwrap();
            assert!(scope.as_ref().is_some_and(|scope| !scope.is_cancelled()));
            Instant::now()
        }
        fn sleep_until(&self, _: Instant) -> Sleep {
            Box::pin(pending())
        }
    }
    let (say, hear) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let asked = Arc::new(Mutex::new(None));
        let scope = CancelScope::new().deadline(Instant::now() + 100 * SECOND);
        let scope = scope.clock(Asks(asked.clone()));
        *asked.lock().unwrap() = Some(scope.clone());
        let ended = futures::executor::block_on(scope.run(async {
            aionursery::yield_now().await;
            7
        }));
        // The two hold each other.
        let asked = asked.lock().unwrap().take();
        drop(asked);
        say.send(ended).unwrap();
    });
    assert_eq!(hear.recv_timeout(60 * SECOND).expect("it has an answer").unwrap(), 7);
}

#[test]
fn r21_a_deadline_that_is_moved_while_its_nursery_looks_at_the_clock_wakes_it() {
    type Open = aionursery::Nursery<'static, ()>;
    struct Moves(Arc<Mutex<Option<Open>>>);
    impl Clock for Moves {
        fn now(&self) -> Instant {
            Instant::now()
        }
        fn sleep_until(&self, _: Instant) -> Sleep {
            if let Some(n) = self.0.lock().unwrap().take() {
                let moves = std::thread::spawn(move || n.set_deadline(Instant::now() + SECOND));
                moves.join().unwrap();
            }
            Box::pin(pending())
        }
    }
    struct Calls(std::sync::atomic::AtomicUsize);
    impl std::task::Wake for Calls {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    }
    let handle = Arc::new(Mutex::new(None));
    let clock = Moves(handle.clone());
    let builder = Builder::new().clock(clock).deadline(Instant::now() + 100 * SECOND);
    let mut block = Box::pin(builder.nursery(async move |n: Open| {
        *handle.lock().unwrap() = Some(n);
        pending::<Result<(), ()>>().await
    }));
    let calls = Arc::new(Calls(0.into()));
    let waker = Waker::from(calls.clone());
    assert!(block.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    assert_eq!(calls.0.load(std::sync::atomic::Ordering::SeqCst), 1);
}

/// Counts the wakes.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// Its sleeps end at once, whatever they were to wait for.
#[derive(Clone)]
struct Early(Virtual);

impl Clock for Early {
    fn now(&self) -> Instant {
        self.0.now()
    }

    fn sleep_until(&self, _: Instant) -> Sleep {
        Box::pin(std::future::ready(()))
    }
}

#[test]
fn r21_a_sleep_that_ends_early_is_no_deadline_and_keeps_no_other_task_from_running() {
    let clock = Early(Virtual::new());
    let wakes = Arc::<Wakes>::default();
    let waker = Waker::from(wakes.clone());
    let scope = CancelScope::new().clock(clock.clone()).deadline(clock.now() + SECOND);
    let mut run = pin!(scope.run(pending::<()>()));
    let builder = Builder::new().clock(clock.clone()).deadline(clock.now() + SECOND);
    let mut block = pin!(builder.nursery_local(async |_| pending::<Result<(), ()>>().await));
    for _ in 0..3 {
        let before = wakes.0.load(SeqCst);
        assert!(run.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        assert!(wakes.0.load(SeqCst) > before, "it asks again");
        let before = wakes.0.load(SeqCst);
        assert!(block.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        assert!(wakes.0.load(SeqCst) > before, "it asks again");
    }
    clock.0.pass(SECOND);
    assert!(matches!(poll(run.as_mut()), Poll::Ready(Err(_))));
    assert!(matches!(poll(block.as_mut()), Poll::Ready(Err(_))));
}

#[test]
fn r29_a_clock_that_is_replaced_may_ask_its_scope_when_it_goes() {
    struct Asks(CancelScope, Arc<AtomicUsize>);
    impl Clock for Asks {
        fn now(&self) -> Instant {
            Instant::now()
        }
        fn sleep_until(&self, _: Instant) -> Sleep {
            Box::pin(pending())
        }
    }
    impl Drop for Asks {
        fn drop(&mut self) {
            assert!(!self.0.is_cancelled());
            self.1.fetch_add(1, SeqCst);
        }
    }
    let asked = Arc::<AtomicUsize>::default();
    let (say, hear) = std::sync::mpsc::channel();
    let told = asked.clone();
    std::thread::spawn(move || {
        let scope = CancelScope::new();
        let asks = Asks(scope.clone(), told);
        drop(scope.clock(asks).clock(Virtual::new()));
        say.send(()).unwrap();
    });
    hear.recv_timeout(60 * SECOND).expect("it does not wait for ever");
    assert_eq!(asked.load(SeqCst), 1);
}
