//! gather, race, map, for_each and results as they come: R6, R7, R12 through the combinators.

use std::cell::Cell;
use std::future::{pending, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use aionursery::{
    AsCompleted, Builder, CancelScope, LocalNursery, OnError, as_completed,
    combine::{for_each, map},
    gather, nursery_local, race, yield_now,
};
use futures::executor::block_on;
use futures::{FutureExt, Stream, StreamExt, stream};

async fn after<T>(turns: usize, value: T) -> T {
    for _ in 0..turns {
        yield_now().await;
    }
    value
}

fn is_send<T: Send>(value: T) -> T {
    value
}

#[test]
fn a_tuple_of_different_types_is_gathered_in_its_order() {
    let text = String::from("beans");
    let gathered = gather((
        after(3, Ok::<_, String>(text.as_str())),
        async { Ok(1.5) },
        after(1, Ok(vec![1, 2])),
        ready(Ok(())),
    ));
    assert_eq!(block_on(is_send(gathered)).unwrap(), ("beans", 1.5, vec![1, 2], ()));
}

#[test]
fn combinators_of_what_borrows_may_change_threads() {
    let text = String::from("beans");
    let length = || async { Ok::<_, ()>(text.len()) };
    assert_eq!(block_on(is_send(gather([length(), length()]))).unwrap(), [5, 5]);
    assert_eq!(block_on(is_send(race([length(), length()]))).unwrap(), Some(5));
    assert_eq!(block_on(is_send(map(0..2, 1, |_| length()))).unwrap(), [5, 5]);
    let each = for_each(stream::iter(0..2), 1, |_| async { length().await.map(drop) });
    block_on(is_send(each)).unwrap();
}

#[cfg(feature = "tokio")]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn combinators_over_items_that_are_borrowed_may_stand_in_a_task() {
    async fn length(text: &str) -> Result<usize, String> {
        yield_now().await;
        Ok(text.len())
    }
    let task = tokio::spawn(async {
        let texts = [String::from("a"), String::from("bean")];
        let by_function = gather(texts.iter().map(|text| length(text))).await?;
        let by_block = gather(texts.iter().map(|text| async move { length(text).await })).await?;
        let first = race(texts.iter().map(|text| async move { length(text).await })).await?;
        let pair = gather((length(&texts[0]), async { length(&texts[1]).await })).await?;
        let either = race((length(&texts[0]), async { length(&texts[1]).await })).await?;
        assert_eq!((by_function, by_block), (vec![1, 4], vec![1, 4]));
        assert_eq!((first, pair, either), (Some(1), (1, 4), Some(1)));

        let mapped =
            map(texts.iter().map(|text| text.as_str()), 1, async |text| length(text).await).await?;
        let lengths = texts.iter().map(|text| text.len());
        let same = map(lengths, 1, |length| async move { Ok::<_, String>(length) }).await?;
        assert_eq!((mapped, same), (vec![1, 4], vec![1, 4]));
        let sum = AtomicUsize::new(0);
        for_each(stream::iter(texts.iter().map(|text| text.as_str())), 2, async |text| {
            sum.fetch_add(length(text).await?, Ordering::Relaxed);
            Ok::<_, String>(())
        })
        .await?;
        assert_eq!(sum.into_inner(), 5);
        Ok::<_, aionursery::MultiError<String>>(())
    });
    task.await.unwrap().unwrap();
}

#[cfg(feature = "tokio")]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn nurseries_in_anything_may_stand_in_a_task_also_such_that_start_themselves() {
    use aionursery::{Nursery, fail_after, move_on_after, nursery, shield};
    type Boxed<'a> = std::pin::Pin<Box<dyn Future<Output = Result<usize, String>> + Send + 'a>>;
    fn tree(depth: usize) -> Boxed<'static> {
        Box::pin(async move {
            let own = nursery(async move |n: Nursery<'static, String>| {
                let sibling = n.clone();
                let below = n.spawn(async move {
                    Ok(if depth == 0 { 0 } else { sibling.spawn(tree(depth - 1)).await? })
                });
                Ok(1 + below.await?)
            });
            let minute = std::time::Duration::from_secs(60);
            let ended = move_on_after(minute, fail_after(minute, shield(own))).await;
            ended.unwrap().unwrap().map_err(|errors| errors.to_string())
        })
    }
    let task = tokio::spawn(async {
        let text = String::from("beans");
        let text = &text;
        let length = || {
            nursery(async |n| {
                n.start_soon(async { Ok::<_, String>(text.len()) }).await.map_err(String::from)
            })
        };
        let (a, b) = futures::join!(length(), length());
        assert_eq!((a.unwrap(), b.unwrap()), (5, 5));
        tree(3).await
    });
    assert_eq!(task.await.unwrap(), Ok(4));
}

