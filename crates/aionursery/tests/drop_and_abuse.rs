//! R28 and R29: a nursery dropped early, and safe code that does its worst.

use std::cell::Cell;
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use aionursery::{Builder, End, Nursery, nursery, nursery_local, yield_now};
use futures::FutureExt;
use tokio::sync::Notify;

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[tokio::test]
async fn r28_dropping_the_future_drops_the_borrowing_children_at_once() {
    let dropped = Cell::new(0);
    {
        let block = nursery_local(async |n| {
            for _ in 0..3 {
                drop(n.start_soon(async {
                    let _end = OnDrop(|| dropped.set(dropped.get() + 1));
                    pending::<Result<(), &str>>().await
                }));
            }
            pending::<Result<(), &str>>().await
        });
        let mut block = Box::pin(block);
        assert!((&mut block).now_or_never().is_none());
        assert_eq!(dropped.get(), 0);
    }
    assert_eq!(dropped.get(), 3);
}

#[tokio::test]
async fn r28_spawned_children_of_a_dropped_nursery_are_waited_for_by_the_one_above() {
    let alive = Arc::new(AtomicUsize::new(0));
    let started = Arc::new(Notify::new());
    nursery(async |outer: Nursery<'_, &str>| {
        let inner = nursery(async |n| {
            for _ in 0..4 {
                let (alive, started) = (alive.clone(), started.clone());
                drop(n.spawn(async move {
                    alive.fetch_add(1, Ordering::SeqCst);
                    let _end = OnDrop(move || {
                        alive.fetch_sub(1, Ordering::SeqCst);
                    });
                    started.notify_one();
                    pending::<Result<(), &str>>().await
                }));
            }
            pending::<Result<(), &str>>().await
        });
        let mut inner = Box::pin(inner);
        futures::select_biased! {
            _ = (&mut inner).fuse() => unreachable!(),
            () = started.notified().fuse() => {}
        }
        drop(inner);
        drop(outer);
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(alive.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r28_the_next_nursery_above_waits_if_the_one_above_is_dropped_too() {
    let alive = Arc::new(AtomicUsize::new(0));
    let (started, hold) = (Arc::new(Notify::new()), Arc::new(std::sync::Barrier::new(2)));
    let ended = nursery(async |_: Nursery<'_, &str>| {
        let mut middle = Box::pin(nursery(async |_: Nursery<'_, &str>| {
            let inner = nursery(async |n: Nursery<'_, &str>| {
                let (alive, started, hold) = (alive.clone(), started.clone(), hold.clone());
                drop(n.spawn(async move {
                    alive.fetch_add(1, Ordering::SeqCst);
                    started.notify_one();
                    let _end = OnDrop(move || {
                        hold.wait();
                        std::thread::yield_now();
                        alive.fetch_sub(1, Ordering::SeqCst);
                    });
                    pending::<Result<(), &str>>().await
                }));
                pending::<Result<(), &str>>().await
            });
            inner.await.map_err(|_| "inner")
        }));
        futures::select_biased! {
            _ = (&mut middle).fuse() => unreachable!(),
            () = started.notified().fuse() => {}
        }
        drop(middle);
        drop(std::thread::spawn({
            let hold = hold.clone();
            move || hold.wait()
        }));
        Ok(())
    });
    ended.await.unwrap();
    assert_eq!(alive.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn r28_a_shielded_spawned_child_of_a_dropped_nursery_is_still_waited_for() {
    let done = Arc::new(AtomicUsize::new(0));
    let go = Arc::new(Notify::new());
    nursery(async |_: Nursery<'_, &str>| {
        let mut inner = Box::pin(nursery(async |n| {
            let (done, go) = (done.clone(), go.clone());
            drop(n.shielded().spawn(async move {
                go.notified().await;
                done.fetch_add(1, Ordering::SeqCst);
                Ok::<_, &str>(())
            }));
            pending::<Result<(), &str>>().await
        }));
        assert!((&mut inner).now_or_never().is_none());
        drop(inner);
        go.notify_one();
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(done.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn r28_a_panic_of_an_adopted_child_is_reported_by_who_adopted_it() {
    let started = Arc::new(Notify::new());
    let error = nursery(async |_: Nursery<'_, &str>| {
        let mut inner = Box::pin(nursery(async |n| {
            let started = started.clone();
            drop(n.spawn(async move {
                let _end = OnDrop(|| panic!("while it was aborted"));
                started.notify_one();
                pending::<Result<(), String>>().await
            }));
            pending::<Result<(), String>>().await
        }));
        assert!((&mut inner).now_or_never().is_none());
        started.notified().await;
        drop(inner);
        Ok(())
    })
    .await
    .unwrap_err();
    assert_eq!(error.panics().next().unwrap().message(), "while it was aborted");
}

#[tokio::test]
async fn r29_forgetting_the_future_only_stops_the_children() {
    let text = String::from("borrowed");
    let ran = Cell::new(0);
    let mut block = Box::pin(nursery_local(async |n| {
        drop(n.start_soon(async {
            ran.set(ran.get() + text.len());
            pending::<Result<(), &str>>().await
        }));
        pending::<Result<(), &str>>().await
    }));
    assert!((&mut block).now_or_never().is_none());
    std::mem::forget(block);
    assert_eq!(ran.get(), 8);
}

#[tokio::test]
async fn r29_forgetting_handles_and_keeping_them_is_harmless() {
    let text = String::from("borrowed");
    let mut kept = Vec::new();
    nursery(async |n| {
        std::mem::forget(n.start_soon(async { Ok::<_, &str>(text.clone()) }));
        kept.push(n.start_soon(async { Ok(text.clone()) }));
        kept.push(n.spawn(async { Ok(String::from("borrowed")) }));
        Ok(())
    })
    .await
    .unwrap();
    for child in kept {
        assert_eq!(child.await.unwrap(), "borrowed");
    }
}

#[tokio::test]
async fn r29_wakers_may_be_kept_and_called_after_the_end() {
    let wakers = Mutex::new(Vec::new());
    {
        let text = String::from("borrowed");
        nursery(async |n| {
            for _ in 0..3 {
                let (text, wakers) = (&text, &wakers);
                drop(n.start_soon(async move {
                    let mut first = true;
                    poll_fn(|cx| {
                        wakers.lock().unwrap().push(cx.waker().clone());
                        if std::mem::take(&mut first) {
                            cx.waker().wake_by_ref();
                            return Poll::Pending;
                        }
                        Poll::Ready(())
                    })
                    .await;
                    Ok::<_, &str>(text.len())
                }));
            }
            Ok(())
        })
        .await
        .unwrap();
    }
    let wakers = wakers.into_inner().unwrap();
    assert_eq!(wakers.len(), 6);
    std::thread::spawn(move || {
        for waker in wakers {
            waker.wake_by_ref();
            let other = waker.clone();
            drop(waker);
            other.wake();
        }
    })
    .join()
    .unwrap();
}

#[tokio::test]
async fn r29_a_waker_that_panics_breaks_nothing() {
    struct Bomb;
    impl Wake for Bomb {
        fn wake(self: Arc<Self>) {
            panic!("a waker");
        }
    }
    let ended = nursery(async |n| {
        let mut child = Box::pin(n.start_soon(async {
            yield_now().await;
            Ok::<_, &str>(1)
        }));
        let bomb = Waker::from(Arc::new(Bomb));
        assert!(child.as_mut().poll(&mut Context::from_waker(&bomb)).is_pending());
        let mut cancelled = Box::pin(n.cancelled());
        assert!(cancelled.as_mut().poll(&mut Context::from_waker(&bomb)).is_pending());
        yield_now().await;
        yield_now().await;
        n.cancel();
        Ok(2)
    })
    .await;
    assert_eq!(ended.unwrap(), 2);
}

/// A waker that does something when its last clone goes.
struct Last<F: Fn() + Send + Sync>(F);

impl<F: Fn() + Send + Sync + 'static> Last<F> {
    fn waker(act: F) -> Waker {
        Waker::from(Arc::new(Self(act)))
    }
}

impl<F: Fn() + Send + Sync> Wake for Last<F> {
    fn wake(self: Arc<Self>) {}
}

impl<F: Fn() + Send + Sync> Drop for Last<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[tokio::test]
async fn r29_a_waker_may_cancel_the_scope_it_waits_for_when_it_is_dropped() {
    for replaced in [true, false] {
        let ended = nursery(async |n: Nursery<'static, &str>| {
            let (scope, other) = (n.clone(), n.clone());
            let waker = Last::waker(move || scope.cancel());
            let mut cancelled = Box::pin(n.cancelled());
            assert!(cancelled.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            drop(waker);
            assert!(!other.is_cancelled());
            if replaced {
                let _ = cancelled.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                cancelled.await;
            } else {
                drop(cancelled);
            }
            assert!(other.is_cancelled());
            Ok(1)
        });
        assert_eq!(ended.await.unwrap(), 1);
    }
}

#[tokio::test]
async fn r29_a_waker_may_start_children_when_it_is_dropped_or_called() {
    struct Starts(Nursery<'static, &'static str>, Arc<AtomicUsize>);
    impl Wake for Starts {
        fn wake(self: Arc<Self>) {
            let count = self.1.clone();
            drop(self.0.start_soon(async move {
                count.fetch_add(1, Ordering::SeqCst);
                Ok(())
            }));
        }
    }
    impl Drop for Starts {
        fn drop(&mut self) {
            let count = self.1.clone();
            drop(self.0.try_start_soon(async move {
                count.fetch_add(10, Ordering::SeqCst);
                Ok(())
            }));
        }
    }
    let count = Arc::new(AtomicUsize::new(0));
    nursery(async |n: Nursery<'static, &'static str>| {
        let mut child = Box::pin(n.start_soon(async {
            yield_now().await;
            Ok(())
        }));
        let waker = Waker::from(Arc::new(Starts(n.clone(), count.clone())));
        assert!(child.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        drop(waker);
        child.await
    })
    .await
    .unwrap();
    // Awaited with another waker before it ended, so the first was dropped, never called.
    assert_eq!(count.load(Ordering::SeqCst), 10);
}

#[test]
fn r29_a_waker_that_cannot_be_cloned_leaves_the_thread_as_it_was() {
    use std::task::{RawWaker, RawWakerVTable};
    const BOMB: RawWakerVTable = RawWakerVTable::new(|_| panic!("clone"), |_| (), |_| (), |_| ());
    // SAFETY: the data is not used.
    let bomb = unsafe { Waker::from_raw(RawWaker::new(std::ptr::null(), &BOMB)) };
    let mut block = Box::pin(nursery(async |n: Nursery<'_, &str>| {
        drop(n.start_soon(pending::<Result<(), &str>>()));
        pending::<Result<(), &str>>().await
    }));
    let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        block.as_mut().poll(&mut Context::from_waker(&bomb))
    }));
    assert!(polled.is_err());
    drop(block);
    // Nobody is being polled here: an error is handed over, whoever was polled before.
    let mut kept = None;
    let ended = nursery(async |n| {
        kept = Some(n.start_soon(async { Err::<(), _>("mine") }));
        Ok(())
    });
    let ended = futures::executor::block_on(ended);
    assert_eq!(ended.unwrap_err().len(), 1);
    assert!(aionursery::cancelled().now_or_never().is_none());
    let mut kept = kept.unwrap();
    let awaited =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (&mut kept).now_or_never()));
    assert!(awaited.is_err(), "it waits for a nursery that has gone: {awaited:?}");
}

