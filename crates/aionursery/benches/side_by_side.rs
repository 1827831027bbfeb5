//! Nurseries beside their peers, in one run: 1000 children that return at once or yield once, on
//! the current thread and on two workers. Prints nanoseconds, allocations and polls a child
//! (the median of the rounds), then of limits of time that are kept and of sets of one, then a tree of
//! nurseries that is cancelled and joined.
//!
//! `cargo bench -p aionursery`; with a number after `--`, that many rounds.

mod counting;

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use aionursery::{
    LocalNursery, Nursery, fail_after, nursery, nursery_local, runtime::keep_idle_tasks,
};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use counting::{ALLOCATIONS, COUNTS};

const CHILDREN: usize = 1000;

static POLLS: AtomicUsize = AtomicUsize::new(0);

/// The child's work, with its polls counted in the rounds that are not timed.
fn child(yields: bool) -> impl Future<Output = u32> + Send {
    Counted(async move {
        if yields {
            tokio::task::yield_now().await;
        }
        std::hint::black_box(1)
    })
}

async fn fallible(yields: bool) -> Result<u32, ()> {
    Ok(child(yields).await)
}

struct Counted<F>(F);

impl<F: Future> Future for Counted<F> {
    type Output = F::Output;
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        if COUNTS.load(Ordering::Relaxed) != 0 {
            POLLS.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the field is never moved.
        unsafe { self.map_unchecked_mut(|counted| &mut counted.0) }.poll(cx)
    }
}

type Peer = (&'static str, fn(&Runtime, bool) -> Duration);

/// Runs on a worker if there are workers, and is timed there: how long an idle worker takes to hear
/// of it belongs to neither, and differs from run to run by more than what is measured.
fn on<F: Future<Output = ()> + Send + 'static>(runtime: &Runtime, future: F) -> Duration {
    let timed = async move {
        let begin = Instant::now();
        future.await;
        begin.elapsed()
    };
    if runtime.metrics().num_workers() > 1 {
        runtime.block_on(async { tokio::spawn(timed).await.unwrap() })
    } else {
        runtime.block_on(timed)
    }
}

fn start_soon(runtime: &Runtime, yields: bool) -> Duration {
    on(runtime, async move {
        nursery(async |n: Nursery<'_, ()>| {
            for _ in 0..CHILDREN {
                drop(n.start_soon(fallible(yields)));
            }
            Ok(())
        })
        .await
        .unwrap();
    })
}

fn start_soon_awaited(runtime: &Runtime, yields: bool) -> Duration {
    on(runtime, async move {
        nursery(async |n: Nursery<'_, ()>| {
            let children: Vec<_> = (0..CHILDREN).map(|_| n.start_soon(fallible(yields))).collect();
            for child in children {
                child.value().await;
            }
            Ok(())
        })
        .await
        .unwrap();
    })
}

fn spawn(runtime: &Runtime, yields: bool) -> Duration {
    on(runtime, async move {
        nursery(async |n: Nursery<'_, ()>| {
            for _ in 0..CHILDREN {
                drop(n.spawn(fallible(yields)));
            }
            Ok(())
        })
        .await
        .unwrap();
    })
}

fn spawn_awaited(runtime: &Runtime, yields: bool) -> Duration {
    on(runtime, async move {
        nursery(async |n: Nursery<'_, ()>| {
            let children: Vec<_> = (0..CHILDREN).map(|_| n.spawn(fallible(yields))).collect();
            for child in children {
                child.value().await;
            }
            Ok(())
        })
        .await
        .unwrap();
    })
}

fn tokio_spawn(runtime: &Runtime, yields: bool) -> Duration {
    on(runtime, async move {
        let handles: Vec<_> = (0..CHILDREN).map(|_| tokio::spawn(fallible(yields))).collect();
        for handle in handles {
            handle.await.unwrap().unwrap();
        }
    })
}

fn join_set(runtime: &Runtime, yields: bool) -> Duration {
    on(runtime, async move {
        let mut set = JoinSet::new();
        for _ in 0..CHILDREN {
            set.spawn(fallible(yields));
        }
        while let Some(end) = set.join_next().await {
            end.unwrap().unwrap();
        }
    })
}

fn task_tracker(runtime: &Runtime, yields: bool) -> Duration {
    on(runtime, async move {
        let (tracker, token) = (TaskTracker::new(), CancellationToken::new());
        for _ in 0..CHILDREN {
            let token = token.child_token();
            tracker.spawn(async move { token.run_until_cancelled(fallible(yields)).await });
        }
        tracker.close();
        tracker.wait().await;
    })
}

