//! Moments that come without a runtime: one thread of our own waits for the next of them and wakes
//! what waits for it. It must never run anything but wakers, and none under its lock.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Condvar, Mutex, Once, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Instant;

use crate::ignore_panics::ignore_panics;
use crate::sync::plain;

struct Alarms {
    /// By moment; the number tells those of one moment apart.
    waiting: BTreeMap<(Instant, u64), Waker>,
    numbers: u64,
}

static ALARMS: Mutex<Alarms> = Mutex::new(Alarms { waiting: BTreeMap::new(), numbers: 0 });
/// The next moment is another one than before.
static CHANGED: Condvar = Condvar::new();

/// Ends at a moment, never before it.
pub(crate) struct Alarm {
    moment: Instant,
    number: Option<u64>,
}

impl Alarm {
    pub(crate) fn new(moment: Instant) -> Self {
        Self { moment, number: None }
    }
}

impl Future for Alarm {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.moment {
            return Poll::Ready(());
        }
        static THREAD: Once = Once::new();
        THREAD.call_once(|| {
            let thread = thread::Builder::new().name("aionursery-clock".into());
            thread.spawn(ring).expect("a thread can be started for deadlines");
        });
        let waker = cx.waker().clone();
        let before = {
            let alarms = &mut *plain(&ALARMS);
            let number = *self.number.get_or_insert_with(|| {
                alarms.numbers += 1;
                alarms.numbers
            });
            let key = (self.moment, number);
            let before = alarms.waiting.insert(key, waker);
            if alarms.waiting.first_key_value().is_some_and(|(first, _)| *first == key) {
                CHANGED.notify_one();
            }
            before
        };
        drop(before);
        Poll::Pending
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let waker = plain(&ALARMS).waiting.remove(&(self.moment, number));
            drop(waker);
        }
    }
}

/// The thread: waits for the next moment, wakes, and so on for as long as the program runs.
fn ring() {
    let mut alarms = plain(&ALARMS);
    loop {
        let now = Instant::now();
        match alarms.waiting.first_entry() {
            Some(first) if first.key().0 <= now => {
                let waker = first.remove();
                drop(alarms);
                // A waker that panics keeps no other from being woken.
                ignore_panics(|| waker.wake());
                alarms = plain(&ALARMS);
            }
            Some(first) => {
                let left = first.key().0 - now;
                let woken = CHANGED.wait_timeout(alarms, left);
                alarms = woken.unwrap_or_else(PoisonError::into_inner).0;
            }
            None => alarms = CHANGED.wait(alarms).unwrap_or_else(PoisonError::into_inner),
        }
    }
}