#[tokio::test]
async fn r29_a_body_that_panics_at_once_and_after_a_wait_drops_its_children() {
    for waits in [false, true] {
        let dropped = Cell::new(0);
        let ended = nursery_local(async |n| {
            drop(n.start_soon(async {
                let _end = OnDrop(|| dropped.set(dropped.get() + 1));
                pending::<Result<(), &str>>().await
            }));
            if waits {
                yield_now().await;
            }
            if true {
                panic!("the body");
            }
            Ok(())
        });
        let error = ended.await.unwrap_err();
        assert_eq!(error.panics().next().unwrap().message(), "the body");
        assert_eq!(dropped.get(), usize::from(waits));
    }
}

#[tokio::test]
async fn r29_forgetting_the_future_leaves_what_is_spawned_to_itself() {
    let done = Arc::new(Notify::new());
    let text = String::from("borrowed");
    {
        let mut kept = None;
        let mut block = Box::pin(nursery(async |n| {
            kept = Some(n.clone());
            let done = done.clone();
            drop(n.spawn(async move {
                tokio::task::yield_now().await;
                done.notify_one();
                Ok::<_, &str>(())
            }));
            pending::<Result<(), &str>>().await
        }));
        assert!((&mut block).now_or_never().is_none());
        std::mem::forget(block);
        // Nobody takes this one up, and nobody may drop it once `text` has gone.
        let late = kept.unwrap().start_soon(async {
            let _end = OnDrop(|| drop(text.clone()));
            pending::<Result<(), &str>>().await
        });
        drop(late);
    }
    drop(text);
    done.notified().await;
    tokio::task::yield_now().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r29_a_nursery_that_is_dropped_on_another_thread_than_it_was_polled_on_drops_its_children()
{
    let dropped = Arc::new(AtomicUsize::new(0));
    let wakers = Arc::new(Mutex::new(Vec::<Waker>::new()));
    let (count, kept) = (dropped.clone(), wakers.clone());
    let mut block = Box::pin(nursery(async move |n| {
        for _ in 0..3 {
            let (count, kept) = (count.clone(), kept.clone());
            drop(n.start_soon(async move {
                let _end = OnDrop(move || {
                    count.fetch_add(1, Ordering::SeqCst);
                });
                poll_fn(|cx| {
                    kept.lock().unwrap().push(cx.waker().clone());
                    Poll::<Result<(), &str>>::Pending
                })
                .await
            }));
        }
        pending::<Result<(), &str>>().await
    }));
    assert!((&mut block).now_or_never().is_none());
    let wakers = std::mem::take(&mut *wakers.lock().unwrap());
    assert_eq!(wakers.len(), 3);
    let waking = std::thread::spawn(move || {
        for _ in 0..100 {
            wakers.iter().for_each(Waker::wake_by_ref);
        }
        drop(wakers);
    });
    tokio::task::spawn(async move { drop(block) }).await.unwrap();
    waking.join().unwrap();
    assert_eq!(dropped.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn r29_a_destructor_that_starts_children_and_panics_is_survived() {
    let error = nursery(async |n| {
        let again = n.clone();
        drop(n.start_soon(async move {
            let _end = OnDrop(move || {
                drop(again.start_soon(pending::<Result<(), &str>>()));
                panic!("destructor");
            });
            pending::<Result<(), &str>>().await
        }));
        yield_now().await;
        n.cancel();
        Ok(())
    })
    .await
    .unwrap_err();
    assert_eq!(error.panics().count(), 1);
}

#[test]
fn r29_a_destructor_that_panics_while_the_nursery_is_dropped_stops_no_other() {
    let dropped = Cell::new(0);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut block = Box::pin(nursery_local(async |n| {
            for _ in 0..3 {
                drop(n.start_soon(async {
                    let _end = OnDrop(|| {
                        dropped.set(dropped.get() + 1);
                        panic!("destructor");
                    });
                    pending::<Result<(), &str>>().await
                }));
            }
            pending::<Result<(), &str>>().await
        }));
        assert!((&mut block).now_or_never().is_none());
        drop(block);
    }));
    assert!(result.is_err());
    assert_eq!(dropped.get(), 3);
}

