//! R1 to R8, R16, R17, R25, R26: life, errors and cancellation of one nursery.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aionursery::{
    Builder, Child, End, MultiError, Nursery, NurseryClosed, OnError, Source, nursery,
    nursery_local, yield_now,
};
use tokio::sync::{Notify, oneshot};

/// Counts how many of its kind are alive.
struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn texts(error: &MultiError<&'static str>) -> Vec<&'static str> {
    error.errors().copied().collect()
}

#[tokio::test]
async fn r1_the_block_ends_when_the_body_and_all_children_have_ended() {
    let ended = &Cell::new(0);
    let value = nursery_local(async |n| {
        for turns in 0..5 {
            drop(n.start_soon(async move {
                for _ in 0..turns {
                    yield_now().await;
                }
                ended.set(ended.get() + 1);
                Ok::<_, &str>(())
            }));
        }
        Ok(1)
    })
    .await;
    assert_eq!((value.unwrap(), ended.get()), (1, 5));
}

#[tokio::test]
async fn r2_children_may_be_started_while_it_joins_and_by_children() {
    let order = RefCell::new(Vec::new());
    nursery_local(async |n| {
        let inner = n.clone();
        let order = &order;
        drop(n.start_soon(async move {
            yield_now().await;
            order.borrow_mut().push("child");
            drop(inner.start_soon(async move {
                order.borrow_mut().push("grandchild");
                Ok(())
            }));
            Ok::<_, &str>(())
        }));
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(*order.borrow(), ["child", "grandchild"]);
}

#[tokio::test]
async fn r2_a_closed_nursery_refuses_and_drops_what_it_refuses() {
    let mut kept = None;
    nursery(async |n| {
        assert!(!n.is_closed());
        kept = Some(n.clone());
        Ok::<_, &str>(())
    })
    .await
    .unwrap();
    let n = kept.unwrap();
    let alive = Arc::new(AtomicUsize::new(0));
    let one = Alive::new(&alive);
    assert!(n.is_closed());
    let refused = n.try_start_soon(async move {
        let _one = one;
        Ok(())
    });
    assert!(matches!(refused, Err(NurseryClosed)));
    let one = Alive::new(&alive);
    let refused = n.try_spawn(async move {
        let _one = one;
        Ok(())
    });
    assert!(matches!(refused, Err(NurseryClosed)));
    assert_eq!(alive.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn r3_a_spawned_child_does_not_outlive_a_block_that_failed() {
    let alive = Arc::new(AtomicUsize::new(0));
    let started = Arc::new(Notify::new());
    let error = nursery(async |n| {
        for _ in 0..10 {
            let one = Alive::new(&alive);
            let started = started.clone();
            drop(n.spawn(async move {
                let _one = one;
                started.notify_one();
                pending::<Result<(), _>>().await
            }));
        }
        started.notified().await;
        Err::<(), _>("body")
    })
    .await
    .unwrap_err();
    assert_eq!(alive.load(Ordering::SeqCst), 0);
    assert_eq!(texts(&error), ["body"]);
}

#[tokio::test]
async fn r4_first_steps_run_in_the_order_of_starting_and_not_before_start_soon_returns() {
    let order = RefCell::new(Vec::new());
    nursery_local(async |n| {
        for number in 0..4 {
            let order = &order;
            drop(n.start_soon(async move {
                order.borrow_mut().push(number);
                Ok::<_, &str>(())
            }));
        }
        assert!(order.borrow().is_empty());
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(*order.borrow(), [0, 1, 2, 3]);
}

#[tokio::test]
async fn r5_nothing_of_a_child_is_kept_once_it_has_ended() {
    let alive = Arc::new(AtomicUsize::new(0));
    nursery(async |n| {
        let one = Alive::new(&alive);
        let child = n.start_soon(async move {
            let _one = one;
            Ok::<_, &str>(())
        });
        assert_eq!(child.end().await, End::Done(()));
        assert_eq!((alive.load(Ordering::SeqCst), n.running()), (0, 0));
        // The same for a result that nobody wants.
        let one = Alive::new(&alive);
        drop(n.start_soon(async move { Ok(one) }));
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(alive.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn r6_the_first_failure_cancels_siblings_and_body() {
    let alive = Arc::new(AtomicUsize::new(0));
    let error = nursery(async |n| {
        let one = Alive::new(&alive);
        drop(n.start_soon(async move {
            let _one = one;
            pending::<Result<(), _>>().await
        }));
        let one = Alive::new(&alive);
        drop(n.spawn(async move {
            let _one = one;
            pending::<Result<(), _>>().await
        }));
        drop(n.named("bad").start_soon(async {
            yield_now().await;
            Err::<(), _>("beans")
        }));
        pending::<Result<(), _>>().await
    })
    .await
    .unwrap_err();
    assert_eq!(alive.load(Ordering::SeqCst), 0);
    assert_eq!(texts(&error), ["beans"]);
    assert_eq!(error[0].name(), Some("bad"));
    assert_eq!(error.cause().unwrap().source(), Source::Failure);
    assert_eq!(error.cause().unwrap().reason(), Some("child \"bad\""));
}

#[tokio::test]
async fn r6_collect_leaves_the_siblings_alone_and_keeps_every_error_in_order() {
    let error = Builder::new()
        .on_error(OnError::Collect)
        .nursery(async |n| {
            for (turns, text) in [(3, "last"), (1, "first"), (2, "second")] {
                drop(n.start_soon(async move {
                    for _ in 0..turns {
                        yield_now().await;
                    }
                    Err::<(), _>(text)
                }));
            }
            Ok(())
        })
        .await
        .unwrap_err();
    assert_eq!(texts(&error), ["first", "second", "last"]);
}

#[tokio::test]
async fn r7_an_error_that_the_body_awaits_and_lets_pass_is_one_error() {
    let error = nursery(async |n| {
        let child = n.start_soon(async { Err::<(), _>("once") });
        child.await
    })
    .await
    .unwrap_err();
    assert_eq!(texts(&error), ["once"]);
    let error = Builder::new()
        .on_error(OnError::Collect)
        .nursery(async |n| n.start_soon(async { Err::<(), _>("once") }).await)
        .await
        .unwrap_err();
    assert_eq!(texts(&error), ["once"]);
}

#[tokio::test]
async fn r7_an_error_handed_over_is_whoever_awaited_it_has_it() {
    let value = Builder::new()
        .on_error(OnError::Collect)
        .nursery(async |n| {
            let child = n.start_soon(async { Err::<u32, _>("handled") });
            Ok(child.await.unwrap_or(7))
        })
        .await;
    assert_eq!(value.unwrap(), 7);
}

#[tokio::test]
async fn r7_errors_that_come_while_the_siblings_are_dropped_are_kept() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in a destructor");
        }
    }
    let error = nursery(async |n| {
        for _ in 0..2 {
            drop(n.start_soon(async {
                let _bomb = Bomb;
                pending::<Result<(), _>>().await
            }));
        }
        yield_now().await;
        Err::<(), _>("body")
    })
    .await
    .unwrap_err();
    assert_eq!((error.len(), texts(&error)), (3, vec!["body"]));
    assert!(error.panics().all(|panic| panic.message() == "in a destructor"));
}

#[tokio::test]
async fn r8_one_error_is_a_multi_error_too_and_shows_as_a_tree() {
    let inner = async || nursery(async |_: Nursery<'_, &str>| Err::<(), _>("inner")).await;
    let error = nursery(async |n| {
        drop(
            n.named("nested")
                .start_soon(async { inner().await.map_err(|error| error.to_string()) }),
        );
        Ok(())
    })
    .await
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "1 error in a nursery\n└─ child \"nested\": 1 error in a nursery\n   └─ body: inner"
    );
}

#[tokio::test]
async fn r8_it_works_with_question_mark_anyhow_eyre_and_thiserror() {
    #[derive(Debug, thiserror::Error)]
    #[error("a typed error")]
    struct Typed;
    async fn through() -> anyhow::Result<()> {
        nursery(async |_: Nursery<'_, Typed>| Err::<(), _>(Typed)).await?;
        Ok(())
    }
    let error = through().await.unwrap_err();
    assert!(error.downcast_ref::<MultiError<Typed>>().is_some_and(|error| error.len() == 1));
    let error = nursery(async |n| {
        drop(n.start_soon(async { Err::<(), _>(anyhow::anyhow!("any")) }));
        Ok(())
    })
    .await
    .unwrap_err();
    assert_eq!(error[0].to_string(), "child 1: any");
    // What holds many of them is an error itself, and goes on as one.
    async fn further() -> eyre::Result<()> {
        nursery(async |_| Err::<(), _>(eyre::eyre!("report"))).await?;
        Ok(())
    }
    let error = further().await.unwrap_err();
    assert_eq!(error.to_string(), "1 error in a nursery\n└─ body: report");
    assert!(error.downcast_ref::<MultiError<eyre::Report>>().is_some());
}

#[tokio::test]
async fn r16_a_child_cancelled_by_hand_ends_alone() {
    let value = nursery(async |n| {
        let here = n.start_soon(pending::<Result<(), &str>>());
        let away = n.spawn(pending::<Result<(), &str>>());
        let sibling = n.start_soon(async {
            yield_now().await;
            Ok(7)
        });
        yield_now().await;
        here.cancel();
        away.cancel();
        assert_eq!(here.end().await, End::Cancelled);
        assert_eq!(away.end().await, End::Cancelled);
        sibling.await
    })
    .await;
    assert_eq!(value.unwrap(), 7);
}

#[tokio::test]
async fn r16_a_child_cancelled_before_its_first_step_never_runs() {
    let ran = Cell::new(false);
    nursery_local(async |n| {
        let child = n.start_soon(async {
            ran.set(true);
            Ok::<_, &str>(())
        });
        child.cancel();
        assert_eq!(child.end().await, End::Cancelled);
        Ok(())
    })
    .await
    .unwrap();
    assert!(!ran.get());
}

#[tokio::test]
async fn r17_a_child_started_in_a_cancelled_nursery_is_dropped_before_its_first_step() {
    let ran = Arc::new(AtomicUsize::new(0));
    nursery(async |n| {
        n.cancel();
        let here = ran.clone();
        drop(n.start_soon(async move {
            here.fetch_add(1, Ordering::SeqCst);
            Ok::<_, &str>(())
        }));
        let away = ran.clone();
        drop(n.spawn(async move {
            away.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }));
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(ran.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn awaiting_a_child_that_was_cancelled_ends_who_awaits_it() {
    let reached = Cell::new(false);
    nursery_local(async |n| {
        let child = n.start_soon(pending::<Result<(), &str>>());
        child.cancel();
        let reached = &reached;
        let awaiting = n.start_soon(async move {
            child.await?;
            reached.set(true);
            Ok(())
        });
        assert_eq!(awaiting.end().await, End::Cancelled);
        Ok(())
    })
    .await
    .unwrap();
    assert!(!reached.get());
}

#[tokio::test]
async fn r11_a_cancellation_says_who_and_why() {
    let error = nursery(async |n| {
        n.cancel_with("enough");
        n.cancel_with("too late");
        pending::<Result<(), &str>>().await
    })
    .await
    .unwrap_err();
    assert!(error.is_cancelled());
    let cause = error.cause().unwrap();
    assert_eq!((cause.source(), cause.reason()), (Source::Explicit, Some("enough")));
    assert_eq!(error.to_string(), "nursery cancelled: by request: enough");
}

#[tokio::test]
async fn r19_a_shielded_child_runs_to_its_end_and_the_block_waits_for_it() {
    let (release, released) = oneshot::channel();
    let paid = Cell::new(0);
    let error = nursery_local(async |n| {
        drop(n.shielded().start_soon(async {
            released.await.unwrap();
            // Scopes and nurseries below the shield are not reached either.
            nursery_local(async |inner| {
                drop(inner.start_soon(async {
                    yield_now().await;
                    paid.set(paid.get() + 1);
                    Ok::<_, &str>(())
                }));
                Ok(())
            })
            .await
            .map_err(|_| "inner")?;
            Ok(())
        }));
        let spawned = Arc::new(Notify::new());
        let notified = spawned.clone();
        drop(n.shielded().spawn(async move {
            spawned.notify_one();
            yield_now().await;
            release.send(()).map_err(|()| "nobody waits")
        }));
        notified.notified().await;
        Err::<(), _>("sms")
    })
    .await
    .unwrap_err();
    assert_eq!((texts(&error), paid.get()), (vec!["sms"], 1));
}

#[tokio::test]
async fn r19_a_failing_shielded_child_is_an_error_like_any_other() {
    let error = nursery(async |n| {
        drop(n.shielded().start_soon(async {
            yield_now().await;
            Err::<(), _>("payment")
        }));
        Err::<(), _>("sms")
    })
    .await
    .unwrap_err();
    assert_eq!(texts(&error), ["sms", "payment"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r25_children_borrow_and_the_future_stays_send() {
    let words = Arc::new(vec![String::from("a"), String::from("bc")]);
    let task = tokio::spawn(async move {
        let words = words;
        nursery(async |n| {
            let here: Vec<Child<usize, &str>> = words
                .iter()
                .map(|word| {
                    n.start_soon(async move {
                        tokio::task::yield_now().await;
                        Ok(word.len())
                    })
                })
                .collect();
            let away = n.spawn(async { Ok(10) });
            let mut sum = away.await?;
            for child in here {
                sum += child.await?;
            }
            Ok(sum)
        })
        .await
    });
    assert_eq!(task.await.unwrap().unwrap(), 13);
}

#[tokio::test]
async fn r25_spawned_children_start_siblings_through_the_handle() {
    let count = Arc::new(AtomicUsize::new(0));
    nursery(async |n: Nursery<'static, &'static str>| {
        let sibling = n.clone();
        let count = count.clone();
        drop(n.spawn(async move {
            drop(sibling.spawn(async move {
                count.fetch_add(1, Ordering::SeqCst);
                Ok(())
            }));
            Ok(())
        }));
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn r26_a_panic_is_an_error_with_its_payload_wherever_it_happens() {
    for which in ["here", "away", "blocking", "body"] {
        let error = nursery(async |n: Nursery<'_, &str>| {
            drop(n.start_soon(async move {
                assert!(which != "here", "{which}");
                Ok(())
            }));
            drop(n.spawn(async move {
                assert!(which != "away", "{which}");
                Ok(())
            }));
            drop(n.spawn_blocking(move || {
                assert!(which != "blocking", "{which}");
                Ok(())
            }));
            assert!(which != "body", "{which}");
            Ok(())
        })
        .await
        .unwrap_err();
        assert_eq!(error.panics().next().unwrap().message(), which);
        assert_eq!(error.len(), 1);
        let resumed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            drop(error.resume_panic());
        }));
        assert_eq!(*resumed.unwrap_err().downcast::<String>().unwrap(), which);
    }
}

#[tokio::test]
async fn r26_a_panic_knows_its_place_once_places_are_recorded() {
    aionursery::record_panic_locations();
    let error = nursery(async |n: Nursery<'_, &str>| {
        drop(n.start_soon(async { if true { panic!("here") } else { Ok(()) } }));
        Ok(())
    })
    .await
    .unwrap_err();
    assert!(error.panics().next().unwrap().location().unwrap().contains("tests/nursery.rs:"));
}

#[tokio::test]
async fn r24_start_gives_what_the_child_hands_over_and_its_early_error() {
    use aionursery::NotStarted;
    let ran_on = Cell::new(false);
    nursery_local(async |n| {
        let ran_on = &ran_on;
        let port = n
            .start(async move |status| {
                status.started(8080);
                yield_now().await;
                ran_on.set(true);
                Ok(())
            })
            .await;
        assert_eq!(port, Ok(8080));
        let failed = n
            .start(async |status| {
                drop::<aionursery::TaskStatus<(), &str>>(status);
                Err("in use")
            })
            .await;
        assert_eq!(failed, Err(NotStarted::Failed("in use")));
        let ended = n.start(async |_: aionursery::TaskStatus<(), &str>| Ok(())).await;
        assert_eq!(ended, Err(NotStarted::Ended));
        Ok(())
    })
    .await
    .unwrap();
    assert!(ran_on.get());
}

#[tokio::test]
async fn r24_an_error_after_started_is_the_nurserys() {
    let error = nursery(async |n| {
        n.start(async |status| {
            status.started(());
            yield_now().await;
            Err("later")
        })
        .await
        .map_err(|_| "start")?;
        Ok(())
    })
    .await
    .unwrap_err();
    assert_eq!(texts(&error), ["later"]);
}

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
                    drop(n.start_soon(child));
                } else {
                    drop(n.spawn(child));
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
            drop(n.start_soon(async move {
                let mut drain = std::pin::pin!(async { while receive.recv().await.is_some() {} });
                std::future::poll_fn(|cx| {
                    polls.set(polls.get() + 1);
                    drain.as_mut().poll(cx)
                })
                .await;
                Ok::<_, &str>(())
            }));
        }
        Ok(())
    })
    .await
    .unwrap();
    assert!(polls.get() <= 1100, "{} polls for 1000 children", polls.get());
}
