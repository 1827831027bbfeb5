//! Futures that are pinned in one place and polled in another: in a scope that they outlive, in a
//! `block_on` amid a child. No task waits for ever (R12, R13, R21).

#[path = "common/cancelled_child.rs"]
mod cancelled_child;

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::mpsc;
use std::task::Poll;
use std::time::Duration;

use aionursery::{
    CancelScope, Child, End, LocalNursery, Nursery, error::Source, fail_after, move_on_after,
    nursery, nursery_local, shield, yield_now,
};
use cancelled_child::cancelled_child;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::runtime::{Builder, Handle};
use tokio::task::{LocalSet, block_in_place};

type Open = Nursery<'static, &'static str>;

const SECOND: Duration = Duration::from_secs(1);

fn endless() -> impl Future<Output = Result<(), aionursery::MultiError<&'static str>>> + Send {
    nursery(async |n: Nursery<'_, &'static str>| {
        n.start_soon(pending::<Result<(), _>>());
        pending().await
    })
}

#[tokio::test(start_paused = true)]
async fn r21_a_nursery_that_was_cancelled_with_the_scope_it_was_polled_in_says_so_afterwards() {
    let mut block = pin!(endless());
    assert!(move_on_after(SECOND, &mut block).await.is_none());
    let error = block.await.unwrap_err();
    assert!(error.is_cancelled());
    assert_eq!(error.cause().unwrap().source(), Source::Deadline);
}

#[tokio::test(start_paused = true)]
async fn r21_a_scope_that_was_cancelled_with_the_one_it_was_polled_in_says_so_afterwards() {
    let inner = CancelScope::new();
    let mut runs = pin!(inner.run(pending::<()>()));
    let outer = CancelScope::new();
    let ended = outer.run(async {
        assert!(move_on_after(SECOND, &mut runs).await.is_none());
        outer.cancel_with("enough");
        pending::<()>().await
    });
    assert_eq!(ended.await.unwrap_err().cause().reason(), Some("enough"));
    // Both have reached it; the outermost counts, as ever.
    assert_eq!(runs.await.unwrap_err().cause().reason(), Some("enough"));
}

#[tokio::test(start_paused = true)]
async fn r13_a_task_that_polls_elsewhere_what_was_cancelled_with_another_scope_is_not_ended_for_it()
{
    let ended = nursery(async |n: Nursery<'_, &str>| {
        let child = n.start_soon(async {
            let mut block = pin!(endless());
            let mut waits = 0;
            let error = loop {
                match move_on_after(SECOND, &mut block).await {
                    Some(ended) => break ended.unwrap_err(),
                    None => waits += 1,
                }
            };
            assert!(error.is_cancelled());
            yield_now().await;
            Ok(waits)
        });
        Ok(child.value().await)
    });
    assert_eq!(ended.await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn r12_what_outlives_the_scope_it_was_first_polled_in_is_cancelled_by_the_one_around_both() {
    let ended = fail_after(10 * SECOND, async {
        let mut block = pin!(endless());
        {
            let mut tried = pin!(fail_after(SECOND, &mut block));
            assert!(futures::poll!(&mut tried).is_pending());
        }
        // A second passes, and nothing is cancelled.
        tokio::time::sleep(2 * SECOND).await;
        block.await
    });
    let before = tokio::time::Instant::now();
    assert!(ended.await.is_err());
    assert_eq!(before.elapsed(), 10 * SECOND);
}

#[tokio::test]
async fn r19_a_task_that_awaits_a_failed_child_beside_a_shield_is_ended_when_that_has_fallen() {
    let mut saved = false;
    let error = nursery(async |n: Nursery<'_, &str>| {
        let fails = n.start_soon(async { Err::<(), _>("failed") });
        let save = shield(async {
            for _ in 0..100 {
                yield_now().await;
            }
            saved = true;
        });
        let _ = futures::join!(fails.value(), save);
        Ok("it has awaited the value of a child that has none")
    });
    let error = error.await.unwrap_err();
    assert_eq!(error.errors().collect::<Vec<_>>(), [&"failed"]);
    assert_eq!(error.len(), 1);
    assert!(saved);
}

#[tokio::test]
async fn r13_nurseries_in_a_queue_of_futures_are_taken_along_without_a_word() {
    let mut heard = 0;
    nursery(async |n: Nursery<'_, &str>| {
        n.start_soon(async {
            let mut queue: FuturesUnordered<_> = (0..100).map(|_| endless()).collect();
            while queue.next().await.is_some() {
                heard += 1;
            }
            Ok(())
        });
        yield_now().await;
        n.cancel();
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(heard, 0);
}

/// Runs a program on its own threads, and gives it a minute.
fn within_a_minute<T: Send + 'static>(program: impl Future<Output = T> + Send + 'static) -> T {
    let (say, hear) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        say.send(runtime.block_on(program)).unwrap();
    });
    hear.recv_timeout(Duration::from_secs(60)).expect("it does not wait for ever")
}

