//! R12, R13, R18 to R21, R27: scopes, deadlines, shields and cleanup, on a paused clock.

use std::cell::Cell;
use std::future::pending;
use std::time::Duration;

use aionursery::{
    Builder, CancelScope, End, MultiError, Nursery, OpenNursery, cancelled, error::Source,
    fail_after, fail_at, move_on_after, move_on_at, nursery, nursery_local, shield,
    time::current_effective_deadline, yield_now,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn r12_a_cancellation_reaches_everything_below_and_stops_at_shields() {
    let log = std::cell::RefCell::new(Vec::new());
    nursery_local(async |outer| {
        let log = &log;
        outer.start_soon(async move {
            let inner = nursery_local(async |inner| {
                inner.start_soon(async {
                    sleep(SECOND).await;
                    log.borrow_mut().push("must not happen");
                    Ok::<_, &str>(())
                });
                Ok(())
            });
            inner.await.map_err(|_| "inner")
        });
        outer.shielded().start_soon(async move {
            let below = nursery_local(async |inner| {
                inner.start_soon(async {
                    sleep(SECOND).await;
                    log.borrow_mut().push("shielded");
                    Ok::<_, &str>(())
                });
                Ok(())
            });
            below.await.map_err(|_| "inner")
        });
        yield_now().await;
        outer.cancel();
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(*log.borrow(), ["shielded"]);
}

#[tokio::test(start_paused = true)]
async fn r13_a_scope_takes_back_what_it_caused_and_nothing_else() {
    let after = Cell::new(0);
    let caught = CancelScope::new();
    let end = fail_after(SECOND, async {
        let inner = caught
            .run(async {
                caught.cancel_with("inner");
                pending::<()>().await
            })
            .await;
        assert_eq!(inner.unwrap_err().cause().reason(), Some("inner"));
        after.set(1);
        // The outer deadline is not the inner scope's to catch.
        let _ = CancelScope::new().run(pending::<()>()).await;
        after.set(2);
    })
    .await;
    assert_eq!(end.unwrap_err().cause().source(), Source::Deadline);
    assert_eq!(after.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn r18_r27_a_cleanup_budget_lets_children_hear_and_clean_up_until_it_is_spent() {
    let start = Instant::now();
    let (quick, slow) = (Cell::new(false), Cell::new(false));
    nursery_local_with_budget(&quick, &slow).await;
    assert!(quick.get());
    assert!(!slow.get());
    assert_eq!(start.elapsed().as_secs(), 5);

    async fn nursery_local_with_budget(quick: &Cell<bool>, slow: &Cell<bool>) {
        Builder::new()
            .cleanup(5 * SECOND)
            .nursery_local(async |n| {
                let (first, second) = (n.clone(), n.clone());
                n.start_soon(async move {
                    first.cancelled().await;
                    sleep(SECOND).await;
                    quick.set(true);
                    Ok::<_, &str>(())
                });
                n.start_soon(async move {
                    second.cancelled().await;
                    sleep(60 * SECOND).await;
                    slow.set(true);
                    Ok(())
                });
                yield_now().await;
                n.cancel();
                Ok(())
            })
            .await
            .unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn r18_a_budget_holds_for_spawned_children_and_nurseries_below() {
    let start = Instant::now();
    let ended = Builder::new()
        .cleanup(5 * SECOND)
        .nursery(async |n| {
            let polite = n.spawn(async move {
                cancelled().await;
                sleep(SECOND).await;
                Ok::<_, &str>(start.elapsed().as_secs())
            });
            let below = n.spawn(async {
                let inner = nursery(async |inner: Nursery<'_, &str>| {
                    inner.cancelled().await;
                    sleep(2 * SECOND).await;
                    Ok(())
                });
                inner.await.map_err(|_| "inner")?;
                pending::<Result<(), _>>().await
            });
            tokio::task::yield_now().await;
            n.cancel();
            assert_eq!(polite.end().await, End::Done(1));
            assert_eq!(below.end().await, End::Cancelled);
            Ok(())
        })
        .await;
    assert!(ended.is_err_and(|error| error.is_cancelled()), "the body waited for the last one");
    assert_eq!(start.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn r18_r19_a_cleanup_budget_that_is_spent_breaks_no_shield() {
    let (paid, after) = (Cell::new(false), Cell::new(false));
    let start = Instant::now();
    Builder::new()
        .cleanup(10 * SECOND)
        .nursery_local(async |n| {
            n.shielded().start_soon(async {
                shield(sleep(3 * SECOND)).await;
                paid.set(true);
                Ok::<_, &str>(())
            });
            n.start_soon(async {
                shield(sleep(60 * SECOND)).await;
                after.set(true);
                Ok(())
            });
            yield_now().await;
            n.cancel();
            Ok(())
        })
        .await
        .unwrap();
    assert!(paid.get() && after.get());
    assert_eq!(start.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn r21_deadlines_fail_or_move_on_and_a_past_one_acts_at_the_first_await() {
    let late = fail_after(SECOND, sleep(2 * SECOND)).await.unwrap_err();
    assert_eq!(late.cause().source(), Source::Deadline);
    assert!(fail_after(2 * SECOND, sleep(SECOND)).await.is_ok());
    assert!(fail_at(Instant::now() + SECOND, pending::<()>()).await.is_err());
    assert_eq!(move_on_after(SECOND, async { 1 }).await, Some(1));
    assert_eq!(move_on_at(Instant::now() + SECOND, pending::<()>()).await, None);
    let ran = Cell::new(false);
    let past = move_on_at(Instant::now(), async {
        ran.set(true);
        yield_now().await;
    })
    .await;
    assert_eq!((past, ran.get()), (None, true));
    let past = || Builder::new().deadline(Instant::now());
    assert_eq!(past().nursery(async |_: Nursery<'_, &str>| Ok(1)).await.unwrap(), 1);
    let error = past().nursery(async |_| pending::<Result<(), &str>>().await).await.unwrap_err();
    assert_eq!(error.cause().unwrap().source(), Source::Deadline);
    // It may still be moved.
    let moved = past().nursery(async |n: Nursery<'_, &str>| {
        n.set_deadline(Instant::now() + 2 * SECOND);
        sleep(SECOND).await;
        Ok(2)
    });
    assert_eq!(moved.await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn r21_a_value_that_is_there_is_not_late() {
    assert_eq!(fail_after(Duration::ZERO, async { 1 }).await.unwrap(), 1);
    assert_eq!(fail_after(Duration::MAX, async { 2 }).await.unwrap(), 2);
    let (sender, mut receiver) = mpsc::channel(1);
    assert_eq!(move_on_after(Duration::ZERO, receiver.recv()).await, None);
    sender.send(3).await.unwrap();
    assert_eq!(move_on_after(Duration::ZERO, receiver.recv()).await, Some(Some(3)));
    // Woken in one moment by the value and by the time.
    assert_eq!(move_on_after(SECOND, sleep(SECOND)).await, Some(()));
}

#[tokio::test]
async fn r21_a_deadline_acts_on_children_that_are_always_ready() {
    let busy = || async {
        loop {
            yield_now().await;
        }
    };
    let soon = || Instant::now() + Duration::from_millis(1);
    let builder = Builder::new().deadline(soon());
    let error = builder
        .nursery(async |n: Nursery<'_, &str>| {
            n.start_soon::<_, ()>(busy()).value().await;
            Ok(())
        })
        .await
        .unwrap_err();
    assert_eq!(error.cause().unwrap().source(), Source::Deadline);
    let builder = Builder::new().cleanup(Duration::from_millis(1));
    let error = builder
        .nursery(async |n: Nursery<'_, &str>| {
            n.cancel();
            n.start_soon::<_, ()>(busy()).value().await;
            Ok(())
        })
        .await
        .unwrap_err();
    assert!(error.is_cancelled());
    let late = fail_at(
        soon(),
        nursery(async |n| {
            n.start_soon::<_, ()>(busy()).value().await;
            Ok(())
        }),
    )
    .await;
    let late: Result<Result<(), MultiError<&str>>, _> = late;
    assert!(late.is_err());
}

#[tokio::test(start_paused = true)]
async fn r21_a_nursery_has_a_deadline_that_can_be_moved() {
    let start = Instant::now();
    let error = Builder::new()
        .deadline(start + SECOND)
        .nursery(async |n: Nursery<'_, &str>| {
            n.start_soon(pending::<Result<(), _>>());
            assert!(
                n.effective_deadline().unwrap()
                    <= (start + SECOND + Duration::from_micros(1)).into_std()
            );
            n.set_deadline(start + 3 * SECOND);
            pending::<Result<(), _>>().await
        })
        .await
        .unwrap_err();
    assert!(error.is_cancelled());
    assert_eq!(error.cause().unwrap().source(), Source::Deadline);
    assert_eq!(start.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn r21_a_timeout_counts_from_where_its_nursery_begins_and_the_earlier_moment_acts() {
    let rules = Builder::new().timeout(2 * SECOND);
    sleep(SECOND).await;
    for (deadline, expected) in [(None, 2), (Some(1), 1), (Some(3), 2)] {
        let start = Instant::now();
        let mut rules = rules.clone();
        if let Some(seconds) = deadline {
            rules = rules.deadline(start + seconds * SECOND);
        }
        let error = rules.nursery(async |_: Nursery<'_, &str>| pending::<Result<(), _>>().await);
        let error = error.await.unwrap_err();
        assert_eq!(error.cause().unwrap().source(), Source::Deadline);
        assert_eq!(start.elapsed().as_secs(), expected);
    }
    let jobs: OpenNursery<&str> = rules.open();
    let start = Instant::now();
    jobs.spawn(pending::<Result<(), _>>());
    jobs.cancelled().await;
    assert_eq!(start.elapsed().as_secs(), 2);
    jobs.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn r21_a_timeout_that_never_comes_changes_nothing() {
    let rules = Builder::new().timeout(Duration::MAX);
    let value = rules.nursery(async |n: Nursery<'_, &str>| {
        Ok(n.start_soon(async {
            sleep(1000 * SECOND).await;
            Ok(7)
        })
        .value()
        .await)
    });
    assert_eq!(value.await.unwrap(), 7);
}

#[tokio::test(start_paused = true)]
async fn r21_the_earliest_unshielded_deadline_above_is_the_effective_one() {
    let start = Instant::now();
    let near = |moment: Option<std::time::Instant>, seconds: u32| {
        let expected = (start + seconds * SECOND).into_std();
        moment.is_some_and(|moment| {
            moment >= expected && moment < expected + Duration::from_millis(1)
        })
    };
    fail_after(5 * SECOND, async {
        nursery(async |n: Nursery<'_, &str>| {
            assert!(near(n.effective_deadline(), 5));
            Ok(())
        })
        .await
        .unwrap();
        Builder::new()
            .shield(true)
            .nursery(async |n: Nursery<'_, &str>| {
                assert!(n.effective_deadline().is_none());
                Ok(())
            })
            .await
            .unwrap();
    })
    .await
    .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_scope_can_be_cancelled_before_and_after_something_runs_in_it() {
    let scope = CancelScope::new();
    scope.cancel_with("before");
    let ran = Cell::new(false);
    let end = scope.run(async { ran.set(true) }).await;
    assert_eq!(end.unwrap_err().cause().reason(), Some("before"));
    assert!(!ran.get());
    scope.cancel();
    assert!(scope.is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn a_scope_stays_cancelled_when_what_ran_in_it_has_ended() {
    let scope = CancelScope::new().deadline(Instant::now() + SECOND);
    assert!(scope.run(pending::<()>()).await.is_err());
    assert!(scope.is_cancelled());
    assert_eq!(scope.cause().unwrap().source(), Source::Deadline);
}

#[tokio::test(start_paused = true)]
async fn one_after_another_runs_in_a_scope_also_if_the_first_future_is_still_there() {
    let scope = CancelScope::new();
    let mut first = std::pin::pin!(scope.run(yield_now()));
    first.as_mut().await.unwrap();
    assert_eq!(scope.run(async { 2 }).await.unwrap(), 2);
    assert!(!scope.is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn a_future_that_never_ran_in_a_scope_does_not_take_it_from_the_one_that_does() {
    let scope = CancelScope::new();
    let mut running = std::pin::pin!(scope.run(pending::<()>()));
    assert!(futures::poll!(&mut running).is_pending());
    drop(scope.run(pending::<()>()));
    let second = std::panic::AssertUnwindSafe(scope.run(pending::<()>()));
    assert!(futures::FutureExt::catch_unwind(second).await.is_err());
    scope.cancel();
    assert!(running.await.is_err());
}

#[tokio::test(start_paused = true)]
async fn r17_what_is_run_below_a_cancelled_scope_takes_no_step() {
    let ran = Cell::new(0);
    let ended = fail_after(SECOND, async {
        let outer = CancelScope::new();
        let end = outer.run(async {
            outer.cancel();
            // In a scope's first step, in one that has waited, in a shield.
            let _ = CancelScope::new().run(async { ran.set(1) }).await;
        });
        assert!(end.await.is_err());
        let outer = CancelScope::new();
        let end = outer.run(async {
            yield_now().await;
            outer.cancel();
            let _ = fail_after(SECOND, async { ran.set(2) }).await;
        });
        assert!(end.await.is_err());
        let outer = CancelScope::new();
        let end = outer.run(async {
            outer.cancel();
            shield(async { ran.set(ran.get() + 10) }).await;
        });
        end.await
    });
    ended.await.unwrap().unwrap();
    assert_eq!(ran.get(), 10);
}

#[tokio::test(start_paused = true)]
async fn r12_a_cancellation_in_a_scopes_first_step_reaches_what_it_opened_there() {
    let scope = CancelScope::new();
    let end = scope.run(async {
        let inner = nursery(async |n: Nursery<'_, ()>| {
            n.start_soon(pending::<Result<(), ()>>());
            yield_now().await;
            scope.cancel_with("enough");
            pending::<Result<(), ()>>().await
        });
        fail_after(SECOND, inner).await
    });
    assert_eq!(end.await.unwrap_err().cause().reason(), Some("enough"));
}

#[tokio::test(start_paused = true)]
async fn r21_a_deadline_may_be_moved_before_its_scope_is_asked_for() {
    let scope = CancelScope::new().deadline(Instant::now());
    let begin = Instant::now();
    let end = scope.run(async {
        assert!(current_effective_deadline().unwrap() <= begin.into_std() + SECOND);
        scope.set_deadline(begin + 2 * SECOND);
        assert!(current_effective_deadline().unwrap() >= (begin + 2 * SECOND).into_std());
        let inner = fail_after(3 * SECOND, async {
            let least = current_effective_deadline().unwrap();
            assert!(least <= (begin + 2 * SECOND).into_std() + Duration::from_millis(1));
            pending::<()>().await
        });
        inner.await
    });
    assert!(end.await.is_err());
    assert_eq!(begin.elapsed().as_secs(), 2);
    assert!(current_effective_deadline().is_none());
}

#[tokio::test(start_paused = true)]
async fn r13_a_scope_that_has_ended_reaches_no_task_when_its_time_comes() {
    let ended = nursery(async |_: Nursery<'_, &str>| {
        let mut work = std::pin::pin!(fail_after(60 * SECOND, async {
            sleep(3 * SECOND).await;
            7
        }));
        let first = move_on_after(2 * SECOND, async {
            tokio::select! {
                _ = &mut work => "work",
                () = sleep(SECOND) => "tick",
            }
        });
        assert_eq!(first.await, Some("tick"));
        Ok(work.await.unwrap())
    });
    assert_eq!(ended.await.unwrap(), 7);
}

#[tokio::test(start_paused = true)]
async fn r21_a_deadline_of_a_nursery_that_has_passed_acts_at_the_first_await() {
    let steps = Cell::new(0);
    let late = Builder::new().deadline(Instant::now()).nursery_local(async |n| {
        n.start_soon(async {
            steps.set(steps.get() + 1);
            Ok::<_, &str>(())
        });
        steps.set(steps.get() + 10);
        yield_now().await;
        Ok(5)
    });
    assert_eq!(late.await.unwrap_err().cause().unwrap().source(), Source::Deadline);
    assert_eq!(steps.get(), 10);
}

#[tokio::test(start_paused = true)]
async fn r21_a_deadline_acts_at_its_moment_as_tokios_timeout_does() {
    let begin = Instant::now();
    assert!(fail_after(10 * SECOND / 1000, pending::<()>()).await.is_err());
    assert_eq!(begin.elapsed(), 10 * SECOND / 1000);
    let deadline = Instant::now() + SECOND;
    let seen = fail_at(deadline, async { current_effective_deadline() }).await.unwrap();
    assert_eq!(seen, Some(deadline.into_std()));
}

#[tokio::test(start_paused = true)]
async fn a_scope_cancelled_from_another_task_wakes_what_runs_in_it() {
    let scope = CancelScope::new();
    let other = scope.clone();
    let task = tokio::spawn(async move {
        sleep(SECOND).await;
        other.cancel();
    });
    assert!(scope.run(pending::<()>()).await.is_err());
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn r21_a_deadline_set_outside_of_a_runtime_whose_clock_stands_acts_when_it_comes() {
    let millisecond = Duration::from_millis(1);
    let before = Instant::now();
    let scope = CancelScope::new();
    let ended = scope.run(async {
        let (told, deadline) = (scope.clone(), before + millisecond);
        std::thread::spawn(move || {
            while std::time::Instant::now() <= deadline.into_std() {
                std::thread::yield_now();
            }
            told.set_deadline(deadline);
        })
        .join()
        .unwrap();
        let early = scope.is_cancelled();
        yield_now().await;
        assert!(!early && !scope.is_cancelled());
        pending::<()>().await
    });
    assert!(ended.await.is_err());
    assert_eq!(before.elapsed(), millisecond);
}

#[tokio::test(start_paused = true)]
async fn r21_a_limit_in_time_counts_from_the_call_not_from_the_first_await() {
    let fails = fail_after(2 * SECOND, pending::<()>());
    let moves_on = move_on_after(SECOND, pending::<()>());
    sleep(SECOND).await;
    let before = Instant::now();
    assert!(moves_on.await.is_none());
    assert_eq!(before.elapsed(), Duration::ZERO);
    assert!(fails.await.is_err());
    assert_eq!(before.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn r21_a_timeout_in_a_cleanup_acts() {
    let cleans = Builder::new().cleanup(10 * SECOND).nursery(async |n: Nursery<'_, &str>| {
        let child = n.start_soon(async {
            cancelled().await;
            Ok(fail_after(SECOND, sleep(5 * SECOND)).await.is_err())
        });
        n.cancel();
        Ok(child.value().await)
    });
    assert!(cleans.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn r21_a_timeout_that_runs_already_acts_while_others_clean_up() {
    let began = Instant::now();
    let waits = Builder::new().cleanup(10 * SECOND).nursery(async |n: Nursery<'_, &str>| {
        n.start_plain(fail_after(2 * SECOND, pending::<()>()));
        sleep(SECOND).await;
        n.cancel();
        Ok(())
    });
    waits.await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 2);
}

#[tokio::test(start_paused = true)]
async fn r21_a_nurserys_deadline_acts_while_it_cleans_up_after_another_cancellation() {
    let began = Instant::now();
    let scope = CancelScope::new().cleanup(10 * SECOND);
    scope.cancel();
    let ended = scope.run(async {
        let inner = Builder::new().deadline((Instant::now() + SECOND).into_std());
        inner.nursery(async |_: Nursery<'_, &str>| pending::<Result<(), _>>().await).await
    });
    drop(ended.await);
    assert_eq!(began.elapsed().as_secs(), 1);
}

#[tokio::test(start_paused = true)]
async fn r18_a_scope_that_is_cancelled_in_the_budget_of_another_has_its_own() {
    let began = Instant::now();
    let outer = CancelScope::new().cleanup(10 * SECOND);
    let inner = CancelScope::new().cleanup(SECOND);
    let (one, other) = (outer.clone(), inner.clone());
    tokio::spawn(async move {
        one.cancel();
        sleep(SECOND).await;
        other.cancel();
    });
    drop(outer.run(inner.run(pending::<()>())).await);
    assert_eq!(began.elapsed().as_secs(), 2);
}
