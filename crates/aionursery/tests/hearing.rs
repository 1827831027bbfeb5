//! R18: what hears of a cancellation, and so has the budget from above for it.
#![cfg(feature = "tokio")]

use std::future::{Future, pending};
use std::time::Duration;

use aionursery::{
    Builder, CancelScope, Nursery, cancelled, fail_after, move_on_after, nursery, race, yield_now,
};
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn r18_what_hears_nothing_of_its_own_cancellation_is_not_kept_by_a_budget_from_above() {
    let ended = Builder::new().cleanup(10 * SECOND).nursery(async |n: Nursery<'_, &str>| {
        let start = Instant::now();
        assert!(fail_after(SECOND, pending::<()>()).await.is_err());
        assert_eq!(start.elapsed(), SECOND);
        assert_eq!(move_on_after(SECOND, sleep(5 * SECOND)).await, None);
        assert_eq!(start.elapsed(), 2 * SECOND);
        let hedged = race([(SECOND, 1), (60 * SECOND, 2)].map(|(time, value)| async move {
            sleep(time).await;
            Ok::<_, &str>(value)
        }));
        assert_eq!(hedged.await.unwrap(), Some(1));
        assert_eq!(start.elapsed(), 3 * SECOND);
        let fails = nursery(async |inner: Nursery<'_, &str>| {
            inner.start_soon(pending::<Result<(), _>>());
            inner.spawn(pending::<Result<(), _>>());
            inner.start_soon(async {
                fail_after(60 * SECOND, pending::<()>()).await.map_err(|_| "late")
            });
            inner.start_soon(async {
                sleep(SECOND).await;
                Err::<(), _>("reset by the peer")
            });
            Ok(())
        });
        assert_eq!(fails.await.unwrap_err().errors().count(), 1);
        assert_eq!(start.elapsed(), 4 * SECOND);
        // A cancellation from above brings the budget of what it cancels.
        let child = n.start_soon(async { Ok(fail_after(60 * SECOND, sleep(3 * SECOND)).await) });
        yield_now().await;
        n.cancel();
        assert_eq!(child.value().await, Ok(()));
        assert_eq!(start.elapsed(), 7 * SECOND);
        Ok(())
    });
    ended.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn r18_what_hears_of_a_cancellation_below_a_budget_has_that() {
    async fn cleans(heard: impl Future<Output = ()>) -> &'static str {
        heard.await;
        sleep(2 * SECOND).await;
        "clean"
    }
    let ended = Builder::new().cleanup(5 * SECOND).nursery(async |_: Nursery<'_, &str>| {
        let start = Instant::now();
        assert_eq!(fail_after(SECOND, cleans(cancelled())).await, Ok("clean"));
        assert_eq!(start.elapsed(), 3 * SECOND);
        // In a nursery that stands in it, which is cancelled with it.
        let deep = nursery(async |inner: Nursery<'_, &str>| Ok(cleans(inner.cancelled()).await));
        assert_eq!(fail_after(SECOND, deep).await.unwrap().unwrap(), "clean");
        assert_eq!(start.elapsed(), 6 * SECOND);
        // By looking, and by a handle of the scope.
        let scope = CancelScope::new();
        let looks = async {
            while !scope.is_cancelled() {
                sleep(SECOND * 2 / 5).await;
            }
            cleans(async {}).await
        };
        scope.set_deadline(Instant::now() + SECOND);
        assert_eq!(scope.run(looks).await, Ok("clean"));
        assert_eq!(start.elapsed(), Duration::from_millis(9200));
        // Until the budget is spent.
        let never = async {
            cancelled().await;
            pending::<()>().await
        };
        assert!(fail_after(SECOND, never).await.is_err());
        assert_eq!(start.elapsed(), Duration::from_millis(15_200));
        Ok(())
    });
    ended.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn r18_a_look_from_outside_is_not_to_hear() {
    let ended = Builder::new().cleanup(10 * SECOND).nursery(async |_: Nursery<'_, &str>| {
        let start = Instant::now();
        let looks = async |n: Nursery<'static, &'static str>| {
            let outside = n.clone();
            tokio::spawn(async move { outside.is_cancelled() }).await.unwrap();
            pending::<Result<(), _>>().await
        };
        assert!(fail_after(SECOND, nursery(looks)).await.is_err());
        assert_eq!(start.elapsed(), SECOND);
        let scope = CancelScope::new();
        let outside = scope.clone();
        scope.set_deadline(Instant::now() + SECOND);
        let looked_at = async {
            tokio::spawn(async move { outside.is_cancelled() }).await.unwrap();
            pending::<()>().await;
        };
        assert!(scope.run(looked_at).await.is_err());
        assert_eq!(start.elapsed(), 2 * SECOND);
        Ok(())
    });
    ended.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn r18_a_loop_that_hears_in_each_of_its_rounds_has_the_budget_also_between_two() {
    let ended = Builder::new().cleanup(10 * SECOND).nursery(async |_: Nursery<'_, &str>| {
        let served = fail_after(5 * SECOND, async {
            for served in 0.. {
                tokio::select! {
                    () = cancelled() => return served,
                    () = yield_now() => {}
                }
                // The `cancelled()` of this round has gone, and the next one is still to come.
                sleep(2 * SECOND).await;
            }
            unreachable!("it is cancelled")
        });
        assert_eq!(served.await, Ok(3));
        Ok(())
    });
    ended.await.unwrap();
}