/// The error of what runs in a `block_on` amid a child of the nursery that it is given, and that
/// it cancels.
fn error_amid_a_child<T, X, F>(inner: impl FnOnce(Open) -> F + Send + 'static) -> String
where
    F: Future<Output = Result<T, X>>,
    X: Display,
{
    let (say, hear) = mpsc::channel();
    let ended = within_a_minute(nursery(async move |n: Open| {
        let outer = n.clone();
        n.spawn(async move {
            let ended = block_in_place(|| Handle::current().block_on(inner(outer)));
            say.send(ended.err().unwrap().to_string()).unwrap();
            Ok(())
        });
        Ok(())
    }));
    assert_eq!(ended.map_err(|error| error.to_string()), Ok(()));
    hear.recv().unwrap()
}

#[test]
fn r12_a_nursery_in_a_block_on_amid_a_cancelled_child_ends() {
    let error = error_amid_a_child(|outer| {
        nursery(async move |inner: Nursery<'_, &'static str>| {
            inner.start_soon(pending::<Result<(), _>>());
            outer.cancel_with("enough");
            pending::<Result<(), _>>().await
        })
    });
    assert_eq!(error, "nursery cancelled: by request: enough");
}

#[test]
fn r12_a_scope_in_a_block_on_amid_a_cancelled_child_ends() {
    let error = error_amid_a_child(|outer| {
        fail_after(100 * SECOND, async move {
            outer.cancel_with("enough");
            fail_after(200 * SECOND, pending::<()>()).await
        })
    });
    assert_eq!(error, "cancelled: by request: enough");
}

#[test]
fn r26_a_child_without_a_value_in_a_block_on_amid_another_makes_that_one_panic() {
    let error = within_a_minute(nursery(async |n: Open| {
        let (awaited, is_awaited) = tokio::sync::oneshot::channel();
        let fails = n.spawn(async {
            let _ = is_awaited.await;
            Err::<(), _>("failed")
        });
        n.spawn(async move {
            let wait = async {
                awaited.send(()).unwrap();
                fails.value().await;
                Ok(())
            };
            block_in_place(|| Handle::current().block_on(wait))
        });
        Ok(())
    }));
    let error = error.unwrap_err();
    assert_eq!(error.errors().collect::<Vec<_>>(), [&"failed"]);
    assert!(
        error.panics().next().unwrap().message().ends_with("await the child itself for its end")
    );
    assert_eq!(error.len(), 2);
}

#[test]
fn r12_a_nursery_in_a_block_on_ends_although_others_beside_it_are_stopped() {
    let error = error_amid_a_child(|outer| async move {
        let taken = nursery(async move |_: Nursery<'_, &'static str>| {
            outer.cancel_with("enough");
            pending::<Result<(), _>>().await
        });
        let others = aionursery::Builder::new().shield(true).nursery(async |n: Open| {
            for _ in 0..100 {
                let awaited = cancelled_child(&n).await;
                let awaits = async {
                    awaited.value().await;
                    Ok(())
                };
                assert_eq!(n.start_soon(awaits).end().await, End::Cancelled);
            }
            Ok(())
        });
        let (taken, others) = futures::join!(taken, others);
        others.unwrap();
        taken
    });
    assert_eq!(error, "nursery cancelled: by request: enough");
}

/// Runs `all` in a child, with another that has no value, for which `all` waits.
async fn await_in_vain<F: Future>(all: impl FnOnce(Child<(), &'static str>, Calm) -> F) {
    let (calm, passed) = (Calm::default(), Cell::new(false));
    nursery_local(async |n: LocalNursery<'_, &str>| {
        let runs = all(cancelled_child(&n).await, calm.clone());
        let awaits = n.start_soon(async {
            runs.await;
            passed.set(true);
            Ok(())
        });
        assert_eq!(awaits.end().await, End::Cancelled);
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!((calm.0.get(), passed.get()), (true, false));
}

/// Whether what it stood in was dropped, and not in a panic.
#[derive(Clone, Default)]
struct Calm(Rc<Cell<bool>>);

impl Drop for Calm {
    fn drop(&mut self) {
        self.0.set(!std::thread::panicking());
    }
}

#[tokio::test]
async fn r13_a_task_that_awaits_a_cancelled_child_in_a_local_set_is_ended() {
    await_in_vain(async |child, calm| {
        let set = LocalSet::new();
        set.spawn_local(async move {
            let _calm = calm;
            child.value().await
        });
        set.await;
    })
    .await;
}

#[tokio::test]
async fn r13_a_task_that_awaits_a_cancelled_child_in_an_executor_of_its_own_is_ended() {
    await_in_vain(async |child, calm| {
        let executor = smol::LocalExecutor::new();
        let task = executor.spawn(async move {
            let _calm = calm;
            child.value().await
        });
        executor.run(task).await
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn r19_a_shield_that_cannot_go_on_ends_the_task_that_awaits_it_wherever_that_is() {
    nursery(async |n: Nursery<'_, &str>| {
        let awaited = cancelled_child(&n).await;
        let awaits = n.start_soon(async {
            let mut stuck = pin!(shield(awaited.value()));
            let first = move_on_after(SECOND, async { futures::poll!(&mut stuck) }).await;
            assert!(first.unwrap().is_pending());
            stuck.await;
            Ok(())
        });
        assert_eq!(awaits.end().await, End::Cancelled);
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn r13_any_number_of_children_may_look_at_one_that_has_nothing_to_give() {
    let looks = nursery_local(async |n: LocalNursery<'_, &str>| {
        let awaited = RefCell::new(Box::pin(cancelled_child(&n).await.value()));
        let inner = nursery_local(async |n: LocalNursery<'_, &str>| {
            let mut looks = 0;
            for _ in 0..10_000 {
                let look = poll_fn(|cx| {
                    Poll::Ready(Ok(awaited.borrow_mut().as_mut().poll(cx).is_pending()))
                });
                looks += usize::from(n.start_soon(look).value().await);
            }
            Ok(looks)
        });
        Ok(inner.await.unwrap())
    });
    assert_eq!(looks.await.unwrap(), 10_000);
}
