//! What goes on for ever holds no more memory than at its beginning (R5).
#![cfg(feature = "tokio")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aionursery::service::{Restarts, supervise};
use aionursery::{Nursery, OpenNursery, nursery, shield, yield_now};
use tokio::runtime::{Builder, Handle};
use tokio::task::block_in_place;

struct Counting;

static HELD: AtomicIsize = AtomicIsize::new(0);

// SAFETY: everything is handed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size() as isize, SeqCst);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size() as isize, SeqCst);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static GLOBAL: Counting = Counting;

/// The count is the whole program's: one test at a time.
static ONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// By how many bytes more is held after ten times as many rounds.
async fn growth(mut round: impl AsyncFnMut()) -> isize {
    for _ in 0..500 {
        round().await;
    }
    let held = HELD.load(SeqCst);
    for _ in 0..5000 {
        round().await;
    }
    HELD.load(SeqCst) - held
}

async fn one_shielded_child() {
    let body = async |n: Nursery<'_, ()>| {
        n.shielded().start_plain(yield_now());
        Ok(())
    };
    nursery(body).await.unwrap();
}

#[test]
fn r5_a_loop_in_a_block_on_amid_a_spawned_child_keeps_no_walls() {
    let _alone = alone();
    let runtime = Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let grown = runtime.block_on(nursery(async |n: Nursery<'_, ()>| {
        let child = n.spawn(async {
            Ok(block_in_place(|| {
                Handle::current().block_on(async {
                    [
                        growth(one_shielded_child).await,
                        growth(async || shield(yield_now()).await).await,
                    ]
                })
            }))
        });
        Ok(child.value().await)
    }));
    assert!(grown.as_ref().unwrap().iter().all(|bytes| *bytes < 5000), "{grown:?}");
}

#[test]
fn r5_children_that_have_ended_leave_their_memory_to_others_before_the_nursery_ends() {
    let _alone = alone();
    for workers in [1, 2] {
        let mut runtime = Builder::new_multi_thread();
        let runtime = runtime.worker_threads(workers).enable_time().build().unwrap();
        runtime.block_on(async {
            let jobs: OpenNursery<()> = aionursery::Builder::new().open();
            let (open, gate) = tokio::sync::watch::channel(false);
            let held = HELD.load(SeqCst);
            for _ in 0..2000 {
                let (buffer, mut gate) = ([1_u8; 8192], gate.clone());
                jobs.spawn_plain(async move {
                    let _ = gate.wait_for(|is_open| *is_open).await;
                    std::hint::black_box(&buffer);
                });
            }
            assert!(HELD.load(SeqCst) - held > 16_000_000);
            open.send(true).unwrap();
            while jobs.running() > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let left = HELD.load(SeqCst) - held;
            assert!(left < 1_500_000, "{left} bytes, {workers} workers");
            jobs.close().await.unwrap();
        });
    }
}

#[test]
fn r5_shields_in_children_that_have_ended_keep_no_memory() {
    let _alone = alone();
    let runtime = Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (open, gate) = tokio::sync::watch::channel(false);
        let body = async |n: Nursery<'static, ()>| {
            let held = HELD.load(SeqCst);
            for _ in 0..2000 {
                let (buffer, mut gate) = ([1_u8; 8192], gate.clone());
                n.start_plain(async move {
                    let _ = shield(gate.wait_for(|is_open| *is_open)).await;
                    std::hint::black_box(&buffer);
                });
            }
            yield_now().await;
            assert!(HELD.load(SeqCst) - held > 16_000_000);
            open.send(true).unwrap();
            while n.running() > 0 {
                tokio::task::yield_now().await;
            }
            tokio::task::yield_now().await;
            Ok(HELD.load(SeqCst) - held)
        };
        let left = nursery(body).await.unwrap();
        assert!(left < 500_000, "{left} bytes");
    });
}

#[test]
fn r5_a_supervisor_without_a_window_keeps_a_number() {
    let _alone = alone();
    let (mut runs, mut held) = (0, [0; 2]);
    let ended = futures::executor::block_on(supervise(
        Restarts::most(20_000),
        async |_: Nursery<'_, ()>| Err::<(), _>(()),
        |_| {
            runs += 1;
            match runs {
                1000 => held[0] = HELD.load(SeqCst),
                20_000 => held[1] = HELD.load(SeqCst),
                _ => {}
            }
        },
    ));
    assert!(ended.is_err() && runs == 20_000);
    assert!(held[1] - held[0] < 1000, "{held:?}");
}
