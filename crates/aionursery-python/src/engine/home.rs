//! What has its home at a loop: tasks, waits, scopes and nurseries while they are open, and code that
//! uses the loop's part of the library just now. While there is one, the part holds its loop; without,
//! it knows the loop weakly, so that a loop that was closed goes as soon as its last user lets go.
//! It must never be had without the loop.

use std::cell::Cell;
use std::ops::Deref;

use crate::cpython::object::Object;
use crate::cpython::owned::Owned;
use crate::engine::link::Link;
use crate::engine::state::LoopState;

/// One home. Keeps the loop's part alive, and with it the loop.
#[derive(Debug)]
pub(crate) struct Home(Owned<LoopState>);

impl Home {
    /// At a loop that is alive, as the caller has it.
    #[inline]
    pub(crate) fn at(state: &LoopState, event_loop: &Object) -> Self {
        if state.homes.get() == 0 {
            // The slot is empty, so nothing is let go.
            state.event_loop.set(Owned::share(event_loop));
        }
        Self::beside(state)
    }

    /// Where something else is at home already.
    #[inline]
    pub(crate) fn beside(state: &LoopState) -> Self {
        state.homes.set(state.homes.get() + 1);
        Self(state.this.share())
    }

    /// At the loop of a part that may have survived it.
    #[inline]
    pub(crate) fn of(state: &LoopState) -> Option<Self> {
        if state.is_gone() {
            return None;
        }
        if state.homes.get() > 0 {
            return Some(Self::beside(state));
        }
        let event_loop = state.find_loop()?;
        Some(Self::at(state, &event_loop))
    }

    /// At the loop that a link is for, if that and its part are still there.
    #[inline]
    pub(crate) fn behind(link: &Link) -> Option<Self> {
        let state = link.state.share()?;
        Self::of(state.object().cast::<LoopState>()?)
    }
}

impl Deref for Home {
    type Target = LoopState;

    #[inline]
    fn deref(&self) -> &LoopState {
        &self.0
    }
}

impl Clone for Home {
    #[inline]
    fn clone(&self) -> Self {
        self.homes.set(self.homes.get() + 1);
        Self(self.0.clone())
    }
}

impl Drop for Home {
    #[inline]
    fn drop(&mut self) {
        // The reference goes last: to let go of the loop may run Python code.
        let left = self.homes.get() - 1;
        self.homes.set(left);
        if left == 0 {
            self.event_loop.clear();
        }
    }
}

/// A home that comes and goes. What was there is let go only after the slot has its new value.
#[derive(Default)]
pub(crate) struct HomeSlot(Cell<Option<Home>>);

impl std::fmt::Debug for HomeSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.look(|home| f.debug_tuple("HomeSlot").field(&home).finish())
    }
}

impl HomeSlot {
    /// Looks at what is there, which runs none of the program's code.
    #[inline]
    fn look<R>(&self, look: impl FnOnce(Option<&Home>) -> R) -> R {
        let home = self.0.take();
        let result = look(home.as_ref());
        self.0.set(home);
        result
    }

    /// Whether anything is there.
    #[inline]
    pub(crate) fn is_some(&self) -> bool {
        self.look(|home| home.is_some())
    }

    /// Whether it is at this loop.
    #[inline]
    pub(crate) fn is_at(&self, state: &LoopState) -> bool {
        self.look(|home| home.is_some_and(|home| std::ptr::eq::<LoopState>(&**home, state)))
    }

    /// Whether it is at a loop in which none of our tasks takes a step just now.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.look(|home| home.is_some_and(|home| home.running.get() == 0))
    }

    /// A home of the caller's own.
    #[inline]
    pub(crate) fn cloned(&self) -> Option<Home> {
        self.look(|home| home.cloned())
    }

    #[inline]
    pub(crate) fn set(&self, home: Home) {
        drop(self.0.replace(Some(home)));
    }

    #[inline]
    pub(crate) fn clear(&self) {
        drop(self.0.take());
    }

    /// Shows the collector what is held.
    #[inline]
    pub(crate) fn traverse<R>(&self, visit: impl FnOnce(&Object) -> R) -> Option<R> {
        self.look(|home| home.map(|home| visit(home.0.object())))
    }
}

impl LoopState {
    /// One more home, for a caller that has one.
    #[inline]
    pub(crate) fn home(&self) -> Home {
        Home::beside(self)
    }
}
