//! Runs a program with the library, on tokio's paused clock.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aionursery::{Builder, CancelScope, MultiError, OnError};
use tokio::time::{Instant, sleep};

use crate::program::{Act, Child, Event, Nursery, Step};
use crate::{History, history};

type Handle = aionursery::Nursery<'static, usize>;
type Code = Pin<Box<dyn Future<Output = Result<(), usize>> + Send>>;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<(Instant, Event)>>>);

impl Log {
    fn add(&self, event: Event) {
        self.0.lock().unwrap().push((Instant::now(), event));
    }
}

/// Says that a child was dropped, unless it has ended otherwise.
struct Watch(Log, usize, bool);

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.2 {
            self.0.add(Event::Dropped(self.1));
        }
    }
}

pub fn run(program: &Nursery) -> History {
    let log = Log::default();
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(open(&log, 0, program));
    let log = std::mem::take(&mut *log.0.lock().unwrap());
    history(log)
}

/// Returns whether it failed.
async fn open(log: &Log, id: usize, nursery: &Nursery) -> bool {
    let mut builder = Builder::new().shield(nursery.shield);
    if nursery.collect {
        builder = builder.on_error(OnError::Collect);
    }
    if let Some(after) = nursery.deadline {
        builder = builder.deadline(Instant::now() + Duration::from_millis(after));
    }
    let (inside, code) = (log.clone(), nursery.code.clone());
    let ended = builder.nursery(|n: Handle| follow(inside, n, code)).await;
    let shown = ended.as_ref().err().map(|errors: &MultiError<usize>| {
        (errors.errors().copied().collect(), errors.adopted().count())
    });
    log.add(Event::Nursery(id, shown));
    ended.is_err()
}

fn follow(log: Log, n: Handle, code: Vec<Step>) -> Code {
    Box::pin(async move {
        for Step { id, act } in code {
            match act {
                Act::Sleep(time) => {
                    sleep(Duration::from_millis(time)).await;
                    log.add(Event::Slept(id));
                }
                Act::Fail => return Err(id),
                Act::Cancel(time) => {
                    n.cancel();
                    sleep(Duration::from_millis(time)).await;
                    log.add(Event::Slept(id));
                }
                Act::Start(child) => start(&log, &n, id, child),
                Act::Scope { shield, deadline, code } => {
                    let scope = if shield { CancelScope::shield() } else { CancelScope::new() };
                    let scope = match deadline {
                        Some(time) => scope.deadline(Instant::now() + Duration::from_millis(time)),
                        None => scope,
                    };
                    let ended = scope.run(follow(log.clone(), n.clone(), code)).await;
                    let by_itself = ended.is_ok();
                    ended.unwrap_or(Ok(()))?;
                    log.add(Event::Scope(id, by_itself));
                }
                Act::Nursery(nursery) => {
                    if open(&log, id, &nursery).await && nursery.passes_on {
                        return Err(id);
                    }
                }
            }
        }
        Ok(())
    })
}

fn start(log: &Log, n: &Handle, id: usize, child: Child) {
    let Child { spawned, shield, delay, by_hand, code } = child;
    let (inside, handle) = (log.clone(), n.clone());
    let life = async move {
        let mut watch = Watch(inside.clone(), id, false);
        inside.add(Event::Began(id));
        sleep(Duration::from_millis(delay)).await;
        let ended = follow(inside.clone(), handle, code).await;
        watch.2 = true;
        inside.add(if ended.is_ok() { Event::Returned(id) } else { Event::Failed(id) });
        ended
    };
    let starter = if shield { n.shielded() } else { n.clone() };
    let started = if spawned { starter.try_spawn(life) } else { starter.try_start_soon(life) };
    if let (Ok(child), Some(time)) = (started, by_hand) {
        drop(n.try_start_soon(async move {
            sleep(Duration::from_millis(time)).await;
            child.cancel();
            Ok(())
        }));
    }
}
