//! Nurseries beside their peers where most code is: one child, ten levels, a hundred thousand children, messages,
//! sleeps, limits of time. Prints the CPU time of the whole process in nanoseconds a unit, the median of the
//! rounds, and what the first of its row takes of that; and allocations a unit, one of which is the bench's own.
//!
//! `cargo bench -p aionursery --bench peers`; with a number after `--`, that many rounds; with words, the rows
//! that have one of them in their name.

mod counting;

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aionursery::runtime::keep_idle_tasks;
use aionursery::{Nursery, fail_after, nursery};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

use counting::{ALLOCATIONS, COUNTS};

unsafe extern "C" {
    /// The C library's: the CPU time of this process, in microseconds.
    safe fn clock() -> std::ffi::c_long;
}

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;
type Contender = (&'static str, fn(usize) -> Work);

struct Row {
    name: &'static str,
    /// How many units a round has, and how many children a unit.
    units: usize,
    size: usize,
    contenders: &'static [Contender],
}

async fn one() -> Result<u32, ()> {
    Ok(std::hint::black_box(1))
}

async fn never() -> Result<(), ()> {
    pending().await
}

type Open = Nursery<'static, ()>;

fn spawned(size: usize) -> Work {
    Box::pin(async move {
        let body = async move |n: Open| {
            (0..size).for_each(|_| drop(n.spawn(one())));
            Ok(())
        };
        nursery(body).await.unwrap();
    })
}

/// Each child in a task of its own.
fn spawned_fresh(size: usize) -> Work {
    Box::pin(async move {
        keep_idle_tasks(0);
        spawned(size).await;
        keep_idle_tasks(1024);
    })
}

fn join_set(size: usize) -> Work {
    Box::pin(async move {
        let mut set = JoinSet::new();
        (0..size).for_each(|_| drop(set.spawn(one())));
        while let Some(end) = set.join_next().await {
            end.unwrap().unwrap();
        }
    })
}

fn tracker(size: usize) -> Work {
    Box::pin(async move {
        let tracker = TaskTracker::new();
        (0..size).for_each(|_| drop(tracker.spawn(one())));
        tracker.close();
        tracker.wait().await;
    })
}

fn nested(size: usize) -> Work {
    Box::pin(async move {
        if size > 0 {
            let body = async move |n: Open| {
                n.spawn(async move {
                    nested(size - 1).await;
                    Ok(())
                });
                Ok(())
            };
            nursery(body).await.unwrap();
        }
    })
}

fn nested_sets(size: usize) -> Work {
    Box::pin(async move {
        if size > 0 {
            let mut set = JoinSet::new();
            set.spawn(nested_sets(size - 1));
            while set.join_next().await.is_some() {}
        }
    })
}

fn nested_trackers(size: usize) -> Work {
    Box::pin(async move {
        if size > 0 {
            let tracker = TaskTracker::new();
            tracker.spawn(nested_trackers(size - 1));
            tracker.close();
            tracker.wait().await;
        }
    })
}

/// Sends each of them as many messages as there are.
async fn send(senders: Vec<mpsc::Sender<u32>>) {
    for round in 0..100 {
        for sender in &senders {
            sender.send(round).await.unwrap();
        }
    }
}

async fn receive(mut receiver: mpsc::Receiver<u32>) {
    while receiver.recv().await.is_some() {}
}

fn messages(size: usize) -> Work {
    Box::pin(async move {
        let body = async move |n: Open| {
            let channel = |_| {
                let (sender, receiver) = mpsc::channel(1);
                n.spawn_plain(receive(receiver));
                sender
            };
            let senders: Vec<_> = (0..size).map(channel).collect();
            send(senders).await;
            Ok(())
        };
        nursery(body).await.unwrap();
    })
}

fn messages_set(size: usize) -> Work {
    Box::pin(async move {
        let mut set = JoinSet::new();
        let channel = |_| {
            let (sender, receiver) = mpsc::channel(1);
            set.spawn(receive(receiver));
            sender
        };
        let senders: Vec<_> = (0..size).map(channel).collect();
        send(senders).await;
        while set.join_next().await.is_some() {}
    })
}

fn messages_tracker(size: usize) -> Work {
    Box::pin(async move {
        let tracker = TaskTracker::new();
        let channel = |_| {
            let (sender, receiver) = mpsc::channel(1);
            tracker.spawn(receive(receiver));
            sender
        };
        let senders: Vec<_> = (0..size).map(channel).collect();
        send(senders).await;
        tracker.close();
        tracker.wait().await;
    })
}

async fn sleeps() -> Result<(), ()> {
    tokio::time::sleep(Duration::from_millis(1)).await;
    Ok(())
}

fn sleeping(size: usize) -> Work {
    Box::pin(async move {
        let body = async move |n: Open| {
            (0..size).for_each(|_| drop(n.start_soon(sleeps())));
            Ok(())
        };
        nursery(body).await.unwrap();
    })
}

fn sleeping_buffered(size: usize) -> Work {
    Box::pin(async move {
        let mut set: futures_buffered::FuturesUnordered<_> = (0..size).map(|_| sleeps()).collect();
        while set.next().await.is_some() {}
    })
}

fn sleeping_unordered(size: usize) -> Work {
    Box::pin(async move {
        let mut set: FuturesUnordered<_> = (0..size).map(|_| sleeps()).collect();
        while set.next().await.is_some() {}
    })
}

fn started(size: usize) -> Work {
    Box::pin(async move {
        let body = async move |n: Open| {
            (0..size).for_each(|_| drop(n.start_soon(one())));
            Ok(())
        };
        nursery(body).await.unwrap();
    })
}

fn buffered(size: usize) -> Work {
    Box::pin(async move {
        let mut set: futures_buffered::FuturesUnordered<_> = (0..size).map(|_| one()).collect();
        while set.next().await.is_some() {}
    })
}

fn unordered(size: usize) -> Work {
    Box::pin(async move {
        let mut set: FuturesUnordered<_> = (0..size).map(|_| one()).collect();
        while set.next().await.is_some() {}
    })
}

fn cancelled(size: usize) -> Work {
    Box::pin(async move {
        let body = async move |n: Open| {
            (0..size).for_each(|_| drop(n.start_soon(never())));
            tokio::task::yield_now().await;
            n.cancel();
            Ok(())
        };
        nursery(body).await.unwrap();
    })
}

fn cancelled_buffered(size: usize) -> Work {
    Box::pin(async move {
        let mut set: futures_buffered::FuturesUnordered<_> = (0..size).map(|_| never()).collect();
        let _ = futures::poll!(set.next());
        tokio::task::yield_now().await;
    })
}

fn cancelled_unordered(size: usize) -> Work {
    Box::pin(async move {
        let mut set: FuturesUnordered<_> = (0..size).map(|_| never()).collect();
        let _ = futures::poll!(set.next());
        tokio::task::yield_now().await;
    })
}

const FAR: Duration = Duration::from_secs(3600);

fn in_time(_: usize) -> Work {
    Box::pin(async { fail_after(FAR, one()).await.map(drop).unwrap() })
}

fn timeout(_: usize) -> Work {
    Box::pin(async { tokio::time::timeout(FAR, one()).await.map(drop).unwrap() })
}

/// Nurseries that several threads open under one.
fn served(size: usize) -> Work {
    Box::pin(async move {
        let body = async move |n: Open| {
            for _ in 0..4 {
                n.spawn(async move {
                    for _ in 0..size / 4 {
                        started(1).await;
                    }
                    Ok(())
                });
            }
            Ok(())
        };
        nursery(body).await.unwrap();
    })
}

/// The same, where each has a tree of its own.
fn served_apart(size: usize) -> Work {
    Box::pin(async move {
        let mut set = JoinSet::new();
        for _ in 0..4 {
            set.spawn(async move {
                for _ in 0..size / 4 {
                    started(1).await;
                }
            });
        }
        while set.join_next().await.is_some() {}
    })
}

const SPAWN: &[Contender] = &[
    ("spawn", spawned),
    ("spawn, no task kept", spawned_fresh),
    ("JoinSet", join_set),
    ("TaskTracker", tracker),
];
const IN_TASK: &[Contender] =
    &[("start_soon", started), ("futures-buffered", buffered), ("FuturesUnordered", unordered)];

const ROWS: &[Row] = &[
    Row { name: "one spawned child", units: 1000, size: 1, contenders: SPAWN },
    Row { name: "ten spawned children", units: 100, size: 10, contenders: SPAWN },
    Row {
        name: "ten nested nurseries",
        units: 100,
        size: 10,
        contenders: &[
            ("spawn", nested),
            ("JoinSet", nested_sets),
            ("TaskTracker", nested_trackers),
        ],
    },
    Row { name: "1000 spawned children", units: 10, size: 1000, contenders: SPAWN },
    Row { name: "100,000 spawned children", units: 1, size: 100_000, contenders: SPAWN },
    Row {
        name: "messages to 100 spawned children",
        units: 1,
        size: 100,
        contenders: &[
            ("spawn", messages),
            ("JoinSet", messages_set),
            ("TaskTracker", messages_tracker),
        ],
    },
    Row { name: "one child in the task", units: 1000, size: 1, contenders: IN_TASK },
    Row { name: "an empty nursery", units: 1000, size: 0, contenders: IN_TASK },
    Row { name: "1000 children that return at once", units: 50, size: 1000, contenders: IN_TASK },
    Row {
        name: "1000 children that sleep",
        units: 1,
        size: 1000,
        contenders: &[
            ("start_soon", sleeping),
            ("futures-buffered", sleeping_buffered),
            ("FuturesUnordered", sleeping_unordered),
        ],
    },
    Row {
        name: "100,000 children cancelled",
        units: 1,
        size: 100_000,
        contenders: &[
            ("start_soon", cancelled),
            ("futures-buffered", cancelled_buffered),
            ("FuturesUnordered", cancelled_unordered),
        ],
    },
    Row {
        name: "a limit around what is ready",
        units: 10_000,
        size: 1,
        contenders: &[("fail_after", in_time), ("tokio::time::timeout", timeout)],
    },
    Row {
        name: "1000 nurseries under one, by four tasks",
        units: 1,
        size: 1000,
        contenders: &[("in one tree", served), ("in trees of their own", served_apart)],
    },
];

/// Where the work runs it is also begun: on a worker, if there are several.
fn run(runtime: &Runtime, row: &Row, (_, work): Contender) {
    let all = async move {
        for _ in 0..row.units {
            work(row.size).await;
        }
    };
    if runtime.metrics().num_workers() > 1 {
        let (units, size) = (row.units, row.size);
        let all = async move {
            for _ in 0..units {
                work(size).await;
            }
        };
        runtime.block_on(async { tokio::spawn(all).await.unwrap() });
    } else {
        runtime.block_on(all);
    }
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|it| !it.starts_with("--")).collect();
    let rounds = arguments.iter().find_map(|it| it.parse().ok()).unwrap_or(40);
    let words: Vec<_> = arguments.iter().filter(|it| it.parse::<usize>().is_err()).collect();
    let current = Builder::new_current_thread().enable_all().build().unwrap();
    let workers = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for row in ROWS {
        if !words.is_empty() && !words.iter().any(|word| row.name.contains(word.as_str())) {
            continue;
        }
        println!("{}: ns of CPU, ratio, allocations", row.name);
        let each = (row.units * row.size.max(1)) as f64;
        for (place, runtime) in [("current thread", &current), ("two workers", &workers)] {
            let mut times = vec![Vec::new(); row.contenders.len()];
            for _ in 0..rounds {
                let mut order: Vec<_> = (0..times.len()).collect();
                while !order.is_empty() {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    let at = order.swap_remove(random as usize % order.len());
                    let begin = clock();
                    run(runtime, row, row.contenders[at]);
                    times[at].push((clock() - begin) as f64 * 1e3 / each);
                }
            }
            let mut first = 0.0;
            for (times, contender) in times.iter_mut().zip(row.contenders) {
                times.sort_by(f64::total_cmp);
                let middle = times[times.len() / 2];
                first = if first == 0.0 { middle } else { first };
                COUNTS.store(1, Ordering::SeqCst);
                let before = ALLOCATIONS.load(Ordering::SeqCst);
                run(runtime, row, *contender);
                let made = ALLOCATIONS.load(Ordering::SeqCst) - before;
                COUNTS.store(0, Ordering::SeqCst);
                let made = made as f64 / each;
                println!(
                    "  {place:14} {:22} {middle:8.0} {:5.2} {made:6.2}",
                    contender.0,
                    first / middle
                );
            }
        }
    }
}
