//! What a dropped nursery leaves to the one above (R28).

use super::*;

#[test]
fn r28_what_a_dropped_nursery_spawned_is_waited_for_by_the_one_above() {
    model(3, || {
        let dropped = Witness::new();
        run(async |_: Handle| {
            let end = OnDrop(dropped.clone());
            let mut inner = Box::pin(nursery(async move |n: Handle| {
                n.spawn(forever_with(end));
                forever().await
            }));
            begin(inner.as_mut()).await;
            drop(inner);
            Ok(())
        });
        assert_eq!(dropped.read(), 1);
    });
}

#[test]
fn r28_the_nursery_above_the_one_above_adopts_if_that_has_gone_too() {
    model(2, || {
        let dropped = Witness::new();
        run(async |_: Handle| {
            let end = OnDrop(dropped.clone());
            let mut middle = Box::pin(nursery(async move |_: Handle| {
                nursery(async move |n: Handle| {
                    n.spawn(forever_with(end));
                    forever().await
                })
                .await
                .map_err(|_| "inner")
            }));
            begin(middle.as_mut()).await;
            drop(middle);
            Ok(())
        });
        assert_eq!(dropped.read(), 1);
    });
}

#[test]
fn r28_a_child_that_returns_while_its_nursery_is_dropped_is_counted_once() {
    model(2, || {
        let done = Witness::new();
        run(async |_: Handle| {
            let end = OnDrop(done.clone());
            let mut inner = Box::pin(nursery(async move |n: Handle| {
                n.spawn(async move {
                    drop(end);
                    Ok(())
                });
                forever().await
            }));
            begin(inner.as_mut()).await;
            drop(inner);
            Ok(())
        });
        assert_eq!(done.read(), 1);
    });
}

async fn dropped_with_a_child_that_fails() -> usize {
    let mut inner = Box::pin(nursery(async |n: Handle| {
        n.shielded().spawn(async { Err::<(), _>("late") });
        forever().await
    }));
    poll_fn(|cx| match inner.as_mut().poll(cx) {
        Poll::Ready(ended) => Poll::Ready(ended.unwrap_err().len()),
        Poll::Pending => Poll::Ready(0),
    })
    .await
}

/// That and what came back from above are one error, whichever way it went (R7).

fn is_reported_once(seen: &Witness, ended: Result<(), crate::MultiError<&'static str>>) {
    let above = ended.map_or_else(|error| error.adopted().count(), |()| 0);
    assert_eq!(seen.read() + above, 1);
}

#[test]
fn r7_r28_the_error_of_what_was_adopted_wakes_the_nursery_that_adopted_it() {
    model(3, || {
        let seen = Witness::new();
        let ended = block_on(nursery(async |_: Handle| {
            for _ in 0..dropped_with_a_child_that_fails().await {
                seen.add();
            }
            Ok(())
        }));
        is_reported_once(&seen, ended);
    });
}

#[test]
fn r7_r28_what_was_adopted_by_a_nursery_that_is_dropped_too_reaches_the_next_one() {
    model(3, || {
        let seen = Witness::new();
        let ended = block_on(nursery(async |_: Handle| {
            let mut middle = Box::pin(nursery(async |_: Handle| {
                for _ in 0..dropped_with_a_child_that_fails().await {
                    seen.add();
                }
                forever().await
            }));
            begin(middle.as_mut()).await;
            drop(middle);
            Ok(())
        }));
        is_reported_once(&seen, ended);
    });
}
