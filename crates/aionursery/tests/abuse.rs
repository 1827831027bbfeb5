//! R29: futures and handles forgotten, panics, other threads.

#[path = "common/on_drop.rs"]
mod on_drop;

use std::cell::Cell;
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use aionursery::{Nursery, nursery, nursery_local, yield_now};
use futures::FutureExt;
use on_drop::OnDrop;
use tokio::sync::Notify;

#[tokio::test]
async fn r29_forgetting_the_future_only_stops_the_children() {
    let text = String::from("borrowed");
    let ran = Cell::new(0);
    let mut block = Box::pin(nursery_local(async |n| {
        n.start_soon(async {
            ran.set(ran.get() + text.len());
            pending::<Result<(), &str>>().await
        });
        pending::<Result<(), &str>>().await
    }));
    assert!((&mut block).now_or_never().is_none());
    std::mem::forget(block);
    assert_eq!(ran.get(), 8);
}

#[tokio::test]
async fn r29_forgetting_handles_and_keeping_them_is_harmless() {
    let text = String::from("borrowed");
    let mut kept = Vec::new();
    nursery(async |n| {
        std::mem::forget(n.start_soon(async { Ok::<_, &str>(text.clone()) }));
        kept.push(n.start_soon(async { Ok(text.clone()) }));
        kept.push(n.spawn(async { Ok(String::from("borrowed")) }));
        Ok(())
    })
    .await
    .unwrap();
    for child in kept {
        assert_eq!(child.await.unwrap(), "borrowed");
    }
}

#[tokio::test]
async fn r29_a_body_that_panics_at_once_and_after_a_wait_drops_its_children() {
    for waits in [false, true] {
        let dropped = Cell::new(0);
        let ended = nursery_local(async |n| {
            n.start_soon(async {
                let _end = OnDrop(|| dropped.set(dropped.get() + 1));
                pending::<Result<(), &str>>().await
            });
            if waits {
                yield_now().await;
            }
            if true {
                panic!("the body");
            }
            Ok(())
        });
        let error = ended.await.unwrap_err();
        assert_eq!(error.panics().next().unwrap().message(), "the body");
        assert_eq!(dropped.get(), usize::from(waits));
    }
}

#[tokio::test]
async fn r29_forgetting_the_future_leaves_what_is_spawned_to_itself() {
    let done = Arc::new(Notify::new());
    let text = String::from("borrowed");
    {
        let mut kept = None;
        let mut block = Box::pin(nursery(async |n| {
            kept = Some(n.clone());
            let done = done.clone();
            n.spawn(async move {
                tokio::task::yield_now().await;
                done.notify_one();
                Ok::<_, &str>(())
            });
            pending::<Result<(), &str>>().await
        }));
        assert!((&mut block).now_or_never().is_none());
        std::mem::forget(block);
        // This one is not taken up, and must not be dropped once `text` has gone.
        let late = kept.unwrap().start_soon(async {
            let _end = OnDrop(|| drop(text.clone()));
            pending::<Result<(), &str>>().await
        });
        drop(late);
    }
    drop(text);
    done.notified().await;
    tokio::task::yield_now().await;
}

#[test]
fn r29_a_nursery_may_be_polled_on_one_thread_and_then_on_another() {
    let text = String::from("borrowed");
    let wakers = Mutex::new(Vec::<Waker>::new());
    std::thread::scope(|threads| {
        let mut block: Pin<Box<dyn Future<Output = usize> + Send>> = Box::pin(async {
            nursery(async |n| {
                let children: Vec<_> = (0..4)
                    .map(|_| {
                        n.start_soon(async {
                            let mut first = true;
                            poll_fn(|cx| {
                                wakers.lock().unwrap().push(cx.waker().clone());
                                match std::mem::take(&mut first) {
                                    true => Poll::Pending,
                                    false => Poll::Ready(()),
                                }
                            })
                            .await;
                            Ok::<_, &str>(text.len())
                        })
                    })
                    .collect();
                let mut sum = 0;
                for child in children {
                    sum += child.value().await;
                }
                Ok(sum)
            })
            .await
            .unwrap()
        });
        assert!(block.as_mut().now_or_never().is_none());
        let other = threads.spawn(move || futures::executor::block_on(block));
        let woken = std::mem::take(&mut *wakers.lock().unwrap());
        for waker in woken {
            threads.spawn(move || waker.wake());
        }
        assert_eq!(other.join().unwrap(), 32);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r29_starting_and_cancelling_from_other_threads_while_it_ends_loses_nothing() {
    // Miri tries other interleavings with each seed instead.
    for _ in 0..if cfg!(miri) { 2 } else { 200 } {
        let alive = Arc::new(AtomicUsize::new(0));
        let mut helper = None;
        let ended = nursery(async |n: Nursery<'static, &'static str>| {
            let (sibling, alive) = (n.clone(), alive.clone());
            let runtime = tokio::runtime::Handle::current();
            helper = Some(std::thread::spawn(move || {
                let _guard = runtime.enter();
                // Bounded: a child that goes on starting children keeps any nursery open.
                for _ in 0..100 {
                    let alive = alive.clone();
                    let started = sibling.try_spawn(async move {
                        alive.fetch_add(1, Ordering::SeqCst);
                        let _end = OnDrop(move || {
                            alive.fetch_sub(1, Ordering::SeqCst);
                        });
                        tokio::task::yield_now().await;
                        Ok(())
                    });
                    if started.is_err() {
                        break;
                    }
                }
            }));
            n.start_soon(async {
                tokio::task::yield_now().await;
                Err::<(), _>("stop")
            });
            Ok(())
        });
        assert_eq!(ended.await.unwrap_err().len(), 1);
        assert_eq!(alive.load(Ordering::SeqCst), 0);
        helper.unwrap().join().unwrap();
    }
}
