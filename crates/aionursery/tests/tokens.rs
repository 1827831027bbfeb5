//! `CancellationToken` both ways: what a nursery or a scope tells a token, and hears of one.

use std::future::{Future, pending};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Wake, Waker};

use aionursery::{CancelScope, Nursery, fail_after, nursery, shield, yield_now};
use tokio::time::Duration;
use tokio_util::sync::CancellationToken;

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn r11_a_nursery_is_cancelled_by_a_token_that_another_task_cancels() {
    let (token, other) = (CancellationToken::new(), CancellationToken::new());
    let stop = token.clone();
    let error = nursery(async |n: Nursery<'_, &str>| {
        n.cancel_on(&other);
        n.cancel_on(&token);
        tokio::spawn(async move { stop.cancel() });
        n.start_soon(pending::<Result<(), _>>()).value().await;
        Ok(())
    });
    let error = error.await.unwrap_err();
    assert_eq!(error.cause().unwrap().reason(), Some("its token was cancelled"));
    assert!(!other.is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn r11_a_scope_is_cancelled_by_a_token_whenever_that_is_told_to_it() {
    let token = CancellationToken::new();
    let before = CancelScope::new();
    before.cancel_on(&token);
    let inside = CancelScope::new();
    let later = CancelScope::new();
    let (before_ends, inside_ends, later_ends) = tokio::join!(
        before.run(pending::<()>()),
        inside.run(async {
            inside.cancel_on(&token);
            pending::<()>().await
        }),
        later.run(async {
            yield_now().await;
            later.cancel_on(&token);
            let stop = token.clone();
            tokio::spawn(async move { stop.cancel() });
            pending::<()>().await
        }),
    );
    for end in [before_ends, inside_ends, later_ends] {
        assert_eq!(end.unwrap_err().cause().reason(), Some("its token was cancelled"));
    }
    let mut ran = false;
    assert!(before.run(async { ran = true }).await.is_err());
    assert!(!ran);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_cancelled_with_its_scope_however_that_comes() {
    let by_hand = CancelScope::new();
    let first = by_hand.token();
    by_hand.cancel();
    assert!(first.is_cancelled() && by_hand.token().is_cancelled());

    let by_time = CancelScope::new().deadline(tokio::time::Instant::now() + MINUTE);
    let before = by_time.token();
    let end = by_time.run(async {
        let inside = by_time.token();
        assert!(!before.is_cancelled() && !inside.is_cancelled());
        shield(inside.cancelled()).await;
        pending::<()>().await
    });
    assert!(end.await.is_err());
    assert!(before.is_cancelled() && by_time.token().is_cancelled());

    let from_outside = CancelScope::new();
    let token = from_outside.token();
    let outer = fail_after(MINUTE, from_outside.run(pending::<()>())).await;
    assert!(outer.is_err() && token.is_cancelled());
    assert!(!from_outside.is_cancelled() && !from_outside.token().is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_cancelled_cancels_neither_its_scope_nor_other_tokens_of_it() {
    let scope = CancelScope::new();
    let (one, other) = (scope.token(), scope.token());
    one.cancel();
    assert!(!other.is_cancelled() && !scope.is_cancelled());
    nursery(async |n: Nursery<'_, ()>| {
        n.token().cancel();
        assert!(!n.token().is_cancelled() && !n.is_cancelled());
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn r12_a_token_that_is_cancelled_already_cancels_before_the_next_await() {
    let token = CancellationToken::new();
    token.cancel();
    let mut went_on = false;
    let ended = nursery(async |n| {
        n.cancel_on(&token);
        assert!(n.is_cancelled());
        tokio::task::yield_now().await;
        went_on = true;
        Ok::<_, String>(())
    })
    .await;
    assert!(ended.unwrap_err().is_cancelled());
    let scope = CancelScope::new();
    let ran = scope.run(async {
        scope.cancel_on(&token);
        assert!(scope.is_cancelled());
        tokio::task::yield_now().await;
    });
    assert!(ran.await.is_err());
    assert!(!went_on);
}

#[test]
fn r11_a_scope_says_that_its_token_was_cancelled_also_while_nothing_runs_in_it() {
    let (token, scope) = (CancellationToken::new(), CancelScope::new());
    scope.cancel_on(&token);
    assert!(!scope.is_cancelled() && scope.cause().is_none() && !scope.token().is_cancelled());
    token.cancel();
    assert!(scope.is_cancelled() && scope.token().is_cancelled());
    assert_eq!(scope.cause().unwrap().reason(), Some("its token was cancelled"));
}

#[tokio::test]
async fn r11_a_nursery_says_at_once_that_its_token_was_cancelled() {
    let token = CancellationToken::new();
    let ended = nursery(async |n: Nursery<'_, &str>| {
        n.cancel_on(&token);
        assert!(!n.is_cancelled());
        token.cancel();
        assert!(n.is_cancelled());
        assert_eq!(n.cause().unwrap().reason(), Some("its token was cancelled"));
        pending::<Result<(), _>>().await
    });
    assert!(ended.await.unwrap_err().is_cancelled());
}

#[test]
fn r11_a_nursery_says_that_its_token_was_cancelled_also_while_it_looks_at_its_tokens() {
    /// A waker that cancels a token, and asks the nursery, when its last clone goes.
    struct Last {
        asked: Nursery<'static, String>,
        stop: CancellationToken,
        said: Arc<Mutex<Option<bool>>>,
    }
    impl Wake for Last {
        fn wake(self: Arc<Self>) {}
    }
    impl Drop for Last {
        fn drop(&mut self) {
            self.stop.cancel();
            *self.said.lock().unwrap() = Some(self.asked.is_cancelled());
        }
    }
    let (stop, other) = (CancellationToken::new(), CancellationToken::new());
    let handle = OnceLock::new();
    let mut block = Box::pin(nursery(async |n: Nursery<'static, String>| {
        n.cancel_on(&stop);
        n.cancel_on(&other);
        handle.set(n).unwrap();
        pending::<Result<(), _>>().await
    }));
    let mut poll = |waker: &Waker| block.as_mut().poll(&mut Context::from_waker(waker));
    assert!(poll(Waker::noop()).is_pending());
    let said = Arc::new(Mutex::new(None));
    let last =
        Last { asked: handle.get().unwrap().clone(), stop: stop.clone(), said: said.clone() };
    let last = Waker::from(Arc::new(last));
    assert!(poll(&last).is_pending());
    drop(last);
    assert_eq!(*said.lock().unwrap(), None, "its clones are where the nursery waits");
    // The other token has the last of them, and lets go of it while the nursery looks at both.
    let _ = poll(Waker::noop());
    assert_eq!(*said.lock().unwrap(), Some(true));
}