fn futures_unordered(runtime: &Runtime, yields: bool) -> Duration {
    on(runtime, async move {
        let mut set: FuturesUnordered<_> = (0..CHILDREN).map(|_| fallible(yields)).collect();
        while let Some(end) = set.next().await {
            end.unwrap();
        }
    })
}

fn buffered(runtime: &Runtime, yields: bool) -> Duration {
    on(runtime, async move {
        let mut set: futures_buffered::FuturesUnordered<_> =
            (0..CHILDREN).map(|_| fallible(yields)).collect();
        while let Some(end) = set.next().await {
            end.unwrap();
        }
    })
}

fn future_group(runtime: &Runtime, yields: bool) -> Duration {
    on(runtime, async move {
        let mut set = futures_concurrency::future::FutureGroup::new();
        for _ in 0..CHILDREN {
            set.insert(Box::pin(fallible(yields)));
        }
        while let Some(end) = set.next().await {
            end.unwrap();
        }
    })
}

fn moro(runtime: &Runtime, yields: bool) -> Duration {
    on(runtime, async move {
        moro::async_scope!(|scope| {
            for _ in 0..CHILDREN {
                drop(scope.spawn(async move { fallible(yields).await.unwrap() }));
            }
        })
        .await;
    })
}

const PEERS: &[Peer] = &[
    ("start_soon", start_soon),
    ("start_soon, awaited", start_soon_awaited),
    ("futures-buffered", buffered),
    ("FuturesUnordered", futures_unordered),
    ("FutureGroup", future_group),
    ("moro", moro),
    ("spawn", spawn),
    ("spawn, awaited", spawn_awaited),
    ("tokio::spawn, handles", tokio_spawn),
    ("JoinSet", join_set),
    ("TaskTracker, token each", task_tracker),
];

fn measure(rounds: usize, runtime: &Runtime, yields: bool) -> Vec<(f64, f64, f64)> {
    let mut times = vec![Vec::new(); PEERS.len()];
    // Round by round, so that a busy moment of the machine hits all alike, each round beginning with
    // another; and each once before it is timed, so that none pays for the caches and the heap that
    // the one before it has left.
    for round in 0..rounds {
        for at in 0..PEERS.len() {
            let peer = (round + at) % PEERS.len();
            let (_, run) = PEERS[peer];
            run(runtime, yields);
            times[peer].push(run(runtime, yields).as_nanos() as f64 / CHILDREN as f64);
        }
    }
    let count = |(mut times, (_, run)): (Vec<f64>, &Peer)| {
        times.sort_by(f64::total_cmp);
        COUNTS.store(1, Ordering::SeqCst);
        let before = (ALLOCATIONS.load(Ordering::SeqCst), POLLS.load(Ordering::SeqCst));
        run(runtime, yields);
        let after = (ALLOCATIONS.load(Ordering::SeqCst), POLLS.load(Ordering::SeqCst));
        COUNTS.store(0, Ordering::SeqCst);
        let each = |before: usize, after: usize| (after - before) as f64 / CHILDREN as f64;
        (times[times.len() / 2], each(before.0, after.0), each(before.1, after.1))
    };
    times.into_iter().zip(PEERS).map(count).collect()
}

/// A tree of 1000 nurseries with 10 children each, cancelled and joined.
async fn tree() {
    nursery(async |root: Nursery<'_, ()>| {
        for _ in 0..1000 {
            drop(root.start_soon(async {
                let _ = nursery(async |n: Nursery<'_, ()>| {
                    for _ in 0..10 {
                        drop(n.start_soon(pending::<Result<(), ()>>()));
                    }
                    Ok(())
                })
                .await;
                Ok(())
            }));
        }
        tokio::task::yield_now().await;
        root.cancel();
        Ok(())
    })
    .await
    .unwrap();
}

async fn abort_all() {
    let mut set = JoinSet::new();
    for _ in 0..11_000 {
        set.spawn(pending::<()>());
    }
    tokio::task::yield_now().await;
    set.abort_all();
    while set.join_next().await.is_some() {}
}

const FAR: Duration = Duration::from_secs(3600);

