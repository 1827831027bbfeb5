//! The slot of a waker itself, for which the other models have a stand-in of fewer orders.

use loom::sync::Arc;
use loom::sync::atomic::AtomicUsize;

use super::{Ordering, Poll, Waker, block_on, model, poll_fn, thread};
use crate::sync::waker_slot::WakerSlot;

/// How often it was to be woken, and the slot.
type Woken = Arc<(AtomicUsize, WakerSlot)>;

fn wakes(woken: &Woken) {
    let woken = woken.clone();
    thread::spawn(move || {
        woken.0.fetch_add(1, Ordering::Release);
        woken.1.wake();
    });
}

fn waits_for(woken: &Woken, times: usize) {
    block_on(poll_fn(|cx| {
        woken.1.register(cx.waker());
        if woken.0.load(Ordering::Acquire) == times {
            return Poll::Ready(());
        }
        // Amid a wake-up it is called at once, until that is over.
        thread::yield_now();
        Poll::Pending
    }));
}

#[test]
fn what_waits_is_woken_however_registering_and_waking_meet() {
    model(3, || {
        let woken = Woken::new((AtomicUsize::new(0), WakerSlot::new()));
        (0..2).for_each(|_| wakes(&woken));
        waits_for(&woken, 2);
    });
}

#[test]
fn a_waker_that_is_taken_back_and_called_at_once_is_called_or_not() {
    model(3, || {
        let woken = Woken::new((AtomicUsize::new(0), WakerSlot::new()));
        wakes(&woken);
        woken.1.register(Waker::noop());
        woken.1.clear();
        waits_for(&woken, 1);
    });
}
