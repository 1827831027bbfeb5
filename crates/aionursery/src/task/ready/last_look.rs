//! A wake-up that comes when the driver has looked for the last time and still has the thread: a
//! test, as only a destructor that runs at that moment causes one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use super::{Share, Woken};
use crate::task::make_idle;

#[derive(Default)]
struct Calls(AtomicUsize);

impl Wake for Calls {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_child_that_is_woken_after_the_drivers_last_look_makes_it_come_again() {
    let (ready, mut seat) = Share::with_seat();
    let task = make_idle(&ready);
    let calls = Arc::new(Calls::default());
    seat.drive(|| {
        ready.register(&Waker::from(calls.clone()));
        task.wake_by_ref();
        assert!(!ready.is_empty());
    });
    assert_eq!(calls.0.load(Ordering::Relaxed), 1);
    let mut woken = Woken::new();
    seat.drive(|| ready.take(&mut woken));
    assert!(woken.pop().is_some_and(|task| task.unqueue().is_some()) && woken.is_empty());
    assert_eq!(calls.0.load(Ordering::Relaxed), 1);
    seat.close();
}
