//! What a nursery leaves for the next one on its thread: nothing of it can be seen there, and what can still reach
//! it reaches no other.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, Waker};

use aionursery::{Builder, Nursery, nursery, yield_now};
use futures::FutureExt;
use futures::executor::block_on;

type Open<'a> = Nursery<'a, &'static str>;

fn ended<'a, F>(body: impl FnOnce(Open<'a>) -> F)
where
    F: Future<Output = Result<(), &'static str>>,
{
    block_on(nursery(body)).unwrap();
}

/// So that there is something to take.
fn some_before() {
    for _ in 0..3 {
        ended(async |_| Ok(()));
    }
}

#[test]
fn r2_a_handle_that_is_kept_reaches_no_later_nursery() {
    some_before();
    let mut kept = None;
    ended(async |n| {
        kept = Some(n);
        Ok(())
    });
    let kept: Open<'_> = kept.unwrap();
    ended(async |n| {
        kept.cancel();
        assert!(kept.try_start_soon(async { Ok(()) }).is_err());
        assert!(!n.is_cancelled() && n.running() == 0);
        Ok(())
    });
}

#[test]
fn r12_what_waits_for_the_cancellation_of_one_that_has_ended_hears_of_no_later_one() {
    some_before();
    let mut waits = None;
    ended(async |n| {
        let mut cancelled = n.cancelled();
        assert!((&mut cancelled).now_or_never().is_none());
        waits = Some(cancelled);
        Ok(())
    });
    ended(async |n| {
        n.cancel();
        assert!(waits.take().unwrap().now_or_never().is_none());
        Ok(())
    });
}

#[test]
fn r29_a_waker_of_a_body_that_has_ended_polls_no_later_body() {
    some_before();
    let mut kept = None;
    ended(async |_| {
        poll_fn(|cx| {
            kept = Some(cx.waker().clone());
            Poll::Ready(Ok(()))
        })
        .await
    });
    let kept: Waker = kept.unwrap();
    let polls = AtomicUsize::new(0);
    ended(async |n| {
        let mut child = n.start_soon(async {
            for _ in 0..3 {
                kept.wake_by_ref();
                yield_now().await;
            }
            Ok(())
        });
        poll_fn(|cx| {
            polls.fetch_add(1, Ordering::Relaxed);
            Pin::new(&mut child).poll(cx)
        })
        .await
        .map_err(|_| "the child has a value")
    });
    // At first, and when the child had ended.
    assert_eq!(polls.into_inner(), 2);
}

#[test]
fn r19_one_that_follows_a_shielded_one_is_no_shield() {
    some_before();
    for _ in 0..3 {
        block_on(Builder::new().shield(true).nursery(async |_: Open<'_>| Ok(()))).unwrap();
    }
    ended(async |n| {
        assert!(!n.dump().roots()[0].is_shielded());
        Ok(())
    });
}

#[test]
fn r4_children_of_a_later_one_count_from_one_again() {
    for _ in 0..3 {
        ended(async |n| {
            let ids = [(); 3].map(|()| n.start_soon(async { Ok(()) }).id());
            assert_eq!((ids, n.running()), ([1, 2, 3], 3));
            yield_now().await;
            assert_eq!((n.start_soon(async { Ok(()) }).id(), n.running()), (4, 1));
            Ok(())
        });
    }
}

#[test]
fn r16_one_that_follows_a_cancelled_one_is_not_cancelled() {
    some_before();
    ended(async |n| {
        n.cancel_with("enough");
        Ok(())
    });
    ended(async |n| {
        assert!(!n.is_cancelled() && n.cause().is_none() && n.effective_deadline().is_none());
        Ok(())
    });
}

#[test]
fn a_dump_shows_where_each_was_opened_and_none_that_has_ended() {
    some_before();
    let line = line!() + 1;
    let opened = nursery(async |n: Open<'_>| Ok(n.dump().roots()[0].location().unwrap().line()));
    assert_eq!(block_on(opened).unwrap(), line);
    // Other tests of this program may have some open: none of them was opened there.
    let dump = aionursery::dump::dump();
    let lines = dump.roots().iter().filter_map(|node| Some(node.location()?.line()));
    assert!(lines.into_iter().all(|at| at != line));
}
