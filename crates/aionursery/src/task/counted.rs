//! A value with several owners. As an `Arc`, but it is made with several at once, its memory is that of tasks, and
//! the last owner sees by a look that it is the last. It has no weak references. It must never give a value away
//! that another owner has.

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::{self, NonNull};

use super::memory::{self, Size};
use super::place;
use crate::sync::atomic::{AtomicUsize, Ordering};

/// One owner.
pub(crate) struct Counted<T>(NonNull<Shared<T>>, PhantomData<Shared<T>>);

struct Shared<T> {
    owners: AtomicUsize,
    value: T,
}

// SAFETY: owners on several threads share the value, and the last drops it, or takes it.
unsafe impl<T: Send + Sync> Send for Counted<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Counted<T> {}

impl<T> Counted<T> {
    /// Owners of what `make` gives. `begin` changes that where it lies: before it is moved there, the processor
    /// would wait for the change, as it reads in larger pieces than were written. Always inlined, so that what
    /// `make` has need not be moved to it, either.
    #[inline(always)]
    pub(crate) fn new<const OWNERS: usize>(
        make: impl FnOnce() -> T,
        begin: impl FnOnce(&mut T),
    ) -> [Self; OWNERS] {
        let place = place::<Shared<T>>();
        // SAFETY: the memory is the value's own, large enough and aligned.
        unsafe { place.write(Shared { owners: AtomicUsize::new(OWNERS), value: make() }) };
        // SAFETY: it was written just now, and no owner has it yet.
        begin(unsafe { &mut (*place.as_ptr()).value });
        [(); OWNERS].map(|()| Self(place, PhantomData))
    }

    fn shared(&self) -> &Shared<T> {
        // SAFETY: the owner that `self` is keeps it alive.
        unsafe { self.0.as_ref() }
    }

    /// What `take` makes of the value, if this is its last owner.
    #[inline]
    pub(crate) fn into_inner<R>(self, take: impl FnOnce(T) -> R) -> Option<R> {
        let last = ManuallyDrop::new(self);
        if !last.leave() {
            return None;
        }
        let memory = Ownerless(last.0);
        // SAFETY: no other owner is left, and it is not dropped.
        let Shared { value, .. } = unsafe { memory.0.read() };
        Some(take(value))
    }

    /// This owner goes. Returns whether it is the last.
    #[inline]
    fn leave(&self) -> bool {
        let owners = &self.shared().owners;
        // Only the last one sees that it is: then no step that others see is needed.
        owners.load(Ordering::Acquire) == 1 || owners.fetch_sub(1, Ordering::AcqRel) == 1
    }
}

impl<T> Deref for Counted<T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.shared().value
    }
}

impl<T> Clone for Counted<T> {
    fn clone(&self) -> Self {
        if self.shared().owners.fetch_add(1, Ordering::Relaxed) > usize::MAX / 2 {
            // Only leaking in a loop comes here; going on would free what is in use.
            std::process::abort();
        }
        Self(self.0, PhantomData)
    }
}

impl<T> Drop for Counted<T> {
    #[inline]
    fn drop(&mut self) {
        if self.leave() {
            let memory = Ownerless(self.0);
            // SAFETY: that was the last owner.
            unsafe { ptr::drop_in_place(memory.0.as_ptr()) };
        }
    }
}

/// The memory of a value that has no owner left. It goes when this does, whatever panics meanwhile.
struct Ownerless<T>(NonNull<Shared<T>>);

impl<T> Drop for Ownerless<T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: it was taken for this type, and is used no more.
        unsafe { memory::give(self.0.cast(), const { &Size::of::<Shared<T>>() }) };
    }
}
