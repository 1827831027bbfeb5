//! Spawned children are carried by tasks that have carried others before: that may show only by
//! the time it takes.

use std::future::{pending, poll_fn};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};
use std::time::Duration;

use aionursery::{Child, End, Nursery, as_completed, nursery, runtime::keep_idle_tasks, yield_now};
use futures::StreamExt;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task;

/// How many are kept is one number for the whole program.
fn keeping(most: usize) -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    let guard = ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    keep_idle_tasks(most);
    guard
}

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Spawns children that tell the id of the task they run in, one after the other.
async fn ids(count: usize) -> Vec<task::Id> {
    let ended = nursery(async |n: Nursery<'_, ()>| {
        let mut ids = Vec::new();
        for _ in 0..count {
            ids.push(n.spawn(async { Ok(task::id()) }).value().await);
        }
        Ok(ids)
    });
    ended.await.unwrap()
}

/// As many children at once as `count`.
async fn crowd(count: usize) {
    nursery(async |n: Nursery<'_, ()>| {
        for _ in 0..count {
            n.spawn(async {
                yield_now().await;
                Ok(())
            });
        }
        Ok(())
    })
    .await
    .unwrap();
}

#[test]
fn a_child_is_carried_by_the_task_of_one_that_has_ended() {
    let _keeping = keeping(1024);
    let runtime = current_thread();
    let (first, again) = runtime.block_on(async { (ids(3).await, ids(1).await) });
    assert!(first.iter().chain(&again).all(|id| *id == first[0]), "{first:?} {again:?}");
    assert_eq!(runtime.metrics().num_alive_tasks(), 1);
}

#[test]
fn with_none_kept_each_child_has_a_task_of_its_own_and_none_is_left() {
    let _keeping = keeping(0);
    let runtime = current_thread();
    let ids = runtime.block_on(async {
        let ids = ids(3).await;
        tokio::task::yield_now().await;
        ids
    });
    assert!(ids[0] != ids[1] && ids[1] != ids[2], "{ids:?}");
    assert_eq!(runtime.metrics().num_alive_tasks(), 0);
}

#[test]
fn no_more_are_kept_than_was_said() {
    let _keeping = keeping(100);
    let runtime = current_thread();
    runtime.block_on(async {
        for _ in 0..3 {
            crowd(1000).await;
            tokio::task::yield_now().await;
            let kept = Handle::current().metrics().num_alive_tasks();
            assert_eq!(kept, 100);
        }
        keep_idle_tasks(0);
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        assert_eq!(Handle::current().metrics().num_alive_tasks(), 0);
    });
}

#[test]
fn a_thread_that_turns_to_another_runtime_takes_none_of_the_first_ones() {
    let _keeping = keeping(1024);
    let runtimes = [current_thread(), current_thread()];
    for round in 0..4 {
        let runtime = &runtimes[round % 2];
        runtime.block_on(async {
            crowd(100).await;
            let home = Handle::current().id();
            let ended = nursery(async |n: Nursery<'_, ()>| {
                Ok(n.spawn(async { Ok(Handle::current().id()) }).value().await)
            });
            assert_eq!(ended.await.unwrap(), home);
        });
    }
    let [first, second] = runtimes;
    drop(first);
    second.block_on(crowd(100));
    drop(second);
    current_thread().block_on(crowd(200));
}

#[test]
fn r16_a_late_wake_of_the_last_child_and_its_late_cancellation_leave_the_next_one_alone() {
    let _keeping = keeping(1024);
    current_thread().block_on(async {
        nursery(async |n: Nursery<'_, ()>| {
            let waker = Arc::new(Mutex::new(None::<Waker>));
            let left = waker.clone();
            let last = n.spawn(poll_fn(move |cx| {
                match left.lock().unwrap().replace(cx.waker().clone()) {
                    Some(_) => Poll::Ready(Ok(task::id())),
                    None => {
                        cx.waker().wake_by_ref();
                        Poll::Pending
                    }
                }
            }));
            while !last.is_finished() {
                tokio::task::yield_now().await;
            }
            let polls = Arc::new(AtomicUsize::new(0));
            let counted = polls.clone();
            let next = n.spawn(poll_fn(move |_| {
                counted.fetch_add(1, Ordering::Relaxed);
                Poll::<Result<task::Id, ()>>::Pending
            }));
            tokio::task::yield_now().await;
            last.cancel();
            waker.lock().unwrap().take().unwrap().wake();
            tokio::task::yield_now().await;
            // The wake is the task's: one poll in vain, as a waker may always cause.
            assert_eq!((polls.load(Ordering::Relaxed), next.is_finished()), (2, false));
            next.cancel();
            assert_eq!(next.end().await, End::Cancelled);
            assert!(matches!(last.end().await, End::Done(_)));
            Ok(())
        })
        .await
        .unwrap();
    });
}

