//! How often one turn looks again for what was woken meanwhile. A nursery that has not done all in its last round wakes
//! what polls it. Where that is another nursery, it comes again in that one's next round: if each had all its rounds, the
//! innermost would have four times as many with each level. So all that are below one child of the outermost have
//! together what one has alone. It must never keep a turn from its first round: what is woken in the outermost
//! nursery reaches the innermost in one.

use std::cell::Cell;

#[cfg(all(test, aionursery_loom))]
use crate::sync::LocalCell;
use crate::sync::thread_local;

/// How many rounds a turn has.
const ROUNDS: u8 = 4;

thread_local! {
    /// How many rounds are left to those that are being polled below a child of the outermost nursery, beside
    /// the first of each.
    static LEFT: Cell<Option<u8>> = const { Cell::new(None) };
}

/// The rounds of one turn.
pub(super) struct Rounds {
    made: u8,
    place: Place,
}

/// Where the nursery stands among those that are being polled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Outermost,
    /// The outermost one's child, or its body, polls it.
    Next,
    Deeper,
}

impl Rounds {
    /// `amid`: the thread is driving another nursery, which polls this one.
    #[inline]
    pub(super) fn begin(amid: bool) -> Self {
        Self { made: 0, place: if amid { Self::share() } else { Place::Outermost } }
    }

    #[inline]
    fn share() -> Place {
        if LEFT.get().is_some() {
            return Place::Deeper;
        }
        LEFT.set(Some(ROUNDS - 1));
        Place::Next
    }

    /// Whether there is one more.
    #[inline]
    pub(super) fn next(&mut self) -> bool {
        let goes_on = match self.made {
            0 => true,
            ROUNDS => false,
            _ => self.place == Place::Outermost || Self::take(),
        };
        self.made += u8::from(goes_on);
        goes_on
    }

    fn take() -> bool {
        let left = LEFT.get().and_then(|left| left.checked_sub(1));
        if left.is_some() {
            LEFT.set(left);
        }
        left.is_some()
    }
}

impl Drop for Rounds {
    #[inline]
    fn drop(&mut self) {
        if self.place == Place::Next {
            LEFT.set(None);
        }
    }
}
