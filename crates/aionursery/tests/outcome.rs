//! R26: awaiting a child gives every end by value, wherever it is awaited; `value()` gives the value alone.
#![cfg(feature = "tokio")]

use std::cell::Cell;
use std::future::pending;
use std::time::Duration;

use aionursery::{
    AsCompleted, Builder, Child, ChildError, ErrorKind, Nursery, OnError, error::Source, nursery,
    yield_now,
};
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};

type Texts<'env> = Nursery<'env, String>;

fn collects() -> Builder {
    Builder::new().on_error(OnError::Collect)
}

/// One child for each way to end without a value, and one with a value.
fn of_every_end(n: &Texts<'_>) -> [Child<u8, String>; 4] {
    let cancelled = n.named("cancelled").spawn(pending());
    cancelled.cancel();
    [
        n.named("value").spawn(async { Ok(7) }),
        n.named("error").spawn(async { Err("no beans".into()) }),
        n.named("panic").spawn(async { if true { panic!("no pot") } else { Ok(0) } }),
        cancelled,
    ]
}

fn shown(ends: impl IntoIterator<Item = <Child<u8, String> as Future>::Output>) -> Vec<String> {
    ends.into_iter()
        .map(|end| match end {
            Ok(value) => value.to_string(),
            // Another test may have places recorded.
            Err(error) => error.to_string().split(" (at").next().unwrap().into(),
        })
        .collect()
}

const EVERY_END: [&str; 4] = [
    "7",
    "child \"error\": no beans",
    "child \"panic\": panicked: no pot",
    "child \"cancelled\": cancelled: by request: its handle cancelled it",
];

#[tokio::test]
async fn a_select_over_a_child_that_the_body_has_cancelled_goes_on_with_its_end() {
    for away in [false, true] {
        let end = nursery(async |n: Texts<'_>| {
            let mut child = match away {
                true => n.spawn(pending::<Result<(), String>>()),
                false => n.start_soon(pending()),
            };
            child.cancel();
            tokio::select! {
                ended = &mut child => Ok(ended.unwrap_err().cancelled().is_some()),
                () = pending() => Ok(false),
            }
        });
        assert!(end.await.unwrap());
    }
}

#[tokio::test]
async fn a_body_that_asks_for_the_value_of_a_child_that_it_has_cancelled_is_told_so() {
    let error = nursery(async |n: Texts<'_>| {
        let child = n.named("cook").spawn(pending::<Result<(), String>>());
        child.cancel();
        child.value().await;
        Ok(())
    });
    let error = error.await.unwrap_err();
    let said = "child \"cook\" was cancelled by its handle and has no value: await the child itself for \
                its end";
    assert_eq!((error.len(), error[0].id()), (1, 0));
    assert_eq!(error[0].panic().unwrap().message(), said);
}

#[tokio::test]
async fn every_end_comes_by_value_with_the_childs_name_and_is_the_nurserys_no_longer() {
    let ends = collects().nursery(async |n: Texts<'_>| Ok(join_all(of_every_end(&n)).await));
    assert_eq!(shown(ends.await.unwrap()), EVERY_END);
}

#[tokio::test]
async fn a_child_that_is_not_awaited_to_its_end_leaves_the_error_to_the_nursery() {
    let error = collects().nursery(async |n: Texts<'_>| {
        drop(of_every_end(&n));
        Ok(())
    });
    let error = error.await.unwrap_err();
    assert_eq!(error.errors().collect::<Vec<_>>(), ["no beans"]);
    assert_eq!(error.panics().count(), 1);
}

#[tokio::test]
async fn r26_a_task_that_is_no_nurserys_hears_every_end_and_does_not_panic() {
    let ends = collects().nursery(async |n: Texts<'_>| {
        let children = of_every_end(&n);
        let task = tokio::spawn(async move { join_all(children).await });
        Ok(task.await.unwrap())
    });
    assert_eq!(shown(ends.await.unwrap()), EVERY_END);
}

