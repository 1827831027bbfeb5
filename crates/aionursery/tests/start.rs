//! The start handshake, for children of this task and of the workers: R7, R24, R29.

use std::cell::Cell;
use std::future::{Future, pending};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use aionursery::error::NotStarted;
use aionursery::{
    Builder, CancelScope, LocalNursery, Nursery, TaskStatus, fail_after, move_on_after, nursery,
    nursery_local, shield, yield_now,
};
use tokio::sync::oneshot;
use tokio::time::sleep;

/// A waker that does something when its last clone goes.
struct Last<F: Fn() + Send + Sync>(F);

impl<F: Fn() + Send + Sync> Wake for Last<F> {
    fn wake(self: Arc<Self>) {}
}

impl<F: Fn() + Send + Sync> Drop for Last<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[tokio::test]
async fn r24_start_gives_what_the_child_hands_over_and_its_early_error() {
    let ran_on = Cell::new(false);
    nursery_local(async |n| {
        let ran_on = &ran_on;
        let port = n
            .start(async move |status| {
                status.started(8080);
                yield_now().await;
                ran_on.set(true);
                Ok(())
            })
            .await;
        assert_eq!(port, Ok(8080));
        let failed = n
            .start(async |status| {
                drop::<TaskStatus<(), &str>>(status);
                Err("in use")
            })
            .await;
        assert_eq!(failed, Err(NotStarted::Failed("in use")));
        let ended = n.start(async |_: TaskStatus<(), &str>| Ok(())).await;
        assert_eq!(ended, Err(NotStarted::Ended));
        Ok(())
    })
    .await
    .unwrap();
    assert!(ran_on.get());
}

#[tokio::test]
async fn r24_an_error_after_started_is_the_nurserys() {
    let error = nursery(async |n| {
        n.start(async |status| {
            status.started(());
            yield_now().await;
            Err("later")
        })
        .await
        .map_err(|_| "start")?;
        Ok(())
    })
    .await
    .unwrap_err();
    assert_eq!(error.errors().copied().collect::<Vec<_>>(), ["later"]);
}

#[tokio::test]
async fn r29_a_waker_may_say_that_the_child_has_started_when_it_is_dropped() {
    for replaced in [true, false] {
        let ended = nursery(async |n: Nursery<'_, &str>| {
            let slot = Arc::new(Mutex::new(None::<TaskStatus<u8, &str>>));
            let keep = slot.clone();
            let mut starter = Box::pin(n.start(|status| {
                *keep.lock().unwrap() = Some(status);
                pending()
            }));
            let late = slot.clone();
            let waker = Waker::from(Arc::new(Last(move || {
                let status = late.lock().unwrap().take();
                status.expect("dropped once").started(7);
            })));
            assert!(starter.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            drop(waker);
            assert!(slot.lock().unwrap().is_some());
            if replaced {
                let noop = &mut Context::from_waker(Waker::noop());
                assert_eq!(starter.as_mut().poll(noop), Poll::Ready(Ok(7)));
            }
            drop(starter);
            assert!(slot.lock().unwrap().is_none());
            n.cancel();
            Ok(())
        });
        ended.await.unwrap();
    }
}

#[tokio::test]
async fn r24_a_spawned_child_hands_over_a_value_and_runs_on() {
    let (tell, told) = oneshot::channel();
    let ended = nursery(async |n: Nursery<'_, &str>| {
        let (go, gone) = oneshot::channel::<()>();
        let port = n
            .start_spawn(async move |status| {
                status.started(8080);
                gone.await.map_err(|_| "there was no word to go")?;
                tell.send("ran on").map_err(|_| "the listener has gone")
            })
            .await;
        assert_eq!(port, Ok(8080));
        assert_eq!(n.running(), 1);
        go.send(()).map_err(|()| "the child has gone")
    });
    ended.await.unwrap();
    assert_eq!(told.await, Ok("ran on"));
}

#[tokio::test]
async fn r24_what_fails_a_spawned_child_before_it_has_started_is_its_starters() {
    let ended = nursery(async |n: Nursery<'_, &str>| {
        let failed = n.start_spawn(async |_: TaskStatus<(), &str>| Err("early")).await;
        assert_eq!(failed, Err(NotStarted::Failed("early")));
        let ended = n.start_spawn(async |_: TaskStatus<(), &str>| Ok(())).await;
        assert_eq!(ended, Err(NotStarted::Ended));
        assert!(!n.is_cancelled());
        Ok(())
    });
    ended.await.unwrap();
}