#[test]
fn r29_a_nursery_may_be_polled_on_one_thread_and_then_on_another() {
    let text = String::from("borrowed");
    let wakers = Mutex::new(Vec::<Waker>::new());
    std::thread::scope(|threads| {
        let mut block: Pin<Box<dyn Future<Output = usize> + Send>> = Box::pin(async {
            nursery(async |n| {
                let children: Vec<_> = (0..4)
                    .map(|_| {
                        n.start_soon(async {
                            let mut first = true;
                            poll_fn(|cx| {
                                wakers.lock().unwrap().push(cx.waker().clone());
                                match std::mem::take(&mut first) {
                                    true => Poll::Pending,
                                    false => Poll::Ready(()),
                                }
                            })
                            .await;
                            Ok::<_, &str>(text.len())
                        })
                    })
                    .collect();
                let mut sum = 0;
                for child in children {
                    sum += child.await?;
                }
                Ok(sum)
            })
            .await
            .unwrap()
        });
        assert!(block.as_mut().now_or_never().is_none());
        let other = threads.spawn(move || futures::executor::block_on(block));
        let woken = std::mem::take(&mut *wakers.lock().unwrap());
        for waker in woken {
            threads.spawn(move || waker.wake());
        }
        assert_eq!(other.join().unwrap(), 32);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r29_starting_and_cancelling_from_other_threads_while_it_ends_loses_nothing() {
    // Miri tries other interleavings with each seed instead.
    for _ in 0..if cfg!(miri) { 2 } else { 200 } {
        let alive = Arc::new(AtomicUsize::new(0));
        let mut helper = None;
        let ended = nursery(async |n: Nursery<'static, &'static str>| {
            let (sibling, alive) = (n.clone(), alive.clone());
            let runtime = tokio::runtime::Handle::current();
            helper = Some(std::thread::spawn(move || {
                let _guard = runtime.enter();
                // Bounded: whoever goes on starting children keeps any nursery open.
                for _ in 0..100 {
                    let alive = alive.clone();
                    let started = sibling.try_spawn(async move {
                        alive.fetch_add(1, Ordering::SeqCst);
                        let _end = OnDrop(move || {
                            alive.fetch_sub(1, Ordering::SeqCst);
                        });
                        tokio::task::yield_now().await;
                        Ok(())
                    });
                    if started.is_err() {
                        break;
                    }
                }
            }));
            drop(n.start_soon(async {
                tokio::task::yield_now().await;
                Err::<(), _>("stop")
            }));
            Ok(())
        });
        assert_eq!(ended.await.unwrap_err().len(), 1);
        assert_eq!(alive.load(Ordering::SeqCst), 0);
        helper.unwrap().join().unwrap();
    }
}

#[tokio::test]
async fn a_handle_kept_by_a_child_makes_no_cycle() {
    let alive = Arc::new(AtomicUsize::new(1));
    {
        let alive = alive.clone();
        let mut block = Box::pin(nursery(async move |n| {
            let keeper = n.clone();
            let end = OnDrop(move || {
                alive.fetch_sub(1, Ordering::SeqCst);
            });
            drop(n.start_soon(async move {
                let _keep = (keeper, end);
                pending::<Result<(), &str>>().await
            }));
            pending::<Result<(), &str>>().await
        }));
        assert!((&mut block).now_or_never().is_none());
    }
    assert_eq!(alive.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_runtime_that_shuts_down_ends_its_children_as_cancelled() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let handle = runtime.handle().clone();
    let value = Builder::new()
        .nursery(async |n| {
            let child = {
                let _guard = handle.enter();
                n.spawn(pending::<Result<(), &str>>())
            };
            runtime.shutdown_background();
            assert_eq!(child.end().await, End::Cancelled);
            Ok(3)
        })
        .await;
    assert_eq!(value.unwrap(), 3);
}
