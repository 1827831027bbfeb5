//! Owns the fixed program whose instructions are counted: `hot_paths NAME=COUNT ...`, for
//! `benches/instructions.py`. `--available` gives the names.
//!
//! Always the same work in the same order, on one thread. Must never count anything itself, nor
//! wait for time to pass.

use std::collections::HashMap;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use aionursery::{
    Builder, CancelScope, Child, Nursery, OnError, as_completed, fail_after, nursery, shield,
    yield_now,
};
use futures::future::join_all;
use futures::join;

type Open = Nursery<'static, ()>;
type Run = Pin<Box<dyn Future<Output = ()>>>;

/// Children a nursery, where their number does not matter.
const BATCH: usize = 100;
const FAR: Duration = Duration::from_secs(3600);

async fn returns() -> Result<(), ()> {
    Ok(())
}

async fn yields() -> Result<(), ()> {
    yield_now().await;
    Ok(())
}

async fn never() -> Result<(), ()> {
    pending().await
}

/// As many children as asked for, a batch a nursery.
async fn batches(count: usize, body: impl AsyncFn(&Open) -> Result<(), ()>) {
    for _ in 0..count / BATCH {
        nursery(async |n: Open| body(&n).await).await.unwrap();
    }
}

type Nested = Pin<Box<dyn Future<Output = ()> + Send>>;

/// So many levels.
fn nested(levels: usize) -> Nested {
    Box::pin(async move {
        if levels > 0 {
            let body = async move |n: Open| {
                n.spawn(async move {
                    nested(levels - 1).await;
                    Ok(())
                });
                Ok(())
            };
            nursery(body).await.unwrap();
        }
    })
}

macro_rules! paths {
    ($($name:ident($count:ident) $run:block)*) => {
        $(fn $name($count: usize) -> Run {
            Box::pin(async move { $run })
        })*
        const PATHS: &[(&str, fn(usize) -> Run)] = &[$((stringify!($name), $name)),*];
    };
}

