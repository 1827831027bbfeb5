//! Where children lie in memory: their places are used again, and nothing that outlives a child,
//! or its nursery, keeps more than a chunk. R4 and R5, where the memory decides.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::RefCell;
use std::future::{Future, pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use aionursery::{
    CancelScope, Child, Nursery, combine::for_each, fail_after, nursery, nursery_local, shield,
    yield_now,
};
use futures::executor::block_on;
use futures::stream::{self, StreamExt};

struct Counting;

static MADE: AtomicUsize = AtomicUsize::new(0);
static HELD: AtomicUsize = AtomicUsize::new(0);
/// What is aligned to more than a page and fills that.
static FILLED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is handed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        MADE.fetch_add(1, Ordering::SeqCst);
        HELD.fetch_add(layout.size(), Ordering::SeqCst);
        if layout.align() > 4096 && layout.size().is_multiple_of(layout.align()) {
            FILLED.fetch_add(1, Ordering::SeqCst);
        }
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::SeqCst);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static GLOBAL: Counting = Counting;

/// The counts are the whole program's: one test at a time.
static ONE: Mutex<()> = Mutex::new(());

fn alone() -> std::sync::MutexGuard<'static, ()> {
    ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

async fn quick() -> Result<(), ()> {
    yield_now().await;
    Ok(())
}

#[test]
fn r5_a_child_that_starts_takes_the_place_of_one_that_has_ended() {
    let _alone = alone();
    block_on(nursery(async |n: Nursery<'_, ()>| {
        let round = async || {
            for child in (0..100).map(|_| n.start_soon(quick())).collect::<Vec<_>>() {
                child.value().await;
            }
            Ok(())
        };
        round().await?;
        let (made, held) = (MADE.load(Ordering::SeqCst), HELD.load(Ordering::SeqCst));
        for _ in 0..100 {
            round().await?;
        }
        let each = (MADE.load(Ordering::SeqCst) - made) as f64 / 10_000.0;
        assert!(each < 0.25, "{each} allocations a child");
        assert!(HELD.load(Ordering::SeqCst) < held + 10_000, "it grows");
        Ok(())
    }))
    .unwrap();
}

#[test]
fn r5_a_nursery_that_ends_in_its_first_turn_asks_the_allocator_for_nothing_once_one_has() {
    let _alone = alone();
    let round = |children: usize| {
        let before = MADE.load(Ordering::SeqCst);
        for _ in 0..1000 {
            let body = async |n: Nursery<'_, ()>| {
                (0..children).for_each(|_| drop(n.start_soon(async { Ok(()) })));
                Ok(())
            };
            block_on(nursery(body)).unwrap();
        }
        (MADE.load(Ordering::SeqCst) - before) as f64 / 1000.0
    };
    round(1);
    // What the test's runner allocates meanwhile is nothing beside them.
    assert!(round(0) < 0.1 && round(1) < 0.1);
    // A list of them.
    assert!(round(3) < 1.1);
}

/// An allocator that writes beside what it hands out finds no place for that between two blocks that fill
/// their alignment, and leaves as much free again.
#[test]
fn chunks_may_lie_side_by_side() {
    let _alone = alone();
    let before = FILLED.load(Ordering::SeqCst);
    block_on(nursery(async |n: Nursery<'_, ()>| {
        (0..1000).for_each(|_| drop(n.start_soon(quick())));
        Ok(())
    }))
    .unwrap();
    assert_eq!(FILLED.load(Ordering::SeqCst), before);
}

/// Of 200 bursts of 5000 children one in a hundred lives on: 10,000, in the end.
#[test]
fn r5_a_few_that_live_long_do_not_hold_the_memory_of_those_that_ended_beside_them() {
    let _alone = alone();
    let before = HELD.load(Ordering::SeqCst);
    block_on(nursery(async |n: Nursery<'_, ()>| {
        for _ in 0..200 {
            for number in 0..5000 {
                drop(n.start_soon(async move {
                    if number % 100 == 0 { pending().await } else { quick().await }
                }));
            }
            for _ in 0..3 {
                yield_now().await;
            }
        }
        let each = (HELD.load(Ordering::SeqCst) - before) / 10_000;
        assert!(each < 2048, "{each} bytes for each that lives");
        n.cancel();
        Ok(())
    }))
    .unwrap();
}

