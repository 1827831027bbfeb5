//! Nurseries and scopes need no tokio: the same programs on smol and on futures' executor.

use std::future::{Future, pending};

use aionursery::{CancelScope, End, gather, nursery, race, yield_now};

fn on_each_executor<F: Future<Output = ()>>(program: impl Fn() -> F) {
    futures::executor::block_on(program());
    smol::block_on(program());
    smol::block_on(smol::LocalExecutor::new().run(program()));
}

#[test]
fn r1_r6_children_borrow_run_and_fail_together_on_any_executor() {
    on_each_executor(|| async {
        let text = String::from("beans");
        let error = nursery(async |n| {
            let good = n.start_soon(async {
                yield_now().await;
                Ok(text.len())
            });
            assert_eq!(good.end().await, End::Done(5));
            n.start_soon(pending::<Result<(), &str>>());
            n.start_soon(async { Err::<(), _>("no more") });
            pending::<Result<(), _>>().await
        })
        .await
        .unwrap_err();
        assert_eq!(error.errors().collect::<Vec<_>>(), [&"no more"]);
    });
}

#[test]
fn r13_a_scope_is_cancelled_on_any_executor() {
    on_each_executor(|| async {
        let scope = CancelScope::new();
        let end = scope
            .run(async {
                scope.cancel();
                pending::<()>().await;
            })
            .await;
        assert!(end.is_err());
    });
}

#[test]
fn the_combinators_run_on_any_executor() {
    on_each_executor(|| async {
        let all = gather((0..3).map(|n| async move { Ok::<_, &str>(n) })).await;
        assert_eq!(all.unwrap(), [0, 1, 2]);
        let first = race((0..3).map(|n| async move {
            for _ in 0..n {
                yield_now().await;
            }
            if n == 0 { Err("too early") } else { Ok(n) }
        }))
        .await;
        assert_eq!(first.unwrap(), Some(1));
    });
}

#[test]
fn a_smol_task_on_another_thread_wakes_a_child() {
    smol::block_on(async {
        let (send, receive) = smol::channel::bounded(1);
        let sender = smol::spawn(async move { send.send(7).await.unwrap() });
        let got = nursery(async |n| {
            let child = n.start_soon(async { receive.recv().await });
            Ok(child.value().await)
        })
        .await;
        sender.await;
        assert_eq!(got.unwrap(), 7);
    });
}