paths! {
    child_returns_at_once(count) {
        batches(count, async |n| {
            (0..BATCH).for_each(|_| drop(n.start_soon(returns())));
            Ok(())
        }).await;
    }
    child_yields_once(count) {
        batches(count, async |n| {
            (0..BATCH).for_each(|_| drop(n.start_soon(yields())));
            Ok(())
        }).await;
    }
    child_is_awaited(count) {
        batches(count, async |n| {
            for child in (0..BATCH).map(|_| n.start_soon(yields())).collect::<Vec<_>>() {
                child.value().await;
            }
            Ok(())
        }).await;
    }
    spawned_child_returns_at_once(count) {
        batches(count, async |n| {
            (0..BATCH).for_each(|_| drop(n.spawn(returns())));
            Ok(())
        }).await;
    }
    spawned_child_yields_once(count) {
        batches(count, async |n| {
            (0..BATCH).for_each(|_| drop(n.spawn(yields())));
            Ok(())
        }).await;
    }
    spawned_child_is_awaited(count) {
        batches(count, async |n| {
            for child in (0..BATCH).map(|_| n.spawn(yields())).collect::<Vec<_>>() {
                child.value().await;
            }
            Ok(())
        }).await;
    }
    nursery_without_children(count) {
        for _ in 0..count {
            nursery(async |_: Open| Ok(())).await.unwrap();
        }
    }
    nursery_with_one_spawned_child(count) {
        for _ in 0..count {
            nursery(async |n: Open| {
                drop(n.spawn(returns()));
                Ok(())
            }).await.unwrap();
        }
    }
    nested_nurseries_each_in_a_spawned_child(count) {
        for _ in 0..count / BATCH {
            nested(BATCH).await;
        }
    }
    nursery_whose_body_waits_often(count) {
        nursery(async |_: Open| {
            for _ in 0..count {
                tokio::task::yield_now().await;
            }
            Ok(())
        }).await.unwrap();
    }
    nursery_with_one_child(count) {
        for _ in 0..count {
            nursery(async |n: Open| {
                n.start_soon(yields()).value().await;
                Ok(())
            }).await.unwrap();
        }
    }
    fail_after_what_is_ready(count) {
        for _ in 0..count {
            fail_after(FAR, returns()).await.unwrap().unwrap();
        }
    }
    fail_after_in_time(count) {
        for _ in 0..count {
            fail_after(FAR, yields()).await.unwrap().unwrap();
        }
    }
    shield_in_a_nursery(count) {
        nursery(async |_: Open| {
            for _ in 0..count {
                shield(yields()).await?;
            }
            Ok(())
        }).await.unwrap();
    }

    // All in one nursery: what grows faster than their number is over its limit.
    of_many_cancelled_at_once(count) {
        nursery(async |n: Open| {
            (0..count).for_each(|_| drop(n.start_soon(never())));
            yield_now().await;
            n.cancel();
            Ok(())
        }).await.unwrap();
    }
    of_many_cancelled_one_by_one(count) {
        nursery(async |n: Open| {
            let children: Vec<_> = (0..count).map(|_| n.start_soon(never())).collect();
            yield_now().await;
            children.iter().rev().for_each(Child::cancel);
            Ok(())
        }).await.unwrap();
    }
    of_many_spawned_and_cancelled(count) {
        nursery(async |n: Open| {
            (0..count).for_each(|_| drop(n.spawn(never())));
            tokio::task::yield_now().await;
            n.cancel();
            Ok(())
        }).await.unwrap();
    }
    of_many_under_a_limit(count) {
        Builder::new().limit(10).nursery(async |n: Open| {
            (0..count).for_each(|_| drop(n.start_soon(yields())));
            Ok(())
        }).await.unwrap();
    }
    of_many_that_use_up_the_budget(count) {
        nursery(async |n: Open| {
            for _ in 0..count / 2 {
                let again = n.clone();
                drop(n.start_soon(async move {
                    tokio::task::coop::consume_budget().await;
                    drop(again.start_soon(returns()));
                    Ok(())
                }));
            }
            Ok(())
        }).await.unwrap();
    }
    of_many_whose_errors_are_collected(count) {
        let ended = Builder::new().on_error(OnError::Collect).nursery(async |n: Open| {
            (0..count).for_each(|_| drop(n.start_soon(async { Err::<(), _>(()) })));
            Ok(())
        });
        assert_eq!(ended.await.unwrap_err().len(), count);
    }
    of_many_read_as_they_end(count) {
        nursery(async |n: Open| {
            let mut ends = as_completed((0..count).map(|_| n.start_soon(yields())));
            while let Some(end) = ends.next().await {
                end.unwrap();
            }
            Ok(())
        }).await.unwrap();
    }
    of_many_shields_in_a_cancelled_scope(count) {
        let scope = CancelScope::new();
        let cancel = scope.clone();
        let shields = join_all((0..count).map(|_| shield(yields())));
        let ended = scope.run(async move { join!(shields, async { cancel.cancel() }).0 }).await;
        assert!(ended.is_ok_and(|ended| ended.len() == count));
    }
    of_many_nurseries_in_a_cancelled_scope(count) {
        let scope = CancelScope::new();
        let cancel = scope.clone();
        let begun = AtomicUsize::new(0);
        let one = async || {
            begun.fetch_add(1, Relaxed);
            let ended = nursery(async |n: Open| {
                n.spawn(never());
                Ok(())
            }).await;
            ended.map_err(drop)
        };
        let ended = scope.run(nursery(async |n: Nursery<'_, ()>| {
            (0..count).for_each(|_| drop(n.start_soon(one())));
            while begun.load(Relaxed) < count {
                yield_now().await;
            }
            cancel.cancel();
            Ok(())
        })).await;
        assert!(ended.is_err());
    }
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if arguments == ["--available"] {
        PATHS.iter().for_each(|(name, _)| println!("{name}"));
        return;
    }
    let paths: HashMap<_, _> = PATHS.iter().copied().collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    // What `cargo bench` adds is no path.
    for (name, count) in arguments.iter().filter_map(|argument| argument.split_once('=')) {
        runtime.block_on(paths[name](count.parse().expect("a path's count is a number")));
    }
}
