//! `graceful`: what the program's end by a signal does. A process has its signals once, so there is one
//! test here.
#![cfg(all(unix, feature = "signal"))]

use std::future::pending;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aionursery::{Nursery, cancelled, nursery, service::graceful};

fn send(signal: &str) {
    let own = std::process::id().to_string();
    assert!(Command::new("kill").args([signal, &own]).status().unwrap().success());
}

#[tokio::test]
async fn a_signal_tells_what_runs_and_cuts_off_after_the_grace_what_has_not_ended() {
    static CLEAN: AtomicU32 = AtomicU32::new(0);
    // In time: each has heard it and has ended by itself.
    for (signal, count) in [("-TERM", 1), ("-INT", 2)] {
        let block = nursery(async |n: Nursery<'_, String>| {
            n.spawn_plain(async {
                cancelled().await;
                tokio::task::yield_now().await;
                CLEAN.fetch_add(1, Ordering::SeqCst);
            });
            send(signal);
            cancelled().await;
            Ok("in time")
        });
        let ended = graceful(Duration::from_secs(600), block).await;
        assert_eq!(ended.unwrap().unwrap(), "in time");
        assert_eq!(CLEAN.load(Ordering::SeqCst), count);
    }
    // Not in time.
    let block = nursery(async |n: Nursery<'_, String>| {
        n.spawn(pending::<Result<(), String>>());
        send("-TERM");
        pending::<Result<(), String>>().await
    });
    let late = graceful(Duration::from_millis(1), block).await.unwrap_err();
    assert_eq!(late.cause().reason(), Some("SIGTERM"));
    // Also what never waits, and what was being cancelled before.
    let busy = async {
        send("-TERM");
        let semaphore = tokio::sync::Semaphore::new(1);
        loop {
            drop(semaphore.acquire().await.unwrap());
        }
    };
    assert!(graceful(Duration::from_millis(1), busy).await.is_err());
    let scope = aionursery::CancelScope::new().cleanup(Duration::from_secs(600));
    let cleaning = graceful(Duration::from_millis(1), async {
        scope.cancel();
        cancelled().await;
        send("-TERM");
        pending::<()>().await;
    });
    assert!(scope.run(cleaning).await.unwrap().is_err());
    // Without a signal it is what it runs.
    assert_eq!(graceful(Duration::ZERO, async { 7 }).await.unwrap(), 7);
}
