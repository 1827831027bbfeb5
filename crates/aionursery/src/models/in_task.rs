//! Children of the nursery's own task: their wakes, their handles, starting while a nursery closes.

use super::*;

#[test]
fn r3_a_child_that_is_woken_on_another_thread_is_polled_again() {
    model(3, || {
        let gate = Gate::new();
        let opener = gate.clone();
        let other = thread::spawn(move || opener.open());
        let value = run(async |n: Handle| {
            let gate = gate.clone();
            let child = n.start_soon(async move {
                gate.wait().await;
                Ok(7)
            });
            Ok(child.value().await)
        });
        assert_eq!(value, 7);
        other.join().unwrap();
    });
}

#[test]
fn r3_two_children_that_are_woken_on_two_threads_are_both_polled_again() {
    model(2, || {
        let gates = [Gate::new(), Gate::new()];
        let others = gates.clone().map(|gate| thread::spawn(move || gate.open()));
        run(async |n: Handle| {
            for gate in gates.clone() {
                n.start_soon(async move {
                    gate.wait().await;
                    Ok(())
                });
            }
            Ok(())
        });
        others.into_iter().for_each(|other| other.join().unwrap());
    });
}

#[test]
fn r29_a_waker_that_is_called_while_its_child_ends_and_later_wakes_nobody() {
    model(3, || {
        let waker = Arc::new(Mutex::new(None::<Waker>));
        let (kept, caught) = (waker.clone(), Witness::new());
        let dropped = caught.clone();
        let other = thread::spawn(move || {
            let waker = kept.lock().unwrap().take();
            if let Some(waker) = waker {
                waker.wake_by_ref();
                waker.wake();
            }
        });
        run(async move |n: Handle| {
            let end = OnDrop(dropped);
            let child = n.start_soon(async move {
                let _end = end;
                let mut first = true;
                poll_fn(|cx| {
                    *waker.lock().unwrap() = Some(cx.waker().clone());
                    match std::mem::take(&mut first) {
                        true => {
                            cx.waker().wake_by_ref();
                            Poll::Pending
                        }
                        false => Poll::Ready(Ok(())),
                    }
                })
                .await
            });
            child.value().await;
            Ok(())
        });
        assert_eq!(caught.read(), 1);
        other.join().unwrap();
    });
}

#[test]
fn r26_a_value_is_taken_on_another_thread_while_the_child_ends() {
    model(3, || {
        let write = Witness::new();
        let other = block_on(nursery(async move |n: Handle| {
            let child = n.start_soon(async move {
                crate::yield_now().await;
                write.add();
                Ok(write)
            });
            Ok(thread::spawn(move || {
                let mut child = child;
                let written = block_on(&mut child).unwrap();
                // Before the handle goes: that orders more than it need.
                written.read()
            }))
        }));
        assert_eq!(other.unwrap().join().unwrap(), 1);
    });
}

#[test]
fn r5_a_value_whose_handle_is_dropped_while_the_child_ends_is_dropped_once() {
    model(3, || {
        let dropped = Witness::new();
        let count = Arc::new(AtomicUsize::new(0));
        struct Counted(Arc<AtomicUsize>);
        impl Drop for Counted {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let tell = Arc::new(Mutex::new(None));
        let (asks, counted, end) = (tell.clone(), count.clone(), dropped.clone());
        let gate = Gate::new();
        let waits = gate.clone();
        let other = thread::spawn(move || {
            block_on(gate.wait());
            drop(tell.lock().unwrap().take());
        });
        run(async move |n: Handle| {
            let child = n.start_soon(async move {
                let _end = OnDrop(end);
                waits.open();
                Ok(Counted(counted))
            });
            *asks.lock().unwrap() = Some(child);
            Ok(())
        });
        assert_eq!(dropped.read(), 1);
        other.join().unwrap();
        assert_eq!(count.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn r12_a_cancellation_from_another_thread_ends_a_nursery_that_waits() {
    model(3, || {
        let dropped = Witness::new();
        let end = OnDrop(dropped.clone());
        let ended = block_on(nursery(async move |n: Handle| {
            let other = n.clone();
            thread::spawn(move || other.cancel());
            n.start_soon(forever_with(end));
            forever().await
        }));
        assert!(ended.unwrap_err().is_cancelled());
        assert_eq!(dropped.read(), 1);
    });
}

#[test]
fn r27_a_thread_that_waits_for_the_cancellation_hears_it() {
    model(3, || {
        run(async |n: Handle| {
            let other = n.clone();
            let hears = thread::spawn(move || block_on(other.cancelled()));
            n.cancel();
            hears.join().unwrap();
            Ok(())
        });
    });
}

#[test]
fn r2_a_child_that_is_started_elsewhere_while_the_nursery_closes_runs_or_is_refused() {
    model(3, || {
        let ran = Arc::new(AtomicUsize::new(0));
        let counts = ran.clone();
        let started = Arc::new(Mutex::new(None));
        let starts = started.clone();
        run(async move |n: Handle| {
            *starts.lock().unwrap() = Some(thread::spawn(move || {
                let child = n.try_start_soon(async move {
                    counts.fetch_add(1, Ordering::Relaxed);
                    Ok(())
                });
                child.is_ok()
            }));
            Ok(())
        });
        let before = ran.load(Ordering::Relaxed);
        let other = started.lock().unwrap().take().unwrap();
        let admitted = other.join().unwrap();
        assert_eq!(ran.load(Ordering::Relaxed), usize::from(admitted));
        assert!(before == usize::from(admitted), "it was waited for");
    });
}

#[test]
fn r2_a_child_that_is_started_elsewhere_while_the_nursery_waits_is_taken_up() {
    model(3, || {
        let gate = Gate::new();
        run(async |n: Handle| {
            let (starter, opener) = (n.clone(), gate.clone());
            thread::spawn(move || {
                starter.start_soon(async move {
                    opener.open();
                    Ok(())
                });
            });
            gate.wait().await;
            Ok(())
        });
    });
}

#[test]
fn r4_what_was_started_elsewhere_before_comes_before() {
    model(3, || {
        run(async |n: Handle| {
            let (starter, steps) = (n.clone(), Arc::new(AtomicUsize::new(0)));
            let (step, told) = (steps.clone(), Arc::new(AtomicBool::new(false)));
            let tells = told.clone();
            thread::spawn(move || {
                let started = starter.try_start_soon(async move {
                    step.fetch_add(1, Ordering::Relaxed);
                    Ok(())
                });
                tells.store(started.is_ok(), Ordering::Release);
            });
            crate::yield_now().await;
            if told.load(Ordering::Acquire) {
                n.start_soon(async move {
                    assert_eq!(steps.load(Ordering::Relaxed), 1);
                    Ok(())
                });
            }
            Ok(())
        });
    });
}
