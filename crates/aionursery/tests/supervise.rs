//! `supervise`: a nursery that is opened again.
#![cfg(feature = "tokio")]

use std::cell::Cell;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use aionursery::{
    Builder, CancelScope, Nursery, cancelled, fail_after, move_on_after, nursery,
    service::{Restarts, supervise},
    yield_now,
};
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn r3_all_of_a_run_has_ended_before_the_next_begins_and_no_error_is_lost() {
    let (alive, runs) = (Arc::new(()), Cell::new(0));
    let mut heard = Vec::new();
    let value = supervise(
        Restarts::most(2),
        async |n: Nursery<'_, String>| {
            assert_eq!(Arc::strong_count(&alive), 1);
            let lives = alive.clone();
            runs.set(runs.get() + 1);
            let run = runs.get();
            n.shielded().spawn_plain(async move {
                tokio::task::yield_now().await;
                drop(lives);
            });
            n.named("cook").spawn(async move {
                match run {
                    1 => Err("no beans".into()),
                    2 => panic!("no pot"),
                    _ => Ok(()),
                }
            });
            if run < 3 { pending().await } else { Ok(run) }
        },
        |errors| {
            heard.push((errors[0].name().map(String::from), errors.panics().count()));
        },
    );
    assert_eq!(value.await.unwrap(), 3);
    assert_eq!(heard, [(Some("cook".into()), 0), (Some("cook".into()), 1)]);
}

#[tokio::test]
async fn the_errors_of_the_last_run_come_back_when_it_fails_too_often() {
    for most in [0, 3] {
        let (mut runs, mut heard) = (0, 0);
        let error = supervise(
            Restarts::most(most),
            |n: Nursery<'_, String>| {
                runs += 1;
                let run = runs;
                async move {
                    n.start_soon(async move { Err::<(), _>(run.to_string()) }).value().await;
                    Ok(())
                }
            },
            |_| heard += 1,
        );
        let error = error.await.unwrap_err();
        assert_eq!(error.errors().collect::<Vec<_>>(), [&(most + 1).to_string()]);
        assert_eq!((runs, heard), (most + 1, most));
    }
}

#[tokio::test(start_paused = true)]
async fn only_restarts_within_the_window_count_and_each_waits_for_the_pause() {
    let (before, runs) = (Instant::now(), Cell::new(0));
    let fails = async |_: Nursery<'_, &str>| {
        runs.set(runs.get() + 1);
        // The first ten come too seldom to count together.
        if runs.get() <= 10 {
            tokio::time::sleep(20 * SECOND).await;
        }
        Err::<(), _>("failed")
    };
    let restarts = Restarts::most(3).within(10 * SECOND).pause(SECOND);
    assert_eq!(supervise(restarts, fails, drop).await.unwrap_err().len(), 1);
    // Ten that count for nothing but themselves, then three within the window and the last.
    assert_eq!(runs.get(), 13);
    assert_eq!(before.elapsed(), 10 * 20 * SECOND + 12 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn r12_a_cancellation_ends_it_in_a_run_and_in_a_pause_and_is_no_failure() {
    let cancelled = async |n: Nursery<'_, &str>| {
        n.cancel();
        pending::<Result<(), _>>().await
    };
    let error = supervise(Restarts::most(9), cancelled, |_| panic!("it has not failed")).await;
    assert!(error.unwrap_err().is_cancelled());

    let fails = async |_: Nursery<'_, &str>| Err::<(), _>("failed");
    let paused = supervise(Restarts::most(9).pause(1000 * SECOND), fails, drop);
    assert!(move_on_after(SECOND, paused).await.is_none());

    let at_once = nursery(async |n: Nursery<'_, &str>| {
        let child = n.spawn(async {
            let again = async |_: Nursery<'_, &str>| Err::<(), _>("failed");
            Ok(supervise(Restarts::most(usize::MAX), again, drop).await.is_err())
        });
        yield_now().await;
        child.cancel();
        Ok(child.await.unwrap_err().cancelled().is_some())
    });
    assert!(at_once.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn r12_there_is_no_further_run_in_a_cancelled_scope_that_gives_time_to_clean_up() {
    for pause in [Duration::ZERO, SECOND] {
        let (scope, runs) = (CancelScope::new().cleanup(60 * SECOND), Cell::new(0));
        let fails_as_it_stops = async |n: Nursery<'_, &str>| {
            runs.set(runs.get() + 1);
            n.start_soon(async {
                cancelled().await;
                Err::<(), _>("the connection is closed")
            });
            tokio::time::sleep(SECOND).await;
            scope.cancel();
            Ok(())
        };
        let restarts = Restarts::most(9).pause(pause);
        let ended = scope
            .run(supervise(restarts, fails_as_it_stops, |_| panic!("no run follows")))
            .await
            .unwrap();
        assert_eq!(ended.unwrap_err().into_errors().unwrap(), ["the connection is closed"]);
        assert_eq!(runs.get(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn r12_a_pause_ends_with_a_cancellation_that_gives_time_to_clean_up() {
    for pause in [Duration::ZERO, 1000 * SECOND] {
        let (start, scope) = (Instant::now(), CancelScope::new().cleanup(60 * SECOND));
        let (runs, told) = (Cell::new(0), Cell::new(0));
        let fails = async |_: Nursery<'_, &str>| {
            runs.set(runs.get() + 1);
            Err::<(), _>("failed")
        };
        let again = supervise(Restarts::most(9).pause(pause), fails, |_| {
            told.set(told.get() + 1);
            if pause.is_zero() {
                scope.cancel_with("enough");
            }
        });
        let cancels = async {
            tokio::time::sleep(SECOND).await;
            scope.cancel_with("enough");
        };
        let error = tokio::join!(scope.run(again), cancels).0.unwrap().unwrap_err();
        assert!(error.is_cancelled());
        assert_eq!(error.cause().unwrap().reason(), Some("enough"));
        assert_eq!((runs.get(), told.get(), start.elapsed()), (1, 1, SECOND));
    }
}

#[tokio::test(start_paused = true)]
async fn r18_a_timeout_around_it_is_in_time_also_in_a_pause_and_after_it() {
    let began = Instant::now();
    let grace = Builder::new().cleanup(10 * SECOND);
    let waits = grace.nursery(async |_: Nursery<'_, String>| {
        let runs = Cell::new(0);
        let run = async |_: Nursery<'_, String>| match runs.replace(runs.get() + 1) {
            0 => Err::<(), _>("first".to_string()),
            _ => pending().await,
        };
        let restarts = Restarts::most(5).pause(SECOND);
        drop(fail_after(5 * SECOND, supervise(restarts, run, drop)).await);
        Ok(())
    });
    waits.await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 5);
}
