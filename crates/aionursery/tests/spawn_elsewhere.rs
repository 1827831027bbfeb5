//! Children on another runtime, and children of a `LocalSet`: `spawn_on`, `spawn_local`.
#![cfg(feature = "tokio")]

#[path = "common/on_drop.rs"]
mod on_drop;

use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use aionursery::{Builder, End, Nursery, OnError, cancelled, fail_after, nursery, shield};
use on_drop::OnDrop;
use tokio::runtime::{Handle, Runtime};
use tokio::task::LocalSet;
use tokio::time::sleep;

type Texts<'env> = Nursery<'env, String>;

fn other() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap()
}

#[tokio::test]
async fn r3_a_child_on_another_runtime_is_joined_cancelled_and_heard() {
    let other = other();
    let live = Arc::new(AtomicUsize::new(0));
    let ended = nursery(async |n: Texts<'_>| {
        let (count, on) = (live.clone(), other.handle().id());
        n.spawn_on(other.handle(), async move {
            count.fetch_add(1, SeqCst);
            let _end = OnDrop(move || _ = count.fetch_sub(1, SeqCst));
            assert_eq!(Handle::current().id(), on);
            pending::<Result<(), _>>().await
        });
        while live.load(SeqCst) == 0 {
            aionursery::yield_now().await;
        }
        n.named("there").spawn_on(other.handle(), async { Err::<(), _>("no beans".into()) });
        pending::<Result<(), _>>().await
    });
    let errors = ended.await.unwrap_err();
    assert_eq!((errors.len(), errors[0].name()), (1, Some("there")));
    assert_eq!(live.load(SeqCst), 0);
    tokio::task::spawn_blocking(move || drop(other)).await.unwrap();
}

#[tokio::test]
async fn r3_a_child_on_a_runtime_that_shuts_down_ends_as_cancelled() {
    let other = other();
    nursery(async |n: Texts<'_>| {
        let child = n.spawn_on(other.handle(), pending::<Result<(), _>>());
        tokio::task::spawn_blocking(move || drop(other)).await.unwrap();
        assert_eq!(child.end().await, End::Cancelled);
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn r26_a_local_child_gives_its_value_its_error_and_its_panic() {
    let shared = Rc::new(Cell::new(0));
    let builder = Builder::new().on_error(OnError::Collect);
    let set = LocalSet::new();
    let ended = set.run_until(builder.nursery(async |n: Texts<'_>| {
        let mine = shared.clone();
        let child = n.spawn_local(async move {
            mine.set(mine.get() + 1);
            tokio::task::yield_now().await;
            Ok(mine)
        });
        assert_eq!(child.await?.get(), 1);
        n.named("fails").spawn_local(async { Err::<(), _>("no beans".into()) });
        n.spawn_local(async { if true { panic!("no pot") } else { Ok(()) } });
        Ok(())
    }));
    let errors = ended.await.unwrap_err();
    assert_eq!((errors.len(), errors.panics().count()), (2, 1));
    assert_eq!(Rc::strong_count(&shared), 1);
}

#[tokio::test(start_paused = true)]
async fn r27_a_local_child_is_cancelled_after_its_shields_and_within_its_budget() {
    let log = Rc::new(Cell::new(0));
    let builder = Builder::new().cleanup(Duration::from_secs(5));
    let block = builder.nursery(async |n: Texts<'_>| {
        let [hears, shields, never] = [(); 3].map(|()| log.clone());
        n.spawn_local(async move {
            cancelled().await;
            hears.set(hears.get() + 1);
            Ok(())
        });
        n.spawn_local(async move {
            shield(sleep(Duration::from_secs(60))).await;
            shields.set(shields.get() + 10);
            pending::<Result<(), _>>().await
        });
        n.spawn_local(async move {
            let _end = OnDrop(|| never.set(never.get() + 100));
            pending::<Result<(), _>>().await
        });
        Ok(())
    });
    _ = LocalSet::new().run_until(fail_after(Duration::from_secs(1), block)).await;
    assert_eq!(log.get(), 111);
}

#[tokio::test]
async fn r16_a_local_child_is_cancelled_from_another_thread_and_dropped_on_its_own() {
    let here = std::thread::current().id();
    let on = Rc::new(Cell::new(None));
    LocalSet::new()
        .run_until(nursery(async |n: Texts<'_>| {
            let tells = on.clone();
            let child = n.spawn_local(async move {
                let _end = OnDrop(|| tells.set(Some(std::thread::current().id())));
                pending::<Result<(), _>>().await
            });
            tokio::task::yield_now().await;
            let child = std::thread::spawn(move || {
                child.cancel();
                child
            });
            let child = tokio::task::spawn_blocking(|| child.join().unwrap()).await.unwrap();
            assert_eq!(child.end().await, End::Cancelled);
            Ok(())
        }))
        .await
        .unwrap();
    assert_eq!(on.get(), Some(here));
}

