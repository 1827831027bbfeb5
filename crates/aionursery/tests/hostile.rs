//! R3, R26, R29: programs that mean harm, thousands of small ones. They keep wakers and call them late, on
//! other threads, after the end; their wakers, their destructors and their polls panic; they forget
//! nurseries, handles and permits, poll what has ended, run a loop of their own amid a child, and send all
//! that can be sent to stray threads that poll it, cancel it and drop it there. Nothing may break (under
//! AddressSanitizer: `make sanitize`), and what is not forgotten must be gone in the end.
//! `HOSTILE=100000 cargo test --test hostile` runs that many.
#![cfg(feature = "tokio")]

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use aionursery::error::on_lost_error;
use aionursery::{
    AsCompleted, Builder, CancelHandle, Child, MultiError, Nursery, OnError, move_on_after, shield,
    yield_now,
};
use tokio::runtime::Runtime;

type Open = Nursery<'static, String>;
type Ended = Result<(), MultiError<String>>;
type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What the programs panic with.
struct Told;

/// Xorshift, shared by all threads: which way a program goes depends on them, too.
struct Random(AtomicU64);

impl Random {
    fn below(&self, end: u64) -> u64 {
        let mut x = self.0.load(Relaxed);
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.0.store(x | 1, Relaxed);
        (x >> 11) % end
    }

    fn one_in(&self, count: u64) -> bool {
        self.below(count) == 0
    }
}

/// One program: what it has at hand.
struct World {
    random: Random,
    wakers: Mutex<Vec<Waker>>,
    children: Mutex<Vec<Child<Token, String>>>,
    cancels: Mutex<Vec<CancelHandle>>,
    nurseries: Mutex<Vec<Open>>,
    /// Forgotten, but not lost: AddressSanitizer looks for leaks.
    forgotten: Mutex<Vec<Box<dyn Any + Send>>>,
    alive: AtomicU64,
    starts: AtomicU64,
}

type Shared = Arc<World>;

/// Counts, and does harm when it is dropped.
struct Token(Shared);

impl Token {
    fn new(world: &Shared) -> Self {
        world.alive.fetch_add(1, Relaxed);
        Self(world.clone())
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        let world = &self.0;
        world.alive.fetch_sub(1, Relaxed);
        if std::thread::panicking() {
            return;
        }
        harm(world);
        if world.random.one_in(12) {
            panic_any(Told);
        }
    }
}

/// Not in tokio's timers: these call wakers outside of any task, where a panic is the program's end.
fn may_panic() -> bool {
    !std::thread::panicking() && std::thread::current().name() != Some("tokio-rt-worker")
}

/// A waker that does harm when it is called and when it goes.
struct Bad(Shared, Waker);

impl Wake for Bad {
    fn wake(self: Arc<Self>) {
        self.1.wake_by_ref();
        if self.0.random.one_in(30) && may_panic() {
            panic_any(Told);
        }
    }
}

impl Drop for Bad {
    fn drop(&mut self) {
        if self.0.random.one_in(30) && may_panic() {
            panic_any(Told);
        }
    }
}

fn take<T>(from: &Mutex<Vec<T>>, world: &World) -> Option<T> {
    let all = &mut *from.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if all.is_empty() {
        return None;
    }
    let at = world.random.below(all.len() as u64) as usize;
    Some(all.swap_remove(at))
}

fn keep<T>(to: &Mutex<Vec<T>>, what: T) {
    to.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(what);
}

fn some_nursery(world: &Shared) -> Option<Open> {
    let all = world.nurseries.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    (!all.is_empty()).then(|| all[world.random.below(all.len() as u64) as usize].clone())
}

/// Something small that may be done anywhere.
fn harm(world: &Shared) {
    match world.random.below(10) {
        0 => {
            if let Some(waker) = take(&world.wakers, world) {
                waker.wake();
            }
        }
        1 => drop(take(&world.wakers, world)),
        2 => drop(take(&world.children, world)),
        3 => {
            if let Some(child) = take(&world.children, world) {
                child.cancel();
                keep(&world.children, child);
            }
        }
        4 => {
            if let Some(n) = some_nursery(world) {
                start(&n, world);
            }
        }
        5 if world.random.one_in(3) => {
            if let Some(n) = some_nursery(world) {
                n.cancel();
            }
        }
        6 => {
            if let Some(child) = take(&world.children, world) {
                match world.random.one_in(2) {
                    true => poll_a_few_times(world, &mut Box::pin(child)),
                    false => poll_a_few_times(world, &mut Box::pin(child.value())),
                };
            }
        }
        7 => {
            if let Some(handle) = take(&world.cancels, world) {
                handle.cancel();
                if world.random.one_in(2) {
                    keep(&world.cancels, handle);
                }
            }
        }
        _ => {}
    }
}