#[test]
fn tuples_have_one_to_twelve_members() {
    let one = |n: u8| async move { Ok::<_, String>(n) };
    assert_eq!(block_on(gather((one(1),))).unwrap(), (1,));
    let all = block_on(gather((
        one(0),
        one(1),
        one(2),
        one(3),
        one(4),
        one(5),
        one(6),
        one(7),
        one(8),
        one(9),
        one(10),
        one(11),
    )));
    let last = all.unwrap();
    assert_eq!((last.0, last.5, last.11), (0, 5, 11));
}

#[test]
fn r6_r7_a_tuple_whose_member_fails_cancels_the_others_and_gives_every_error() {
    let dropped = AtomicUsize::new(0);
    struct Count<'a>(&'a AtomicUsize);
    impl Drop for Count<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let error = block_on(gather((
        async {
            let _count = Count(&dropped);
            pending::<Result<u8, &str>>().await
        },
        after(1, Err::<u16, _>("first")),
        async { Ok("value") },
    )))
    .unwrap_err();
    assert_eq!(error.errors().collect::<Vec<_>>(), [&"first"]);
    assert_eq!(dropped.into_inner(), 1);
}

#[test]
fn results_come_in_the_order_in_which_children_end() {
    let order = block_on(nursery_local(async |n| {
        let children = [5, 2, 9, 0].map(|turns| n.start_soon(after(turns, Ok::<_, ()>(turns))));
        let mut results = as_completed(children);
        assert_eq!((results.len(), results.size_hint()), (4, (4, Some(4))));
        let mut order = Vec::new();
        while let Some(turns) = results.next_value().await {
            order.push(turns);
        }
        assert!(results.is_empty() && results.next().await.is_none());
        Ok(order)
    }));
    assert_eq!(order.unwrap(), [0, 2, 5, 9]);
}

#[test]
fn results_that_nothing_read_meanwhile_come_in_the_order_of_the_ends_too() {
    let order = block_on(nursery_local(async |n| {
        let mut results =
            as_completed([0, 9, 4, 2].map(|turns| n.start_soon(after(turns, Ok::<_, ()>(turns)))));
        let mut order = vec![results.next_value().await.unwrap()];
        after(20, ()).await;
        results.push(n.start_soon(after(3, Ok(3))));
        after(20, ()).await;
        while let Some(turns) = results.next_value().await {
            order.push(turns);
        }
        Ok(order)
    }));
    assert_eq!(order.unwrap(), [0, 2, 4, 9, 3]);
    let order = block_on(nursery_local(async |n| {
        let results =
            as_completed([3, 1, 2].map(|turns| n.start_soon(after(turns, Ok::<_, ()>(turns)))));
        after(20, ()).await;
        Ok(results.map(Result::unwrap).collect::<Vec<_>>().await)
    }));
    assert_eq!(order.unwrap(), [1, 2, 3]);
}

#[test]
fn children_that_ended_long_ago_are_still_results() {
    let sum = block_on(nursery_local(async |n| {
        let results = as_completed([1, 2, 3].map(|value| n.start_soon(ready(Ok::<_, ()>(value)))));
        after(5, ()).await;
        Ok(results.fold(0, async |sum, value| sum + value.unwrap()).await)
    }));
    assert_eq!(sum.unwrap(), 6);
}

#[test]
fn r6_a_reader_of_results_ends_with_the_child_that_fails() {
    let read = Cell::new(0);
    let error = block_on(nursery_local(async |n| {
        let mut results = as_completed([
            n.start_soon(after(1, Ok(1))),
            n.start_soon(after(2, Err("no more"))),
            n.start_soon(pending()),
        ]);
        while let Some(value) = results.next_value().await {
            read.set(read.get() + value);
        }
        unreachable!("the failure ends the body");
        #[expect(unreachable_code, reason = "the type of the body")]
        Ok(())
    }))
    .unwrap_err();
    assert_eq!((read.get(), error.errors().collect::<Vec<_>>()), (1, vec![&"no more"]));
}