#[tokio::test]
async fn r24_an_error_of_a_spawned_child_after_it_has_started_is_the_nurserys() {
    let ended = nursery(async |n: Nursery<'_, &str>| {
        let started = n.start_spawn(async |status: TaskStatus<u8, &str>| {
            status.started(1);
            Err("late")
        });
        assert_eq!(started.await, Ok(1));
        Ok(())
    });
    assert_eq!(ended.await.unwrap_err().errors().copied().collect::<Vec<_>>(), ["late"]);
}

#[tokio::test]
async fn r7_r24_the_error_of_a_spawned_child_whose_starter_has_gone_is_the_nurserys() {
    let ended = nursery(async |n: Nursery<'_, &str>| {
        let mut starter = Box::pin(n.start_spawn(async |_: TaskStatus<(), &str>| Err("early")));
        // It has answered, but the answer is never taken.
        let noop = &mut Context::from_waker(Waker::noop());
        assert!(starter.as_mut().poll(noop).is_pending());
        while n.running() > 0 {
            tokio::task::yield_now().await;
        }
        drop(starter);
        Ok(())
    });
    assert_eq!(ended.await.unwrap_err().errors().copied().collect::<Vec<_>>(), ["early"]);
}

#[tokio::test(start_paused = true)]
async fn r24_what_cancels_the_caller_of_start_ends_the_child_until_it_has_started() {
    const SECOND: Duration = Duration::from_secs(1);
    /// Listens after two seconds.
    async fn late(status: TaskStatus<u16, &'static str>) -> Result<(), &'static str> {
        sleep(2 * SECOND).await;
        status.started(80);
        pending().await
    }
    nursery(async |n: Nursery<'_, &str>| {
        assert_eq!(move_on_after(SECOND, n.start(late)).await, None);
        assert_eq!(move_on_after(SECOND, n.start_spawn(late)).await, None);
        sleep(3 * SECOND).await;
        assert_eq!(n.running(), 0, "they were their callers'");
        assert_eq!(move_on_after(3 * SECOND, n.start(late)).await, Some(Ok(80)));
        assert_eq!(fail_after(3 * SECOND, n.start_spawn(late)).await, Ok(Ok(80)));
        sleep(3 * SECOND).await;
        assert_eq!(n.running(), 2, "they are the nursery's by now");
        n.cancel();
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test(start_paused = true)]
async fn r19_r24_a_shield_in_a_child_whose_caller_has_gone_ends_first() {
    let (saved, went_on) = (Cell::new(false), Cell::new(false));
    nursery_local(async |n: aionursery::LocalNursery<'_, &str>| {
        let starter = n.start(async |_: TaskStatus<(), &str>| {
            shield(sleep(Duration::from_secs(2))).await;
            saved.set(true);
            yield_now().await;
            went_on.set(true);
            Err("too late for its caller")
        });
        assert_eq!(move_on_after(Duration::from_secs(1), starter).await, None);
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!((saved.get(), went_on.get()), (true, false));
}

#[tokio::test]
async fn r24_a_spawned_child_that_is_cancelled_before_it_has_started_has_ended() {
    let starter = nursery(async |n: Nursery<'static, &str>| {
        let starter = n.start_spawn(|_: TaskStatus<u8, &str>| pending());
        n.cancel();
        Ok(starter)
    });
    assert_eq!(starter.await.unwrap().await, Err(NotStarted::Ended));
}

#[tokio::test]
async fn r2_r24_a_closed_nursery_says_so_where_a_spawned_child_is_started() {
    let kept = nursery(async |n: Nursery<'static, &str>| Ok(n)).await.unwrap();
    let starter = pin!(kept.start_spawn(async |status: TaskStatus<u8, &str>| {
        status.started(1);
        Ok(())
    }));
    assert_eq!(starter.await, Err(NotStarted::Closed));
}

#[tokio::test]
async fn a_start_on_the_workers_may_stand_in_a_spawned_task() {
    let ended = tokio::spawn(nursery(async |n: Nursery<'static, &str>| {
        let started = n.start_spawn(async |status: TaskStatus<u8, &str>| {
            status.started(1);
            Ok(())
        });
        Ok(started.await)
    }));
    assert_eq!(ended.await.unwrap().unwrap(), Ok(1));
}

#[tokio::test(start_paused = true)]
async fn r24_a_child_that_says_that_it_has_started_when_its_caller_is_cancelled_ends_with_it() {
    let went_on = Cell::new(false);
    let scope = CancelScope::new();
    nursery_local(async |n: LocalNursery<'_, String>| {
        let starts = n.start(async |status: TaskStatus<u32, String>| {
            yield_now().await;
            scope.cancel();
            status.started(7);
            sleep(Duration::from_secs(1)).await;
            went_on.set(true);
            Ok(())
        });
        drop(scope.run(starts).await);
        Ok(())
    })
    .await
    .unwrap();
    assert!(!went_on.get());
}

#[tokio::test(start_paused = true)]
async fn r24_a_caller_that_is_cancelled_is_not_held_up_by_a_shielded_child() {
    let ended = nursery_local(async |n: LocalNursery<'_, String>| {
        let starts = n.shielded().start(async |status: TaskStatus<(), String>| {
            sleep(Duration::from_secs(5)).await;
            status.started(());
            Ok(())
        });
        let began = tokio::time::Instant::now();
        assert_eq!(move_on_after(Duration::from_secs(1), starts).await, None);
        assert_eq!(began.elapsed().as_secs(), 1);
        Ok(())
    });
    ended.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn r24_a_nursery_that_is_cancelled_while_its_body_starts_a_child_ends_both() {
    let ended = fail_after(
        Duration::from_secs(1),
        nursery(async |n: Nursery<'_, String>| {
            let silent = n.start(async |_status: TaskStatus<(), String>| pending().await);
            silent.await.map_err(|end| end.to_string())
        }),
    );
    assert!(ended.await.is_err());
}

