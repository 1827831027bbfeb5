//! A start that waits for a place under the nursery's limit: `Nursery::reserve` and its `Permit`.
#![cfg(feature = "tokio")]

use std::future::pending;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use aionursery::error::NotStarted;
use aionursery::{Builder, CancelScope, End, Nursery, OnError, TaskStatus, fail_after, yield_now};
use futures::FutureExt;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

type Texts<'env> = Nursery<'env, String>;

fn limited(limit: usize) -> Builder {
    Builder::new().limit(limit).on_error(OnError::Collect)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loop_that_reserves_never_has_more_children_than_the_limit() {
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    limited(3)
        .nursery(async |n: Texts<'_>| {
            for number in 0..200 {
                let permit = n.reserve().await;
                most.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
                let running = running.clone();
                let child = async move {
                    tokio::task::yield_now().await;
                    running.fetch_sub(1, SeqCst);
                    Ok(())
                };
                match number % 2 {
                    0 => permit.start_soon(child),
                    _ => permit.spawn(child),
                };
            }
            Ok(())
        })
        .await
        .unwrap();
    assert_eq!((most.load(SeqCst), running.load(SeqCst)), (3, 0));
}

#[tokio::test]
async fn a_child_that_cannot_fail_takes_a_place_that_was_reserved() {
    let sum = limited(1).nursery(async |n: Texts<'_>| {
        let one = n.reserve().await.start_plain(async { 1 });
        let other = n.reserve().await.spawn_plain(async { 2 });
        assert!(one.is_finished(), "there is one place");
        Ok(one.value().await + other.value().await)
    });
    assert_eq!(sum.await.unwrap(), 3);
}

