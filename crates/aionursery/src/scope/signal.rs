//! What runs in a scope looks at this and waits for it: its flags, what is to be woken, and what is to be
//! ended on other threads. It must never decide what is cancelled.

use std::sync::{Arc, Weak};
use std::task::Waker;

use super::info::Info;
#[cfg(feature = "tokio-util")]
use super::tokens::Tokens;
use super::waiter::Waiter;
use crate::clock::ScopeClock;
use crate::ignore_panics::ignore_panics;
use crate::sync::atomic::{AtomicU8, Ordering};
use crate::sync::{Mutex, WakerSlot, lock};
use crate::task::ReadyRef;

/// Cancelled: what asks can hear it.
pub(crate) const SOFT: u8 = 1;
/// Cancelled, and the time for cleaning up is spent: what is not shielded is dropped.
pub(crate) const HARD: u8 = 2;
/// It has a deadline or a budget that runs: its owner must look at the clock.
pub(crate) const TIMED: u8 = 4;
/// Its deadline had passed when it was opened, and acts when its owner looks at the clock.
pub(crate) const LATE: u8 = 8;
/// Errors of nurseries that it has adopted wait to be reported.
pub(crate) const LEFT: u8 = 32;
/// The future that this nursery stands in is dropped when it has ended (R27a).
pub(crate) const ALONG: u8 = 64;
/// This nursery waits, or has waited, for spawned children that others have left behind.
pub(crate) const ADOPTS: u8 = 128;
/// It is cancelled when a token is: its owner must listen to that.
#[cfg(feature = "tokio-util")]
pub(crate) const LISTENS: u8 = 16;

/// What looks at the clock for a scope, and drops what is in it.
pub(crate) enum Owner {
    /// The driver of this list of children.
    Driver(ReadyRef),
    /// The waker of what runs in it.
    Waker(WakerSlot),
}

impl Owner {
    pub(crate) fn one() -> Self {
        Self::Waker(WakerSlot::new())
    }

    pub(crate) fn notify_driver(&self) {
        match self {
            Self::Driver(list) => list.notify_driver(),
            Self::Waker(waker) => waker.wake(),
        }
    }

    /// It is about to wait.
    pub(crate) fn register(&self, waker: &Waker) {
        match self {
            Self::Driver(_) => unreachable!("a driver registers itself"),
            Self::Waker(own) => own.register(waker),
        }
    }
}

/// What a scope's inhabitants look at and wait for.
pub(crate) struct Signal {
    pub(super) flags: AtomicU8,
    waiting: Mutex<Waiting>,
    pub(crate) owner: Owner,
    pub(crate) info: Info,
    pub(crate) clock: ScopeClock,
    /// Those that wait for this nursery, to drop what it stands in.
    holders: Mutex<Vec<Arc<Waiter>>>,
    #[cfg(feature = "tokio")]
    pub(crate) workers: crate::task::Workers,
    #[cfg(feature = "tokio-util")]
    pub(crate) tokens: Tokens,
}

/// What waits for its flags to be set.
#[derive(Default)]
struct Waiting {
    waiters: Vec<Weak<Waiter>>,
    /// How many of these have gone.
    gone: usize,
}

impl Signal {
    pub(super) fn new(flags: u8, owner: Owner, info: Info, clock: ScopeClock) -> Self {
        Self {
            flags: AtomicU8::new(flags),
            waiting: Mutex::default(),
            owner,
            info,
            clock,
            holders: Mutex::default(),
            #[cfg(feature = "tokio")]
            workers: crate::task::Workers::default(),
            #[cfg(feature = "tokio-util")]
            tokens: Tokens::default(),
        }
    }

    /// Whether nothing was asked of it that stays.
    pub(super) fn is_untouched(&self) -> bool {
        #[cfg(feature = "tokio-util")]
        if self.tokens.is_told() {
            return false;
        }
        self.flags() == 0
    }

    #[inline]
    pub(crate) fn flags(&self) -> u8 {
        self.flags.load(Ordering::Acquire)
    }

    /// Its owner has something to listen to.
    #[cfg(feature = "tokio-util")]
    pub(crate) fn listen(&self) {
        self.flags.fetch_or(LISTENS, Ordering::AcqRel);
        self.owner.notify_driver();
    }

    /// What is woken from now on when flags are set.
    pub(crate) fn add_waiter(&self) -> Arc<Waiter> {
        let waiter = Arc::new(Waiter::new());
        lock(&self.waiting).waiters.push(Arc::downgrade(&waiter));
        waiter
    }

    /// It waits no more. Its waker goes outside the lock: it may be the program's code (R29).
    pub(crate) fn drop_waiter(&self, waiter: Arc<Waiter>) {
        drop(waiter);
        let waiting = &mut *lock(&self.waiting);
        waiting.gone += 1;
        if waiting.gone > waiting.waiters.len() / 2 {
            waiting.waiters.retain(|waiter| waiter.strong_count() > 0);
            waiting.gone = 0;
        }
    }

    /// `waiter` is told of what changes for this nursery.
    pub(crate) fn add_holder(&self, waiter: &Arc<Waiter>) {
        let holders = &mut *lock(&self.holders);
        if !holders.iter().any(|other| Arc::ptr_eq(other, waiter)) {
            holders.push(waiter.clone());
        }
    }

    /// Tells those that wait for this nursery that something has changed.
    #[inline]
    pub(crate) fn tell_holders(&self) {
        if self.flags() & ALONG != 0 {
            self.tell_all_holders();
        }
    }

    #[cold]
    fn tell_all_holders(&self) {
        let holders = std::mem::take(&mut *lock(&self.holders));
        holders.iter().for_each(|waiter| waiter.wake());
    }

    /// Sets flags and wakes everything that waits. If no flag is new, only its owner is told: the time to clean up
    /// may have become shorter.
    pub(super) fn raise(&self, flags: u8) {
        let waiting = {
            let waiting = &mut *lock(&self.waiting);
            let is_known = self.flags.fetch_or(flags, Ordering::AcqRel) & flags == flags;
            if is_known { None } else { Some(std::mem::take(waiting).waiters) }
        };
        let Some(waiting) = waiting else {
            return ignore_panics(|| self.owner.notify_driver());
        };
        waiting.iter().filter_map(Weak::upgrade).for_each(|waiter| waiter.wake());
        #[cfg(feature = "tokio")]
        if flags & HARD != 0 {
            ignore_panics(|| self.workers.abort());
        }
        #[cfg(feature = "tokio-util")]
        if flags & SOFT != 0 {
            ignore_panics(|| self.tokens.cancel());
        }
        ignore_panics(|| self.owner.notify_driver());
        self.tell_holders();
    }
}