#[test]
fn r5_children_whose_handles_are_dropped_on_another_thread_leave_nothing() {
    let _alone = alone();
    let (send, receive) = std::sync::mpsc::channel::<(Child<(), ()>, _)>();
    let dropper = std::thread::spawn(move || {
        for (child, done) in receive {
            drop(child);
            let done: std::sync::mpsc::Sender<()> = done;
            done.send(()).unwrap();
        }
    });
    block_on(nursery(async |n: Nursery<'_, ()>| {
        let round = async || {
            for _ in 0..50 {
                let mut child = n.start_soon(quick());
                poll_fn(|cx| Pin::new(&mut child).poll(cx)).await.unwrap();
                let (done, wait) = std::sync::mpsc::channel();
                send.send((child, done)).unwrap();
                wait.recv().unwrap();
            }
            Ok(())
        };
        // Until the other thread keeps as much as it may for children of its own: 4 MiB.
        for _ in 0..1_400 {
            round().await?;
        }
        let held = HELD.load(Ordering::SeqCst);
        for _ in 0..50 {
            round().await?;
        }
        assert!(HELD.load(Ordering::SeqCst) < held + 10_000, "it grows");
        Ok(())
    }))
    .unwrap();
    drop(send);
    dropper.join().unwrap();
}

#[test]
fn r5_shields_that_have_ended_leave_nothing_in_those_around_them() {
    let _alone = alone();
    block_on(nursery(async |n: Nursery<'_, ()>| {
        // One that shields again and again, and many that shield once.
        let round = async || {
            let again = n.start_soon(async {
                for _ in 0..300 {
                    shield(yield_now()).await;
                }
                Ok(())
            });
            for child in (0..300).map(|_| n.start_soon(shield(quick()))).collect::<Vec<_>>() {
                child.value().await;
            }
            again.value().await
        };
        for _ in 0..3 {
            round().await;
        }
        let held = HELD.load(Ordering::SeqCst);
        for _ in 0..30 {
            round().await;
            for _ in 0..100 {
                shield(yield_now()).await;
            }
        }
        let grown = HELD.load(Ordering::SeqCst).saturating_sub(held);
        assert!(grown < 100_000, "it grows: {grown}");
        Ok(())
    }))
    .unwrap();
}

#[test]
fn r19_a_task_that_is_polled_again_and_again_while_it_waits_for_a_shield_keeps_one_waker() {
    struct Nobody;
    impl Wake for Nobody {
        fn wake(self: Arc<Self>) {}
    }
    let _alone = alone();
    let scope = CancelScope::new();
    let mut run = pin!(scope.run(shield(pending::<()>())));
    let mut poll = || {
        let waker = Waker::from(Arc::new(Nobody));
        assert!(run.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    };
    poll();
    scope.cancel();
    poll();
    let held = HELD.load(Ordering::SeqCst);
    // Enough that what the test's runner allocates meanwhile is nothing beside them.
    for _ in 0..10_000 {
        poll();
    }
    let grown = HELD.load(Ordering::SeqCst).saturating_sub(held);
    assert!(grown < 10_000, "it grows: {grown}");
}

#[cfg(feature = "tokio")]
#[test]
fn r19_the_shields_of_a_spawned_child_that_panics_leave_nothing_behind() {
    let _alone = alone();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let panics = async || {
        let ended = nursery(async |n: Nursery<'static, ()>| {
            n.spawn(async {
                let panics = async { std::panic::resume_unwind(Box::new("beside a shield")) };
                let both = futures::future::join(shield(pending::<()>()), panics);
                let ended: Result<((), ()), _> = CancelScope::new().run(both).await;
                ended.map(drop).map_err(drop)
            });
            Ok(())
        });
        assert_eq!(ended.await.unwrap_err().panics().count(), 1);
    };
    runtime.block_on(async {
        panics().await;
        let held = HELD.load(Ordering::SeqCst);
        for _ in 0..5_000 {
            panics().await;
        }
        let grown = HELD.load(Ordering::SeqCst).saturating_sub(held);
        assert!(grown < 100_000, "it grows: {grown}");
    });
}

