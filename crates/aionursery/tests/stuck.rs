//! R18: what was cancelled and does not end is told of, once, with its name, its place and the why.

use std::panic::Location;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use aionursery::{Builder, Nursery};
use tokio::time::{Instant, sleep, timeout};

const SECOND: Duration = Duration::from_secs(1);

/// What the hook was told, with how long after `start`.
#[derive(Clone)]
struct Told(Arc<Mutex<Vec<(Duration, String)>>>, Instant);

impl Told {
    fn new() -> Self {
        Self(Arc::default(), Instant::now())
    }

    fn builder(&self, after: Duration) -> Builder {
        let told = self.clone();
        Builder::new().warn_stuck(after, move |tree| {
            told.0.lock().unwrap().push((told.1.elapsed(), tree.to_string()));
        })
    }

    fn take(&self) -> Vec<(Duration, String)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

async fn lasts(seconds: u32) -> Result<(), String> {
    sleep(SECOND * seconds).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_child_that_stays_is_named_once_with_its_place_and_the_reason() {
    let told = Told::new();
    let line = Location::caller().line() + 3;
    let block = told.builder(SECOND * 3).name("kitchen").nursery(async |n| {
        n.named("quick").shielded().start_soon(lasts(2));
        n.named("slow").shielded().start_soon(lasts(100));
        sleep(SECOND).await;
        n.cancel_with("closing time");
        Ok(())
    });
    block.await.unwrap();
    let told = told.take();
    let [(when, text)] = &told[..] else { panic!("told {} times", told.len()) };
    assert_eq!(when.as_secs(), 4);
    assert!(text.contains("nursery \"kitchen\""), "{text}");
    assert!(text.contains("cancelled 3.0 s ago (by request: closing time)"), "{text}");
    assert!(text.contains(&format!("\"slow\" ({}:{line}:", file!())), "{text}");
    assert!(!text.contains("quick"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_from_above_and_a_spawned_child_are_told_of_as_well() {
    let told = Told::new();
    let inner = told.builder(SECOND).name("inner");
    let outer = Builder::new().cleanup(SECOND * 60).nursery(async |n| {
        let block = inner.nursery(async |inner| {
            inner.named("saves").spawn(lasts(5));
            Ok::<_, String>(())
        });
        n.start_soon(async { block.await.map_err(|errors| errors.to_string()) });
        n.cancel_with("outer");
        Ok(())
    });
    outer.await.unwrap();
    let told = told.take();
    let [(when, text)] = &told[..] else { panic!("told {} times", told.len()) };
    assert_eq!(when.as_secs(), 1);
    assert!(text.contains("\"inner\"") && text.contains("cancelled from above"), "{text}");
    assert!(text.contains("\"saves\""), "{text}");
}

#[tokio::test(start_paused = true)]
async fn there_is_no_warning_of_a_nursery_that_ends_in_time_or_is_not_cancelled() {
    let told = Told::new();
    let block = told.builder(SECOND * 3).nursery(async |n| {
        n.shielded().start_soon(lasts(2));
        n.cancel();
        Ok(())
    });
    block.await.unwrap();
    let block = told.builder(SECOND).nursery(async |n| {
        n.start_soon(lasts(100)).value().await;
        Ok(())
    });
    block.await.unwrap();
    assert_eq!(told.take(), []);
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_panics_harms_no_task_and_a_time_without_end_never_comes() {
    let faulty = Builder::new().warn_stuck(SECOND, |_| panic!("out of beans"));
    let never = Builder::new().warn_stuck(Duration::MAX, |_| unreachable!());
    for builder in [faulty, never] {
        let block = builder.nursery(async |n| {
            n.named("stays").shielded().start_soon(lasts(5));
            n.cancel();
            Ok(())
        });
        block.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn r4_a_hook_may_start_children_and_the_nursery_ends_with_the_last_of_them() {
    type Start = fn(&Nursery<'static, String>);
    let starts: [Start; 2] = [|n| _ = n.spawn(lasts(10)), |n| _ = n.start_soon(lasts(10))];
    for start in starts {
        let handle = Arc::new(OnceLock::<Nursery<'static, String>>::new());
        let kept = handle.clone();
        let builder = Builder::new().cleanup(SECOND * 60);
        let block = builder.warn_stuck(SECOND, move |_| start(kept.get().unwrap())).nursery(
            async |n: Nursery<'static, String>| {
                assert!(handle.set(n.clone()).is_ok());
                n.spawn(lasts(5));
                n.cancel();
                Ok(())
            },
        );
        let before = Instant::now();
        timeout(SECOND * 1000, block).await.expect("it does not wait for ever").unwrap();
        assert_eq!(before.elapsed(), SECOND * 11);
    }
}
