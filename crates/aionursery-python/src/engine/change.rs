//! How the tree is changed: what comes of it is delivered, and the loop's timer follows. The tree must
//! never be borrowed while that runs.

use nursery_core::{Effects, Tree};

use crate::engine::hooks::hooks;
use crate::engine::state::{LoopState, PyFace};
use crate::engine::timers;

impl LoopState {
    /// Runs a change of the tree and delivers the cancellations that come of it.
    #[inline]
    pub unsafe fn change<R>(
        &self,
        change: impl FnOnce(&mut Tree<PyFace>, &mut Effects<PyFace>) -> R,
    ) -> R {
        let (result, effects) = self.tree.change(change);
        // SAFETY: attached.
        unsafe {
            if !effects.deliveries.is_empty() || !effects.joined.is_empty() {
                (hooks().deliver)(self, effects);
            }
            timers::arm(self);
        }
        result
    }
}
