//! Children that cannot fail: `start_plain`, `spawn_plain`.
#![cfg(feature = "tokio")]

use std::cell::Cell;
use std::convert::Infallible;

use aionursery::{LocalNursery, Nursery, nursery, nursery_local, yield_now};

#[tokio::test]
async fn a_plain_child_gives_its_output_as_its_value_and_may_borrow() {
    let word = String::from("beans");
    let sum = nursery(async |n: Nursery<'_, Infallible>| {
        let here = n.start_plain(async { word.len() });
        let away = n.spawn_plain(async { 7 });
        Ok(here.value().await + away.value().await)
    });
    assert_eq!(sum.await.unwrap(), 12);
}

#[tokio::test]
async fn r3_plain_children_are_joined_beside_children_that_fail() {
    let done = Cell::new(0);
    let error = nursery_local(async |n: LocalNursery<'_, &str>| {
        n.shielded().start_plain(async {
            yield_now().await;
            done.set(done.get() + 1);
        });
        n.start_soon(async { Err::<(), _>("no beans") });
        Ok(())
    });
    assert_eq!(error.await.unwrap_err().errors().collect::<Vec<_>>(), [&"no beans"]);
    assert_eq!(done.get(), 1);
}

#[tokio::test]
async fn r26_a_plain_childs_panic_is_an_error_with_its_name() {
    for away in [false, true] {
        let error = nursery(async |n: Nursery<'_, Infallible>| {
            let cook = n.named("cook");
            let panics = async {
                if true {
                    panic!("no pot")
                }
            };
            match away {
                true => cook.spawn_plain(panics),
                false => cook.start_plain(panics),
            };
            Ok(())
        });
        let error = error.await.unwrap_err();
        assert_eq!(
            (error[0].name(), error[0].panic().unwrap().message()),
            (Some("cook"), "no pot")
        );
    }
}
