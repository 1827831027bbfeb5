//! R29: other people's code panics while a nursery drops its children. Each of these is dropped all
//! the same, where it lies, and the nursery ends. A second panic in one drop would end the program, and
//! so this test: none comes out of a drop beside another's.

use std::future::{Future, pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use aionursery::{
    Builder, CancelScope, Nursery, TaskStatus,
    error::NotStarted,
    nursery,
    time::{Clock, Sleep},
    yield_now,
};
use futures::FutureExt;

type Never = Result<(), &'static str>;

/// Counts the children that were dropped.
#[derive(Clone, Default)]
struct Dropped(Arc<AtomicUsize>);

impl Dropped {
    async fn child(self) -> Never {
        struct Inside(Dropped);
        impl Drop for Inside {
            fn drop(&mut self) {
                self.0.0.fetch_add(1, SeqCst);
            }
        }
        let _inside = Inside(self);
        pending().await
    }

    fn count(&self) -> usize {
        self.0.load(SeqCst)
    }
}

/// Panics when it is dropped, unless that would end the program. Says that it was.
struct Bomb(Arc<AtomicUsize>);

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.0.fetch_add(1, SeqCst);
            panic!("a destructor");
        }
    }
}

/// Panics when it is woken, with a payload that panics when it is dropped.
struct Loud(Arc<AtomicUsize>);

impl Wake for Loud {
    fn wake(self: Arc<Self>) {
        panic_any(Bomb(self.0.clone()));
    }
}

/// Panics when it is dropped.
struct Quiet(#[expect(dead_code, reason = "what is dropped")] Bomb);

impl Wake for Quiet {
    fn wake(self: Arc<Self>) {}
}

/// Panics when it is woken, whatever comes of that.
struct Shrill(Arc<AtomicUsize>);

impl Wake for Shrill {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
        panic!("a waker");
    }
}

/// Panics when it is dropped, whatever comes of that.
struct Brittle(Arc<AtomicUsize>);

impl Drop for Brittle {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
        panic!("a waker");
    }
}

impl Wake for Brittle {
    fn wake(self: Arc<Self>) {}
}

/// A waker that panics when it is woken, or when it is dropped, and how often it has.
fn panicking_waker(woken: bool) -> (Waker, Arc<AtomicUsize>) {
    let panics = Arc::<AtomicUsize>::default();
    let waker = match woken {
        true => Waker::from(Arc::new(Shrill(panics.clone()))),
        false => Waker::from(Arc::new(Brittle(panics.clone()))),
    };
    (waker, panics)
}

/// Panics when it is dropped, whatever comes of that.
struct Always(&'static str);

impl Drop for Always {
    fn drop(&mut self) {
        panic_any(self.0);
    }
}

impl Future for Always {
    type Output = Never;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Never> {
        Poll::Pending
    }
}

/// The panic that comes out of dropping it.
fn panic_of<T>(dropped: T) -> Option<&'static str> {
    let payload = catch_unwind(AssertUnwindSafe(|| drop(dropped))).err()?;
    Some(*payload.downcast().unwrap())
}

/// A clock that panics when it is asked, for as long as it is told to.
struct Broken(Arc<AtomicBool>);

impl Clock for Broken {
    fn now(&self) -> Instant {
        assert!(!self.0.load(SeqCst), "the clock");
        Instant::now()
    }

    fn sleep_until(&self, _: Instant) -> Sleep {
        Box::pin(pending())
    }
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>, waker: &Waker) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(waker))
}