#[tokio::test]
async fn r7_a_sibling_that_is_cancelled_with_a_failure_takes_the_error_from_nobody() {
    for away in [false, true] {
        let error = nursery(async |n: Texts<'_>| {
            let (say, hear) = tokio::sync::oneshot::channel::<()>();
            let fails = n.named("cook").start_soon(async move {
                let _ = hear.await;
                Err::<(), _>("no beans".into())
            });
            let awaits = async move {
                drop(say);
                let _ended = fails.await;
                pending::<Result<(), String>>().await
            };
            match away {
                true => n.spawn(awaits),
                false => n.start_soon(awaits),
            };
            Ok(())
        });
        let error = error.await.unwrap_err();
        assert_eq!(error.errors().collect::<Vec<_>>(), ["no beans"]);
        assert_eq!(error[0].name(), Some("cook"));
    }
}

#[tokio::test]
async fn within_a_cleanup_budget_a_failure_is_handled_by_the_code_that_awaits_it() {
    let handled = Builder::new().cleanup(Duration::from_secs(60)).nursery(async |n: Texts<'_>| {
        let failed = n.spawn(async { Err::<u32, _>("boom".into()) }).await;
        Ok(failed.unwrap_err().error().unwrap().clone())
    });
    assert_eq!(handled.await.unwrap(), "boom");
}

#[tokio::test]
async fn after_the_block_a_child_says_that_the_nursery_has_given_the_error_back() {
    let mut kept = None;
    let error = nursery(async |n: Texts<'_>| {
        kept = Some(n.named("cook").start_soon(async { Err::<(), _>("no beans".into()) }));
        Ok(())
    });
    assert_eq!(error.await.unwrap_err().len(), 1);
    let ended = kept.unwrap().await.unwrap_err();
    assert!(matches!(ended.kind(), ErrorKind::Reported));
    assert_eq!(ended.name(), Some("cook"));
}

#[tokio::test]
async fn r11_the_cause_of_a_childs_cancellation_is_the_true_one() {
    for away in [false, true] {
        let mut kept = Vec::new();
        let start = |n: &Texts<'_>| match away {
            true => n.spawn(pending::<Result<(), String>>()),
            false => n.start_soon(pending()),
        };
        nursery(async |n: Texts<'_>| {
            kept.push(start(&n));
            n.cancel_with("enough");
            Ok(())
        })
        .await
        .unwrap();
        let late = Builder::new().deadline(std::time::Instant::now());
        late.nursery(async |n: Texts<'_>| {
            kept.push(start(&n));
            Ok(())
        })
        .await
        .unwrap();
        let failed = nursery(async |n: Texts<'_>| {
            kept.push(start(&n));
            yield_now().await;
            n.named("cook").start_soon(async { Err::<(), _>("no beans".into()) });
            Ok(())
        });
        assert_eq!(failed.await.unwrap_err().len(), 1);
        let mut causes = Vec::new();
        for child in kept {
            let ended = child.await.unwrap_err();
            let cause = ended.cancelled().unwrap().cause();
            causes.push((cause.source(), cause.reason().map(String::from)));
        }
        let expected = [
            (Source::Explicit, Some("enough".into())),
            (Source::Deadline, None),
            (Source::Failure, Some("child \"cook\"".into())),
        ];
        assert_eq!(causes, expected);
    }
}

#[tokio::test]
async fn r11_a_body_that_awaited_the_value_of_a_child_without_one_says_so_in_its_cause() {
    let error = nursery(async |n: Texts<'_>| {
        let inner = nursery(async |inner: Texts<'_>| {
            let child = inner.spawn(pending::<Result<(), String>>());
            inner.cancel();
            Ok(child)
        });
        let child = inner.await.unwrap();
        n.start_soon(pending::<Result<(), String>>());
        child.value().await;
        Ok(())
    });
    let error = error.await.unwrap_err();
    assert!(error.is_cancelled());
    let reason = "the body awaited the value of a child that had none";
    assert_eq!(error.cause().unwrap().reason(), Some(reason));
}

