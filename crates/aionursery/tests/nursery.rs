//! R1 to R5, R11, R16, R17, R19, R25: life and cancellation of one nursery.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aionursery::{
    CancelHandle, Child, End, MultiError, Nursery, NurseryClosed, error::Source, nursery,
    nursery_local, shield, yield_now,
};
use futures::FutureExt;
use tokio::sync::{Notify, oneshot};

fn texts(error: &MultiError<&'static str>) -> Vec<&'static str> {
    error.errors().copied().collect()
}

#[tokio::test]
async fn r1_the_block_ends_when_the_body_and_all_children_have_ended() {
    let ended = &Cell::new(0);
    let value = nursery_local(async |n| {
        for turns in 0..5 {
            n.start_soon(async move {
                for _ in 0..turns {
                    yield_now().await;
                }
                ended.set(ended.get() + 1);
                Ok::<_, &str>(())
            });
        }
        Ok(1)
    })
    .await;
    assert_eq!((value.unwrap(), ended.get()), (1, 5));
}

#[tokio::test]
async fn r2_children_may_be_started_while_it_joins_and_by_children() {
    let order = RefCell::new(Vec::new());
    nursery_local(async |n| {
        let inner = n.clone();
        let order = &order;
        n.start_soon(async move {
            yield_now().await;
            order.borrow_mut().push("child");
            inner.start_soon(async move {
                order.borrow_mut().push("grandchild");
                Ok(())
            });
            Ok::<_, &str>(())
        });
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(*order.borrow(), ["child", "grandchild"]);
}

#[tokio::test]
async fn r2_a_closed_nursery_refuses_and_drops_what_it_refuses() {
    let mut kept = None;
    nursery(async |n| {
        assert!(!n.is_closed());
        kept = Some(n.clone());
        Ok::<_, &str>(())
    })
    .await
    .unwrap();
    let n = kept.unwrap();
    let alive = Arc::new(());
    let one = alive.clone();
    assert!(n.is_closed());
    let refused = n.try_start_soon(async move {
        let _one = one;
        Ok(())
    });
    assert!(matches!(refused, Err(NurseryClosed)));
    let one = alive.clone();
    let refused = n.try_spawn(async move {
        let _one = one;
        Ok(())
    });
    assert!(matches!(refused, Err(NurseryClosed)));
    assert_eq!(Arc::strong_count(&alive), 1);
}

#[tokio::test]
async fn r3_a_spawned_child_does_not_outlive_a_block_that_failed() {
    let alive = Arc::new(());
    let started = Arc::new(Notify::new());
    let error = nursery(async |n| {
        for _ in 0..10 {
            let one = alive.clone();
            let started = started.clone();
            n.spawn(async move {
                let _one = one;
                started.notify_one();
                pending::<Result<(), _>>().await
            });
        }
        started.notified().await;
        Err::<(), _>("body")
    })
    .await
    .unwrap_err();
    assert_eq!(Arc::strong_count(&alive), 1);
    assert_eq!(texts(&error), ["body"]);
}

#[tokio::test]
async fn r4_first_steps_run_in_the_order_of_starting_and_not_before_start_soon_returns() {
    let order = RefCell::new(Vec::new());
    nursery_local(async |n| {
        for number in 0..4 {
            let order = &order;
            n.start_soon(async move {
                order.borrow_mut().push(number);
                Ok::<_, &str>(())
            });
        }
        assert!(order.borrow().is_empty());
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(*order.borrow(), [0, 1, 2, 3]);
}

#[tokio::test]
async fn r5_nothing_of_a_child_is_kept_once_it_has_ended() {
    let alive = Arc::new(());
    nursery(async |n| {
        let one = alive.clone();
        let child = n.start_soon(async move {
            let _one = one;
            Ok::<_, &str>(())
        });
        assert_eq!(child.end().await, End::Done(()));
        assert_eq!((Arc::strong_count(&alive), n.running()), (1, 0));
        // The same for a result without a handle.
        let one = alive.clone();
        n.start_soon(async move { Ok(one) });
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(Arc::strong_count(&alive), 1);
}

#[tokio::test]
async fn r16_a_child_cancelled_by_hand_ends_alone() {
    let value = nursery(async |n| {
        let here = n.start_soon(pending::<Result<(), &str>>());
        let away = n.spawn(pending::<Result<(), &str>>());
        let sibling = n.start_soon(async {
            yield_now().await;
            Ok(7)
        });
        yield_now().await;
        here.cancel();
        away.cancel();
        assert_eq!(here.end().await, End::Cancelled);
        assert_eq!(away.end().await, End::Cancelled);
        Ok(sibling.value().await)
    })
    .await;
    assert_eq!(value.unwrap(), 7);
}

#[tokio::test]
async fn r16_a_child_is_cancelled_from_elsewhere_while_its_handle_is_awaited() {
    let handles = nursery(async |n: Nursery<'_, &str>| {
        let children = [
            n.named("here").start_soon(pending::<Result<(), _>>()),
            n.named("away").spawn(pending::<Result<(), _>>()),
        ];
        let handles = children.each_ref().map(Child::cancel_handle);
        let others = handles.clone();
        let asks = std::thread::spawn(move || others.each_ref().map(CancelHandle::cancel));
        for child in children {
            assert_eq!(child.end().await, End::Cancelled);
        }
        asks.join().unwrap();
        Ok(handles)
    })
    .await
    .unwrap();
    // They may outlive the nursery.
    for (handle, name) in handles.iter().zip(["here", "away"]) {
        handle.cancel();
        assert!(handle.is_finished() && handle.name() == Some(name), "{handle:?}");
    }
    assert_eq!(handles.map(|handle| handle.id()), [1, 2]);
}

#[tokio::test]
async fn r16_a_child_is_cancelled_from_elsewhere_once_its_handle_has_gone() {
    let dropped = Arc::new(());
    nursery(async |n: Nursery<'_, &str>| {
        for away in [false, true] {
            let held = dropped.clone();
            let child = async move {
                let _held = held;
                pending::<Result<(), _>>().await
            };
            let handle = match away {
                false => n.start_soon(child).cancel_handle(),
                true => n.spawn(child).cancel_handle(),
            };
            yield_now().await;
            handle.cancel();
            while !handle.is_finished() {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(Arc::strong_count(&dropped), 1);
}

#[tokio::test]
async fn r16_a_child_cancelled_before_its_first_step_never_runs() {
    let ran = Cell::new(false);
    nursery_local(async |n| {
        let child = n.start_soon(async {
            ran.set(true);
            Ok::<_, &str>(())
        });
        child.cancel();
        assert_eq!(child.end().await, End::Cancelled);
        Ok(())
    })
    .await
    .unwrap();
    assert!(!ran.get());
}

#[tokio::test]
async fn r17_a_child_started_in_a_cancelled_nursery_is_dropped_before_its_first_step() {
    let ran = Arc::new(AtomicUsize::new(0));
    nursery(async |n| {
        n.cancel();
        let here = ran.clone();
        n.start_soon(async move {
            here.fetch_add(1, Ordering::SeqCst);
            Ok::<_, &str>(())
        });
        let away = ran.clone();
        n.spawn(async move {
            away.fetch_add(1, Ordering::SeqCst);
            Ok(())
        });
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(ran.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn r11_a_cancellation_says_what_cancelled_and_why() {
    let error = nursery(async |n| {
        n.cancel_with("enough");
        n.cancel_with("too late");
        pending::<Result<(), &str>>().await
    })
    .await
    .unwrap_err();
    assert!(error.is_cancelled());
    let cause = error.cause().unwrap();
    assert_eq!((cause.source(), cause.reason()), (Source::Explicit, Some("enough")));
    assert_eq!(error.to_string(), "nursery cancelled: by request: enough");
}

#[tokio::test]
async fn r19_a_shielded_child_runs_to_its_end_and_the_block_waits_for_it() {
    let (release, released) = oneshot::channel();
    let paid = Cell::new(0);
    let error = nursery_local(async |n| {
        n.shielded().start_soon(async {
            released.await.unwrap();
            // Scopes and nurseries below the shield are not reached either.
            nursery_local(async |inner| {
                inner.start_soon(async {
                    yield_now().await;
                    paid.set(paid.get() + 1);
                    Ok::<_, &str>(())
                });
                Ok(())
            })
            .await
            .map_err(|_| "inner")?;
            Ok(())
        });
        let spawned = Arc::new(Notify::new());
        let notified = spawned.clone();
        n.shielded().spawn(async move {
            spawned.notify_one();
            yield_now().await;
            release.send(()).map_err(|()| "the receiver has gone")
        });
        notified.notified().await;
        Err::<(), _>("sms")
    })
    .await
    .unwrap_err();
    assert_eq!((texts(&error), paid.get()), (vec!["sms"], 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r25_children_borrow_and_the_future_stays_send() {
    let words = Arc::new(vec![String::from("a"), String::from("bc")]);
    let task = tokio::spawn(async move {
        let words = words;
        nursery(async |n| {
            let here: Vec<Child<usize, &str>> = words
                .iter()
                .map(|word| {
                    n.start_soon(async move {
                        tokio::task::yield_now().await;
                        Ok(word.len())
                    })
                })
                .collect();
            let away = n.spawn(async { Ok(10) });
            let mut sum = away.value().await;
            for child in here {
                sum += child.value().await;
            }
            Ok(sum)
        })
        .await
    });
    assert_eq!(task.await.unwrap().unwrap(), 13);
}

#[tokio::test]
async fn r25_spawned_children_start_siblings_through_the_handle() {
    let count = Arc::new(AtomicUsize::new(0));
    nursery(async |n: Nursery<'static, &'static str>| {
        let sibling = n.clone();
        let count = count.clone();
        n.spawn(async move {
            sibling.spawn(async move {
                count.fetch_add(1, Ordering::SeqCst);
                Ok(())
            });
            Ok(())
        });
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn r16_what_a_destructor_asks_for_does_not_end_a_sibling() {
    let ended = nursery_local(async |n: aionursery::LocalNursery<'_, &str>| {
        struct Asks(Option<Child<(), &'static str>>);
        impl Drop for Asks {
            fn drop(&mut self) {
                let _ = self.0.take().unwrap().value().now_or_never();
            }
        }
        let gone = n.start_soon(pending::<Result<(), &str>>());
        gone.cancel();
        yield_now().await;
        let asks = Asks(Some(gone));
        let by_hand = n.start_soon(async move {
            let _asks = asks;
            pending::<Result<(), &str>>().await
        });
        let sibling = n.start_soon(async {
            for _ in 0..5 {
                yield_now().await;
            }
            Ok(7)
        });
        yield_now().await;
        by_hand.cancel();
        Ok(sibling.value().await)
    });
    assert_eq!(ended.await.unwrap(), 7);
}

#[tokio::test]
async fn r3_what_a_blocking_child_awaits_ends_by_itself_when_the_nursery_is_cancelled() {
    let (said, heard) = oneshot::channel();
    nursery(async |n: Nursery<'static, String>| {
        let runtime = tokio::runtime::Handle::current();
        let (begun, begins) = oneshot::channel();
        let hears = n.clone();
        n.spawn_blocking(move || {
            let inner = nursery(async |inner: Nursery<'_, String>| {
                begun.send(()).unwrap();
                hears.cancelled().await;
                Ok(inner.start_soon(async { Ok(3) }).value().await)
            });
            said.send(runtime.block_on(inner).unwrap()).unwrap();
            Ok(())
        });
        begins.await.unwrap();
        n.cancel();
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(heard.await, Ok(3));
}

/// A runtime whose only thread for blocking work is taken until it is told, or for a minute.
fn with_no_thread_left() -> (tokio::runtime::Runtime, std::sync::mpsc::Sender<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build();
    let runtime = runtime.unwrap();
    let (free, freed) = std::sync::mpsc::channel::<()>();
    runtime.spawn_blocking(move || freed.recv_timeout(Duration::from_secs(60)));
    (runtime, free)
}

#[test]
fn r12_a_blocking_child_that_waits_for_a_thread_ends_when_it_is_cancelled() {
    for alone in [false, true] {
        let (runtime, taken) = with_no_thread_left();
        let ran = Arc::new(AtomicUsize::new(0));
        let counts = ran.clone();
        let ended = runtime.block_on(nursery(async |n: Nursery<'static, String>| {
            let child = n.spawn_blocking(move || {
                counts.fetch_add(1, Ordering::SeqCst);
                Ok(())
            });
            match alone {
                true => child.cancel(),
                false => n.cancel(),
            }
            Ok(shield(child.end()).await)
        }));
        assert_eq!(ended.unwrap(), End::Cancelled);
        assert!(taken.send(()).is_ok(), "it has waited for the thread");
        drop(runtime);
        // What it held has gone, too: it never runs.
        assert_eq!((ran.load(Ordering::SeqCst), Arc::strong_count(&ran)), (0, 1));
    }
}

#[test]
fn r3_a_blocking_child_whose_runtime_has_gone_ends() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let ended = futures::executor::block_on(nursery(async |n: Nursery<'static, String>| {
        let gone = runtime.handle().clone();
        runtime.shutdown_background();
        let _in_it = gone.enter();
        Ok(n.spawn_blocking(|| Ok(())).end().await)
    }));
    assert_eq!(ended.unwrap(), End::Cancelled);
}
