//! When children run: the limit, fairness to siblings and to the runtime, no poll in vain.

use std::cell::Cell;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aionursery::{
    Builder, Child, LocalNursery, Nursery, fail_after, move_on_after, nursery, nursery_local,
    yield_now,
};

#[tokio::test]
async fn a_limit_holds_for_both_kinds_of_children_and_keeps_the_order() {
    let running = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    Builder::new()
        .limit(3)
        .nursery(async |n| {
            for number in 0..20 {
                let (running, most) = (running.clone(), most.clone());
                let child = async move {
                    let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(now, Ordering::SeqCst);
                    for _ in 0..3 {
                        tokio::task::yield_now().await;
                    }
                    running.fetch_sub(1, Ordering::SeqCst);
                    Ok::<_, &str>(())
                };
                if number % 2 == 0 {
                    n.start_soon(child);
                } else {
                    n.spawn(child);
                }
            }
            Ok(())
        })
        .await
        .unwrap();
    assert_eq!(most.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_child_that_is_always_ready_starves_neither_siblings_nor_runtime() {
    let other = tokio::spawn(async {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    });
    let turns = Cell::new(0_u32);
    nursery_local(async |n| {
        let hot = n.start_soon(async {
            loop {
                turns.set(turns.get() + 1);
                yield_now().await;
            }
            #[expect(unreachable_code, reason = "says what the child fails with")]
            Ok::<(), &str>(())
        });
        other.await.unwrap();
        hot.cancel();
        Ok(())
    })
    .await
    .unwrap();
    assert!(turns.get() > 0);
}

#[tokio::test]
async fn children_that_start_siblings_without_end_starve_no_other() {
    fn chain<'env>(n: &LocalNursery<'env, &'static str>, over: &'env Cell<bool>) {
        let again = n.clone();
        n.start_soon(async move {
            tokio::task::coop::consume_budget().await;
            if !over.get() {
                chain(&again, over);
            }
            // Cancelled before its first step, and maybe before all that was woken.
            let never = again.start_soon(async { panic!("it was cancelled") });
            let _: &Child<(), _> = &never;
            never.cancel();
            Ok(())
        });
    }
    let over = Cell::new(false);
    let ended = tokio::time::timeout(Duration::from_secs(60), async {
        nursery_local(async |n| {
            n.start_soon(async {
                for _ in 0..5 {
                    tokio::task::yield_now().await;
                }
                over.set(true);
                Ok(())
            });
            // More than the runtime lets a task do in one turn.
            for _ in 0..300 {
                chain(&n, &over);
            }
            Ok(())
        })
        .await
        .unwrap();
    });
    ended.await.expect("the other child ends and stops them");
}

#[tokio::test]
async fn r4_first_steps_keep_the_order_of_starting_where_a_turn_cannot_take_all() {
    struct Order {
        started: Cell<usize>,
        begun: Cell<usize>,
    }
    fn start<'env>(n: &LocalNursery<'env, &'static str>, order: &'env Order, siblings: u8) {
        let number = order.started.replace(order.started.get() + 1);
        let again = n.clone();
        n.start_soon(async move {
            assert_eq!(order.begun.replace(number + 1), number);
            tokio::task::coop::consume_budget().await;
            for _ in 0..siblings {
                start(&again, order, siblings - 1);
            }
            Ok(())
        });
    }
    let order = Order { started: Cell::new(0), begun: Cell::new(0) };
    nursery_local(async |n| {
        for _ in 0..500 {
            start(&n, &order, 3);
        }
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(order.begun.get(), 500 * (1 + 3 + 6 + 6));
}

#[tokio::test]
async fn a_thousand_children_that_begin_to_wait_let_the_runtime_in_between() {
    let begun = Arc::new(AtomicUsize::new(0));
    let seen = begun.clone();
    let other = tokio::spawn(async move { seen.load(Ordering::SeqCst) });
    nursery(async |n| {
        for _ in 0..1000 {
            let begun = begun.clone();
            n.start_soon(async move {
                begun.fetch_add(1, Ordering::SeqCst);
                std::future::pending::<Result<(), &str>>().await
            });
        }
        let before_it = other.await.unwrap();
        assert!((1..1000).contains(&before_it), "{before_it}");
        while begun.load(Ordering::SeqCst) < 1000 {
            tokio::task::yield_now().await;
        }
        n.cancel();
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_thousand_children_that_drain_channels_are_not_polled_in_vain() {
    let polls = Cell::new(0_usize);
    nursery_local(async |n| {
        for _ in 0..1000 {
            let (send, mut receive) = tokio::sync::mpsc::unbounded_channel();
            for number in 0..10 {
                send.send(number).unwrap();
            }
            drop(send);
            let polls = &polls;
            n.start_soon(async move {
                let mut drain = std::pin::pin!(async { while receive.recv().await.is_some() {} });
                std::future::poll_fn(|cx| {
                    polls.set(polls.get() + 1);
                    drain.as_mut().poll(cx)
                })
                .await;
                Ok::<_, &str>(())
            });
        }
        Ok(())
    })
    .await
    .unwrap();
    assert!(polls.get() <= 1100, "{} polls for 1000 children", polls.get());
}

#[tokio::test]
async fn a_task_that_awaits_many_spawned_children_that_have_ended_lets_the_runtime_in_between() {
    let had_a_turn = Arc::new(AtomicBool::new(false));
    nursery(async |n| {
        let children: Vec<_> = (0..1000).map(|_| n.spawn(async { Ok::<_, &str>(()) })).collect();
        while !children.iter().all(Child::is_finished) {
            tokio::task::yield_now().await;
        }
        let turn = had_a_turn.clone();
        drop(tokio::spawn(async move { turn.store(true, Ordering::SeqCst) }));
        for child in children {
            child.value().await;
        }
        assert!(had_a_turn.load(Ordering::SeqCst));
        Ok(())
    })
    .await
    .unwrap();
}

/// A body that has waited is polled with the waker of its task as long as no child of that waits.
#[tokio::test]
async fn r4_a_child_has_begun_after_a_yield_of_the_body_also_where_the_body_has_waited_alone() {
    nursery(async |n| {
        for number in 0..20 {
            tokio::task::yield_now().await;
            let begun = Arc::new(AtomicBool::new(false));
            let begins = begun.clone();
            let child = n.start_soon(async move {
                begins.store(true, Ordering::SeqCst);
                yield_now().await;
                Ok::<_, &str>(number)
            });
            assert!(!begun.load(Ordering::SeqCst));
            yield_now().await;
            assert!(begun.load(Ordering::SeqCst));
            assert_eq!(child.value().await, number);
            let spawned = n.spawn(async move {
                tokio::task::yield_now().await;
                Ok(number)
            });
            assert_eq!(spawned.value().await, number);
        }
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_body_that_waits_alone_is_woken_in_the_task_that_its_nursery_is_moved_to() {
    for after in 0..4 {
        let (gives, mut takes) = tokio::sync::mpsc::channel(1);
        let mut block = Box::pin(nursery(async move |n| {
            tokio::task::yield_now().await;
            let first = n.spawn(async { Ok::<_, &str>(1) }).value().await;
            let second: u32 = takes.recv().await.unwrap();
            let third = n.start_soon(async move { Ok(takes.recv().await.unwrap()) });
            Ok(first + second + third.value().await)
        }));
        for _ in 0..after {
            assert!(futures::poll!(&mut block).is_pending());
            tokio::task::yield_now().await;
        }
        let moved = tokio::spawn(block);
        tokio::task::yield_now().await;
        gives.send(2).await.unwrap();
        gives.send(3).await.unwrap();
        assert_eq!(moved.await.unwrap().unwrap(), 6);
    }
}

#[tokio::test]
async fn a_body_that_waits_alone_is_polled_once_for_each_wake() {
    let polls = AtomicUsize::new(0);
    nursery(async |n| {
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        let (gives, mut takes) = tokio::sync::mpsc::channel::<u32>(1);
        for _ in 0..10 {
            n.spawn(async {
                tokio::task::yield_now().await;
                Ok::<_, &str>(())
            });
        }
        n.spawn(async move {
            for number in 0..5 {
                gives.send(number).await.unwrap();
                for _ in 0..3 {
                    tokio::task::yield_now().await;
                }
            }
            Ok(())
        });
        let mut receives = std::pin::pin!(async { while takes.recv().await.is_some() {} });
        std::future::poll_fn(|cx| {
            polls.fetch_add(1, Ordering::SeqCst);
            receives.as_mut().poll(cx)
        })
        .await;
        Ok(())
    })
    .await
    .unwrap();
    // The first one, one for each message, and one for the end of the channel.
    assert_eq!(polls.load(Ordering::SeqCst), 1 + 5 + 1);
}

/// It always has something to receive, and uses up tokio's budget in each turn.
async fn receives_for_ever() {
    let semaphore = tokio::sync::Semaphore::new(1);
    loop {
        drop(semaphore.acquire().await.unwrap());
    }
}

#[tokio::test]
async fn r18_r21_deadlines_and_budgets_end_what_uses_up_tokios_budget() {
    const SHORT: Duration = Duration::from_millis(2);
    type Plain<'env> = Nursery<'env, &'static str>;
    let deadline = || Builder::new().deadline(Instant::now() + SHORT);
    let child = async |n: Plain<'_>| {
        n.start_plain(receives_for_ever());
        Ok(())
    };
    let all = async {
        assert!(fail_after(SHORT, receives_for_ever()).await.is_err());
        assert!(move_on_after(SHORT, receives_for_ever()).await.is_none());
        assert!(fail_after(SHORT, nursery(child)).await.is_err());
        let body = async |_: Plain<'_>| {
            receives_for_ever().await;
            Ok(())
        };
        assert!(deadline().nursery(body).await.unwrap_err().is_cancelled());
        deadline().nursery(child).await.unwrap();
        let cleans_up = Builder::new().cleanup(SHORT).nursery(async |n: Plain<'_>| {
            n.start_plain(receives_for_ever());
            n.cancel();
            Ok(())
        });
        cleans_up.await.unwrap();
    };
    tokio::time::timeout(Duration::from_secs(60), all).await.expect("each ends by itself");
}

#[tokio::test]
async fn r18_what_uses_up_tokios_budget_is_reported_as_stuck() {
    let (tell, mut told) = tokio::sync::watch::channel(false);
    let rule = Builder::new().warn_stuck(Duration::from_millis(2), move |_| {
        tell.send_replace(true);
    });
    let stuck = rule.nursery(async |n: Nursery<'_, &str>| {
        n.shielded().start_plain(async {
            tokio::select! {
                biased;
                _ = told.wait_for(|told| *told) => (),
                () = receives_for_ever() => (),
            }
        });
        n.cancel();
        Ok(())
    });
    tokio::time::timeout(Duration::from_secs(60), stuck).await.expect("it is told").unwrap();
}
