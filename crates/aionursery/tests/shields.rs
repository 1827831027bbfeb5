//! R12, R19, R20: what is shielded ends, however far below the cancelled scope it stands, and
//! whatever of ours lies in between; then the cancellation goes on. On a paused clock.

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use aionursery::{
    Builder, CancelScope, Child, End, Nursery, error::Source, fail_after, move_on_after, nursery,
    nursery_local, shield, yield_now,
};
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

/// What happened, and after how many seconds.
struct Log(Instant, RefCell<Vec<(u64, &'static str)>>);

impl Log {
    fn new() -> Self {
        Self(Instant::now(), RefCell::default())
    }

    fn add(&self, what: &'static str) {
        self.1.borrow_mut().push((self.0.elapsed().as_secs(), what));
    }

    fn take(self) -> Vec<(u64, &'static str)> {
        self.1.into_inner()
    }
}

/// Says when it is dropped.
struct Gone<'a>(&'a Log, &'static str);

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        self.0.add(self.1);
    }
}

#[tokio::test(start_paused = true)]
async fn r19_a_shield_in_a_child_holds_against_its_nursery_and_the_child_goes_after_it() {
    let log = Log::new();
    nursery_local(async |n| {
        let log = &log;
        n.start_soon(async move {
            let _gone = Gone(log, "gone");
            shield(sleep(3 * SECOND)).await;
            log.add("shielded");
            sleep(SECOND).await;
            log.add("must not happen");
            Ok::<_, &str>(())
        });
        sleep(SECOND).await;
        n.cancel();
        Ok(())
    })
    .await
    .unwrap();
    log.add("closed");
    assert_eq!(log.take(), [(3, "shielded"), (3, "gone"), (3, "closed")]);
}

#[tokio::test(start_paused = true)]
async fn r19_a_shield_in_the_body_holds_against_the_nursery_and_the_body_goes_after_it() {
    let log = Log::new();
    let error = nursery_local(async |n| {
        let log = &log;
        n.start_soon(async move {
            sleep(SECOND).await;
            Err::<(), _>("failed")
        });
        n.start_soon(async move {
            let _gone = Gone(log, "sibling gone");
            pending::<Result<(), _>>().await
        });
        shield(sleep(3 * SECOND)).await;
        log.add("shielded");
        sleep(SECOND).await;
        log.add("must not happen");
        Ok(())
    })
    .await
    .unwrap_err();
    assert_eq!(error.errors().collect::<Vec<_>>(), [&"failed"]);
    assert_eq!(log.take(), [(1, "sibling gone"), (3, "shielded")]);
}

