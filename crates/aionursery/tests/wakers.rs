//! R29 in wakers: kept, late, panicking, and at work in the nursery that they wake.

use std::future::{Future, pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use aionursery::{Nursery, as_completed, nursery, yield_now};
use futures::{FutureExt, Stream};

/// A waker that does something when its last clone goes.
struct Last<F: Fn() + Send + Sync>(F);

impl<F: Fn() + Send + Sync + 'static> Last<F> {
    fn waker(act: F) -> Waker {
        Waker::from(Arc::new(Self(act)))
    }
}

impl<F: Fn() + Send + Sync> Wake for Last<F> {
    fn wake(self: Arc<Self>) {}
}

impl<F: Fn() + Send + Sync> Drop for Last<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// A waker that counts its calls.
struct Counted(AtomicUsize);

impl Wake for Counted {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn r29_wakers_may_be_kept_and_called_after_the_end() {
    let wakers = Mutex::new(Vec::new());
    {
        let text = String::from("borrowed");
        nursery(async |n| {
            for _ in 0..3 {
                let (text, wakers) = (&text, &wakers);
                n.start_soon(async move {
                    let mut first = true;
                    poll_fn(|cx| {
                        wakers.lock().unwrap().push(cx.waker().clone());
                        if std::mem::take(&mut first) {
                            cx.waker().wake_by_ref();
                            return Poll::Pending;
                        }
                        Poll::Ready(())
                    })
                    .await;
                    Ok::<_, &str>(text.len())
                });
            }
            Ok(())
        })
        .await
        .unwrap();
    }
    let wakers = wakers.into_inner().unwrap();
    assert_eq!(wakers.len(), 6);
    std::thread::spawn(move || {
        for waker in wakers {
            waker.wake_by_ref();
            let other = waker.clone();
            drop(waker);
            other.wake();
        }
    })
    .join()
    .unwrap();
}

#[tokio::test]
async fn r29_a_waker_that_panics_breaks_nothing() {
    struct Bomb(AtomicUsize);
    impl Wake for Bomb {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
            panic!("a waker");
        }
    }
    let bomb = Arc::new(Bomb(AtomicUsize::new(0)));
    let ended = nursery(async |n| {
        let mut child = Box::pin(n.start_soon(async {
            yield_now().await;
            Ok::<_, &str>(1)
        }));
        let bomb = Waker::from(bomb.clone());
        assert!(child.as_mut().poll(&mut Context::from_waker(&bomb)).is_pending());
        let mut cancelled = Box::pin(n.cancelled());
        assert!(cancelled.as_mut().poll(&mut Context::from_waker(&bomb)).is_pending());
        yield_now().await;
        yield_now().await;
        n.cancel();
        Ok(2)
    })
    .await;
    assert_eq!(ended.unwrap(), 2);
    // By the child's end, and by the cancellation.
    assert_eq!(bomb.0.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn r29_a_waker_may_cancel_the_scope_it_waits_for_when_it_is_dropped() {
    for replaced in [true, false] {
        let ended = nursery(async |n: Nursery<'static, &str>| {
            let (scope, other) = (n.clone(), n.clone());
            let waker = Last::waker(move || scope.cancel());
            let mut cancelled = Box::pin(n.cancelled());
            assert!(cancelled.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            drop(waker);
            assert!(!other.is_cancelled());
            if replaced {
                let _ = cancelled.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                cancelled.await;
            } else {
                drop(cancelled);
            }
            assert!(other.is_cancelled());
            Ok(1)
        });
        assert_eq!(ended.await.unwrap(), 1);
    }
}

#[tokio::test]
async fn r29_a_waker_may_start_children_when_it_is_dropped_or_called() {
    struct Starts(Nursery<'static, &'static str>, Arc<AtomicUsize>);
    impl Wake for Starts {
        fn wake(self: Arc<Self>) {
            let count = self.1.clone();
            self.0.start_soon(async move {
                count.fetch_add(1, Ordering::SeqCst);
                Ok(())
            });
        }
    }
    impl Drop for Starts {
        fn drop(&mut self) {
            let count = self.1.clone();
            drop(self.0.try_start_soon(async move {
                count.fetch_add(10, Ordering::SeqCst);
                Ok(())
            }));
        }
    }
    let count = Arc::new(AtomicUsize::new(0));
    nursery(async |n: Nursery<'static, &'static str>| {
        let mut child = Box::pin(n.start_soon(async {
            yield_now().await;
            Ok(())
        }));
        let waker = Waker::from(Arc::new(Starts(n.clone(), count.clone())));
        assert!(child.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        drop(waker);
        child.await.unwrap();
        Ok(())
    })
    .await
    .unwrap();
    // Awaited with another waker before it ended, so the first was dropped, never called.
    assert_eq!(count.load(Ordering::SeqCst), 10);
}

#[test]
fn r29_a_reader_of_ends_may_cause_one_when_its_waker_is_dropped() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let ended = futures::executor::block_on(nursery(async |n: Nursery<'_, &str>| {
        let child = {
            let _in_it = runtime.enter();
            n.spawn(pending::<Result<(), _>>())
        };
        let mut ends = Box::pin(as_completed([child]));
        // With its runtime the child goes, and says so.
        let runtime = Mutex::new(Some(runtime));
        let waker = Last::waker(move || drop(runtime.lock().unwrap().take()));
        assert!(ends.as_mut().poll_next(&mut Context::from_waker(&waker)).is_pending());
        drop(waker);
        ends.next_value().await;
        Ok(())
    }));
    let errors = ended.unwrap_err();
    assert!(errors.len() == 1 && errors[0].cancelled().is_some(), "{errors}");
}

/// A waker whose clone panics.
fn unclonable() -> Waker {
    use std::task::{RawWaker, RawWakerVTable};
    const BOMB: RawWakerVTable = RawWakerVTable::new(|_| panic!("clone"), |_| (), |_| (), |_| ());
    // SAFETY: the data is not used.
    unsafe { Waker::from_raw(RawWaker::new(std::ptr::null(), &BOMB)) }
}

#[test]
fn r29_a_waker_that_cannot_be_cloned_leaves_the_thread_as_it_was() {
    let bomb = unclonable();
    let mut block = Box::pin(nursery(async |n: Nursery<'_, &str>| {
        n.start_soon(pending::<Result<(), &str>>());
        pending::<Result<(), &str>>().await
    }));
    let polled =
        catch_unwind(AssertUnwindSafe(|| block.as_mut().poll(&mut Context::from_waker(&bomb))));
    assert!(polled.is_err());
    drop(block);
    // Nothing is being polled here: an error is handed over, whatever was polled before.
    let mut kept = None;
    let ended = nursery(async |n| {
        kept = Some(n.start_soon(async { Err::<(), _>("mine") }));
        Ok(())
    });
    let ended = futures::executor::block_on(ended);
    assert_eq!(ended.unwrap_err().len(), 1);
    assert!(aionursery::cancelled().now_or_never().is_none());
    let value = AssertUnwindSafe(kept.unwrap().value());
    let awaited = catch_unwind(|| value.now_or_never());
    assert!(awaited.is_err(), "it waits for a nursery that has gone: {awaited:?}");
}

