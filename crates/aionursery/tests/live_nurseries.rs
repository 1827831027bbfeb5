//! R27a: a scope of this crate never drops a nursery that has live children. It cancels the nursery,
//! lets its budget and its shields run, and goes on when the nursery has joined.
#![cfg(feature = "tokio")]

use std::future::{Future, pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::task::Poll;
use std::time::Duration;

use aionursery::{
    Builder, CancelScope, End, MultiError, Nursery, OnError, cancelled, error::Source, fail_after,
    move_on_after, nursery, shield,
};
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

/// How many are there.
#[derive(Clone, Default)]
struct Live(Arc<AtomicU32>);

impl Live {
    fn count(&self) -> u32 {
        self.0.load(SeqCst)
    }

    fn one(&self) -> One {
        self.0.fetch_add(1, SeqCst);
        One(self.clone())
    }
}

struct One(Live);

impl Drop for One {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, SeqCst);
    }
}

/// Never ends, and is on a worker at nearly every moment.
async fn busy(one: One) -> Result<(), String> {
    let _one = one;
    loop {
        std::thread::sleep(Duration::from_millis(1));
        tokio::task::yield_now().await;
    }
}

/// Cleans up for some time once it is cancelled.
async fn cleans(time: Duration, done: Live) -> Result<(), String> {
    cancelled().await;
    sleep(time).await;
    std::mem::forget(done.one());
    Ok(())
}