#[tokio::test(start_paused = true)]
async fn r19_a_shield_in_a_spawned_child_holds_against_its_nursery() {
    let start = Instant::now();
    let (done, after) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    nursery(async |n| {
        let (done, after) = (done.clone(), after.clone());
        let child = n.spawn(async move {
            shield(sleep(3 * SECOND)).await;
            done.store(true, Ordering::SeqCst);
            sleep(SECOND).await;
            after.store(true, Ordering::SeqCst);
            Ok::<_, &str>(())
        });
        sleep(SECOND).await;
        n.cancel();
        drop(child);
        Ok(())
    })
    .await
    .unwrap();
    assert!(done.load(Ordering::SeqCst) && !after.load(Ordering::SeqCst));
    assert_eq!(start.elapsed(), 3 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn r19_a_shield_that_is_entered_while_cancellation_waits_for_another_holds_too() {
    let log = Log::new();
    nursery_local(async |n| {
        let log = &log;
        n.start_soon(async move {
            shield(sleep(2 * SECOND)).await;
            shield(sleep(2 * SECOND)).await;
            log.add("both");
            pending::<Result<(), &str>>().await
        });
        sleep(SECOND).await;
        n.cancel();
        Ok(())
    })
    .await
    .unwrap();
    log.add("closed");
    assert_eq!(log.take(), [(4, "both"), (4, "closed")]);
}

#[tokio::test(start_paused = true)]
async fn r12_a_shielded_child_of_a_nursery_farther_down_ends_too() {
    let log = Log::new();
    let ended = nursery_local(async |outer| {
        let log = &log;
        outer.start_soon(async move {
            let _gone = Gone(log, "child gone");
            let inner = nursery_local(async |inner| {
                inner.shielded().start_soon(async move {
                    sleep(3 * SECOND).await;
                    log.add("shielded");
                    Ok::<_, &str>(())
                });
                inner.start_soon(async move {
                    let _gone = Gone(log, "plain gone");
                    pending::<Result<(), _>>().await
                });
                pending::<Result<(), _>>().await
            });
            // It goes on to the scope it is meant for, and is no error on the way (R13).
            inner.await.map_err(|_| "inner")
        });
        sleep(SECOND).await;
        outer.cancel();
        Ok(())
    });
    ended.await.unwrap();
    assert_eq!(log.take(), [(1, "plain gone"), (3, "shielded"), (3, "child gone")]);
}

#[tokio::test(start_paused = true)]
async fn r12_a_shielded_nursery_in_a_child_ends_before_the_child_goes() {
    let log = Log::new();
    nursery_local(async |outer| {
        let log = &log;
        outer.start_soon(async move {
            let inner = Builder::new().shield(true).nursery_local(async |inner| {
                inner.start_soon(async move {
                    sleep(3 * SECOND).await;
                    log.add("shielded");
                    Ok::<_, &str>(())
                });
                Ok(7)
            });
            assert_eq!(inner.await.unwrap(), 7);
            log.add("its value");
            pending::<Result<(), &str>>().await
        });
        sleep(SECOND).await;
        outer.cancel();
        Ok(())
    })
    .await
    .unwrap();
    log.add("closed");
    assert_eq!(log.take(), [(3, "shielded"), (3, "its value"), (3, "closed")]);
}

#[tokio::test(start_paused = true)]
async fn r20_a_shield_holds_against_a_deadline_around_it_and_against_one_around_its_nursery() {
    let log = Log::new();
    let late = fail_after(SECOND, async {
        shield(sleep(3 * SECOND)).await;
        log.add("shielded");
        pending::<()>().await;
    });
    assert_eq!(late.await.unwrap_err().cause().source(), Source::Deadline);
    log.add("late");
    let late = fail_after(SECOND, async {
        let ended = nursery_local(async |n| {
            n.shielded().start_soon(async {
                sleep(3 * SECOND).await;
                log.add("shielded child");
                Ok::<_, &str>(())
            });
            pending::<Result<(), _>>().await
        });
        let _ = ended.await;
        log.add("must not happen");
    });
    assert_eq!(late.await.unwrap_err().cause().source(), Source::Deadline);
    log.add("late again");
    let expected = [(3, "shielded"), (3, "late"), (6, "shielded child"), (6, "late again")];
    assert_eq!(log.take(), expected);
}

#[tokio::test(start_paused = true)]
async fn r19_the_deadline_inside_a_shield_acts_in_spite_of_it() {
    let log = Log::new();
    nursery_local(async |n| {
        let log = &log;
        n.start_soon(async move {
            let ended = shield(fail_after(3 * SECOND, pending::<()>())).await;
            assert!(ended.is_err());
            log.add("late");
            pending::<Result<(), &str>>().await
        });
        yield_now().await;
        n.cancel();
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(log.take(), [(3, "late")]);
}

#[tokio::test(start_paused = true)]
async fn r19_a_shielding_scope_that_is_cancelled_itself_holds_no_longer() {
    let log = Log::new();
    let scope = CancelScope::shield();
    nursery_local(async |n| {
        let (log, scope) = (&log, &scope);
        n.start_soon(async move {
            assert!(scope.run(pending::<()>()).await.is_err());
            log.add("let go");
            pending::<Result<(), &str>>().await
        });
        yield_now().await;
        n.cancel();
        n.shielded().start_soon(async move {
            sleep(SECOND).await;
            scope.cancel();
            sleep(SECOND).await;
            log.add("last");
            Ok(())
        });
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(log.take(), [(1, "let go"), (2, "last")]);
}

#[tokio::test(start_paused = true)]
async fn r16_r19_a_child_cancelled_by_hand_goes_after_its_shield_and_a_shielded_child_at_once() {
    let log = Log::new();
    nursery_local(async |n| {
        let log = &log;
        let plain = n.start_soon(async move {
            let _gone = Gone(log, "plain gone");
            shield(sleep(2 * SECOND)).await;
            pending::<Result<(), &str>>().await
        });
        let away = n.spawn(async move {
            shield(sleep(3 * SECOND)).await;
            pending::<Result<(), &str>>().await
        });
        let shielded = n.shielded().start_soon(async move {
            let _gone = Gone(log, "shielded gone");
            pending::<Result<(), &str>>().await
        });
        yield_now().await;
        sleep(SECOND).await;
        plain.cancel();
        away.cancel();
        shielded.cancel();
        assert_eq!(shielded.end().await, End::Cancelled);
        assert_eq!(plain.end().await, End::Cancelled);
        assert_eq!(away.end().await, End::Cancelled);
        log.add("all");
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(log.take(), [(1, "shielded gone"), (2, "plain gone"), (3, "all")]);
}

#[tokio::test(start_paused = true)]
async fn r19_what_runs_beside_a_shield_in_one_future_is_dropped_with_it() {
    let log = Log::new();
    nursery_local(async |n| {
        let log = &log;
        n.start_soon(async move {
            let beside = async {
                let inner = fail_after(10 * SECOND, async {
                    let _gone = Gone(log, "scope beside gone");
                    pending::<()>().await;
                });
                let _ = inner.await;
                log.add("must not happen");
            };
            let bare = async {
                let _gone = Gone(log, "bare gone");
                pending::<()>().await;
            };
            let shielded = async {
                shield(sleep(3 * SECOND)).await;
                log.add("shielded");
            };
            futures::join!(shielded, beside, bare);
            Ok::<_, &str>(())
        });
        sleep(SECOND).await;
        n.cancel();
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(log.take(), [(1, "scope beside gone"), (3, "shielded"), (3, "bare gone")]);
}

#[tokio::test(start_paused = true)]
async fn r7_a_failed_child_awaited_inside_a_shield_hands_its_error_over() {
    let log = Log::new();
    let ended = nursery_local(async |n: aionursery::LocalNursery<'_, &str>| {
        let log = &log;
        let bad: Child<(), &str> = n.start_soon(async {
            sleep(SECOND).await;
            Err("bad")
        });
        n.start_soon(async move {
            assert_eq!(shield(bad).await.unwrap_err().error(), Some(&"bad"));
            log.add("handed over");
            Ok(())
        });
        Ok(())
    })
    .await;
    ended.unwrap();
    assert_eq!(log.take(), [(1, "handed over")]);
}

#[tokio::test(start_paused = true)]
async fn awaiting_the_value_of_a_cancelled_child_inside_a_shield_ends_the_child_that_awaits_it() {
    let log = Log::new();
    nursery_local(async |n| {
        let log = &log;
        let child = n.start_soon(pending::<Result<(), &str>>());
        let scope = CancelScope::new();
        child.cancel();
        let waits = n.start_soon(async move {
            let _gone = Gone(log, "gone");
            let _ = scope.run(shield(child.value())).await;
            log.add("must not happen");
            Ok(())
        });
        assert_eq!(waits.end().await, End::Cancelled);
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(log.take(), [(0, "gone")]);
}

#[tokio::test(start_paused = true)]
async fn r20_a_shield_cannot_hold_against_a_plain_drop() {
    let log = Log::new();
    nursery_local(async |n| {
        let log = &log;
        n.start_soon(async move {
            let shielded = shield(async {
                let _gone = Gone(log, "dropped");
                sleep(60 * SECOND).await;
            });
            let _ = tokio::time::timeout(SECOND, shielded).await;
            log.add("timeout");
            pending::<Result<(), &str>>().await
        });
        sleep(2 * SECOND).await;
        n.cancel();
        Ok(())
    })
    .await
    .unwrap();
    log.add("closed");
    assert_eq!(log.take(), [(1, "dropped"), (1, "timeout"), (2, "closed")]);
}

#[tokio::test(start_paused = true)]
async fn r29_a_shield_that_is_carried_off_holds_its_first_owner_until_it_ends_elsewhere() {
    type Carried = Pin<Box<dyn Future<Output = ()> + Send>>;
    let (send, receive) = tokio::sync::oneshot::channel::<Carried>();
    let elsewhere = tokio::spawn(async move {
        let carried = receive.await.unwrap();
        sleep(3 * SECOND).await;
        drop(carried);
    });
    let start = Instant::now();
    nursery(async |n: Nursery<'_, &str>| {
        n.start_soon(async move {
            let mut carried: Carried = Box::pin(shield(pending()));
            poll_fn(|cx| {
                assert!(carried.as_mut().poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
            assert!(send.send(carried).is_ok());
            pending::<Result<(), _>>().await
        });
        sleep(SECOND).await;
        n.cancel();
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(start.elapsed(), 3 * SECOND);
    elsewhere.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn r7_an_error_below_a_shield_that_ends_after_the_cancellation_is_kept() {
    let error = nursery_local(async |outer| {
        outer.start_soon(async {
            let inner = nursery_local(async |inner| {
                inner.shielded().start_soon(async {
                    sleep(3 * SECOND).await;
                    Err::<(), _>("payment")
                });
                pending::<Result<(), _>>().await
            });
            inner.await.map_err(|errors| *errors.errors().next().unwrap_or(&"none"))
        });
        sleep(SECOND).await;
        outer.cancel();
        Ok(())
    })
    .await
    .unwrap_err();
    assert_eq!(error.errors().collect::<Vec<_>>(), [&"payment"]);
}

#[tokio::test(start_paused = true)]
async fn r13_a_nursery_whose_child_was_cut_off_from_outside_gives_no_value() {
    let saved = Cell::new(false);
    let part = nursery_local(async |n| {
        n.start_soon(async {
            shield(sleep(2 * SECOND)).await;
            saved.set(true);
            sleep(SECOND).await;
            Ok::<_, &str>(())
        });
        Ok(7)
    });
    assert!(move_on_after(SECOND, part).await.is_none());
    assert!(saved.get());
    // What has ended in spite of it is done.
    let whole = nursery_local(async |n| {
        n.start_soon(async {
            shield(sleep(2 * SECOND)).await;
            Ok::<_, &str>(())
        });
        Ok(7)
    });
    assert_eq!(move_on_after(SECOND, whole).await.unwrap().unwrap(), 7);
}