#[test]
fn for_each_keeps_nothing_of_items_that_are_done_however_many_may_run() {
    let _alone = alone();
    let held = AtomicUsize::new(0);
    let items = stream::iter(0..20_000).then(async |item| {
        yield_now().await;
        match item {
            1000 => held.store(HELD.load(Ordering::SeqCst), Ordering::SeqCst),
            19_999 => {
                let grown = HELD.load(Ordering::SeqCst).saturating_sub(held.load(Ordering::SeqCst));
                assert!(grown < 100_000, "it grows: {grown}");
            }
            _ => {}
        }
    });
    block_on(for_each(items, usize::MAX, async |()| Ok::<_, ()>(()))).unwrap();
}

#[test]
fn r29_a_waker_that_outlives_everything_keeps_one_block_and_wakes_nobody() {
    let _alone = alone();
    let kept = RefCell::new(Vec::<Waker>::new());
    let before = HELD.load(Ordering::SeqCst);
    block_on(nursery_local(async |n| {
        for _ in 0..50_000 {
            n.start_soon(async { quick().await });
        }
        n.start_soon(poll_fn(|cx| {
            kept.borrow_mut().push(cx.waker().clone());
            Poll::Ready(Ok::<_, ()>(()))
        }));
        Ok(())
    }))
    .unwrap();
    // What a thread keeps of a size is 4 MiB at the most; 50,000 children are more.
    assert!(HELD.load(Ordering::SeqCst) < before + (4 << 20) + 200_000);
    let waker = kept.borrow_mut().pop().unwrap();
    std::thread::spawn(move || {
        waker.wake_by_ref();
        drop(waker.clone());
        waker.wake();
    })
    .join()
    .unwrap();
}

#[test]
fn r29_wakers_and_handles_let_go_of_a_dead_nursery_from_many_threads() {
    let _alone = alone();
    for _ in 0..50 {
        let kept = Mutex::new(Vec::new());
        let mut handles = Vec::new();
        {
            let mut block = Box::pin(nursery(async |n: Nursery<'_, ()>| {
                for _ in 0..20 {
                    handles.push(n.start_soon(poll_fn(|cx| {
                        kept.lock().unwrap().push(cx.waker().clone());
                        Poll::<Result<(), ()>>::Pending
                    })));
                }
                pending::<Result<(), ()>>().await
            }));
            let mut cx = Context::from_waker(Waker::noop());
            assert!(block.as_mut().poll(&mut cx).is_pending());
        }
        let (mut wakers, mut handles) = (kept.into_inner().unwrap(), handles);
        assert_eq!((wakers.len(), handles.len()), (20, 20));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let wakers = wakers.split_off(wakers.len() - 5);
                let handles = handles.split_off(handles.len() - 5);
                scope.spawn(move || {
                    for (waker, handle) in wakers.into_iter().zip(handles) {
                        assert!(handle.is_finished());
                        waker.wake_by_ref();
                        drop(handle);
                        waker.wake();
                    }
                });
            }
        });
    }
}

#[test]
fn children_of_every_size_and_alignment_lie_where_they_should() {
    let _alone = alone();
    #[repr(align(64))]
    struct Aligned([u8; 64]);
    async fn sized<const SIZE: usize>() -> Result<usize, ()> {
        let big = [7u8; SIZE];
        yield_now().await;
        Ok(big.iter().map(|byte| usize::from(*byte)).sum())
    }
    let sum = block_on(nursery_local(async |n| {
        let mut children = Vec::new();
        for _ in 0..20 {
            children.push(n.start_soon(sized::<1>()));
            children.push(n.start_soon(sized::<100>()));
            children.push(n.start_soon(sized::<1000>()));
            children.push(n.start_soon(sized::<1900>()));
            children.push(n.start_soon(sized::<5000>()));
            children.push(n.start_soon(async {
                let value = Aligned([1; 64]);
                let at = &raw const value;
                yield_now().await;
                assert_eq!((at.addr() % 64, at), (0, &raw const value));
                Ok(value.0.iter().map(|byte| usize::from(*byte)).sum())
            }));
        }
        let mut sum = 0;
        for child in children {
            sum += child.value().await;
        }
        Ok(sum)
    }));
    assert_eq!(sum.unwrap(), 20 * (7 * (1 + 100 + 1000 + 1900 + 5000) + 64));
}

