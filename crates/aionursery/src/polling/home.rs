//! Where the code that is being polled stands to a scope: in it, below it, or elsewhere; and what time it
//! is there. It must never change either.

use std::sync::Arc;
use std::time::Instant;

use super::{Around, ends, look};
use crate::scope::Scope;

/// The time where the running code stands: on the clock of the scopes around it, if there are any.
pub(crate) fn now() -> Instant {
    look(Around::now)
}

impl Scope {
    /// Whether the task that polls what runs in it stands where it was opened, or further down.
    pub(crate) fn is_at_home(&self) -> bool {
        self.parent().is_none_or(|parent| look(|around| around.is_below(parent)))
    }

    /// Whether the owner of a scope above drops it: then nothing is to hear of its own end (R13).
    pub(crate) fn is_taken_along(&self) -> bool {
        let Some(parent) = self.parent() else { return self.is_held() };
        // What was opened while those above are being told of it hears of a cancellation before its parent does.
        let from_above = || self.is_hard() && self.own_cause().is_none();
        let reaches =
            || (parent.is_hard() || self.ends_here() || from_above()) && !self.is_shield();
        (self.is_held() || reaches()) && self.is_at_home()
    }

    /// Whether what has ended in it is for no code to hear of: it is polled where it belongs, and its own
    /// cancellation, if it has one, goes for that of something around.
    pub(crate) fn is_left_here(&self) -> bool {
        self.is_at_home() && (self.is_taken_along() || self.own_cause().is_none())
    }

    /// Whether what is being polled was cancelled alone, as by its handle, and this was opened in it: no
    /// scope above says so.
    fn ends_here(&self) -> bool {
        let is_in = |parent: &Arc<Scope>| look(|around| around.is_above(parent));
        ends() && self.parent().is_some_and(is_in)
    }
}
