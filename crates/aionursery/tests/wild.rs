//! R3, R12, R28, R29 over random programs of everything at once, on tokio: no task waits for ever,
//! nothing is left, and nothing panics but what is told to. `WILD=100000 cargo test --test wild`
//! runs so many programs.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::{Duration, Instant};

use aionursery::{
    Builder, CancelScope, Child, Nursery, OnError, as_completed, cancelled, dump::dump,
    error::on_lost_error, fail_after, gather, move_on_after, nursery, race, shield, yield_now,
};
use futures::StreamExt;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use tokio::runtime::{self, Handle};
use tokio::task::block_in_place;

type Open = Nursery<'static, String>;
type Program = Pin<Box<dyn Future<Output = Result<u32, String>> + Send>>;

const TOLD: &str = "told to panic";

/// Xorshift: the same programs on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 11) % end
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    fn fork(&mut self) -> Self {
        Self(self.next() | 1)
    }

    fn moment(&mut self) -> Duration {
        Duration::from_micros(self.below(3000))
    }
}

/// Where a program stands.
#[derive(Clone)]
struct Place {
    scopes: Arc<[CancelScope; 3]>,
    around: Vec<Open>,
    /// A worker of the runtime runs it, on no other's stack: tokio loses wake-ups where one
    /// `block_on` stands in another on one thread.
    may_block: bool,
    depth: u32,
    /// Counted: one for each program that has not gone.
    #[expect(dead_code, reason = "only its clones count")]
    alive: Arc<()>,
}

impl Place {
    fn some_nursery(&self, random: &mut Random) -> Option<&Open> {
        let count = self.around.len() as u64;
        (count > 0).then(|| &self.around[random.below(count) as usize])
    }
}

fn program(mut random: Random, mut place: Place) -> Program {
    place.depth += 1;
    Box::pin(async move {
        let steps = 1 + random.below(4) as u32;
        let _last = (place.depth <= 5 && random.one_in(4))
            .then(|| Last { random: random.fork(), place: place.clone() });
        for _ in 0..steps {
            match random.below(if place.depth > 5 { 3 } else { 6 }) {
                0 => wait(&mut random).await,
                1 => end(&mut random)?,
                2 => cancel(&mut random, &place),
                3 => open(&mut random, &place).await?,
                4 => stand(&mut random, &place).await?,
                _ => several(&mut random, &place).await,
            }
        }
        Ok(steps)
    })
}

/// What a program's own destructor does, wherever it is dropped.
struct Last {
    random: Random,
    place: Place,
}

impl Drop for Last {
    fn drop(&mut self) {
        let Self { random, place } = self;
        if std::thread::panicking() || Handle::try_current().is_err() {
            return;
        }
        let Some(n) = place.some_nursery(random).cloned() else { return };
        let mut inside = place.clone();
        inside.may_block = false;
        let inside = program(random.fork(), inside);
        match random.below(5) {
            0 => drop(n.try_start_soon(inside)),
            1 => drop(n.shielded().try_start_soon(inside)),
            2 => drop(n.try_spawn(inside)),
            3 => drop(n.shielded().try_spawn(inside)),
            _ => n.cancel(),
        }
    }
}

async fn wait(random: &mut Random) {
    match random.below(4) {
        0 => yield_now().await,
        1 => tokio::task::yield_now().await,
        2 => tokio::time::sleep(random.moment()).await,
        _ => drop(tokio::time::timeout(Duration::from_millis(3), cancelled()).await),
    }
}

fn end(random: &mut Random) -> Result<(), String> {
    match random.below(12) {
        0 => panic!("{TOLD}"),
        1 | 2 => Err("failed".into()),
        _ => Ok(()),
    }
}

fn cancel(random: &mut Random, place: &Place) {
    match random.below(9) {
        0 => place.scopes[random.below(3) as usize].cancel(),
        1 | 2 => {
            if let Some(n) = place.some_nursery(random) {
                n.cancel_with("wild");
            }
        }
        _ => {}
    }
}

