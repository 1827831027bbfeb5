//! How the tree is changed: what comes of it is delivered, and the loop's timer follows. The tree must
//! never be borrowed while that runs.

use nursery_core::{Effects, Tree};

use crate::cpython::errors::Aside;
use crate::engine::hooks::hooks;
use crate::engine::state::{LoopState, PyFace};
use crate::engine::timers;

impl LoopState {
    /// Runs a change of the tree and delivers the cancellations that come of it.
    #[inline]
    pub(crate) fn change<R>(
        &self,
        change: impl FnOnce(&mut Tree<PyFace>, &mut Effects<PyFace>) -> R,
    ) -> R {
        let (result, effects) = self.tree.change(change);
        if !effects.is_silent() {
            (hooks().deliver)(self, effects);
        }
        timers::arm(self);
        result
    }

    /// Lets go of what watched scopes that were left. That may run anything; an exception on its way is
    /// put aside.
    #[cold]
    pub(crate) fn drop_uncalled(&self) {
        let _aside = Aside::new(self.py());
        let uncalled = self.tree.touch(Tree::uncalled);
        drop(uncalled);
    }
}