#[cfg(feature = "tokio-util")]
#[test]
fn r29_a_token_wakes_a_waker_that_panics() {
    for cancelled in [false, true] {
        let (dropped, bombs) = (Dropped::default(), Arc::<AtomicUsize>::default());
        let (token, handle) = (OnceLock::new(), OnceLock::new());
        let mut block = Box::pin(nursery(async |n: Nursery<'_, &'static str>| {
            token.set(n.token()).unwrap();
            n.start_soon(dropped.clone().child());
            n.start_soon(dropped.clone().child());
            assert!(handle.set(n).is_ok());
            pending::<Never>().await
        }));
        assert!((&mut block).now_or_never().is_none());
        let mut waits = Box::pin(token.get().unwrap().cancelled());
        assert!(poll(waits.as_mut(), &Waker::from(Arc::new(Loud(bombs.clone())))).is_pending());
        if cancelled {
            handle.get().unwrap().cancel();
            assert!(block.now_or_never().unwrap().unwrap_err().is_cancelled());
        } else {
            drop(block);
        }
        assert_eq!((dropped.count(), bombs.load(SeqCst)), (2, 1));
    }
}

#[test]
fn r29_a_clock_that_panics_keeps_no_cancellation_from_its_nursery() {
    for cancelled in [false, true] {
        let (dropped, broken) = (Dropped::default(), Arc::<AtomicBool>::default());
        let handle = OnceLock::new();
        let builder = Builder::new().clock(Broken(broken.clone())).cleanup(Duration::from_secs(60));
        let mut block = Box::pin(builder.nursery(async |n: Nursery<'_, &'static str>| {
            n.start_soon(dropped.clone().child());
            n.start_soon(dropped.clone().child());
            assert!(handle.set(n).is_ok());
            pending::<Never>().await
        }));
        assert!((&mut block).now_or_never().is_none());
        broken.store(true, SeqCst);
        if cancelled {
            handle.get().unwrap().cancel();
            assert!(block.now_or_never().unwrap().unwrap_err().is_cancelled());
        } else {
            drop(block);
        }
        assert_eq!(dropped.count(), 2);
    }
}

#[test]
fn r29_a_clock_that_panics_while_siblings_are_dropped_harms_none_of_them() {
    let (dropped, broken) = (Dropped::default(), Arc::<AtomicBool>::default());
    struct Breaks(Arc<AtomicBool>);
    impl Drop for Breaks {
        fn drop(&mut self) {
            self.0.store(true, SeqCst);
            panic!("a destructor");
        }
    }
    let builder = Builder::new().clock(Broken(broken.clone()));
    let ended = builder.nursery(async |n: Nursery<'_, &'static str>| {
        let breaks = Breaks(broken.clone());
        n.start_soon(async move {
            let _breaks = breaks;
            pending::<Never>().await
        });
        n.start_soon(dropped.clone().child());
        yield_now().await;
        n.cancel();
        pending::<Never>().await
    });
    let error = ended.now_or_never().unwrap().unwrap_err();
    assert_eq!(error.panics().next().unwrap().message(), "a destructor");
    assert_eq!(dropped.count(), 1);
}

#[test]
fn r29_the_waker_of_a_handle_that_went_panics_when_it_is_dropped() {
    for cancelled in [false, true] {
        let (dropped, bombs) = (Dropped::default(), Arc::<AtomicUsize>::default());
        let block = nursery(async |n: Nursery<'_, &'static str>| {
            let waker = Waker::from(Arc::new(Quiet(Bomb(bombs.clone()))));
            let mut victim = n.start_soon(dropped.clone().child());
            assert!(poll(Pin::new(&mut victim), &waker).is_pending());
            // The child's is the last, and goes with the handle.
            drop(waker);
            drop(victim);
            n.start_soon(dropped.clone().child());
            yield_now().await;
            if cancelled {
                n.cancel();
            }
            pending::<Never>().await
        });
        match cancelled {
            true => assert!(block.now_or_never().unwrap().unwrap_err().is_cancelled()),
            false => assert!(block.now_or_never().is_none()),
        }
        assert_eq!((dropped.count(), bombs.load(SeqCst)), (2, 1));
    }
}

