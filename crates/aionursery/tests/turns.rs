//! What one turn of a nursery polls, where it is in another one or beside other code in its task.

use std::cell::Cell;
use std::future::{Future, pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use aionursery::{LocalNursery, nursery_local, yield_now};
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures::{FutureExt, StreamExt};

type Local<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + 'a>>;

/// Runs `leaf` in so many nurseries, each in a child of the one around it.
fn nested<'a>(depth: u32, leaf: Local<'a>) -> Local<'a> {
    if depth == 0 {
        return leaf;
    }
    Box::pin(async move {
        let level = nursery_local(async |n: LocalNursery<'_, String>| {
            n.start_soon(nested(depth - 1, leaf));
            Ok(())
        });
        level.await.map_err(|error| error.to_string())
    })
}

/// As [`nested`], each in the body of the one around it, which has a child that waits.
fn nested_in_bodies<'a>(depth: u32, leaf: Local<'a>) -> Local<'a> {
    if depth == 0 {
        return leaf;
    }
    Box::pin(async move {
        let level = nursery_local(async |n: LocalNursery<'_, String>| {
            n.start_soon(pending::<Result<(), _>>());
            let ended = nested_in_bodies(depth - 1, leaf).await;
            n.cancel();
            ended
        });
        level.await.map_err(|error| error.to_string())
    })
}

/// It is always ready, and counts its polls.
fn busy(polls: &Cell<u32>) -> Local<'_> {
    Box::pin(async {
        loop {
            polls.set(polls.get() + 1);
            yield_now().await;
        }
    })
}

/// How often one poll of what `nest` makes polls the leaf, once all is under way.
fn polls_a_turn(nest: impl for<'a> Fn(Local<'a>) -> Local<'a>) -> u32 {
    let polls = Cell::new(0);
    let mut outermost = nest(busy(&polls));
    let mut turn = || assert!(outermost.as_mut().now_or_never().is_none());
    (0..20).for_each(|_| turn());
    let before = polls.get();
    turn();
    polls.get() - before
}

#[test]
fn r21_what_is_always_ready_takes_a_few_steps_a_turn_however_deep_its_nursery_is_nested() {
    for depth in 1..=9 {
        let in_children = polls_a_turn(|leaf| nested(depth, leaf));
        assert!((1..=16).contains(&in_children), "{in_children} at depth {depth}");
        let in_bodies = polls_a_turn(|leaf| nested_in_bodies(depth, leaf));
        assert!((1..=16).contains(&in_bodies), "{in_bodies} at depth {depth}, in bodies");
    }
}

#[test]
fn r21_each_of_many_nested_nurseries_has_as_many_steps_in_a_turn() {
    let polls: Vec<_> = (0..50).map(|_| Cell::new(0)).collect();
    let outermost = gather_local(polls.iter().map(|polls| nested(3, busy(polls))).collect());
    let mut outermost = pin!(outermost);
    for _ in 0..20 {
        assert!(outermost.as_mut().now_or_never().is_none());
    }
    assert!(polls.iter().all(|each| each.get() > 20 && *each == polls[0]), "{polls:?}");
}

fn gather_local(children: Vec<Local<'_>>) -> Local<'_> {
    Box::pin(async {
        let all = nursery_local(async |n: LocalNursery<'_, String>| {
            children.into_iter().for_each(|child| drop(n.start_soon(child)));
            Ok(())
        });
        all.await.map_err(|error| error.to_string())
    })
}

/// Gives back what it gets.
async fn echo(
    mut receives: UnboundedReceiver<u32>,
    sends: UnboundedSender<u32>,
) -> Result<(), String> {
    while let Some(message) = receives.next().await {
        sends.unbounded_send(message).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Each body hands messages on to the next nursery, and its answers back.
fn relay(
    depth: u32,
    mut receives: UnboundedReceiver<u32>,
    sends: UnboundedSender<u32>,
) -> Local<'static> {
    if depth == 0 {
        return Box::pin(echo(receives, sends));
    }
    Box::pin(async move {
        let level = nursery_local(async |n: LocalNursery<'_, String>| {
            let (down, below) = unbounded();
            let (above, mut up) = unbounded();
            n.start_soon(relay(depth - 1, below, above));
            while let Some(message) = receives.next().await {
                down.unbounded_send(message).unwrap();
                sends.unbounded_send(up.next().await.unwrap()).unwrap();
            }
            drop(down);
            Ok(())
        });
        level.await.map_err(|error| error.to_string())
    })
}

/// How many turns of the runtime it takes to have so many messages answered.
fn turns_of(
    messages: u32,
    leaf: impl Fn(UnboundedReceiver<u32>, UnboundedSender<u32>) -> Local<'static>,
) -> u32 {
    let turns = Cell::new(0);
    futures::executor::block_on(async {
        let mut asks = pin!(nursery_local(async |n: LocalNursery<'_, String>| {
            let (asks, asked) = unbounded();
            let (answers, mut answered) = unbounded();
            n.start_soon(leaf(asked, answers));
            for message in 0..messages {
                asks.unbounded_send(message).unwrap();
                assert_eq!(answered.next().await, Some(message));
            }
            drop(asks);
            Ok(())
        }));
        let asks = poll_fn(|cx| {
            turns.set(turns.get() + 1);
            asks.as_mut().poll(cx)
        });
        asks.await.unwrap();
    });
    turns.get()
}

