//! What crosses threads is made of these: the standard library's and tokio's, or, in the models of
//! `models.rs`, loom's. It must never be more than a choice between the two.

use std::sync::PoisonError;

#[cfg(not(all(test, aionursery_loom)))]
pub(crate) use {
    std::cell,
    std::sync::{Mutex, MutexGuard, atomic},
    std::thread_local,
};

#[cfg(all(feature = "tokio", not(all(test, aionursery_loom))))]
pub(crate) use tokio::{
    runtime::Id as RuntimeId,
    spawn,
    task::{JoinError, JoinHandle, spawn_blocking},
};

/// Which runtime this thread is in.
///
/// # Panics
/// If it is in none.
#[cfg(all(feature = "tokio", not(all(test, aionursery_loom))))]
#[track_caller]
pub(crate) fn runtime() -> RuntimeId {
    tokio::runtime::Handle::current().id()
}

#[expect(unsafe_code, reason = "a waker that several threads reach, without a lock")]
pub(crate) mod waker_slot;
#[cfg(not(all(test, aionursery_loom)))]
pub(crate) use waker_slot::WakerSlot;

#[cfg(all(test, aionursery_loom))]
mod stand_ins;
#[cfg(all(test, aionursery_loom))]
pub(crate) use stand_ins::{
    JoinError, JoinHandle, RuntimeId, WakerSlot, Worker, runtime, spawn, spawn_blocking,
};
#[cfg(all(test, aionursery_loom))]
pub(crate) use {
    loom::cell,
    loom::sync::{Mutex, MutexGuard, atomic},
};

/// Locks it, whether or not a thread has panicked while it held the lock.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Locks what no model runs: the program's own statics, and what is there only to be looked at.
pub(crate) fn plain<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The standard library's form of it, for loom's.
#[cfg(all(test, aionursery_loom))]
macro_rules! model_local {
    ($($(#[$attribute:meta])* static $name:ident: $type:ty = const { $init:expr };)*) => {
        loom::thread_local! { $($(#[$attribute])* static $name: $type = $init;)* }
    };
}
#[cfg(all(test, aionursery_loom))]
pub(crate) use model_local as thread_local;

/// What the standard library's `LocalKey<Cell<_>>` has.
#[cfg(all(test, aionursery_loom))]
pub(crate) trait LocalCell<T: 'static> {
    fn replace(&'static self, value: T) -> T;
    fn set(&'static self, value: T) {
        drop(self.replace(value));
    }
    fn get(&'static self) -> T
    where
        T: Copy;
}

#[cfg(all(test, aionursery_loom))]
impl<T: 'static> LocalCell<T> for loom::thread::LocalKey<std::cell::Cell<T>> {
    fn replace(&'static self, value: T) -> T {
        self.with(|cell| cell.replace(value))
    }
    fn get(&'static self) -> T
    where
        T: Copy,
    {
        self.with(std::cell::Cell::get)
    }
}
