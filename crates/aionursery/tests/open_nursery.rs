//! A nursery that is a value: R3, R6, R7, R18, R21, R27a and R28 of what `Builder::open` gives.
#![cfg(feature = "tokio")]

#[path = "common/on_drop.rs"]
mod on_drop;

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use aionursery::{Builder, End, OnError, OpenNursery, cancelled, fail_after, nursery, yield_now};
use tokio::time::{Instant, sleep};

use on_drop::OnDrop;

const SECOND: Duration = Duration::from_secs(1);

type Jobs = OpenNursery<String>;

fn collects() -> Jobs {
    Builder::new().on_error(OnError::Collect).open()
}

/// A child that never ends, and counts when it is dropped.
fn counts(dropped: &Arc<AtomicU32>) -> impl Future<Output = Result<(), String>> + use<> {
    let dropped = dropped.clone();
    let end = OnDrop(move || _ = dropped.fetch_add(1, SeqCst));
    async move {
        let _end = end;
        pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn r3_close_waits_for_all_children_and_for_those_that_they_start() {
    struct Service {
        jobs: Jobs,
        done: Arc<AtomicU32>,
    }
    let service = Service { jobs: collects(), done: Arc::default() };
    let (siblings, done) = (service.jobs.clone(), service.done.clone());
    service.jobs.start_soon(async move {
        sleep(SECOND).await;
        siblings.spawn(async move {
            sleep(SECOND).await;
            done.fetch_add(1, SeqCst);
            Ok(())
        });
        Ok(())
    });
    yield_now().await;
    let kept = service.jobs.clone();
    service.jobs.close().await.unwrap();
    assert_eq!(service.done.load(SeqCst), 1);
    assert!(kept.try_spawn(async { Ok(()) }).is_err());
}

#[tokio::test]
async fn r6_a_failure_cancels_the_others_before_anything_is_closed() {
    let dropped = Arc::default();
    let jobs: Jobs = Builder::new().name("jobs").open();
    let other = jobs.spawn(counts(&dropped));
    jobs.named("bad").spawn(async { Err::<(), _>("no beans".into()) });
    assert_eq!(other.end().await, End::Cancelled);
    assert!(jobs.is_cancelled());
    let errors = jobs.close().await.unwrap_err();
    assert_eq!((errors.len(), errors[0].name()), (1, Some("bad")));
}

#[tokio::test]
async fn r7_collected_errors_come_with_close_but_for_those_that_were_taken() {
    let jobs = collects();
    let taken = jobs.spawn(async { Err::<(), _>("taken".into()) });
    assert_eq!(taken.await.unwrap_err().error(), Some(&"taken".to_string()));
    jobs.spawn(async { Err::<(), _>("kept".into()) }).end().await;
    let errors = jobs.close().await.unwrap_err();
    assert_eq!(errors.errors().collect::<Vec<_>>(), ["kept"]);
}

#[tokio::test(start_paused = true)]
async fn r21_its_deadline_and_its_budget_act_while_nothing_awaits_it() {
    let (dropped, heard) = (Arc::default(), Arc::new(AtomicU32::new(0)));
    let builder = Builder::new().deadline(Instant::now() + SECOND).cleanup(SECOND);
    let jobs: Jobs = builder.open();
    jobs.spawn(counts(&dropped));
    let hears = heard.clone();
    jobs.spawn(async move {
        cancelled().await;
        hears.fetch_add(1, SeqCst);
        Ok(())
    });
    sleep(SECOND * 3 / 2).await;
    assert_eq!((dropped.load(SeqCst), heard.load(SeqCst)), (0, 1));
    sleep(SECOND).await;
    assert_eq!(dropped.load(SeqCst), 1);
    assert!(jobs.close().await.is_ok());
}

#[tokio::test]
async fn r21_one_whose_deadline_has_passed_is_cancelled_from_the_start() {
    let jobs: Jobs = Builder::new().deadline(Instant::now()).open();
    drop(jobs.try_spawn(pending::<Result<(), _>>()));
    assert!(jobs.is_cancelled());
    assert!(jobs.close().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn r27a_a_task_that_is_cancelled_amid_close_cancels_it_and_waits_for_its_budget() {
    let (dropped, cleaned) = (Arc::default(), Arc::new(AtomicU32::new(0)));
    let jobs: Jobs = Builder::new().cleanup(5 * SECOND).open();
    jobs.spawn(counts(&dropped));
    let cleans = cleaned.clone();
    jobs.spawn(async move {
        cancelled().await;
        sleep(2 * SECOND).await;
        cleans.fetch_add(1, SeqCst);
        Ok(())
    });
    let (began, kept) = (Instant::now(), jobs.clone());
    let ended = fail_after(SECOND, jobs.close()).await;
    assert!(ended.is_ok(), "what has cleaned up is not late");
    assert_eq!(began.elapsed(), 6 * SECOND);
    assert_eq!((dropped.load(SeqCst), cleaned.load(SeqCst)), (1, 1));
    assert!(kept.try_spawn(async { Ok(()) }).is_err());
}

/// Awaits `close` of a nursery whose child never ends.
async fn closes(dropped: Arc<AtomicU32>) -> Result<(), String> {
    let jobs: Jobs = Builder::new().open();
    jobs.spawn(counts(&dropped));
    jobs.close().await.map_err(|error| error.to_string())
}

#[tokio::test(start_paused = true)]
async fn r27a_a_child_that_is_cancelled_alone_amid_close_cancels_it_and_ends() {
    let dropped = Arc::default();
    nursery(async |n| {
        let one = n.spawn(closes(Arc::clone(&dropped)));
        let other = n.start_soon(closes(Arc::clone(&dropped)));
        let far = closes(Arc::clone(&dropped));
        let inside = n.spawn(async { fail_after(100 * SECOND, far).await.unwrap() });
        // Awaiting the value of what is cancelled ends the child that awaits it.
        let gone = n.start_soon(pending::<Result<(), String>>());
        gone.cancel();
        let last = closes(Arc::clone(&dropped));
        let awaits = n.start_soon(async { tokio::join!(last, gone.value()).0 });
        sleep(SECOND).await;
        for child in [&one, &other, &inside] {
            child.cancel();
        }
        for child in [one, other, inside, awaits] {
            let end = tokio::time::timeout(SECOND, child.end()).await.expect("it ends");
            assert!(matches!(end, End::Cancelled | End::Done(())), "{end:?}");
        }
        assert_eq!(dropped.load(SeqCst), 4);
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test(start_paused = true)]
async fn r6_what_is_started_after_a_failure_or_a_deadline_is_cancelled_and_not_refused() {
    for fails in [true, false] {
        let deadline = Instant::now() + SECOND;
        let jobs: Jobs = Builder::new().deadline(deadline).open();
        if fails {
            jobs.spawn(async { Err::<(), _>("first".into()) });
        }
        sleep(2 * SECOND).await;
        assert!(jobs.is_cancelled() && !jobs.is_closed());
        let dropped = Arc::default();
        let late = jobs.spawn(counts(&dropped));
        jobs.start_soon(counts(&dropped));
        assert_eq!(late.end().await, End::Cancelled);
        let errors = jobs.close().await.err().map_or(0, |errors| errors.len());
        assert_eq!(errors, usize::from(fails));
    }
}

#[tokio::test]
async fn r28_one_that_is_dropped_aborts_its_children() {
    for in_close in [false, true] {
        let dropped = Arc::default();
        let jobs = collects();
        jobs.spawn(counts(&dropped));
        jobs.start_soon(counts(&dropped));
        while jobs.running() < 2 {
            yield_now().await;
        }
        sleep(Duration::from_millis(1)).await;
        if in_close {
            tokio::select! {
                biased;
                _ = jobs.close() => unreachable!("its children never end"),
                () = yield_now() => {}
            }
        } else {
            drop(jobs);
        }
        while dropped.load(SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn it_is_not_below_the_scope_that_it_is_opened_in() {
    let jobs = nursery(async |n| {
        let jobs = collects();
        n.cancel();
        Ok::<_, String>(jobs)
    })
    .await
    .unwrap();
    assert!(!jobs.is_cancelled());
    assert_eq!(jobs.spawn(async { Ok(7) }).await.unwrap(), 7);
    jobs.close().await.unwrap();
}

#[test]
fn a_runtime_that_has_shut_down_is_said_by_close() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let jobs: Jobs = runtime.block_on(async { collects() });
    drop(runtime);
    let errors = futures::executor::block_on(jobs.close()).unwrap_err();
    assert!(errors.is_cancelled());
    assert_eq!(errors.cause().unwrap().reason(), Some("its runtime has shut down"));
}

#[tokio::test(start_paused = true)]
async fn r13a_errors_leave_a_close_that_was_cancelled_when_it_had_joined() {
    let jobs = collects();
    jobs.spawn(async { Err::<(), _>("full".to_string()) });
    jobs.spawn(pending::<Result<(), _>>());
    let closed = fail_after(SECOND, jobs.close()).await;
    assert_eq!(closed.unwrap().unwrap_err().errors().collect::<Vec<_>>(), ["full"]);
}

#[tokio::test]
async fn r3_a_child_cannot_close_its_own_nursery() {
    let jobs = collects();
    let kept = Arc::new(std::sync::Mutex::new(None));
    let (other, (say, hear)) = (kept.clone(), tokio::sync::oneshot::channel());
    jobs.spawn(async move {
        let own: Option<Jobs> = other.lock().unwrap().take();
        let closing = std::panic::AssertUnwindSafe(own.expect("it is there").close());
        let end = futures::FutureExt::catch_unwind(closing).await;
        let payload = end.expect_err("it would wait for itself");
        say.send(payload.downcast_ref::<&str>().map(ToString::to_string)).unwrap();
        Ok(())
    });
    *kept.lock().unwrap() = Some(jobs);
    assert!(hear.await.unwrap().unwrap().contains("cannot close its own nursery"));
}