/// Polls something with a bad waker, also after its end. Returns whether it has ended.
fn poll_a_few_times<F: Future + Unpin>(world: &Shared, future: &mut F) -> bool {
    let waker = Waker::from(Arc::new(Bad(world.clone(), Waker::noop().clone())));
    let mut ended = false;
    for _ in 0..=world.random.below(2) {
        let polled = catch_unwind(AssertUnwindSafe(|| {
            Pin::new(&mut *future).poll(&mut Context::from_waker(&waker)).is_ready()
        }));
        ended |= polled.unwrap_or(true);
    }
    // A panic of the waker's own destructor.
    drop(catch_unwind(AssertUnwindSafe(|| drop(waker))));
    ended
}

/// The most children a program has.
const STARTS: u64 = 60;

fn start(n: &Open, world: &Shared) {
    if world.starts.fetch_add(1, Relaxed) > STARTS {
        return;
    }
    let n = if world.random.one_in(8) { n.named("bad") } else { n.clone() };
    let (life, away) = (Life::new(world), world.random.one_in(2));
    let started = match (away, world.random.below(6)) {
        (true, 0) => n.shielded().try_spawn(shield(life)),
        (true, _) => n.try_spawn(life),
        (false, 0) => n.shielded().try_start_soon(life),
        (false, 1) => n.try_start_soon(shield(life)),
        (false, _) => n.try_start_soon(life),
    };
    if let Ok(child) = started {
        if world.random.one_in(4) {
            keep(&world.cancels, child.cancel_handle());
        }
        match world.random.below(6) {
            0 => keep(&world.forgotten, Box::new(child)),
            1 => drop(child),
            _ => keep(&world.children, child),
        }
    }
}

/// A child: some steps of harm, then an end of some kind.
struct Life {
    token: Option<Token>,
    left: u64,
    inner: Option<Boxed<Ended>>,
}

impl Life {
    fn new(world: &Shared) -> Self {
        Self { token: Some(Token::new(world)), left: world.random.below(4), inner: None }
    }
}