#[tokio::test(start_paused = true)]
async fn r27a_a_wait_for_a_child_that_is_polled_no_more_holds_nothing_up() {
    for spawned in [false, true] {
        let began = tokio::time::Instant::now();
        let ended = nursery(async |n: Nursery<'_, String>| {
            let waits = async {
                let silent = async |_status: TaskStatus<(), String>| pending().await;
                let mut starts: Pin<Box<dyn Future<Output = _> + Send>> = match spawned {
                    false => Box::pin(n.start(silent)),
                    true => Box::pin(n.start_spawn(silent)),
                };
                assert!(futures::poll!(&mut starts).is_pending());
                sleep(Duration::from_secs(60)).await;
            };
            let late = fail_after(Duration::from_secs(1), waits).await;
            assert!(late.is_err());
            Ok(())
        });
        ended.await.unwrap();
        assert_eq!(began.elapsed().as_secs(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn r18_a_cleanup_starts_children_while_it_has_time() {
    let ended = Builder::new().cleanup(Duration::from_secs(60)).nursery_local(
        async |n: LocalNursery<'_, String>| {
            n.cancel();
            let flusher = n.start(async |status: TaskStatus<u32, String>| {
                status.started(7);
                pending().await
            });
            let began = tokio::time::Instant::now();
            assert_eq!(fail_after(Duration::from_secs(1), flusher).await.unwrap(), Ok(7));
            assert!(began.elapsed().is_zero());
            Ok(())
        },
    );
    drop(ended.await);
}

#[tokio::test(start_paused = true)]
async fn r24_a_child_that_starts_another_before_it_says_so_ends_with_its_caller() {
    let ended = nursery_local(async |n: LocalNursery<'_, String>| {
        let other = n.clone();
        let chain = n.start(async move |status: TaskStatus<(), String>| {
            let silent = other.start(async |_status: TaskStatus<(), String>| pending().await);
            drop(silent.await);
            status.started(());
            Ok(())
        });
        assert!(fail_after(Duration::from_secs(1), chain).await.is_err());
        Ok(())
    });
    fail_after(Duration::from_secs(10), ended).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn r24_a_child_that_waits_for_its_place_ends_with_its_caller() {
    let ended = Builder::new().limit(1).nursery_local(async |n: LocalNursery<'_, String>| {
        n.start_soon(pending::<Result<(), _>>());
        let starts = n.start(async |_status: TaskStatus<(), String>| Ok(()));
        assert_eq!(move_on_after(Duration::from_secs(1), starts).await, None);
        n.cancel();
        Ok(())
    });
    fail_after(Duration::from_secs(10), ended).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn r12_a_shield_in_a_child_that_was_to_start_hears_what_comes_with_the_cancellation() {
    let (say, hear) = oneshot::channel();
    let heard = Cell::new(None);
    let ended = nursery_local(async |n: LocalNursery<'_, String>| {
        let scope = CancelScope::new();
        let handle = scope.clone();
        n.start_soon(async move {
            sleep(Duration::from_secs(1)).await;
            say.send(1).unwrap();
            handle.cancel();
            Ok(())
        });
        let heard = &heard;
        let starts = n.start(async move |_status: TaskStatus<(), String>| {
            shield(async { heard.set(hear.await.ok()) }).await;
            pending().await
        });
        assert!(scope.run(starts).await.is_err());
        Ok(())
    });
    fail_after(Duration::from_secs(10), ended).await.unwrap().unwrap();
    assert_eq!(heard.get(), Some(1));
}
