//! R28, and R29 in destructors: a nursery that is dropped early, and a runtime that is.

#[path = "common/on_drop.rs"]
mod on_drop;

use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use aionursery::{Builder, Child, End, Nursery, nursery, nursery_local, yield_now};
use futures::FutureExt;
use futures::future::BoxFuture;
use on_drop::OnDrop;
use tokio::sync::{Notify, oneshot};

#[tokio::test]
async fn r28_dropping_the_future_drops_the_borrowing_children_at_once() {
    let dropped = Cell::new(0);
    {
        let block = nursery_local(async |n| {
            for _ in 0..3 {
                n.start_soon(async {
                    let _end = OnDrop(|| dropped.set(dropped.get() + 1));
                    pending::<Result<(), &str>>().await
                });
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
                n.spawn(async move {
                    alive.fetch_add(1, Ordering::SeqCst);
                    let _end = OnDrop(move || {
                        alive.fetch_sub(1, Ordering::SeqCst);
                    });
                    started.notify_one();
                    pending::<Result<(), &str>>().await
                });
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
                n.spawn(async move {
                    alive.fetch_add(1, Ordering::SeqCst);
                    started.notify_one();
                    let _end = OnDrop(move || {
                        hold.wait();
                        std::thread::yield_now();
                        alive.fetch_sub(1, Ordering::SeqCst);
                    });
                    pending::<Result<(), &str>>().await
                });
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
async fn r28_the_time_that_a_cancelled_nursery_above_gives_is_not_that_of_one_that_is_dropped() {
    let started = Arc::new(Notify::new());
    let hours = std::time::Duration::from_secs(7200);
    let outer = Builder::new().cleanup(hours).nursery(async |outer: Nursery<'_, &str>| {
        let mut inner = Box::pin(nursery(async |n: Nursery<'_, &str>| {
            let started = started.clone();
            n.spawn(async move {
                started.notify_one();
                pending::<Result<(), &str>>().await
            });
            pending::<Result<(), &str>>().await
        }));
        futures::select_biased! {
            _ = (&mut inner).fuse() => unreachable!(),
            () = started.notified().fuse() => {}
        }
        outer.cancel();
        assert!((&mut inner).now_or_never().is_none(), "it has two hours");
        drop(inner);
        Ok(())
    });
    // The spawned child is waited for here, and it was aborted.
    outer.await.unwrap();
}

#[tokio::test]
async fn r28_a_shielded_spawned_child_of_a_dropped_nursery_is_still_waited_for() {
    let done = Arc::new(AtomicUsize::new(0));
    let go = Arc::new(Notify::new());
    nursery(async |_: Nursery<'_, &str>| {
        let mut inner = Box::pin(nursery(async |n| {
            let (done, go) = (done.clone(), go.clone());
            n.shielded().spawn(async move {
                go.notified().await;
                done.fetch_add(1, Ordering::SeqCst);
                Ok::<_, &str>(())
            });
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
async fn r28_a_panic_of_an_adopted_child_is_reported_by_the_nursery_that_adopted_it() {
    let started = Arc::new(Notify::new());
    let error = nursery(async |_: Nursery<'_, &str>| {
        let mut inner = Box::pin(nursery(async |n| {
            let started = started.clone();
            n.spawn(async move {
                let _end = OnDrop(|| panic!("while it was aborted"));
                started.notify_one();
                pending::<Result<(), String>>().await
            });
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r29_a_nursery_that_is_dropped_on_another_thread_than_it_was_polled_on_drops_its_children()
{
    let dropped = Arc::new(AtomicUsize::new(0));
    let wakers = Arc::new(Mutex::new(Vec::<Waker>::new()));
    let (count, kept) = (dropped.clone(), wakers.clone());
    let mut block = Box::pin(nursery(async move |n| {
        for _ in 0..3 {
            let (count, kept) = (count.clone(), kept.clone());
            n.start_soon(async move {
                let _end = OnDrop(move || {
                    count.fetch_add(1, Ordering::SeqCst);
                });
                poll_fn(|cx| {
                    kept.lock().unwrap().push(cx.waker().clone());
                    Poll::<Result<(), &str>>::Pending
                })
                .await
            });
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
        n.start_soon(async move {
            let _end = OnDrop(move || {
                again.start_soon(pending::<Result<(), &str>>());
                panic!("destructor");
            });
            pending::<Result<(), &str>>().await
        });
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
                n.start_soon(async {
                    let _end = OnDrop(|| {
                        dropped.set(dropped.get() + 1);
                        panic!("destructor");
                    });
                    pending::<Result<(), &str>>().await
                });
            }
            pending::<Result<(), &str>>().await
        }));
        assert!((&mut block).now_or_never().is_none());
        drop(block);
    }));
    assert!(result.is_err());
    assert_eq!(dropped.get(), 3);
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
            n.start_soon(async move {
                let _keep = (keeper, end);
                pending::<Result<(), &str>>().await
            });
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

#[test]
fn r28_an_orphan_may_be_handed_on_more_often_than_a_stack_is_deep() {
    /// A nursery with one below it, and that with one, and so on, each dropped before the one above.
    fn level(left: u32, orphan: Arc<Notify>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let (say, hear) = oneshot::channel();
            let mut block = Box::pin(nursery(async move |n: Nursery<'static, &str>| {
                if left == 0 {
                    n.shielded().spawn(async move {
                        orphan.notified().await;
                        Err::<(), _>("the last")
                    });
                    say.send(()).unwrap();
                } else {
                    n.spawn(async move {
                        level(left - 1, orphan).await;
                        say.send(()).unwrap();
                        Ok(())
                    });
                }
                pending::<Result<(), _>>().await
            }));
            futures::select_biased! {
                _ = (&mut block).fuse() => unreachable!(),
                heard = hear.fuse() => heard.unwrap(),
            }
        })
    }
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(nursery(async |n: Nursery<'static, &str>| {
            let orphan = Arc::new(Notify::new());
            level(if cfg!(miri) { 50 } else { 1000 }, orphan.clone()).await;
            orphan.notify_one();
            drop(n);
            Ok(())
        }))
    };
    let small = std::thread::Builder::new().stack_size(256 * 1024);
    let error = small.spawn(run).unwrap().join().unwrap().unwrap_err();
    let adopted: Vec<_> = error.adopted().map(ToString::to_string).collect();
    assert_eq!(adopted, ["the last"]);
}

#[tokio::test(start_paused = true)]
async fn r6_a_nursery_that_has_adopted_an_error_still_cancels_its_children_for_its_own() {
    let start = tokio::time::Instant::now();
    let error = nursery(async |n: Nursery<'_, &str>| {
        let inner = nursery(async |n: Nursery<'_, &str>| {
            n.shielded().spawn(async { Err::<(), _>("left behind") });
            std::future::pending::<Result<(), _>>().await
        });
        assert!(futures::FutureExt::now_or_never(inner).is_none());
        n.start_soon(async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Err::<(), _>("its own")
        });
        n.start_soon(std::future::pending::<Result<(), _>>());
        Ok(())
    })
    .await
    .unwrap_err();
    assert_eq!((error.len(), start.elapsed()), (2, Duration::from_secs(1)));
}

/// Of a child that waits for itself, and is cancelled in that.
async fn waker_that_a_child_has_left_with_itself(spawned: bool) -> Weak<impl Sized> {
    struct Holds(Waker);
    impl Wake for Holds {
        fn wake(self: Arc<Self>) {
            self.0.wake_by_ref();
        }
    }
    let (say, hear) = std::sync::mpsc::channel();
    let ended = nursery(async move |n: Nursery<'static, &str>| {
        let (give, own) = oneshot::channel::<Child<(), &str>>();
        let life = async move {
            let mut own = own.await.unwrap();
            poll_fn(|cx| {
                let waker = Arc::new(Holds(cx.waker().clone()));
                say.send(Arc::downgrade(&waker)).unwrap();
                own.poll_unpin(&mut Context::from_waker(&waker.into())).map(drop)
            })
            .await;
            Ok(())
        };
        let child = if spawned { n.spawn(life) } else { n.start_soon(life) };
        assert!(give.send(child).is_ok());
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        n.cancel();
        Ok(())
    });
    ended.await.unwrap();
    hear.recv().unwrap()
}

#[tokio::test]
async fn r29_a_child_that_waits_for_itself_and_is_cancelled_leaves_nothing() {
    for spawned in [false, true] {
        assert_eq!(waker_that_a_child_has_left_with_itself(spawned).await.strong_count(), 0);
    }
}
