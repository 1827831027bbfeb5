//! Where a scope was opened, for dumps that other threads make. It must never be waited for.

use std::panic::Location;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// Where something was opened, if that is known.
pub(crate) type OpenedAt = Option<&'static Location<'static>>;

pub(crate) struct Place(AtomicPtr<Location<'static>>);

impl Place {
    pub(super) fn new(place: OpenedAt) -> Self {
        Self(AtomicPtr::new(address(place)))
    }

    pub(crate) fn get(&self) -> OpenedAt {
        // SAFETY: what was put there is null or lives as long as the program.
        unsafe { self.0.load(Ordering::Relaxed).as_ref() }
    }

    pub(super) fn set(&self, place: OpenedAt) {
        self.0.store(address(place), Ordering::Relaxed);
    }
}

fn address(place: OpenedAt) -> *mut Location<'static> {
    place.map_or(ptr::null_mut(), |place| ptr::from_ref(place).cast_mut())
}