/// A nursery, awaited or dropped in one of many ways.
async fn open(random: &mut Random, place: &Place) -> Result<(), String> {
    let mut builder = Builder::new();
    if random.one_in(3) {
        builder = builder.on_error(OnError::Collect);
    }
    if random.one_in(4) {
        builder = builder.cleanup(random.moment());
    }
    if random.one_in(5) {
        builder = builder.deadline(Instant::now() + random.moment());
    }
    if random.one_in(8) {
        builder = builder.shield(true);
    }
    if random.one_in(8) {
        builder = builder.limit(1 + random.below(2) as usize);
    }
    let (way, mut inside, own) = (random.below(6), place.clone(), random.fork());
    let blocks = way == 0 && place.may_block;
    inside.may_block &= !blocks;
    let handle = Arc::new(OnceLock::<Open>::new());
    if random.one_in(8) {
        let (told, spawns) = (Arc::downgrade(&handle), random.one_in(2));
        builder = builder.warn_stuck(random.moment(), move |_| {
            let Some(n) = told.upgrade().and_then(|handle| handle.get().cloned()) else { return };
            drop(if spawns {
                n.try_spawn(async { Ok(0) })
            } else {
                n.try_start_soon(async { Ok(0) })
            });
        });
    }
    let block = builder.nursery(async move |n: Open| {
        let _ = handle.set(n.clone());
        body(n, own, inside).await
    });
    match way {
        0 if blocks => drop(block_in_place(|| Handle::current().block_on(block))),
        1 => {
            let mut block = pin!(block);
            let ended = move_on_after(random.moment(), &mut block).await;
            if ended.is_none() && random.one_in(2) {
                let _ = block.await;
            }
        }
        2 => tokio::select! { _ = block => {}, () = tokio::time::sleep(random.moment()) => {} },
        3 => {
            let mut block = Box::pin(block);
            let _ = futures::poll!(&mut block);
        }
        4 => drop(block.await.map_err(|errors| errors.to_string())?),
        _ => drop(block.await),
    }
    Ok(())
}

async fn body(n: Open, mut random: Random, mut place: Place) -> Result<u32, String> {
    place.around.push(n.clone());
    // A body that awaits the value of the latter panics, which the program has not asked for.
    let (mut children, mut cancelled) = (Vec::new(), Vec::new());
    for _ in 0..random.below(5) {
        let child = start(&n, &mut random, &place);
        match random.below(5) {
            0 => drop(child),
            1 => {
                child.cancel();
                cancelled.push(child);
            }
            _ => children.push(child),
        }
    }
    match random.below(6) {
        0 => drop(join_all(children.into_iter().chain(cancelled).map(Child::end)).await),
        1 => {
            for child in children {
                child.await?;
            }
            drop(join_all(cancelled).await);
        }
        2 => {
            let mut results = as_completed(children);
            while let Some(result) = results.next().await {
                result?;
            }
        }
        3 => {
            let all = children.into_iter().chain(cancelled);
            let mut ends: FuturesUnordered<_> = all.collect();
            while ends.next().await.is_some() {}
        }
        4 => return program(random, place).await,
        _ => {}
    }
    Ok(0)
}

fn start(n: &Open, random: &mut Random, place: &Place) -> Child<u32, String> {
    let handle = match random.below(8) {
        0 => n.shielded(),
        1 => n.named("wild"),
        _ => n.clone(),
    };
    let (mut own, mut place) = (random.fork(), place.clone());
    match random.below(6) {
        0..=2 => handle.start_soon(program(own, place)),
        3 | 4 => handle.spawn(program(own, place)),
        _ => {
            place.may_block = false;
            handle.spawn_blocking(move || match own.one_in(4) {
                true => Handle::current().block_on(program(own, place)),
                false => Ok(1),
            })
        }
    }
}