#[test]
fn r29_the_payload_of_a_waker_that_panics_panics_too() {
    let (dropped, bombs) = (Dropped::default(), Arc::<AtomicUsize>::default());
    let kept = Mutex::new(None);
    let mut block = Box::pin(nursery(async |n: Nursery<'_, &'static str>| {
        let mut ends = n.start_soon(async {
            yield_now().await;
            Ok(7)
        });
        assert!(
            poll(Pin::new(&mut ends), &Waker::from(Arc::new(Loud(bombs.clone())))).is_pending()
        );
        *kept.lock().unwrap() = Some(ends);
        n.start_soon(dropped.clone().child());
        pending::<Never>().await
    }));
    assert!((&mut block).now_or_never().is_none());
    assert_eq!(bombs.load(SeqCst), 1);
    drop(block);
    assert_eq!(dropped.count(), 1);
    assert_eq!(kept.into_inner().unwrap().unwrap().now_or_never().unwrap().unwrap(), 7);
}

#[test]
fn r29_a_child_that_panics_in_its_step_and_its_destructor_ends_once() {
    let bombs = Arc::<AtomicUsize>::default();
    let ended = nursery(async |n: Nursery<'_, &'static str>| {
        let (first, second) = (Bomb(bombs.clone()), bombs.clone());
        struct Twice(Arc<AtomicUsize>);
        impl Future for Twice {
            type Output = Never;
            fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Never> {
                panic!("a step")
            }
        }
        impl Drop for Twice {
            fn drop(&mut self) {
                panic_any(Bomb(self.0.clone()));
            }
        }
        let twice = Twice(second);
        n.start_soon(async move {
            let _first = first;
            yield_now().await;
            Ok(())
        });
        n.start_soon(twice);
        Ok(())
    });
    let error = ended.now_or_never().unwrap().unwrap_err();
    assert_eq!(error.panics().count(), 2);
    // The destructor of the first child, and the payload of the second one's.
    assert_eq!(bombs.load(SeqCst), 2);
}

#[test]
fn r29_a_scope_whose_clock_panics_is_cancelled() {
    let broken = Arc::<AtomicBool>::default();
    let scope = CancelScope::new().clock(Broken(broken.clone()));
    let mut runs = Box::pin(scope.run(pending::<()>()));
    assert!((&mut runs).now_or_never().is_none());
    broken.store(true, SeqCst);
    scope.cancel_with("enough");
    let cancelled = runs.now_or_never().unwrap().unwrap_err();
    assert_eq!(cancelled.cause().reason(), Some("enough"));
}

#[test]
fn r29_everything_in_a_dropped_nursery_panics_and_the_first_panic_goes_on() {
    struct Faulty;
    impl Clock for Faulty {
        fn now(&self) -> Instant {
            Instant::now()
        }
        fn sleep_until(&self, _: Instant) -> Sleep {
            let always = Always("a sleep");
            Box::pin(async move {
                let _always = always;
                pending().await
            })
        }
    }
    let dropped = Dropped::default();
    let later = Instant::now() + Duration::from_secs(60);
    let builder = Builder::new().clock(Faulty).deadline(later).cleanup(Duration::from_secs(60));
    let builder = builder.warn_stuck(Duration::from_secs(60), |_| {});
    let mut block = Box::pin(builder.nursery(async |n: Nursery<'_, &'static str>| {
        n.start_soon(Always("a child"));
        n.start_soon(dropped.clone().child());
        n.start_soon(Always("another child"));
        n.cancel();
        Ok(Always("the value"))
    }));
    assert!((&mut block).now_or_never().is_none());
    assert_eq!(panic_of(block), Some("the value"));
    assert_eq!(dropped.count(), 1);
}

#[test]
fn r29_a_wait_for_a_child_to_start_panics_when_it_is_woken_by_a_child_that_panics() {
    let (waker, panics) = panicking_waker(true);
    let mut waiting = None;
    let mut block = Box::pin(nursery(async |n: Nursery<'_, &'static str>| {
        let start = n.start(|status: TaskStatus<(), _>| {
            let always = Always("a child");
            async move {
                let (_always, _status) = (always, status);
                pending().await
            }
        });
        let waits = waiting.insert(Box::pin(start));
        assert!(poll(waits.as_mut(), &waker).is_pending());
        pending::<Never>().await
    }));
    assert!((&mut block).now_or_never().is_none());
    assert_eq!(panic_of(block), Some("a child"));
    assert_eq!(panics.load(SeqCst), 1);
    assert_eq!(waiting.unwrap().now_or_never().unwrap(), Err(NotStarted::Ended));
}