#[test]
fn r7_with_collect_the_results_hand_errors_over_and_the_nursery_has_them_no_more() {
    let ends = block_on(Builder::new().on_error(OnError::Collect).nursery_local(async |n| {
        let children = (0..4).map(|turns| {
            n.start_soon(after(turns, if turns % 2 == 0 { Ok(turns) } else { Err(turns) }))
        });
        let ends =
            as_completed(children).map(|end| end.map_err(|error| error.into_error().unwrap()));
        Ok(ends.collect::<Vec<_>>().await)
    }));
    assert_eq!(ends.unwrap(), [Ok(0), Err(1), Ok(2), Err(3)]);
}

#[test]
fn a_place_that_is_free_again_is_used_for_the_next_child() {
    let most = Cell::new(0);
    let done = block_on(nursery_local(async |n| {
        let mut running = AsCompleted::new();
        let mut done = 0;
        for turn in 0..100 {
            running.push(n.start_soon(after(turn % 7, Ok::<_, ()>(()))));
            most.set(most.get().max(running.len()));
            while running.len() >= 3 {
                running.next_value().await.unwrap();
                done += 1;
            }
        }
        while running.next_value().await.is_some() {
            done += 1;
        }
        Ok(done)
    }));
    assert_eq!((done.unwrap(), most.get()), (100, 3));
}

#[test]
fn a_reader_that_is_not_woken_by_an_old_child_loses_no_new_one() {
    block_on(nursery_local(async |n| {
        let mut running = AsCompleted::new();
        running.push(n.start_soon(after(2, Ok::<_, ()>(1))));
        assert!(running.next().now_or_never().is_none());
        running.push(n.start_soon(after(1, Ok(2))));
        assert_eq!(running.next_value().await, Some(2));
        assert_eq!(running.next_value().await, Some(1));
        Ok(())
    }))
    .unwrap();
}

#[cfg(feature = "tokio")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spawned_children_and_own_ones_come_in_one_stream() {
    let sum = aionursery::nursery(async |n| {
        let mut results = AsCompleted::new();
        for value in 0..100 {
            results.push(n.spawn(async move { Ok::<_, String>(value) }));
            results.push(n.start_soon(async move { Ok(value) }));
        }
        let mut sum = 0;
        while let Some(value) = results.next().await {
            sum += value?;
        }
        Ok(sum)
    })
    .await;
    assert_eq!(sum.unwrap(), 9900);
}

#[test]
fn map_and_for_each_keep_their_limit() {
    async fn limited(running: &AtomicUsize, most: &AtomicUsize) -> Result<(), String> {
        most.fetch_max(running.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        after(3, ()).await;
        running.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    }
    let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    block_on(map(0..20, 4, |_| limited(&running, &most))).unwrap();
    assert_eq!(most.swap(0, Ordering::Relaxed), 4);
    let asked = AtomicUsize::new(0);
    let items = stream::iter(0..20).inspect(|_| {
        let ahead = asked.fetch_add(1, Ordering::Relaxed) + 1;
        assert!(ahead <= 20);
    });
    block_on(for_each(items, 4, |_| limited(&running, &most))).unwrap();
    assert_eq!((most.into_inner(), asked.into_inner()), (4, 20));
}

#[test]
fn what_map_and_for_each_call_may_count() {
    let mut calls = 0;
    let numbered = map(["a", "b"], 1, |item| {
        calls += 1;
        ready(Ok::<_, ()>((calls, item)))
    });
    assert_eq!(block_on(numbered).unwrap(), [(1, "a"), (2, "b")]);
    block_on(for_each(stream::iter(0..3), 1, |_| {
        calls += 1;
        ready(Ok::<_, ()>(()))
    }))
    .unwrap();
    assert_eq!(calls, 5);
}

#[test]
fn map_takes_an_item_when_there_is_a_place_for_it() {
    let (taken, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let items = (0..).inspect(|_| {
        taken.fetch_add(1, Ordering::Relaxed);
    });
    let error = block_on(map(items, 4, |n| {
        let (taken, ended) = (&taken, &ended);
        async move {
            after(n % 3, ()).await;
            assert!(taken.load(Ordering::Relaxed) <= ended.load(Ordering::Relaxed) + 4);
            ended.fetch_add(1, Ordering::Relaxed);
            if n < 1000 { Ok(n) } else { Err(n) }
        }
    }))
    .unwrap_err();
    assert!((1000..1004).contains(error.errors().next().unwrap()));
    assert!(taken.into_inner() <= 1004);
}

#[test]
fn r7_for_each_gives_every_error_and_asks_for_no_more() {
    let asked = AtomicUsize::new(0);
    let items = stream::iter(0..100).inspect(|_| {
        asked.fetch_add(1, Ordering::Relaxed);
    });
    let error =
        block_on(for_each(items, 2, |n| async move { if n < 3 { Ok(()) } else { Err(n) } }))
            .unwrap_err();
    assert_eq!(error.errors().next(), Some(&3));
    assert!(asked.into_inner() < 10);
}

#[test]
fn the_first_value_wins_a_race_and_the_losers_are_joined() {
    let dropped = AtomicUsize::new(0);
    struct Count<'a>(&'a AtomicUsize);
    impl Drop for Count<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let won = block_on(race((0..5).map(|n| {
        let count = Count(&dropped);
        async move {
            let _count = count;
            after(5 - n, ()).await;
            if n == 4 { Err("the fastest fails") } else { Ok(n) }
        }
    })));
    assert_eq!((won.unwrap(), dropped.into_inner()), (Some(3), 5));
}

#[test]
fn a_tuple_of_different_futures_races_and_what_loses_is_dropped() {
    let text = String::from("beans");
    let dropped = AtomicUsize::new(0);
    struct Count<'a>(&'a AtomicUsize);
    impl Drop for Count<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let loser = Count(&dropped);
    let won = block_on(is_send(race((
        async move {
            let _loser = loser;
            pending().await
        },
        after(3, Ok::<_, &str>("late")),
        async { Ok(text.as_str()) },
        ready(Err("the fastest fails")),
    ))));
    assert_eq!(won.unwrap(), Some("beans"));
    assert_eq!(dropped.into_inner(), 1);
    let error = block_on(race((ready(Err::<(), _>(1)), async { Err(2) }))).unwrap_err();
    assert_eq!(error.errors().copied().collect::<Vec<_>>(), [1, 2]);
}