fn budget(seconds: u32) -> Builder {
    Builder::new().cleanup(seconds * SECOND)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r27a_a_scope_whose_time_is_over_waits_for_spawned_children() {
    for _ in 0..10 {
        let live = Live::default();
        let block = nursery(async |n: Nursery<'_, String>| {
            (0..20).for_each(|_| drop(n.spawn(busy(live.one()))));
            Ok(())
        });
        assert!(fail_after(Duration::from_millis(5), block).await.is_err());
        assert_eq!(live.count(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r27a_an_outer_nursery_waits_for_spawned_children_of_what_its_own_child_opened() {
    let live = Live::default();
    let alive_after = AtomicU32::new(u32::MAX);
    nursery(async |outer: Nursery<'_, String>| {
        let (live, alive_after) = (&live, &alive_after);
        let child = outer.start_soon(async move {
            let block = nursery(async |n: Nursery<'_, String>| {
                (0..20).for_each(|_| drop(n.spawn(busy(live.one()))));
                pending::<Result<(), _>>().await
            });
            block.await.map_err(|errors| errors.to_string())
        });
        sleep(Duration::from_millis(5)).await;
        child.cancel();
        while !child.is_finished() {
            aionursery::yield_now().await;
        }
        alive_after.store(live.count(), SeqCst);
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(alive_after.into_inner(), 0, "a child that is cancelled alone joins, too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r27a_a_spawned_child_that_is_cancelled_joins_what_it_opened() {
    let live = Live::default();
    nursery(async |outer: Nursery<'_, String>| {
        let inner = live.clone();
        let child = outer.spawn(async move {
            let block = nursery(async |n: Nursery<'_, String>| {
                (0..20).for_each(|_| drop(n.spawn(busy(inner.one()))));
                pending::<Result<(), _>>().await
            });
            block.await.map_err(|errors| errors.to_string())
        });
        sleep(Duration::from_millis(5)).await;
        child.cancel();
        _ = child.end().await;
        assert_eq!(live.count(), 0);
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test(start_paused = true)]
async fn r27a_a_nursery_keeps_its_own_budget_under_the_deadline_of_a_scope() {
    let (start, done) = (Instant::now(), Live::default());
    let block = budget(5).nursery(async |n: Nursery<'_, String>| {
        n.start_soon(cleans(2 * SECOND, done.clone()));
        n.spawn(cleans(3 * SECOND, done.clone()));
        n.start_soon(cleans(7 * SECOND, done.clone()));
        Ok(())
    });
    let end = fail_after(SECOND, block).await;
    assert!(end.is_err(), "one of its children was cut off");
    assert_eq!((done.count(), start.elapsed().as_secs()), (2, 6));
}

#[tokio::test(start_paused = true)]
async fn r27a_a_nursery_that_cleans_up_in_time_gives_its_value_and_its_errors() {
    let block = budget(5).nursery(async |n: Nursery<'_, String>| {
        n.spawn(cleans(SECOND, Live::default()));
        Ok(7)
    });
    assert_eq!(fail_after(SECOND, block).await.unwrap().unwrap(), 7);
    let block = budget(5).nursery(async |n: Nursery<'_, String>| {
        n.spawn(async {
            cancelled().await;
            Err::<(), _>("the cleanup failed".into())
        });
        Ok(())
    });
    let errors = fail_after(SECOND, block).await.unwrap().unwrap_err();
    assert_eq!(errors.errors().collect::<Vec<_>>(), ["the cleanup failed"]);
    assert_eq!(errors.cause().unwrap().source(), Source::Deadline);
}

#[tokio::test(start_paused = true)]
async fn r27a_a_nursery_keeps_its_own_budget_under_an_outer_nursery_and_its_siblings_go_at_once() {
    let (start, done, sibling) = (Instant::now(), Live::default(), Live::default());
    nursery(async |outer: Nursery<'_, String>| {
        let (done, sibling) = (&done, &sibling);
        let one = sibling.one();
        outer.start_soon(async move {
            let _one = one;
            pending::<Result<(), _>>().await
        });
        outer.start_soon(async move {
            let block = budget(5).nursery(async |n: Nursery<'_, String>| {
                n.start_soon(cleans(2 * SECOND, done.clone()));
                n.start_soon(async {
                    cancelled().await;
                    assert_eq!(sibling.count(), 0);
                    Ok(())
                });
                Ok(())
            });
            block.await.map_err(|errors| errors.to_string())
        });
        sleep(SECOND).await;
        outer.cancel();
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!((done.count(), start.elapsed()), (1, 3 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn r27a_a_library_protects_its_own_shutdown_with_its_own_budget() {
    /// A pool that hands its connections back, whatever its user does.
    async fn pool(closed: Live) -> Result<(), String> {
        let block = budget(3).nursery(async |n: Nursery<'_, String>| {
            let closed = closed.clone();
            n.spawn(async move {
                cancelled().await;
                sleep(2 * SECOND).await;
                std::mem::forget(closed.one());
                Ok(())
            });
            cancelled().await;
            Ok(())
        });
        block.await.map_err(|errors| errors.to_string())
    }
    for levels in 0..4 {
        let (start, closed) = (Instant::now(), Live::default());
        let scope = CancelScope::new();
        let user = async {
            let mut user: Pin<Box<dyn Future<Output = ()> + '_>> =
                Box::pin(async { drop(pool(closed.clone()).await) });
            for _ in 0..levels {
                user = Box::pin(async move {
                    _ = move_on_after(60 * SECOND, user).await;
                });
            }
            user.await
        };
        let stop = async {
            sleep(SECOND).await;
            scope.cancel();
        };
        let (_, ()) = tokio::join!(scope.run(user), stop);
        assert_eq!((closed.count(), start.elapsed()), (1, 3 * SECOND));
    }
}

#[tokio::test(start_paused = true)]
async fn r27a_a_shield_in_a_spawned_child_is_waited_for() {
    let (start, done) = (Instant::now(), Live::default());
    let block = nursery(async |n: Nursery<'_, String>| {
        let done = done.clone();
        n.spawn(async move {
            shield(sleep(3 * SECOND)).await;
            std::mem::forget(done.one());
            pending::<Result<(), _>>().await
        });
        Ok(())
    });
    assert!(fail_after(SECOND, block).await.is_err());
    assert_eq!((done.count(), start.elapsed()), (1, 3 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn r27a_a_shielded_spawned_child_is_waited_for() {
    let (start, done) = (Instant::now(), Live::default());
    let block = nursery(async |n: Nursery<'_, String>| {
        let done = done.clone();
        n.shielded().spawn(async move {
            sleep(3 * SECOND).await;
            std::mem::forget(done.one());
            Ok(())
        });
        Ok(())
    });
    drop(fail_after(SECOND, block).await);
    assert_eq!((done.count(), start.elapsed()), (1, 3 * SECOND));
}

#[tokio::test]
async fn r27a_a_blocking_child_that_has_begun_is_waited_for() {
    let (begun, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let block = nursery(async |n: Nursery<'_, String>| {
        let (begun, done) = (begun.clone(), done.clone());
        n.spawn_blocking(move || {
            begun.store(true, SeqCst);
            std::thread::sleep(Duration::from_millis(50));
            done.store(true, SeqCst);
            Ok(())
        });
        Ok(())
    });
    drop(fail_after(Duration::from_millis(20), block).await);
    assert_eq!(begun.load(SeqCst), done.load(SeqCst));
}

#[tokio::test(start_paused = true)]
async fn r27a_a_nursery_that_its_future_does_not_poll_any_more_goes_when_its_budget_is_spent() {
    let (start, live) = (Instant::now(), Live::default());
    let end = fail_after(SECOND, async {
        let block = budget(2).nursery(async |n: Nursery<'_, String>| {
            let (one, other) = (live.one(), live.one());
            n.spawn(async move {
                let _one = one;
                pending::<Result<(), _>>().await
            });
            n.start_soon(async move {
                let _other = other;
                pending::<Result<(), _>>().await
            });
            Ok(())
        });
        let mut block = pin!(block);
        poll_fn(|cx| {
            assert!(block.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        pending::<()>().await;
    });
    assert!(end.await.is_err());
    assert_eq!((live.count(), start.elapsed().as_secs()), (0, 3));
}

#[tokio::test(start_paused = true)]
async fn r27a_an_arm_of_a_select_that_goes_on_holds_no_task_for_ever() {
    let (start, live) = (Instant::now(), Live::default());
    let end = fail_after(2 * SECOND, async {
        let block = nursery(async |n: Nursery<'_, String>| {
            let one = live.one();
            n.spawn(async move {
                let _one = one;
                pending::<Result<(), _>>().await
            });
            Ok(())
        });
        let mut block = pin!(block);
        tokio::select! {
            _ = &mut block => unreachable!(),
            () = sleep(SECOND) => pending::<()>().await,
        }
    });
    assert!(end.await.is_err());
    assert_eq!((live.count(), start.elapsed()), (0, 2 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn r27a_what_is_behind_a_shield_is_not_cancelled_by_what_it_holds_up() {
    let start = Instant::now();
    let mut value = None;
    let end = fail_after(SECOND, async {
        let inner = async {
            let block = nursery(async |n: Nursery<'_, String>| {
                let child = n.spawn(async {
                    sleep(3 * SECOND).await;
                    Ok(7)
                });
                Ok(child.value().await)
            });
            block.await.unwrap()
        };
        value = Some(shield(inner).await);
        pending::<()>().await;
    });
    assert!(end.await.is_err());
    assert_eq!((value, start.elapsed()), (Some(7), 3 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn r27a_a_nursery_in_a_shielded_child_is_not_cancelled_by_what_it_holds_up() {
    let start = Instant::now();
    let value = AtomicU32::new(0);
    let block = nursery(async |n: Nursery<'_, String>| {
        n.shielded().start_soon(async {
            let inner = nursery(async |n: Nursery<'_, String>| {
                let child = n.spawn(async {
                    sleep(3 * SECOND).await;
                    Ok(7)
                });
                Ok(child.value().await)
            });
            value.store(inner.await.map_err(|errors| errors.to_string())?, SeqCst);
            Ok(())
        });
        Ok(())
    });
    drop(fail_after(SECOND, block).await);
    assert_eq!((value.load(SeqCst), start.elapsed()), (7, 3 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn r27a_what_a_nursery_has_adopted_is_waited_for() {
    let (start, done) = (Instant::now(), Live::default());
    let block = nursery(async |_: Nursery<'_, String>| {
        let done = done.clone();
        let inner = nursery(async |n: Nursery<'_, String>| {
            n.shielded().spawn(async move {
                sleep(3 * SECOND).await;
                std::mem::forget(done.one());
                Ok(())
            });
            pending::<Result<(), _>>().await
        });
        assert!(futures::FutureExt::now_or_never(inner).is_none());
        pending::<Result<(), _>>().await
    });
    assert!(fail_after(SECOND, block).await.is_err());
    assert_eq!((done.count(), start.elapsed()), (1, 3 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn r27a_a_nursery_in_a_task_of_its_own_is_not_below_the_scope() {
    let start = Instant::now();
    let mut task = None;
    let end = fail_after(SECOND, async {
        task = Some(tokio::spawn(nursery(async |n: Nursery<'_, String>| {
            let child = n.spawn(async {
                sleep(3 * SECOND).await;
                Ok(7)
            });
            Ok(child.value().await)
        })));
        pending::<()>().await
    });
    assert!(end.await.is_err());
    assert_eq!(start.elapsed(), SECOND);
    assert_eq!(task.unwrap().await.unwrap().unwrap(), 7);
}

#[tokio::test(start_paused = true)]
async fn r28_a_foreign_timeout_still_drops_it_and_the_nursery_above_waits() {
    let (start, done) = (Instant::now(), Live::default());
    nursery(async |_: Nursery<'_, String>| {
        let done = done.clone();
        let inner = budget(5).nursery(async |n: Nursery<'_, String>| {
            n.spawn(cleans(2 * SECOND, done));
            pending::<Result<(), _>>().await
        });
        assert!(tokio::time::timeout(SECOND, inner).await.is_err());
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!((done.count(), start.elapsed()), (0, SECOND));
}

#[tokio::test(start_paused = true)]
async fn r27a_a_child_cancelled_by_hand_goes_no_further_than_the_scope_that_it_awaits() {
    for spawns in [true, false] {
        let went_on = AtomicBool::new(false);
        nursery(async |outer: Nursery<'_, String>| {
            let went_on = &went_on;
            let child = outer.shielded().start_soon(async move {
                let block = nursery(async |n: Nursery<'_, String>| {
                    n.cancel();
                    shield(sleep(3 * SECOND)).await;
                    if spawns {
                        n.spawn(pending::<Result<(), _>>());
                    }
                    pending::<Result<(), _>>().await
                });
                _ = move_on_after(2 * SECOND, block).await;
                went_on.store(true, SeqCst);
                Ok(())
            });
            sleep(SECOND).await;
            child.cancel();
            assert_eq!(child.end().await, End::Cancelled);
            Ok(())
        })
        .await
        .unwrap();
        assert!(!went_on.into_inner());
    }
}

#[tokio::test(start_paused = true)]
async fn r13a_a_nursery_that_has_failed_gives_its_errors_when_a_scope_ends_it() {
    let collects = || Builder::new().on_error(OnError::Collect);
    for panics in [false, true] {
        let ended = fail_after(
            SECOND,
            collects().nursery(async |n: Nursery<'_, String>| {
                n.start_soon(async move {
                    if panics { panic!("404") } else { Err::<(), _>("404".into()) }
                });
                n.start_plain(sleep(5 * SECOND));
                Ok(())
            }),
        );
        let errors = ended.await.unwrap().unwrap_err();
        assert_eq!(
            (errors.errors().count(), errors.panics().count()),
            if panics { (0, 1) } else { (1, 0) }
        );
        assert_eq!(errors.cause().unwrap().source(), Source::Deadline);
    }
}

#[tokio::test(start_paused = true)]
async fn r13a_a_nursery_that_has_failed_gives_its_errors_when_the_nursery_around_is_cancelled() {
    let ended = nursery(async |n: Nursery<'_, String>| {
        n.start_soon(async {
            let inner = Builder::new().on_error(OnError::Collect);
            let ended = inner.nursery(async |n: Nursery<'_, u32>| {
                n.start_soon(async { Err::<(), _>(404) });
                pending::<Result<(), _>>().await
            });
            ended.await.map_err(|errors| errors[0].to_string())
        });
        sleep(SECOND).await;
        n.cancel();
        Ok(())
    });
    assert_eq!(ended.await.unwrap_err().errors().collect::<Vec<_>>(), ["child 1: 404"]);
}

#[tokio::test(start_paused = true)]
async fn r26_a_nursery_whose_body_panicked_gives_that_when_a_scope_ends_it() {
    let collects = Builder::new().on_error(OnError::Collect);
    let panics = collects.nursery(|n: Nursery<'_, String>| {
        n.start_soon(pending::<Result<(), _>>());
        if n.running() == 1 {
            panic!("the body");
        }
        std::future::ready(Ok(()))
    });
    let errors = move_on_after(SECOND, panics).await.unwrap().unwrap_err();
    assert_eq!(errors.panics().map(|panic| panic.message()).collect::<Vec<_>>(), ["the body"]);
}

/// A nursery with an error to give back, and a spawned child that waits for ever if there is one.
async fn with_an_error(spawns: bool) -> Result<(), MultiError<&'static str>> {
    let collects = Builder::new().on_error(OnError::Collect);
    let body = async |n: Nursery<'static, &'static str>| {
        n.start_soon(async { Err::<(), _>("kept") });
        if spawns {
            n.spawn(pending::<Result<(), _>>());
        }
        pending().await
    };
    collects.nursery(body).await
}

#[tokio::test(start_paused = true)]
async fn r27a_a_nursery_that_needs_more_turns_than_one_to_end_has_them() {
    for children in [100, 1000] {
        let (tell, told) = tokio::sync::mpsc::channel(children);
        let told_of = nursery(async |n: Nursery<'_, ()>| {
            for _ in 0..children {
                let tell = tell.clone();
                // What it sends uses up tokio's budget.
                n.start_plain(async move { tell.send(with_an_error(false).await).await.unwrap() });
            }
            Ok(())
        });
        fail_after(SECOND, told_of).await.unwrap().unwrap();
        assert_eq!(told.len(), children);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r27a_a_nursery_whose_last_child_ends_elsewhere_gives_its_errors_back() {
    for _ in 0..2000 {
        let scope = CancelScope::new();
        let (cancel, begun) = (scope.clone(), Arc::new(tokio::sync::Notify::new()));
        let begins = begun.clone();
        let cancels = tokio::spawn(async move {
            begun.notified().await;
            cancel.cancel();
        });
        let told = Arc::new(AtomicU32::new(0));
        let tells = told.clone();
        let ended = scope.run(nursery(async move |n: Nursery<'static, ()>| {
            n.start_plain(async move {
                let errors = with_an_error(true).await.unwrap_err();
                tells.fetch_add(u32::try_from(errors.len()).unwrap(), SeqCst);
            });
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
            begins.notify_one();
            Ok(())
        }));
        ended.await.unwrap().unwrap();
        assert_eq!(told.load(SeqCst), 1);
        cancels.await.unwrap();
    }
}
