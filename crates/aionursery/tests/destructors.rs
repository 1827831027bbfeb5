//! R4, R13, R29: destructors that are at work when a nursery drops what they belong to: they await in vain
//! the value of a child that has none, and start children. No task is ended for the first, and none waits for ever
//! for the second.

#[path = "common/cancelled_child.rs"]
mod cancelled_child;
#[path = "common/on_drop.rs"]
mod on_drop;

use std::cell::Cell;
use std::future::poll_fn;
use std::sync::mpsc;
use std::task::Poll;
use std::time::Duration;

use aionursery::{Builder, End, LocalNursery, Nursery, OnError, nursery, nursery_local, yield_now};
use cancelled_child::cancelled_child;
use futures::FutureExt;
use on_drop::OnDrop;
use tokio::runtime::{self, Runtime};

type Open = Nursery<'static, &'static str>;

#[tokio::test]
async fn r13_what_the_bodys_values_await_in_vain_when_they_go_cancels_no_sibling() {
    let done = Cell::new(0);
    nursery_local(async |n: LocalNursery<'_, &str>| {
        let awaited = cancelled_child(&n).await;
        let inner = nursery_local(|n: LocalNursery<'_, &str>| {
            for _ in 0..10 {
                n.start_soon(async {
                    for _ in 0..5 {
                        yield_now().await;
                    }
                    done.set(done.get() + 1);
                    Ok(())
                });
            }
            let mut awaited = Some(awaited);
            let looks = OnDrop(move || {
                assert!(awaited.take().unwrap().value().now_or_never().is_none());
            });
            // It goes after the body has returned.
            poll_fn(move |_| {
                let _ = &looks;
                Poll::Ready(Ok(()))
            })
        });
        inner.await.unwrap();
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(done.get(), 10);
}

/// A runtime whose only thread for blocking work waits until what comes with it is dropped.
fn busy_runtime() -> (Runtime, mpsc::Sender<()>) {
    let mut builder = runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().max_blocking_threads(1).build().unwrap();
    let (leave, left) = mpsc::channel::<()>();
    runtime.spawn_blocking(move || left.recv());
    (runtime, leave)
}

#[test]
fn r13_cancelling_a_queued_child_ends_no_task_for_what_its_destructors_await() {
    let (runtime, _leave) = busy_runtime();
    let collects = Builder::new().on_error(OnError::Collect);
    let error = runtime.block_on(collects.nursery(async |n: Open| {
        let mut awaited = Some(cancelled_child(&n).await);
        let looks = OnDrop(move || {
            awaited.take().unwrap().value().now_or_never();
        });
        let queued = n.spawn_blocking(move || {
            drop(looks);
            Ok(())
        });
        let cancels = n.start_soon(async move {
            yield_now().await;
            queued.cancel();
            yield_now().await;
            assert_eq!(queued.end().await, End::Panicked);
            Ok(7)
        });
        assert_eq!(cancels.end().await, End::Done(7));
        Ok(())
    }));
    let error = error.unwrap_err();
    assert!(
        error.panics().next().unwrap().message().ends_with("await the child itself for its end")
    );
    assert_eq!(error.len(), 1);
}

#[test]
fn r4_a_queued_child_that_is_cancelled_in_its_first_turn_may_start_others_when_it_goes() {
    for spawns in [false, true] {
        let (runtime, _leave) = busy_runtime();
        let (say, hear) = mpsc::channel();
        let block = nursery(async |n: Open| {
            let inner = n.shielded();
            let starts = OnDrop(move || {
                let say = say.clone();
                let child = async move {
                    yield_now().await;
                    say.send(()).unwrap();
                    Ok(())
                };
                drop(if spawns { inner.spawn(child) } else { inner.start_soon(child) });
            });
            n.spawn_blocking(move || {
                drop(starts);
                Ok(())
            });
            n.cancel();
            Ok(())
        });
        let ended = runtime.block_on(async {
            tokio::select! {
                // First: a task that is polled once more in its minute would find out.
                biased;
                () = tokio::time::sleep(Duration::from_secs(60)) => panic!("it waits for ever"),
                ended = block => ended,
            }
        });
        ended.unwrap();
        hear.try_recv().unwrap();
    }
}

#[test]
fn r4_a_queued_child_may_queue_any_number_of_others_when_it_goes() {
    // Children are told of in advance, a fixed number at a time: around these numbers lie the borders.
    for count in [1, 63, 64, 65, 128] {
        let (say, hear) = mpsc::channel();
        std::thread::spawn(move || {
            let (runtime, _leave) = busy_runtime();
            let ended = runtime.block_on(nursery(async |n: Open| {
                let inner = n.clone();
                let starts = OnDrop(move || {
                    for _ in 0..count {
                        inner.spawn_blocking(|| Ok(()));
                    }
                });
                n.spawn_blocking(move || {
                    drop(starts);
                    Ok(())
                });
                n.cancel();
                Ok(())
            }));
            say.send(ended.is_ok()).unwrap();
        });
        assert_eq!(hear.recv_timeout(Duration::from_secs(60)), Ok(true), "{count} children");
    }
}