/// R26.
#[test]
fn the_error_of_one_that_has_lost_a_race_is_dropped_and_its_panic_is_resumed() {
    let won = block_on(race((ready(Err("too early")), after(2, Ok(7)))));
    assert_eq!(won.unwrap(), Some(7));

    let faulty = async { if true { panic!("out of beans") } else { Ok::<_, String>(1) } };
    let race = race((faulty, after(2, Ok(7))));
    let panicked = catch_unwind(AssertUnwindSafe(|| block_on(race)));
    assert_eq!(panicked.unwrap_err().downcast_ref(), Some(&"out of beans"));
}

#[test]
fn an_empty_race_has_no_winner_and_a_race_has_up_to_twelve_in_a_tuple() {
    let one = |n: u8| async move { if n < 11 { pending().await } else { Ok::<_, String>(n) } };
    assert_eq!(
        block_on(race(std::iter::empty::<std::future::Ready<Result<u8, ()>>>())).unwrap(),
        None
    );
    assert_eq!(block_on(race((one(11),))).unwrap(), Some(11));
    let won = block_on(race((
        one(0),
        one(1),
        one(2),
        one(3),
        one(4),
        one(5),
        one(6),
        one(7),
        one(8),
        one(9),
        one(10),
        one(11),
    )));
    assert_eq!(won.unwrap(), Some(11));
}

#[test]
fn r28_the_errors_of_a_race_that_is_cut_off_go_with_it() {
    let ended = block_on(nursery_local(async |n: LocalNursery<'_, &str>| {
        let mut cut =
            std::pin::pin!(race([after(1, Err::<u8, _>("lost")).boxed(), pending().boxed()]));
        for _ in 0..10 {
            assert!(futures::poll!(&mut cut).is_pending());
            yield_now().await;
        }
        let scope = CancelScope::new();
        let handle = scope.clone();
        n.start_soon(async move {
            after(5, ()).await;
            handle.cancel();
            Ok(())
        });
        let cancelled =
            scope.run(race([after(1, Err::<u8, _>("lost")).boxed(), pending().boxed()]));
        assert!(cancelled.await.is_err());
        Ok(())
    }));
    ended.unwrap();
}

#[test]
fn r7_a_race_that_nothing_wins_has_every_error_and_which_future_it_is_from() {
    let failing = |turns, text| after(turns, Err::<u8, _>(text));
    let errors = block_on(race([failing(2, "first"), failing(1, "second")])).unwrap_err();
    assert_eq!(errors.iter().map(|error| error.id()).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(errors.errors().collect::<Vec<_>>(), [&"second", &"first"]);
    let (failing, panicking) = (failing(1, "first").boxed(), async { panic!("second") }.boxed());
    let errors = block_on(race([failing, panicking])).unwrap_err();
    assert_eq!((errors.errors().count(), errors.panics().count()), (1, 1));
}
