//! When children run: the limit, fairness to siblings and to the runtime, no poll in vain.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use aionursery::{Builder, Child, LocalNursery, nursery, nursery_local, yield_now};

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