#[tokio::test]
async fn results_come_by_value_in_the_order_of_ending_with_their_keys() {
    collects()
        .nursery(async |n: Texts<'_>| {
            let mut results = AsCompleted::keyed();
            for (key, child) in
                ["value", "error", "panic", "cancelled"].iter().zip(of_every_end(&n))
            {
                results.insert(*key, child);
            }
            let mut ends = Vec::new();
            while let Some((key, end)) = results.next_with_key().await {
                ends.push((key, shown([end]).remove(0)));
            }
            ends.sort();
            let shown = |key| EVERY_END.iter().find(|end| end.contains(key)).map(|end| (key, *end));
            let wanted = ["cancelled", "error", "panic"].map(shown).map(Option::unwrap);
            assert_eq!(ends[..3], wanted.map(|(key, end)| (key, end.to_string())));
            assert_eq!(ends[3], ("value", "7".to_string()));
            Ok(())
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn r16_children_are_cancelled_by_their_keys_and_next_says_so() {
    collects()
        .nursery(async |n: Texts<'_>| {
            let mut results = AsCompleted::keyed();
            for key in 0..4 {
                results.insert(key, n.spawn(pending::<Result<(), String>>()));
            }
            results.cancel_where(|key| key % 2 == 0);
            for _ in 0..2 {
                let (key, end) = results.next_with_key().await.unwrap();
                assert!(key % 2 == 0 && end.unwrap_err().cancelled().is_some());
            }
            assert_eq!(results.len(), 2);
            results.cancel_where(|_| true);
            while let Some(end) = results.next().await {
                assert!(end.is_err());
            }
            Ok(())
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn a_next_that_loses_a_select_loses_no_result() {
    nursery(async |n: Texts<'_>| {
        let mut results = AsCompleted::new();
        for value in 0..100 {
            results.push(n.spawn(async move {
                tokio::task::yield_now().await;
                Ok(value)
            }));
        }
        let mut sum = 0;
        while !results.is_empty() {
            tokio::select! {
                biased;
                next = results.next() => sum += next.unwrap()?,
                () = yield_now() => {}
            }
        }
        assert_eq!(sum, 4950);
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn r7_an_error_is_not_given_out_to_code_that_is_being_cancelled() {
    let error: Result<(), aionursery::MultiError<_>> = nursery(async |n: Texts<'_>| {
        let mut results = AsCompleted::new();
        results.push(n.spawn(async { Err::<(), _>("no beans".into()) }));
        let end = results.next().await;
        unreachable!("the body goes no further: {end:?}")
    })
    .await;
    assert_eq!(error.unwrap_err().errors().collect::<Vec<_>>(), ["no beans"]);
}

/// The ways in which a nursery treats an error, and how children of it are started.
fn every_way() -> impl Iterator<Item = (OnError, bool)> {
    let modes = [OnError::Cancel, OnError::Collect];
    modes.into_iter().flat_map(|mode| [(mode, false), (mode, true)])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r26_awaited_in_a_foreign_task_no_end_of_a_child_is_a_panic() {
    for (mode, away) in every_way() {
        let (say, hear) = tokio::sync::oneshot::channel();
        let block = Builder::new().on_error(mode).nursery(async |n: Texts<'_>| {
            let start = |name: &str, future: BoxFuture<'static, Result<u8, String>>| match away {
                true => n.named(name).spawn(future),
                false => n.named(name).start_soon(future),
            };
            let by_hand = start("by hand", pending().boxed());
            by_hand.cancel();
            let children = [
                start("error", async { Err("no beans".into()) }.boxed()),
                start("panic", async { panic!("no pot") }.boxed()),
                start("with the nursery", pending().boxed()),
                by_hand,
            ];
            say.send(tokio::spawn(join_all(children))).unwrap();
            yield_now().await;
            n.cancel();
            Ok(())
        });
        let errors = block.await.err();
        let ends = hear.await.unwrap().await.expect("the task has not panicked");
        let ends: Vec<_> = ends.into_iter().map(Result::unwrap_err).collect();
        let names: Vec<_> = ends.iter().map(|end| end.name().unwrap()).collect();
        assert_eq!(names, ["error", "panic", "with the nursery", "by hand"]);
        assert!(ends[2].cancelled().is_some() && ends[3].cancelled().is_some());
        // What the task was given is not the nursery's, and the other way round: nothing is lost.
        let given = |end: &ChildError<_>| end.error().is_some() || end.panic().is_some();
        let kept = errors.map_or(0, |errors| errors.len());
        let cancelled = ends[..2].iter().filter(|end| end.cancelled().is_some()).count();
        assert_eq!(ends.iter().filter(|end| given(end)).count() + kept + cancelled, 2);
    }
}

#[test]
fn r26_awaited_on_a_thread_without_a_runtime_a_cancelled_child_says_so() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let ended = runtime.block_on(nursery(async |n: Texts<'_>| {
        let child = n.spawn(pending::<Result<(), String>>());
        child.cancel();
        let thread = std::thread::spawn(|| futures::executor::block_on(child));
        Ok(thread.join().unwrap().unwrap_err().cancelled().is_some())
    }));
    assert!(ended.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r26_awaited_in_a_block_on_amid_a_child_a_cancelled_child_says_so() {
    let ended = nursery(async |n: Texts<'_>| {
        let waits = |n: &Texts<'_>| {
            let child = n.spawn(pending::<Result<(), String>>());
            child.cancel();
            child
        };
        let (first, second) = (waits(&n), waits(&n));
        let inside = n.spawn_plain(async {
            let runtime = tokio::runtime::Handle::current();
            tokio::task::block_in_place(|| runtime.block_on(first)).unwrap_err()
        });
        let blocking = n.spawn_blocking(|| Ok(futures::executor::block_on(second).unwrap_err()));
        let ends = [inside.value().await, blocking.value().await];
        Ok(ends.iter().all(|end| end.cancelled().is_some()))
    });
    assert!(ended.await.unwrap());
}

#[tokio::test]
async fn r26_a_child_that_awaits_a_sibling_which_was_cancelled_goes_on_with_its_end() {
    for away in [false, true] {
        let ended = nursery(async |n: Texts<'_>| {
            let stays = n.spawn(pending::<Result<(), String>>());
            stays.cancel();
            let awaits = async { Ok(stays.await.unwrap_err().to_string()) };
            let awaits = match away {
                true => n.spawn(awaits),
                false => n.start_soon(awaits),
            };
            Ok(awaits.value().await)
        });
        let said = "child 1: cancelled: by request: its handle cancelled it";
        assert_eq!(ended.await.unwrap(), said);
    }
}

#[tokio::test]
async fn r7_the_error_of_a_child_whose_value_was_asked_for_is_the_nurserys() {
    for (mode, away) in every_way() {
        let after = Cell::new(false);
        let error = Builder::new().on_error(mode).nursery_local(
            async |n: aionursery::LocalNursery<'_, String>| {
                let fails = async { Err::<(), _>("no beans".into()) };
                let child = match away {
                    true => n.named("cook").spawn(fails),
                    false => n.named("cook").start_soon(fails),
                };
                child.value().await;
                after.set(true);
                Ok(())
            },
        );
        let error = error.await.unwrap_err();
        assert_eq!((error.len(), error[0].name(), after.get()), (1, Some("cook"), false));
        assert_eq!(error[0].error(), Some(&"no beans".to_string()));
    }
}

