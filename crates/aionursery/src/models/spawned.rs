//! Spawned children: their count, their cancellation, their results, and the carriers that they are
//! given to.

use super::*;
use crate::spawned::{Carrier, IdleCarrier, make_spawned};
use crate::task::TaskOptions;

#[test]
fn r12_a_cancellation_from_another_thread_reaches_a_child_that_is_being_spawned() {
    model(2, || {
        let dropped = Witness::new();
        let end = OnDrop(dropped.clone());
        run(async move |n: Handle| {
            let other = n.clone();
            thread::spawn(move || other.cancel());
            n.spawn(forever_with(end));
            Ok(())
        });
        assert_eq!(dropped.read(), 1);
    });
}

#[test]
fn r17_a_child_that_is_spawned_on_another_thread_during_a_cancellation_ends() {
    model(2, || {
        let dropped = Witness::new();
        let end = OnDrop(dropped.clone());
        run(async move |n: Handle| {
            let spawner = n.clone();
            thread::spawn(move || {
                drop(spawner.try_spawn(forever_with(end)));
            });
            n.cancel();
            Ok(())
        });
    });
}

#[test]
fn r3_spawned_children_are_counted_and_the_last_wakes_the_nursery() {
    model(3, || {
        let done = [Witness::new(), Witness::new()];
        run(async |n: Handle| {
            for done in done.clone() {
                n.spawn(adds(done));
            }
            Ok(())
        });
        assert_eq!(done.map(|done| done.read()), [1, 1]);
    });
}

#[test]
fn r26_a_spawned_childs_value_comes_to_the_task_that_awaits_it() {
    model(3, || {
        let written = Witness::new();
        let value = run(async |n: Handle| {
            let write = written.clone();
            let child = n.spawn(async move {
                write.add();
                Ok(write)
            });
            Ok(child.value().await.read())
        });
        assert_eq!(value, 1);
    });
}

#[test]
fn r6_a_failure_on_one_worker_ends_the_child_on_another() {
    // Two preemptions of three threads do not end within ten minutes on a busy core.
    model(1, || {
        let dropped = Witness::new();
        let ended = block_on(nursery(async |n: Handle| {
            let end = OnDrop(dropped.clone());
            n.spawn(forever_with(end));
            n.spawn(async { Err::<(), _>("stop") });
            Ok(())
        }));
        assert_eq!(ended.unwrap_err().len(), 1);
        assert_eq!(dropped.read(), 1);
    });
}

#[test]
fn r7_errors_on_two_workers_and_in_the_task_are_all_kept() {
    // Three preemptions of three threads do not end within minutes.
    model(2, || {
        let ended = block_on(crate::Builder::new().on_error(OnError::Collect).nursery(
            async |n: Handle| {
                n.spawn(async { Err::<(), _>("a") });
                n.spawn(async { Err::<(), _>("b") });
                n.start_soon(async { Err::<(), _>("c") });
                Ok(())
            },
        ));
        let mut errors: Vec<_> = ended.unwrap_err().errors().copied().collect();
        errors.sort_unstable();
        assert_eq!(errors, ["a", "b", "c"]);
    });
}

#[test]
fn r16_a_spawned_child_that_is_cancelled_by_hand_ends_alone() {
    model(3, || {
        let dropped = Witness::new();
        run(async |n: Handle| {
            let end = OnDrop(dropped.clone());
            let child = n.spawn(forever_with(end));
            child.cancel();
            assert_eq!(child.end().await, End::Cancelled);
            Ok(())
        });
        assert_eq!(dropped.read(), 1);
    });
}

#[test]
fn r3_a_limit_gives_each_place_on_to_a_child_that_waits() {
    model(3, || {
        let inside = Witness::new();
        let ended = block_on(crate::Builder::new().limit(1).nursery(async |n: Handle| {
            for _ in 0..2 {
                let inside = inside.clone();
                n.spawn(adds(inside));
            }
            Ok(())
        }));
        ended.unwrap();
        assert_eq!(inside.read(), 2);
    });
}

#[test]
fn r3_a_child_that_is_given_to_a_carrier_whose_runtime_goes_ends_once() {
    model(3, || {
        run(async |n: Handle| {
            let core = n.core();
            let id = core.start_spawned().unwrap();
            let options = TaskOptions::default();
            let child = async { Ok(()) };
            let (task, handle, _) = make_spawned(core, None, id, options, child);
            let idle = IdleCarrier::new(Waker::noop());
            let goes = idle.clone();
            let runtime = thread::spawn(move || goes.close());
            // Dropped where it is refused: in the crate a fresh carrier would be made.
            drop(idle.wake(task));
            runtime.join().unwrap();
            assert_eq!(crate::Child::new(handle).end().await, End::Cancelled);
            Ok(())
        });
    });
}

#[test]
fn r3_a_carrier_that_was_given_a_child_is_woken_and_runs_it() {
    model(3, || {
        let value = run(async |n: Handle| {
            let core = n.core();
            let id = core.start_spawned().unwrap();
            let options = TaskOptions::default();
            let child = async { Ok(7) };
            let (task, handle, _) = make_spawned(core, None, id, options, child);
            let worker = Worker::new();
            let idle = IdleCarrier::new(&Waker::from(worker.clone()));
            let runs = idle.clone();
            drop(thread::spawn(move || worker.run(pin!(Carrier::waiting(runs)))));
            assert!(idle.wake(task).is_ok());
            Ok(crate::Child::new(handle).value().await)
        });
        assert_eq!(value, 7);
    });
}
