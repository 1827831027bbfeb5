//! A nursery that is a value: its task on one thread, what starts children in it, closes it and drops it on
//! others.

use super::*;
use crate::{Builder, OpenNursery};

#[test]
fn r2_what_is_started_elsewhere_while_an_open_nursery_is_closed_runs_or_is_refused() {
    model(2, || {
        let ran = Witness::new();
        let jobs: OpenNursery<&str> = Builder::new().open();
        let (kept, runs) = (Handle::clone(&jobs), ran.clone());
        let starts = thread::spawn(move || {
            let child = kept.try_start_soon(adds(runs));
            child.is_ok()
        });
        block_on(jobs.close()).unwrap();
        // What was accepted has ended before `close` has.
        let seen = starts.join().unwrap();
        assert_eq!(ran.read(), usize::from(seen));
    });
}

#[test]
fn r3_close_waits_for_a_spawned_child_whichever_ends_first() {
    model(2, || {
        let ran = Witness::new();
        let jobs: OpenNursery<&str> = Builder::new().open();
        let runs = ran.clone();
        jobs.spawn(async move {
            runs.add();
            Err::<(), _>("failed")
        });
        let errors = block_on(jobs.close()).unwrap_err();
        assert_eq!((errors.len(), ran.read()), (1, 1));
    });
}

#[test]
fn r12_a_cancellation_from_another_thread_ends_an_open_nursery_that_is_being_closed() {
    model(2, || {
        let dropped = Witness::new();
        let jobs: OpenNursery<&str> = Builder::new().open();
        let end = OnDrop(dropped.clone());
        jobs.start_soon(forever_with(end));
        let kept = Handle::clone(&jobs);
        let cancels = thread::spawn(move || kept.cancel());
        block_on(jobs.close()).unwrap();
        assert_eq!(dropped.read(), 1);
        cancels.join().unwrap();
    });
}

#[test]
fn r28_the_children_of_an_open_nursery_that_is_dropped_end() {
    model(2, || {
        let dropped = Witness::new();
        let jobs: OpenNursery<&str> = Builder::new().open();
        let gone = Gate::new();
        // One value, so that the gate is opened last whether the child was polled or not.
        let goes = (OnDrop(dropped.clone()), Opens(gone.clone()));
        jobs.start_soon(async move {
            let _goes = goes;
            forever().await
        });
        drop(jobs);
        block_on(gone.wait());
        assert_eq!(dropped.read(), 1);
    });
}

/// Opens a gate when it is dropped.
struct Opens(Arc<Gate>);

impl Drop for Opens {
    fn drop(&mut self) {
        self.0.open();
    }
}