#[tokio::test]
async fn an_end_goes_through_question_mark_into_the_errors_that_programs_use() {
    /// What a body with errors of this type fails with whose child fails, and whose child is cancelled.
    async fn said<E>(error: fn() -> E) -> [String; 2]
    where
        E: std::fmt::Display + Send + From<ChildError<E>> + 'static,
    {
        let [failed, cancelled] = [false, true].map(|cancels| {
            collects().nursery(async move |n: Nursery<'_, E>| {
                let child = match cancels {
                    true => n.named("cook").spawn(pending::<Result<(), E>>()),
                    false => n.named("cook").spawn(async move { Err(error()) }),
                };
                if cancels {
                    child.cancel();
                }
                Ok(child.await?)
            })
        });
        [failed.await, cancelled.await]
            .map(|ended| ended.unwrap_err()[0].error().unwrap().to_string())
    }
    let cancelled = "child \"cook\": cancelled: by request: its handle cancelled it";
    let own = ["no beans", cancelled];
    let named = ["child \"cook\": no beans", cancelled];
    assert_eq!(said(|| String::from("no beans")).await, own);
    assert_eq!(said(|| std::io::Error::other("no beans")).await, own);
    assert_eq!(said(|| anyhow::anyhow!("no beans")).await, named);
    assert_eq!(said(|| eyre::eyre!("no beans")).await, named);
    assert_eq!(said(|| Box::<dyn std::error::Error + Send + Sync>::from("no beans")).await, named);
}