#[tokio::test]
async fn r3_a_local_child_whose_set_is_dropped_ends_as_cancelled() {
    nursery(async |n: Texts<'_>| {
        let set = LocalSet::new();
        let child = {
            let _entered = set.enter();
            n.spawn_local(pending::<Result<(), _>>())
        };
        drop(set);
        assert_eq!(child.end().await, End::Cancelled);
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn r3_outside_a_local_set_a_local_child_is_a_panic_and_is_not_waited_for() {
    let ended = nursery(async |n: Texts<'_>| {
        let dropped = Rc::new(());
        let kept = dropped.clone();
        let spawned = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            n.spawn_local(async move {
                let _kept = kept;
                pending::<Result<(), _>>().await
            })
        }));
        assert!(spawned.is_err());
        assert_eq!(Rc::strong_count(&dropped), 1);
        Ok(())
    });
    ended.await.unwrap();
}

#[tokio::test]
async fn r13a_a_child_whose_runtime_is_shut_down_does_not_look_finished() {
    for begun in [true, false] {
        let other = other();
        let handle = other.handle().clone();
        let mut other = Some(other);
        let mut sibling = None;
        let ended = nursery(async |n: Texts<'_>| {
            if !begun {
                other.take().unwrap().shutdown_background();
            }
            let (begin, begins) = tokio::sync::oneshot::channel();
            n.named("upload").spawn_on(&handle, async move {
                let _ = begin.send(());
                pending::<Result<(), _>>().await
            });
            let _ = begins.await;
            if let Some(other) = other.take() {
                other.shutdown_background();
            }
            // Others go on.
            sibling = Some(n.start_plain(sleep(Duration::from_millis(1))).await);
            Ok(())
        });
        let errors = ended.await.unwrap_err();
        assert_eq!((errors.len(), errors[0].name()), (1, Some("upload")), "begun: {begun}");
        let why = errors[0].cancelled().unwrap().cause();
        assert_eq!(why.reason(), Some("its runtime was shut down"));
        assert!(sibling.unwrap().is_ok() && !errors.is_cancelled());
    }
}

#[tokio::test]
async fn r13a_a_child_that_was_cut_off_is_no_error_where_its_handle_was_asked() {
    let other = other();
    let ended = nursery(async |n: Texts<'_>| {
        let children = [(); 3].map(|()| n.spawn_on(other.handle(), pending::<Result<(), _>>()));
        other.shutdown_background();
        let [awaited, ended, cancelled] = children;
        cancelled.cancel();
        let error = awaited.await.unwrap_err();
        assert!(error.cancelled().is_some(), "{error}");
        assert_eq!(ended.end().await, End::Cancelled);
        Ok(())
    });
    ended.await.unwrap();
}

#[tokio::test]
async fn r13a_a_body_that_needs_the_value_of_a_child_that_was_cut_off_is_told_of_that() {
    let other = other();
    let ended = nursery(async |n: Texts<'_>| {
        let child = n.named("upload").spawn_on(other.handle(), pending::<Result<(), _>>());
        other.shutdown_background();
        child.value().await;
        unreachable!("it has none");
        #[expect(unreachable_code, reason = "the type of the body")]
        Ok(())
    });
    let errors = ended.await.unwrap_err();
    assert_eq!((errors.len(), errors[0].name()), (1, Some("upload")));
}

#[test]
fn a_runtime_that_is_shut_down_with_its_nurseries_loses_no_error() {
    static LOST: AtomicUsize = AtomicUsize::new(0);
    aionursery::error::on_lost_error(|_| _ = LOST.fetch_add(1, SeqCst));
    for workers in [1, 2] {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(workers).build().unwrap();
        for _ in 0..20 {
            runtime.spawn(nursery(async |n: Texts<'_>| {
                (0..4).for_each(|_| drop(n.spawn(pending::<Result<(), _>>())));
                aionursery::yield_now().await;
                pending::<Result<(), _>>().await
            }));
        }
        runtime.block_on(tokio::task::yield_now());
        runtime.shutdown_background();
    }
    assert_eq!(LOST.load(SeqCst), 0);
}