type Once = (&'static str, fn(bool) -> Pin<Box<dyn Future<Output = ()>>>);

/// What is done for one future, again and again: limits of time that are kept, and sets of one.
const ONCE: &[Once] = &[
    ("fail_after", |yields| {
        repeat(async move || {
            fail_after(FAR, child(yields)).await.unwrap();
        })
    }),
    ("tokio::time::timeout", |yields| {
        repeat(async move || {
            tokio::time::timeout(FAR, child(yields)).await.unwrap();
        })
    }),
    ("nursery, one start_soon", |yields| {
        repeat(async move || {
            nursery(async |n| Ok(n.start_soon(fallible(yields)).value().await)).await.unwrap();
        })
    }),
    ("nursery, one spawn", |yields| {
        repeat(async move || {
            nursery(async |n| Ok(n.spawn(fallible(yields)).value().await)).await.unwrap();
        })
    }),
    ("FuturesUnordered of one", |yields| {
        repeat(async move || {
            let mut set = FuturesUnordered::from_iter([fallible(yields)]);
            set.next().await.unwrap().unwrap();
        })
    }),
    ("moro, one child", |yields| {
        repeat(async move || {
            moro::async_scope!(|scope| scope
                .spawn(async move { fallible(yields).await.unwrap() })
                .await)
            .await;
        })
    }),
    ("JoinSet of one", |yields| {
        repeat(async move || {
            let mut set = JoinSet::new();
            set.spawn(fallible(yields));
            set.join_next().await.unwrap().unwrap().unwrap();
        })
    }),
];

fn repeat(run: impl AsyncFn() + 'static) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(async move {
        for _ in 0..CHILDREN {
            run().await;
        }
    })
}

/// Nanoseconds each, of a future that is ready and of one that yields once, in a nursery.
fn time_once(rounds: usize, runtime: &Runtime) -> Vec<[Duration; 2]> {
    let mut times = vec![[Vec::new(), Vec::new()]; ONCE.len()];
    runtime.block_on(async {
        let body = async |_: LocalNursery<'_, ()>| {
            for _ in 0..rounds {
                for ((_, run), times) in ONCE.iter().zip(&mut times) {
                    for yields in [false, true] {
                        let begin = Instant::now();
                        run(yields).await;
                        times[usize::from(yields)].push(begin.elapsed());
                    }
                }
            }
            Ok(())
        };
        nursery_local(body).await.unwrap();
    });
    let middle = |mut times: Vec<Duration>| {
        times.sort();
        times[times.len() / 2]
    };
    times.into_iter().map(|each| each.map(middle)).collect()
}

fn main() {
    // With a name of a peer as well, only that one runs, for a profiler; `yields` for children
    // that yield once, `workers` for two of them.
    let only = std::env::args().skip(1).find(|arg| PEERS.iter().any(|(name, _)| name == arg));
    let rounds = std::env::args().filter_map(|arg| arg.parse().ok()).next().unwrap_or(300);
    let current = Builder::new_current_thread().enable_all().build().unwrap();
    let workers = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if let Some((_, run)) = PEERS.iter().find(|(name, _)| only.as_deref() == Some(name)) {
        let has = |word: &str| std::env::args().any(|arg| arg == word);
        let runtime = if has("workers") { &workers } else { &current };
        for _ in 0..rounds {
            run(runtime, has("yields"));
        }
        return;
    }
    println!("ns, allocations and polls a child, {CHILDREN} children, median of {rounds}");
    for (place, runtime) in [("current thread", &current), ("two workers", &workers)] {
        let (plain, yields) = (measure(rounds, runtime, false), measure(rounds, runtime, true));
        println!("{place:24}   returns at once          one yield_now");
        for (((name, _), a), b) in PEERS.iter().zip(plain).zip(yields) {
            println!(
                "  {name:24} {:6.0} {:5.2} {:5.2}      {:6.0} {:5.2} {:5.2}",
                a.0, a.1, a.2, b.0, b.1, b.2
            );
        }
    }
    // Each child in a task of its own. By itself, for it leaves another heap to those that come
    // after.
    keep_idle_tasks(0);
    for (place, runtime) in [("current thread", &current), ("two workers", &workers)] {
        let [plain, yields] = [false, true].map(|yields| {
            let mut times: Vec<_> = (0..rounds).map(|_| spawn(runtime, yields)).collect();
            times.sort();
            times[rounds / 2].as_nanos() / CHILDREN as u128
        });
        println!("  spawn, no task kept, {place:14} {plain:4} {yields:4}");
    }
    for ((name, _), times) in ONCE.iter().zip(time_once(rounds, &current)) {
        let [ready, yields] = times.map(|time| time.as_nanos() / CHILDREN as u128);
        println!("  {name:32} {ready:4} {yields:4}");
    }
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..rounds.min(50) {
        let begin = Instant::now();
        current.block_on(tree());
        times[0].push(begin.elapsed().as_secs_f64() * 1e3);
        let begin = Instant::now();
        current.block_on(abort_all());
        times[1].push(begin.elapsed().as_secs_f64() * 1e3);
    }
    for (name, times) in
        ["1000 nurseries of 10, cancelled", "JoinSet::abort_all, 11,000"].iter().zip(&mut times)
    {
        times.sort_by(f64::total_cmp);
        println!("  {name:32} {:6.2} ms", times[times.len() / 2]);
    }
}