#[test]
fn r29_the_waker_of_a_spawned_child_that_ended_may_spawn_and_cancel_when_it_is_dropped() {
    let (say, hear) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let dropped = Arc::new(AtomicUsize::new(0));
        let counts = dropped.clone();
        let ended = runtime.block_on(nursery(async |n: Nursery<'static, &str>| {
            let mut child = n.spawn(async {
                tokio::task::yield_now().await;
                Ok(())
            });
            let own = n.clone();
            let waker = Last::waker(move || {
                counts.fetch_add(1, Ordering::SeqCst);
                drop(own.try_spawn(async { Ok(()) }));
                own.cancel();
            });
            assert!(child.poll_unpin(&mut Context::from_waker(&waker)).is_pending());
            drop((child, waker));
            // Enough that those which have ended are looked for.
            for _ in 0..10 {
                for _ in 0..100 {
                    n.spawn(async { Ok(()) });
                }
                tokio::task::yield_now().await;
            }
            Ok(())
        }));
        say.send((ended.is_err(), dropped.load(Ordering::SeqCst))).unwrap();
    });
    let minute = std::time::Duration::from_secs(60);
    assert_eq!(hear.recv_timeout(minute).expect("no thread waits for a lock"), (true, 1));
}

#[tokio::test]
async fn r29_a_handle_hears_of_its_child_after_a_waker_that_panicked_as_it_went_or_was_cloned() {
    let ended = nursery(async |n| {
        let (tell, told) = tokio::sync::oneshot::channel();
        let mut child = Box::pin(n.start_soon(async { Ok::<_, &str>(told.await.unwrap()) }));
        let mut poll = |waker: &Waker| {
            let mut cx = Context::from_waker(waker);
            catch_unwind(AssertUnwindSafe(|| child.as_mut().poll(&mut cx).is_ready()))
        };
        let counted = Arc::new(Counted(AtomicUsize::new(0)));
        let good = Waker::from(counted.clone());
        let bad = Last::waker(|| panic!("a waker's end"));
        assert!(!poll(&bad).unwrap());
        drop(bad);
        // The bad one goes for this.
        assert!(poll(&good).is_err());
        assert!(poll(&unclonable()).is_err());
        assert!(!poll(&good).unwrap());
        tell.send(1).unwrap();
        yield_now().await;
        assert_eq!(counted.0.load(Ordering::SeqCst), 1);
        assert!(poll(&good).unwrap());
        Ok(())
    });
    ended.await.unwrap();
}

