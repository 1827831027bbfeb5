//! A place for the waker of the one task that waits, without a lock. It must never run what belongs to a waker (its
//! clone, its destructor, its call) while it is being changed: any of these may panic, or come back to this
//! place.

use std::sync::atomic::Ordering;
use std::task::Waker;

use super::atomic::AtomicU8;
use super::cell::Cell;
use crate::ignore_panics::ignore_panics;

/// The waker of what waits, if anything does.
pub(crate) struct WakerSlot {
    state: AtomicU8,
    waker: Cell<Option<Waker>>,
}

/// No thread is at the waker.
const FREE: u8 = 0;
/// The thread that has set this bit puts a waker in.
const REGISTERING: u8 = 1;
/// The thread that has set this bit first takes the waker out; beside [`REGISTERING`] it leaves that to the other.
const TAKING: u8 = 2;

// SAFETY: the waker is reached by the one thread that has led the state away from `FREE`, until it leads it back.
unsafe impl Sync for WakerSlot {}

impl WakerSlot {
    pub(crate) fn new() -> Self {
        Self { state: AtomicU8::new(FREE), waker: Cell::new(None) }
    }

    /// This waker is called from now on, in place of the one before. What waits looks again after that: a wake-up
    /// that came before has found nothing to call. Of two threads that register at once, one is not heard.
    #[inline]
    pub(crate) fn register(&self, waker: &Waker) {
        let waker = waker.clone();
        match self.state.compare_exchange(FREE, REGISTERING, Ordering::Acquire, Ordering::Acquire) {
            Ok(_) => {
                let before = self.waker.replace(Some(waker));
                let freed = self.state.compare_exchange(
                    REGISTERING,
                    FREE,
                    Ordering::AcqRel,
                    Ordering::Acquire,
                );
                if freed.is_err() {
                    self.wake_after_all();
                }
                drop(before);
            }
            // It would be taken out at once.
            Err(TAKING) => waker.wake(),
            Err(_) => {}
        }
    }

    /// A wake-up came while a waker was put in.
    #[cold]
    fn wake_after_all(&self) {
        let waker = self.waker.take();
        self.state.swap(FREE, Ordering::AcqRel);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Calls the waker, which is gone after that.
    #[inline]
    pub(crate) fn wake(&self) {
        if let Some(waker) = self.take() {
            waker.wake();
        }
    }

    /// The waker is not called any more.
    ///
    /// # Panics
    /// As its destructor does.
    #[inline]
    pub(crate) fn clear(&self) {
        drop(self.take());
    }

    #[inline]
    fn take(&self) -> Option<Waker> {
        if self.state.fetch_or(TAKING, Ordering::AcqRel) != FREE {
            return None;
        }
        let waker = self.waker.take();
        self.state.fetch_and(!TAKING, Ordering::Release);
        waker
    }
}

impl Drop for WakerSlot {
    #[inline]
    fn drop(&mut self) {
        if let Some(waker) = self.waker.take() {
            ignore_panics(|| drop(waker));
        }
    }
}
