//! R6 to R8, R26: what fails, what panics, and where that goes.

use std::cell::Cell;
use std::future::pending;
use std::sync::Arc;

use aionursery::{
    Builder, End, MultiError, Nursery, OnError, error::Source, nursery, nursery_local, yield_now,
};

fn texts(error: &MultiError<&'static str>) -> Vec<&'static str> {
    error.errors().copied().collect()
}

#[tokio::test]
async fn r6_the_first_failure_cancels_siblings_and_body() {
    let alive = Arc::new(());
    let error = nursery(async |n| {
        let one = alive.clone();
        n.start_soon(async move {
            let _one = one;
            pending::<Result<(), _>>().await
        });
        let one = alive.clone();
        n.spawn(async move {
            let _one = one;
            pending::<Result<(), _>>().await
        });
        n.named("bad").start_soon(async {
            yield_now().await;
            Err::<(), _>("beans")
        });
        pending::<Result<(), _>>().await
    })
    .await
    .unwrap_err();
    assert_eq!(Arc::strong_count(&alive), 1);
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
                n.start_soon(async move {
                    for _ in 0..turns {
                        yield_now().await;
                    }
                    Err::<(), _>(text)
                });
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
        child.value().await;
        Ok(())
    })
    .await
    .unwrap_err();
    assert_eq!(texts(&error), ["once"]);
    let error = Builder::new()
        .on_error(OnError::Collect)
        .nursery(async |n| {
            let ended = n.start_soon(async { Err::<(), _>("once") }).await;
            ended.map_err(|error| error.into_error().unwrap())
        })
        .await
        .unwrap_err();
    assert_eq!(texts(&error), ["once"]);
}

#[tokio::test]
async fn r7_an_error_that_was_handed_over_belongs_to_the_task_that_awaited_it() {
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
            n.start_soon(async {
                let _bomb = Bomb;
                pending::<Result<(), _>>().await
            });
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
        n.named("nested").start_soon(async { inner().await.map_err(|error| error.to_string()) });
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
        n.start_soon(async { Err::<(), _>(anyhow::anyhow!("any")) });
        Ok(())
    })
    .await
    .unwrap_err();
    assert_eq!(error[0].to_string(), "child 1: any");
    // A reporter cannot look into a part, which may be no error: so each part shows its chain, in the tree and alone.
    let error = nursery(async |_| {
        Err::<(), _>(anyhow::Error::from(Typed).context("in the kitchen").context("no coffee"))
    })
    .await
    .unwrap_err();
    assert_eq!(error[0].to_string(), "body: no coffee: in the kitchen: a typed error");
    assert_eq!(
        anyhow::Error::from(error).to_string(),
        "1 error in a nursery\n└─ body: no coffee: in the kitchen: a typed error"
    );
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
async fn r26_errors_come_by_value_only_if_no_panic_and_no_cancellation_goes_unseen_with_them() {
    let of = |which: &'static str| {
        Builder::new().on_error(OnError::Collect).nursery(async move |n: Nursery<'_, &str>| {
            n.start_soon(async { Err::<(), _>("child") });
            match which {
                "panic" => panic!("no pot"),
                _ => Err::<(), _>("body"),
            }
        })
    };
    let errors = of("none").await.unwrap_err();
    assert_eq!(errors.first().unwrap().id(), 0);
    assert_eq!(errors.into_errors().unwrap(), ["body", "child"]);
    assert_eq!(of("panic").await.unwrap_err().into_errors().unwrap_err().panics().count(), 1);
    let cancelled = nursery(async |n: Nursery<'_, &str>| {
        n.cancel();
        pending::<Result<(), _>>().await
    });
    let cancelled = cancelled.await.unwrap_err();
    assert!(cancelled.first().is_none());
    assert!(cancelled.into_errors().unwrap_err().is_cancelled());
}

#[tokio::test]
async fn r16_awaiting_the_value_of_a_child_that_was_cancelled_ends_the_child_that_awaits_it() {
    let reached = Cell::new(false);
    nursery_local(async |n| {
        let child = n.start_soon(pending::<Result<(), &str>>());
        child.cancel();
        let reached = &reached;
        let awaiting = n.start_soon(async move {
            child.value().await;
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
async fn r19_a_failing_shielded_child_is_an_error_like_any_other() {
    let error = nursery(async |n| {
        n.shielded().start_soon(async {
            yield_now().await;
            Err::<(), _>("payment")
        });
        Err::<(), _>("sms")
    })
    .await
    .unwrap_err();
    assert_eq!(texts(&error), ["sms", "payment"]);
}

#[tokio::test]
async fn r26_a_panic_is_an_error_with_its_payload_wherever_it_happens() {
    for which in ["here", "away", "blocking", "body"] {
        let error = nursery(async |n: Nursery<'_, &str>| {
            n.start_soon(async move {
                assert!(which != "here", "{which}");
                Ok(())
            });
            n.spawn(async move {
                assert!(which != "away", "{which}");
                Ok(())
            });
            n.spawn_blocking(move || {
                assert!(which != "blocking", "{which}");
                Ok(())
            });
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
    aionursery::error::record_panic_locations();
    let error = nursery(async |n: Nursery<'_, &str>| {
        n.start_soon(async { if true { panic!("here") } else { Ok(()) } });
        Ok(())
    })
    .await
    .unwrap_err();
    assert!(error.panics().next().unwrap().location().unwrap().contains("tests/errors.rs:"));
}

#[tokio::test]
async fn r8_an_error_is_shown_with_the_name_of_its_nursery_and_as_a_tree_by_main_too() {
    #[derive(Debug)]
    struct NoBeans;
    let kitchen = Builder::new().name("kitchen");
    let error = kitchen.nursery(async |_| Err::<(), _>(NoBeans)).await.unwrap_err();
    assert_eq!(format!("{error:?}"), "1 error in nursery \"kitchen\"\n└─ body: NoBeans");
    assert!(format!("{error:#?}").starts_with("MultiError {"));

    let error = Builder::new().name("kitchen").on_error(OnError::Collect).nursery(async |n| {
        n.named("cook").start_soon(async { Err::<(), _>("no beans") });
        n.start_soon(async { if true { panic!("no pot") } else { Ok(()) } });
        Ok(())
    });
    let error = error.await.unwrap_err();
    let first = "2 errors in nursery \"kitchen\"\n├─ child \"cook\": ";
    let (text, main) = (error.to_string(), format!("{error:?}"));
    // Another test of this process may have places recorded, which come after that.
    assert!(text.starts_with(&format!("{first}no beans\n└─ child 2: panicked: no pot")), "{text}");
    assert!(
        main.starts_with(&format!("{first}\"no beans\"\n└─ child 2: panicked: no pot")),
        "{main}"
    );

    let error = Builder::new().name("kitchen").nursery(async |n| {
        n.cancel_with("closing time");
        pending::<Result<(), &str>>().await
    });
    let error = error.await.unwrap_err();
    assert_eq!(error.to_string(), "nursery \"kitchen\" cancelled: by request: closing time");
}