impl Future for Life {
    type Output = Result<Token, String>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let world = this.token.as_ref().expect("it is not polled after its end").0.clone();
        harm(&world);
        if world.random.one_in(20) {
            panic_any(Told);
        }
        if let Some(inner) = &mut this.inner {
            if world.random.one_in(10) {
                drop(this.inner.take());
            } else if inner.as_mut().poll(cx).is_pending() {
                keep(&world.wakers, cx.waker().clone());
                cx.waker().wake_by_ref();
                return Poll::Pending;
            } else {
                this.inner = None;
            }
        }
        if this.left == 0 {
            return Poll::Ready(match world.random.below(5) {
                0 => Err("failed".into()),
                _ => Ok(this.token.take().expect("it was there just now")),
            });
        }
        this.left -= 1;
        match world.random.below(8) {
            // A nursery amid it, which it may leave at any time.
            0 => this.inner = Some(Box::pin(nursery(&world))),
            // A loop of its own amid a poll.
            1 => {
                let mut block = Box::pin(nursery(&world));
                for _ in 0..3 {
                    if poll_a_few_times(&world, &mut block) {
                        break;
                    }
                }
                let dropped = catch_unwind(AssertUnwindSafe(|| drop(block)));
                drop(dropped);
            }
            2 => keep(&world.wakers, cx.waker().clone()),
            _ => {}
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// A nursery with some children.
fn nursery(world: &Shared) -> Boxed<Ended> {
    let mut builder = Builder::new();
    if world.random.one_in(2) {
        builder = builder.on_error(OnError::Collect);
    }
    if world.random.one_in(4) {
        builder = builder.limit(1 + world.random.below(2) as usize);
    }
    if world.random.one_in(6) {
        builder = builder.cleanup(Duration::from_micros(50));
    }
    let world = world.clone();
    let in_scope = world.random.below(4);
    let block = builder.nursery(move |n: Open| {
        keep(&world.nurseries, n.clone());
        let token = Token::new(&world);
        async move {
            for _ in 0..world.random.below(4) {
                start(&n, &world);
                if world.random.one_in(6) {
                    yield_now().await;
                }
            }
            let mut results = AsCompleted::new();
            while let Some(child) = take(&world.children, &world)
                && !world.random.one_in(3)
            {
                results.push(child);
            }
            match world.random.below(6) {
                0 | 1 => drop(results.next().await),
                2 => drop(results.next_value().await),
                _ => {}
            }
            drop(token);
            Ok(())
        }
    });
    match in_scope {
        0 => {
            let soon = move_on_after(Duration::from_micros(20), block);
            Box::pin(async { soon.await.unwrap_or(Ok(())) })
        }
        1 => Box::pin(shield(block)),
        _ => Box::pin(block),
    }
}

/// Threads that poll, cancel and drop what they are sent.
struct Strays(Vec<mpsc::Sender<(Shared, Boxed<Ended>)>>);

impl Strays {
    fn new(runtime: &Arc<Runtime>) -> Self {
        let stray = |_| {
            let (send, receive) = mpsc::channel::<(Shared, Boxed<Ended>)>();
            let runtime = runtime.clone();
            std::thread::spawn(move || {
                let _entered = runtime.enter();
                for (world, mut block) in receive {
                    drop(catch_unwind(AssertUnwindSafe(|| harm(&world))));
                    poll_a_few_times(&world, &mut block);
                    drop(catch_unwind(AssertUnwindSafe(|| drop(block))));
                    drop(catch_unwind(AssertUnwindSafe(|| drop(world))));
                }
            });
            send
        };
        Self((0..2).map(stray).collect())
    }

    fn send(&self, world: &Shared, block: Boxed<Ended>) {
        let at = world.random.below(self.0.len() as u64) as usize;
        self.0[at].send((world.clone(), block)).expect("it receives to the end");
    }
}

fn run(seed: u64, strays: &Strays) {
    let world = Arc::new(World {
        random: Random(AtomicU64::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)),
        wakers: Mutex::default(),
        cancels: Mutex::default(),
        children: Mutex::default(),
        nurseries: Mutex::default(),
        forgotten: Mutex::default(),
        alive: AtomicU64::new(0),
        starts: AtomicU64::new(0),
    });
    let mut blocks: Vec<_> = (0..1 + world.random.below(2)).map(|_| nursery(&world)).collect();
    for _ in 0..2 + world.random.below(12) {
        drop(catch_unwind(AssertUnwindSafe(|| harm(&world))));
        drop(catch_unwind(AssertUnwindSafe(|| {
            blocks.retain_mut(|block| !poll_a_few_times(&world, block) || world.random.one_in(3));
        })));
        if world.random.one_in(8)
            && let Some(block) = blocks.pop()
        {
            strays.send(&world, block);
        }
        std::thread::yield_now();
    }
    for block in blocks {
        match world.random.below(6) {
            0 => keep(&world.forgotten, Box::new(block)),
            _ => drop(catch_unwind(AssertUnwindSafe(|| drop(block)))),
        }
    }
    clear(&world);
    // What runs on the workers and the stray threads is about to end.
    for _ in 0..20_000 {
        clear(&world);
        if world.alive.load(Relaxed) == 0 {
            break;
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    assert_eq!(world.alive.load(Relaxed), 0, "something is left of program {seed}");
}

/// Drops all that the program has kept, and at last what it has forgotten: shielded children must end
/// before that.
fn clear(world: &Shared) {
    // No more starts.
    world.starts.store(STARTS + 1, Relaxed);
    for n in std::mem::take(&mut *world.nurseries.lock().unwrap_or_else(|it| it.into_inner())) {
        drop(catch_unwind(AssertUnwindSafe(move || n.cancel())));
    }
    while let Some(child) = take(&world.children, world) {
        drop(catch_unwind(AssertUnwindSafe(|| drop(child))));
    }
    while let Some(handle) = take(&world.cancels, world) {
        drop(catch_unwind(AssertUnwindSafe(|| handle.cancel())));
    }
    while let Some(waker) = take(&world.wakers, world) {
        drop(catch_unwind(AssertUnwindSafe(|| waker.wake())));
    }
    while let Some(forgotten) = take(&world.forgotten, world) {
        drop(catch_unwind(AssertUnwindSafe(|| drop(forgotten))));
    }
}

#[test]
fn r29_nothing_breaks_whatever_hostile_programs_do() {
    static OTHERS: OnceLock<Mutex<Vec<String>>> = OnceLock::new();
    let others = OTHERS.get_or_init(Mutex::default);
    std::panic::set_hook(Box::new(|info| {
        let payload = info.payload();
        if payload.is::<Told>() {
            return;
        }
        let text = info.to_string();
        // What is polled after its end or after a panic, and what has no value, says so by one.
        let said = [
            "once it is done",
            "while it is being polled",
            "resumed after",
            "again after a panic",
            "can be awaited once",
            "the value of a child that has none",
            "has no value",
        ];
        if !said.iter().any(|said| text.contains(said)) {
            eprintln!("{text}");
            others.lock().unwrap_or_else(|it| it.into_inner()).push(text);
        }
    }));
    on_lost_error(drop);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = Arc::new(builder.worker_threads(2).enable_all().build().unwrap());
    let _entered = runtime.enter();
    let strays = Strays::new(&runtime);
    let programs = std::env::var("HOSTILE").ok().and_then(|it| it.parse().ok()).unwrap_or(500);
    for seed in 0..programs {
        run(seed, &strays);
    }
    let others = others.lock().unwrap();
    assert!(others.is_empty(), "panics that were not told: {:?}", &others[..others.len().min(3)]);
}
