//! A supervisor: three workers, each opened again when it fails or panics, until one of them fails too
//! often; then the others are cancelled, and its last errors come back.

use std::sync::Mutex;
use std::time::Duration;

use aionursery::{
    MultiError, Nursery, nursery,
    service::{Restarts, supervise},
};

#[derive(Debug, thiserror::Error)]
#[error("worker {0} is out of beans")]
struct NoBeans(&'static str);

/// Runs a worker that does what `work` does at its first, second and later runs.
async fn worker(
    name: &'static str,
    log: &Mutex<Vec<String>>,
    work: impl Fn(u32) -> Result<(), NoBeans>,
) -> Result<(), NoBeans> {
    let mut runs = 0;
    let ended = supervise(
        Restarts::most(2).within(Duration::from_secs(60)).pause(Duration::from_millis(1)),
        |_: Nursery<'_, NoBeans>| {
            runs += 1;
            let ended = work(runs);
            async move {
                tokio::task::yield_now().await;
                ended
            }
        },
        |errors| log.lock().expect("no thread panics with it").push(format!("{name}: {errors}")),
    )
    .await;
    ended.map_err(|errors: MultiError<NoBeans>| match errors.into_errors() {
        Ok(mut errors) => errors.remove(0),
        Err(errors) => {
            // A panic goes on as one.
            drop(errors.resume_panic());
            NoBeans(name)
        }
    })
}

#[tokio::main]
pub(crate) async fn main() {
    let log = Mutex::new(Vec::new());
    let ended = nursery(async |n: Nursery<'_, NoBeans>| {
        n.named("steady").start_soon(worker("steady", &log, |_| Ok(())));
        n.named("recovers").start_soon(worker("recovers", &log, |run| match run {
            1 => Err(NoBeans("recovers")),
            _ => Ok(()),
        }));
        n.named("broken").start_soon(worker("broken", &log, |_| Err(NoBeans("broken"))));
        n.named("waits").start_plain(std::future::pending::<()>());
        Ok(())
    });
    let error = ended.await.expect_err("one worker fails for good");
    println!("{error}");
    let log = log.into_inner().expect("no thread panics with it");
    println!("{}", log.join("\n"));
    assert_eq!(
        error.to_string(),
        "1 error in a nursery\n└─ child \"broken\": worker broken is out of beans"
    );
    assert_eq!(log.iter().filter(|line| line.starts_with("broken")).count(), 2);
    assert_eq!(log.iter().filter(|line| line.starts_with("recovers")).count(), 1);
}