async fn noted(order: &Mutex<Vec<i32>>, number: i32) -> Result<(), ()> {
    order.lock().unwrap().push(number);
    Ok(())
}

#[test]
fn r4_first_steps_run_in_the_order_of_starting_from_wherever_they_were_started() {
    let _alone = alone();
    let order = Mutex::new(Vec::new());
    let note = |number: i32| noted(&order, number);
    block_on(nursery(async |outer: Nursery<'_, ()>| {
        outer.start_soon(note(1));
        nursery(async |_: Nursery<'_, ()>| {
            // The inner nursery is the one that is driven here.
            outer.start_soon(note(2));
            Ok(())
        })
        .await
        .unwrap();
        outer.start_soon(note(3));
        std::thread::scope(|scope| {
            scope.spawn(|| drop(outer.start_soon(note(4))));
        });
        outer.start_soon(note(5));
        yield_now().await;
        outer.start_soon(note(6));
        Ok(())
    }))
    .unwrap();
    assert_eq!(*order.lock().unwrap(), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn r2_numbers_are_one_to_a_child_wherever_it_was_started() {
    let _alone = alone();
    block_on(nursery(async |n: Nursery<'_, ()>| {
        let first = n.start_soon(quick());
        let mut numbers = vec![first.id()];
        std::thread::scope(|scope| {
            numbers.push(scope.spawn(|| n.start_soon(quick()).id()).join().unwrap());
        });
        for _ in 0..200 {
            numbers.push(n.start_soon(quick()).id());
            assert_eq!(n.running(), numbers.len());
        }
        assert_eq!(first.id(), 1);
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 202);
        yield_now().await;
        Ok(())
    }))
    .unwrap();
}

/// Does this again and again in a blocking child, while that runs.
#[cfg(feature = "tokio")]
fn repeat_in_a_blocking_child(act: impl Fn() + Send + 'static) {
    let _alone = alone();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let blocking = nursery(async |n: Nursery<'_, ()>| {
        let child = n.spawn_blocking(move || {
            act();
            let held = HELD.load(Ordering::SeqCst);
            for _ in 0..1000 {
                act();
            }
            assert!(HELD.load(Ordering::SeqCst) < held + 10_000, "it grows");
            Ok(())
        });
        child.value().await;
        Ok(())
    });
    runtime.block_on(blocking).unwrap();
}

#[cfg(feature = "tokio")]
#[test]
fn r5_shields_in_a_blocking_child_leave_nothing_while_it_runs() {
    repeat_in_a_blocking_child(|| block_on(shield(shield(yield_now()))));
}

#[test]
fn r29_the_shields_in_a_limit_of_time_whose_future_panics_leave_nothing() {
    let _alone = alone();
    let panics = |after_polls: u32| {
        let far = std::time::Duration::from_secs(3600);
        let future = fail_after(far, async {
            for _ in 0..after_polls {
                yield_now().await;
            }
            let mut shielded = pin!(shield(pending::<()>()));
            assert!(futures::poll!(&mut shielded).is_pending());
            resume_unwind(Box::new(()));
        });
        assert!(catch_unwind(AssertUnwindSafe(|| block_on(future))).is_err());
    };
    panics(0);
    panics(1);
    let held = HELD.load(Ordering::SeqCst);
    for _ in 0..1000 {
        panics(0);
        panics(1);
    }
    assert!(HELD.load(Ordering::SeqCst) < held + 10_000, "it grows");
}

#[cfg(feature = "tokio")]
#[test]
fn r5_shields_in_a_blocking_child_that_are_cancelled_before_they_begin_leave_nothing() {
    repeat_in_a_blocking_child(|| {
        let scope = CancelScope::shield();
        scope.cancel();
        assert!(block_on(scope.run(yield_now())).is_err());
    });
}