#[test]
fn r29_a_nursery_that_a_waker_has_broken_goes_without_a_panic() {
    let mut block = Box::pin(nursery(async |_: Nursery<'_, &str>| {
        // From its second step on, a body without children wakes the task itself.
        yield_now().await;
        pending::<Result<(), &str>>().await
    }));
    let mut poll = || {
        let bad = Last::waker(|| panic!("a waker's end"));
        // The one of the poll before goes in this one.
        catch_unwind(AssertUnwindSafe(|| {
            block.as_mut().poll(&mut Context::from_waker(&bad)).is_ready()
        }))
    };
    assert!(!poll().unwrap());
    assert!(poll().is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| drop(block))).is_ok());
}

/// A waker that stays in its call until it is let go.
struct Held(Mutex<std::sync::mpsc::Receiver<()>>);

impl Wake for Held {
    fn wake(self: Arc<Self>) {
        let _ = self.0.lock().unwrap().recv();
    }
}

/// Tells when it is dropped.
struct Tells(std::sync::mpsc::Sender<()>);

impl Drop for Tells {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r11_r13_what_is_opened_while_those_above_are_being_told_ends_by_that_and_says_why() {
    let (let_go, held) = std::sync::mpsc::channel();
    let held = Waker::from(Arc::new(Held(Mutex::new(held))));
    let (tell, end) = tokio::sync::oneshot::channel();
    let error = nursery(async move |outer: Nursery<'static, String>| {
        // Told before the nursery below is.
        let mut cancelled = Box::pin(outer.cancelled());
        assert!(cancelled.as_mut().poll(&mut Context::from_waker(&held)).is_pending());
        let (gone, told) = std::sync::mpsc::channel();
        let (began, begun) = tokio::sync::oneshot::channel();
        outer.spawn(async move {
            let below = nursery(async move |n: Nursery<'static, String>| {
                let child = n.spawn(async move {
                    let _gone = Tells(gone);
                    let _ = began.send(());
                    loop {
                        tokio::task::yield_now().await;
                        let opened = nursery(async |_: Nursery<'_, String>| {
                            yield_now().await;
                            Ok(())
                        });
                        opened.await.map_err(|error| error.to_string())?;
                    }
                    #[expect(unreachable_code, reason = "the type of the child")]
                    Ok(())
                });
                tokio::spawn(async move { tell.send(child.await) });
                Ok(())
            });
            below.await.map_err(|error| error.to_string())
        });
        begun.await.unwrap();
        std::thread::spawn(move || {
            // The child ends while the cancellation is being told.
            let told = std::thread::spawn(move || told.recv().unwrap());
            let tells = std::thread::spawn(move || outer.cancel_with("enough"));
            told.join().unwrap();
            let_go.send(()).unwrap();
            tells.join().unwrap();
        });
        pending::<()>().await;
        drop(cancelled);
        Ok(())
    });
    let error = error.await.unwrap_err();
    assert!(error.is_cancelled(), "{error}");
    let end = end.await.unwrap().unwrap_err();
    assert_eq!(end.cancelled().unwrap().cause().reason(), Some("enough"));
}