#[test]
fn a_message_takes_no_turn_of_the_runtime_for_each_nursery_that_it_passes() {
    for depth in 1..=10 {
        let nest = |asked, answers| nested(depth, Box::pin(echo(asked, answers)));
        let direct = turns_of(100, nest);
        assert!(direct <= 60, "{direct} turns for 100 messages at depth {depth}");
        let handed_on = turns_of(100, |asked, answers| relay(depth, asked, answers));
        assert!(handed_on <= 250, "{handed_on} turns for 100 messages handed on {depth} times");
    }
}

#[test]
fn a_nested_child_that_starts_siblings_without_end_lets_the_outermost_go_on() {
    fn chain<'env>(n: &LocalNursery<'env, String>, over: &'env Cell<bool>) {
        let again = n.clone();
        n.start_soon(async move {
            if !over.get() {
                chain(&again, over);
            }
            Ok(())
        });
    }
    async fn starts(over: &Cell<bool>) -> Result<(), String> {
        let inner = nursery_local(async |n| {
            chain(&n, over);
            Ok(())
        });
        inner.await.map_err(|error| error.to_string())
    }
    let over = Cell::new(false);
    let outermost = nursery_local(async |n: LocalNursery<'_, String>| {
        n.start_soon(nested(5, Box::pin(starts(&over))));
        for _ in 0..10 {
            yield_now().await;
        }
        over.set(true);
        Ok(())
    });
    futures::executor::block_on(outermost).unwrap();
}

#[test]
fn nurseries_that_a_child_waits_for_in_a_block_on_end() {
    let outermost = nested(
        2,
        Box::pin(async {
            futures::executor::block_on(nested(
                3,
                Box::pin(async {
                    for _ in 0..100 {
                        yield_now().await;
                    }
                    Ok(())
                }),
            ))
        }),
    );
    smol::block_on(outermost).unwrap();
}

/// One that panics when it is woken.
struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("it was woken");
    }
}

#[test]
fn a_nested_nursery_has_all_its_rounds_after_one_whose_waker_panicked() {
    let before = polls_a_turn(|leaf| nested(2, leaf));
    let polls = Cell::new(0);
    let mut inner = nested(1, busy(&polls));
    let poll = poll_fn(|_| {
        let waker = Waker::from(Arc::new(Panics));
        inner.as_mut().poll(&mut Context::from_waker(&waker))
    });
    let outermost = nested(1, Box::pin(poll));
    assert!(futures::executor::block_on(outermost).unwrap_err().contains("it was woken"));
    assert_eq!(polls_a_turn(|leaf| nested(2, leaf)), before);
}

/// Polls `future` after code that leaves nothing of tokio's budget, in so many turns of the runtime at most. Says what
/// came of it, and how many turns that took.
async fn beside_what_uses_up_the_budget<F: Future>(
    most: u32,
    future: F,
) -> (Option<F::Output>, u32) {
    let mut uses_up = pin!(async {
        loop {
            tokio::task::coop::consume_budget().await;
        }
    });
    let mut future = pin!(future);
    let mut turns = 0;
    let ended = poll_fn(|cx| {
        turns += 1;
        let Poll::Pending = uses_up.as_mut().poll(cx);
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if turns == most => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    });
    (ended.await, turns)
}

#[tokio::test]
async fn a_nursery_goes_on_beside_code_that_uses_up_tokios_budget_in_each_turn() {
    let work = nursery_local(async |n: LocalNursery<'_, String>| {
        let first = n.start_soon(async { Ok(3) }).value().await;
        let nested = nursery_local(async |n: LocalNursery<'_, String>| {
            yield_now().await;
            Ok(n.start_soon(async { Ok(4) }).value().await)
        });
        Ok(first + nested.await.unwrap())
    });
    let (ended, turns) = beside_what_uses_up_the_budget(1000, work).await;
    assert_eq!(ended.expect("it ends").unwrap(), 7);
    assert!(turns <= 12, "{turns}");
}

#[tokio::test]
async fn turns_without_a_budget_poll_one_each_and_go_round() {
    let polls: Vec<_> = (0..5).map(|_| Cell::new(0)).collect();
    let begun = Cell::new(0);
    let work = nursery_local(async |n: LocalNursery<'_, String>| {
        for each in &polls[1..] {
            n.start_soon(busy(each));
        }
        // Each turn of the body starts one more, which ends at once.
        loop {
            polls[0].set(polls[0].get() + 1);
            n.start_soon(async {
                begun.set(begun.get() + 1);
                Ok(())
            });
            yield_now().await;
        }
        #[expect(unreachable_code, reason = "says what the body gives")]
        Ok(())
    });
    let (ended, turns) = beside_what_uses_up_the_budget(600, work).await;
    assert!(ended.is_none());
    let all: Vec<u32> = polls.iter().map(Cell::get).collect();
    let (least, most) = (*all.iter().min().unwrap(), *all.iter().max().unwrap());
    assert!(least >= 50 && most - least <= 2, "{all:?}");
    assert!(begun.get() >= 50, "{begun:?}");
    assert!(all.iter().sum::<u32>() + begun.get() <= turns, "{all:?} and {begun:?}");
}