#[tokio::test]
async fn a_reservation_and_a_wait_for_a_first_step_stand_in_one_queue() {
    limited(1)
        .nursery(async |n: Texts<'_>| {
            let first = n.start_soon(async {
                yield_now().await;
                Ok(())
            });
            let second = n.start_soon(async {
                yield_now().await;
                Ok(())
            });
            yield_now().await;
            let permit = n.reserve().await;
            assert!(first.is_finished() && second.is_finished());
            let late = n.start_soon(async { Ok(()) });
            yield_now().await;
            assert!(!late.is_finished(), "the place is reserved");
            permit.start_soon(async { Ok(()) }).value().await;
            late.value().await;
            Ok(())
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn a_permit_that_is_dropped_or_whose_child_fails_panics_or_is_cancelled_frees_its_place() {
    let ended = limited(1)
        .nursery(async |n: Texts<'_>| {
            drop(n.reserve().await);
            n.reserve().await.named("fails").spawn(async { Err::<(), _>("no beans".into()) });
            n.reserve().await.start_soon(async { if true { panic!("no pot") } else { Ok(()) } });
            let child = n.reserve().await.spawn(pending::<Result<(), String>>());
            child.cancel();
            let last = n.reserve().await;
            assert_eq!(child.end().await, End::Cancelled);
            last.start_soon(async { Ok(()) }).value().await;
            Ok(())
        })
        .await;
    let errors = ended.unwrap_err();
    assert_eq!((errors.len(), errors[0].name()), (2, Some("fails")));
}

#[tokio::test(start_paused = true)]
async fn a_start_that_stops_waiting_for_a_place_leaves_it_to_the_next() {
    limited(1)
        .nursery(async |n: Texts<'_>| {
            let held = n.reserve().await;
            assert!(fail_after(Duration::from_secs(1), n.reserve()).await.is_err());
            let (mut first, mut second) = (pin!(n.reserve()), pin!(n.reserve()));
            assert!(first.as_mut().now_or_never().is_none());
            assert!(second.as_mut().now_or_never().is_none());
            drop(held);
            // The place is the first one's now: it was not polled again, and goes.
            first.set(n.reserve());
            drop(second.await);
            drop(first.await);
            Ok(())
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn r12_a_cancellation_ends_a_wait_for_a_place() {
    let ended = limited(1).nursery(async |n: Texts<'_>| {
        n.reserve().await.spawn(pending::<Result<(), String>>());
        let other = n.clone();
        tokio::spawn(async move { other.cancel() });
        let permit = n.reserve().await;
        unreachable!("the body goes no further: {permit:?}");
        #[expect(unreachable_code, reason = "says what the body gives")]
        Ok(())
    });
    assert!(ended.await.unwrap_err().is_cancelled());
}

#[tokio::test]
async fn without_a_limit_there_is_a_place_at_once_and_a_closed_nursery_starts_nothing() {
    let mut kept = None;
    aionursery::nursery(async |n: Texts<'_>| {
        kept = Some(n.clone());
        let permits = [n.reserve().now_or_never().unwrap(), n.reserve().now_or_never().unwrap()];
        for permit in permits {
            permit.start_soon(async { Ok(()) });
        }
        Ok(())
    })
    .await
    .unwrap();
    let permit = kept.unwrap().reserve().await;
    let start = std::panic::AssertUnwindSafe(|| permit.spawn(async { Ok(()) }));
    assert!(std::panic::catch_unwind(start).is_err());
}

#[test]
fn r29_a_waker_may_ask_the_nursery_when_it_is_cloned_called_and_dropped() {
    struct Asks(Texts<'static>);
    impl Wake for Asks {
        fn wake(self: Arc<Self>) {
            drop(self.0.reserve().now_or_never());
        }
    }
    impl Drop for Asks {
        fn drop(&mut self) {
            drop(self.0.reserve().now_or_never());
        }
    }
    futures::executor::block_on(limited(1).nursery(async |n: Texts<'static>| {
        let held = n.reserve().await;
        let mut waits = Box::pin(n.reserve());
        for _ in 0..2 {
            let waker = Waker::from(Arc::new(Asks(n.clone())));
            assert!(waits.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        let waker = Waker::from(Arc::new(Asks(n.clone())));
        let mut gone = Box::pin(n.reserve());
        assert!(gone.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        drop((waker, gone));
        drop(held);
        let waker = Waker::noop();
        assert!(matches!(waits.as_mut().poll(&mut Context::from_waker(waker)), Poll::Ready(_)));
        Ok(())
    }))
    .unwrap();
}

#[tokio::test(start_paused = true)]
async fn r17_a_child_that_waits_for_its_place_never_runs_once_its_nursery_is_cancelled() {
    for spawned in [false, true] {
        let ran = Arc::new(AtomicUsize::new(0));
        let second = Duration::from_secs(1);
        limited(2)
            .cleanup(10 * second)
            .nursery(async |n: Texts<'_>| {
                for _ in 0..20 {
                    let ran = ran.clone();
                    let job = async move {
                        ran.fetch_add(1, SeqCst);
                        tokio::time::sleep(second).await;
                        Ok(())
                    };
                    drop(if spawned { n.spawn(job) } else { n.start_soon(job) });
                }
                tokio::time::sleep(second / 2).await;
                n.cancel();
                Ok(())
            })
            .await
            .unwrap();
        assert_eq!(ran.load(SeqCst), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn r17_a_child_for_which_there_is_a_place_takes_its_first_step_also_in_a_cancelled_nursery() {
    let ran = AtomicUsize::new(0);
    let cleans = limited(1).cleanup(Duration::from_secs(1)).nursery(async |n: Texts<'_>| {
        n.cancel();
        n.start_plain(async { ran.fetch_add(1, SeqCst) });
        yield_now().await;
        let last = n.start_plain(async { ran.fetch_add(1, SeqCst) });
        last.value().await;
        Ok(())
    });
    cleans.await.unwrap();
    assert_eq!(ran.load(SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn r17_a_cancellation_ends_what_waits_for_its_place_at_once_also_with_a_cleanup_budget() {
    type Starts = for<'a> fn(&'a Texts<'static>, mpsc::Sender<u32>);
    async fn ends(sender: mpsc::Sender<u32>) -> Result<(), String> {
        drop(sender);
        Ok(())
    }
    let starts: [Starts; 5] = [
        |n, sender| drop(n.spawn(ends(sender))),
        |n, sender| drop(n.start_soon(ends(sender))),
        |n, sender| drop(n.named("waits").spawn(ends(sender))),
        |n, sender| drop(n.named("waits").start_soon(ends(sender))),
        |n, sender| {
            let other = n.clone();
            tokio::spawn(async move {
                let started = other.start_spawn(|_: TaskStatus<(), _>| ends(sender)).await;
                assert_eq!(started, Err(NotStarted::Ended));
            });
        },
    ];
    let cancels: [fn(&Texts<'static>, &CancelScope); 3] = [
        |n, _| n.cancel(),
        |n, _| n.set_deadline(Instant::now() + Duration::from_millis(1)),
        |_, around| around.cancel(),
    ];
    let hour = Duration::from_secs(3600);
    for (start, cancel) in starts.iter().flat_map(|start| cancels.map(|cancel| (start, cancel))) {
        let budget = Instant::now() + hour;
        let (around, (sender, mut receiver)) = (CancelScope::new(), mpsc::channel(1));
        let ended = limited(1).cleanup(hour).nursery(async |n: Texts<'static>| {
            // It has the place, and cleans up until what waits has let go of the other end.
            n.spawn_plain(async move { while receiver.recv().await.is_some() {} });
            sleep(Duration::from_millis(1)).await;
            start(&n, sender);
            sleep(Duration::from_millis(1)).await;
            cancel(&n, &around);
            Ok(())
        });
        drop(around.run(ended).await);
        assert!(Instant::now() < budget, "the budget was not spent");
    }
}

#[tokio::test(start_paused = true)]
async fn r19_a_shielded_child_that_waits_for_its_place_keeps_its_turn_in_a_cancelled_nursery() {
    for spawned in [false, true] {
        let order = Arc::new(Mutex::new(Vec::new()));
        limited(1)
            .cleanup(Duration::from_secs(3600))
            .nursery(async |n: Texts<'_>| {
                for number in 0..4 {
                    let order = order.clone();
                    let job = async move {
                        sleep(Duration::from_millis(5)).await;
                        order.lock().unwrap().push(number);
                        Ok(())
                    };
                    let n = if number % 2 == 0 { n.shielded() } else { n.clone() };
                    drop(if spawned { n.spawn(job) } else { n.start_soon(job) });
                }
                sleep(Duration::from_millis(1)).await;
                n.cancel();
                Ok(())
            })
            .await
            .unwrap();
        assert_eq!(*order.lock().unwrap(), [0, 2]);
    }
}

#[tokio::test(start_paused = true)]
async fn r18_what_waits_for_its_place_does_not_hear_and_has_no_budget_from_above_given() {
    let budget = Duration::from_secs(10);
    let ended = Builder::new().cleanup(budget).nursery(async |_: Texts<'_>| {
        let start = Instant::now();
        let inner = Builder::new().limit(1).nursery(async |n: Texts<'_>| {
            n.start_plain(pending::<()>());
            n.start_plain(pending::<()>());
            n.spawn_plain(pending::<()>());
            Ok(())
        });
        assert!(fail_after(Duration::from_secs(1), inner).await.is_err());
        assert!(Instant::now() < start + budget);
        Ok(())
    });
    ended.await.unwrap();
}
