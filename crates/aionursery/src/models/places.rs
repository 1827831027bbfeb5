//! Places under a limit: one that is given and one that is let go of, on two threads.

use std::future::poll_fn;
use std::time::Duration;

use super::*;
use crate::Builder;

#[test]
fn a_place_that_a_spawned_child_leaves_comes_to_the_first_that_waits() {
    model(2, || {
        let ran = [Witness::new(), Witness::new()];
        let ended = block_on(Builder::new().limit(1).nursery(async |n: Handle| {
            for ran in ran.clone() {
                let permit = n.reserve().await;
                permit.spawn(adds(ran));
            }
            Ok(())
        }));
        ended.unwrap();
        assert_eq!(ran.map(|ran| ran.read()), [1, 1]);
    });
}

#[test]
fn a_place_that_is_given_to_a_start_that_stops_waiting_goes_to_the_next() {
    model(2, || {
        let ended = block_on(Builder::new().limit(1).nursery(async |n: Handle| {
            n.reserve().await.spawn(async { Ok(()) });
            // The child may leave its place before, amid or after this.
            let mut waits = Box::pin(n.reserve());
            poll_fn(|cx| {
                let _ = waits.as_mut().poll(cx);
                Poll::Ready(())
            })
            .await;
            drop(waits);
            drop(n.reserve().await);
            Ok(())
        }));
        ended.unwrap();
    });
}

#[test]
fn r17_a_cancellation_from_another_thread_ends_a_child_that_waits_for_its_place() {
    for (spawned, preemptions) in [(false, 2), (true, 1)] {
        model(preemptions, move || {
            let without_end = Builder::new().limit(1).cleanup(Duration::MAX);
            let ended = block_on(without_end.nursery(async |n: Handle| {
                // The body has the place, and cleans up until what waits for it has ended.
                let place = n.reserve().await;
                let waits = if spawned { n.spawn(forever()) } else { n.start_soon(forever()) };
                thread::spawn(move || n.cancel());
                assert_eq!(waits.end().await, End::Cancelled);
                drop(place);
                Ok(())
            }));
            ended.unwrap();
        });
    }
}