#[test]
fn r3_a_runtime_that_goes_ends_what_its_tasks_carry_and_what_comes_too_late() {
    let _keeping = keeping(1024);
    let workers = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let handle = workers.handle().clone();
    workers.block_on(crowd(200));
    let mut workers = Some(workers);
    let ended = current_thread().block_on(nursery(async |n: Nursery<'_, ()>| {
        let waits = {
            let _elsewhere = handle.enter();
            n.spawn(pending::<Result<(), ()>>())
        };
        workers.take().unwrap().shutdown_background();
        assert_eq!(waits.end().await, End::Cancelled);
        let late = {
            let _elsewhere = handle.enter();
            n.spawn(async { Ok(()) })
        };
        assert_eq!(late.end().await, End::Cancelled);
        Ok(())
    }));
    ended.unwrap();
}

#[test]
fn each_child_has_a_budget_of_its_own() {
    let _keeping = keeping(1024);
    current_thread().block_on(async {
        crowd(1).await;
        let ended = nursery(async |n: Nursery<'_, ()>| {
            for _ in 0..2 {
                let spent = n.spawn(async {
                    let mut steps = 0;
                    while task::coop::has_budget_remaining() {
                        steps += 1;
                        task::consume_budget().await;
                    }
                    Ok(steps)
                });
                assert!(spent.value().await >= 100);
            }
            Ok(())
        });
        ended.await.unwrap();
    });
}

#[test]
fn children_that_children_spawn_on_workers_and_threads_all_end() {
    let _keeping = keeping(1024);
    let workers = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let rounds = if cfg!(miri) { 1 } else { 20 };
    for _ in 0..rounds {
        let (handle, count) = (workers.handle().clone(), count.clone());
        workers.block_on(async move {
            nursery(async |n: Nursery<'static, ()>| {
                for _ in 0..50 {
                    let (n2, count) = (n.clone(), count.clone());
                    n.spawn(async move {
                        for _ in 0..5 {
                            let count = count.clone();
                            n2.spawn(async move {
                                yield_now().await;
                                count.fetch_add(1, Ordering::Relaxed);
                                Ok(())
                            });
                        }
                        Ok(())
                    });
                }
                let (n2, count) = (n.clone(), count.clone());
                let outside = std::thread::spawn(move || {
                    let _inside = handle.enter();
                    for _ in 0..50 {
                        let count = count.clone();
                        n2.spawn(async move {
                            count.fetch_add(1, Ordering::Relaxed);
                            Ok(())
                        });
                    }
                });
                task::spawn_blocking(move || outside.join().unwrap()).await.unwrap();
                Ok(())
            })
            .await
            .unwrap();
        });
    }
    assert_eq!(count.load(Ordering::Relaxed), rounds * (50 * 5 + 50));
}

#[test]
fn r16_the_results_of_many_that_have_ended_are_read_where_no_task_of_the_runtime_reads_them() {
    // More than a task of tokio's may take in one turn.
    const CHILDREN: u64 = if cfg!(miri) { 150 } else { 400 };
    let (say, hear) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let sum = runtime.block_on(nursery(async |n: Nursery<'_, &str>| {
            let children: Vec<_> = (0..CHILDREN).map(|at| n.spawn(async move { Ok(at) })).collect();
            while !children.iter().all(Child::is_finished) {
                tokio::task::yield_now().await;
            }
            let add = async |sum, value: Result<_, _>| sum + value.unwrap();
            Ok(as_completed(children).fold(0, add).await)
        }));
        say.send(sum.unwrap()).unwrap();
    });
    let sum = hear.recv_timeout(Duration::from_secs(60)).expect("it does not turn for ever");
    assert_eq!(sum, CHILDREN * (CHILDREN - 1) / 2);
}
