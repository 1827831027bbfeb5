//! The slot of a waker itself, for which the other models have a stand-in of fewer orders.

use loom::sync::Arc;
use loom::sync::atomic::AtomicUsize;

use super::{Ordering, Poll, Waker, block_on, model, poll_fn, thread};
use crate::sync::waker_slot::WakerSlot;

#[test]
fn what_waits_is_woken_however_registering_and_waking_meet() {
    model(3, || {
        let slot = Arc::new((AtomicUsize::new(0), WakerSlot::new()));
        for _ in 0..2 {
            let slot = slot.clone();
            thread::spawn(move || {
                slot.0.fetch_add(1, Ordering::Release);
                slot.1.wake();
            });
        }
        block_on(poll_fn(|cx| {
            slot.1.register(cx.waker());
            match slot.0.load(Ordering::Acquire) {
                2 => Poll::Ready(()),
                _ => {
                    // Amid a wake-up it is called at once, until that is over.
                    thread::yield_now();
                    Poll::Pending
                }
            }
        }));
    });
}

#[test]
fn a_waker_that_is_taken_back_and_called_at_once_is_called_or_not() {
    model(3, || {
        let slot = Arc::new((AtomicUsize::new(0), WakerSlot::new()));
        let wakes = slot.clone();
        thread::spawn(move || {
            wakes.0.fetch_add(1, Ordering::Release);
            wakes.1.wake();
        });
        slot.1.register(Waker::noop());
        slot.1.clear();
        block_on(poll_fn(|cx| {
            slot.1.register(cx.waker());
            match slot.0.load(Ordering::Acquire) {
                1 => Poll::Ready(()),
                _ => {
                    // Amid a wake-up it is called at once, until that is over.
                    thread::yield_now();
                    Poll::Pending
                }
            }
        }));
    });
}