/// Another program in a scope.
async fn stand(random: &mut Random, place: &Place) -> Result<(), String> {
    let (time, inside) = (random.moment(), program(random.fork(), place.clone()));
    match random.below(6) {
        0 => drop(fail_after(time, inside).await.map_err(|cancelled| cancelled.to_string())?),
        1 => drop(move_on_after(time, inside).await),
        2 => drop(shield(inside).await),
        3 => drop(shield(fail_after(time, inside)).await),
        4 => {
            let scope = CancelScope::new();
            let other = scope.clone();
            let later = tokio::spawn(async move {
                tokio::time::sleep(time).await;
                other.cancel_with("later");
            });
            let _ = scope.run(inside).await;
            later.abort();
        }
        _ => {
            // A scope that is cancelled may be entered, one that runs something may not.
            let scope = &place.scopes[random.below(3) as usize];
            if scope.is_cancelled() {
                let _ = CancelScope::new().run(inside).await;
            }
        }
    }
    Ok(())
}

/// Some programs at once, or in a nursery around.
async fn several(random: &mut Random, place: &Place) {
    let mut next = || program(random.fork(), place.clone());
    let some: Vec<_> = (0..3).map(|_| next()).collect();
    match random.below(7) {
        0 => drop(gather(some).await),
        1 => drop(race(some).await),
        2 => drop(join_all(some).await),
        3 => {
            let mut queue: FuturesUnordered<_> = some.into_iter().collect();
            while queue.next().await.is_some() {}
        }
        4 => {
            if let Some(n) = place.some_nursery(random) {
                for program in some {
                    drop(n.try_start_soon(program));
                }
            }
        }
        5 => {
            if let Some(n) = place.some_nursery(random)
                && let Ok(child) = n.try_spawn(program(random.fork(), place.clone()))
            {
                let _ = tokio::time::timeout(Duration::from_millis(5), child.end()).await;
            }
        }
        _ => {
            let inside = program(random.fork(), place.clone());
            if let Some(n) = place.around.last() {
                let told = n.start(async move |status| {
                    status.started(inside.await?);
                    Ok(())
                });
                // Under a limit it may be this one's place that the child waits for.
                let _ = tokio::time::timeout(Duration::from_millis(5), told).await;
            }
            drop(dump());
        }
    }
}

fn run(seed: u64) {
    let workers = seed.is_multiple_of(2);
    let mut builder = if workers {
        runtime::Builder::new_multi_thread()
    } else {
        runtime::Builder::new_current_thread()
    };
    let runtime = builder.worker_threads(2).max_blocking_threads(64).enable_all().build().unwrap();
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let alive = Arc::new(());
    let scopes = Arc::new([(); 3].map(|()| CancelScope::new()));
    let place =
        Place { scopes, around: vec![], may_block: workers, depth: 0, alive: alive.clone() };
    let top = nursery(async |n: Open| {
        n.spawn(program(random.fork(), place.clone()));
        Ok(n.start_soon(program(random.fork(), place.clone())).value().await)
    });
    // A race goes on with a loser's panic.
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(top)));
    drop(place);
    runtime.shutdown_timeout(Duration::from_secs(10));
    for _ in 0..1000 {
        if Arc::strong_count(&alive) == 1 {
            break;
        }
        // A thread of the runtime is about to let go.
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(Arc::strong_count(&alive), 1, "something is left of program {seed}");
    assert!(dump().roots().is_empty(), "a scope is left of program {seed}: {}", dump());
}

#[test]
fn r3_r29_no_task_waits_for_ever_and_nothing_is_left_whatever_programs_do() {
    static OTHERS: AtomicUsize = AtomicUsize::new(0);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let payload = info.payload();
        let text = payload.downcast_ref::<String>().map(String::as_str);
        if text.or(payload.downcast_ref::<&str>().copied()) != Some(TOLD) {
            OTHERS.fetch_add(1, SeqCst);
            before(info);
        }
    }));
    on_lost_error(drop);
    let programs = std::env::var("WILD").ok().and_then(|count| count.parse().ok()).unwrap_or(300);
    let (say, hear) = mpsc::channel();
    std::thread::spawn(move || {
        for seed in 0..programs {
            run(seed);
            say.send(seed).unwrap();
        }
    });
    let mut next = 0;
    while next < programs {
        let heard = hear.recv_timeout(Duration::from_secs(60));
        assert!(heard.is_ok(), "program {next} ends: {heard:?}\n{}", dump());
        next += 1;
    }
    assert_eq!(OTHERS.load(SeqCst), 0, "panics that no program asked for");
}