#[cfg(feature = "tokio")]
#[test]
fn r29_the_host_panics_when_it_is_woken_for_a_place_that_a_panicking_child_leaves() {
    let (waker, panics) = panicking_waker(true);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let error = runtime.block_on(async {
        let first = OnceLock::new();
        let builder = Builder::new().limit(1).on_error(aionursery::OnError::Collect);
        let mut block = Box::pin(builder.nursery(async |n: Nursery<'_, &'static str>| {
            first.set(n.spawn(Always("a child"))).unwrap();
            // It begins, and takes the only place.
            tokio::task::yield_now().await;
            n.start_soon(async { Ok(()) });
            Ok(())
        }));
        assert!(poll(block.as_mut(), Waker::noop()).is_pending());
        tokio::task::yield_now().await;
        assert!(poll(block.as_mut(), &waker).is_pending());
        first.get().unwrap().cancel();
        tokio::task::yield_now().await;
        block.await.unwrap_err()
    });
    assert_eq!(error.panics().next().unwrap().message(), "a child");
    assert_eq!((error.len(), panics.load(SeqCst)), (1, 1));
}

#[test]
fn r29_a_scope_is_dropped_with_a_waker_and_a_value_that_panic() {
    /// Its sleeps keep their wakers.
    struct Keeps;
    impl Clock for Keeps {
        fn now(&self) -> Instant {
            Instant::now()
        }
        fn sleep_until(&self, _: Instant) -> Sleep {
            let mut kept = Vec::new();
            Box::pin(poll_fn(move |cx| {
                kept.push(cx.waker().clone());
                Poll::Pending
            }))
        }
    }
    for woken in [true, false] {
        let (waker, panics) = panicking_waker(woken);
        // What was first polled in a scope keeps its place: its time is over, which its owner is told.
        let mut inner =
            Box::pin(nursery(async |_: Nursery<'_, &'static str>| pending::<Never>().await));
        let later = Instant::now() + Duration::from_secs(60);
        let scope = CancelScope::new().clock(Keeps).deadline(later);
        let mut runs = Box::pin(scope.run(async {
            let _always = Always("a value");
            assert!(poll(inner.as_mut(), Waker::noop()).is_pending());
            pending::<()>().await
        }));
        assert!(poll(runs.as_mut(), &waker).is_pending());
        drop(waker);
        assert_eq!(panic_of(runs), Some("a value"));
        drop(inner);
        assert_eq!(panics.load(SeqCst), 1);
    }
}

#[test]
fn r29_a_wait_for_a_cancellation_is_dropped_with_a_value_that_panics() {
    let (waker, panics) = panicking_waker(false);
    nursery(async |n: Nursery<'_, &'static str>| {
        let mut waits = Box::pin(async {
            let _always = Always("a value");
            n.cancelled().await;
        });
        assert!(poll(waits.as_mut(), &waker).is_pending());
        drop(waker);
        assert_eq!(panic_of(waits), Some("a value"));
        Ok(())
    })
    .now_or_never()
    .unwrap()
    .unwrap();
    assert_eq!(panics.load(SeqCst), 1);
}

#[test]
fn r7_a_value_that_panics_when_it_goes_takes_no_error_along() {
    let ended = nursery(async |n: Nursery<'_, &'static str>| {
        n.start_soon(async { Err::<(), _>("failed") });
        Ok(Always("the value"))
    });
    let Some(Err(error)) = ended.now_or_never() else { unreachable!("a child has failed") };
    assert_eq!(error.errors().collect::<Vec<_>>(), [&"failed"]);
    assert_eq!(error.panics().next().unwrap().message(), "the value");
    assert_eq!(error.len(), 2);
}
