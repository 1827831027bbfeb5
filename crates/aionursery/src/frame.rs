//! What the code that is being polled stands in: its scope, for scopes and nurseries opened below
//! it, and a mark with which an await says that whoever awaits cannot go on. One thread's own.

use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::sync::Arc;

use crate::scope::Scope;
#[cfg(all(test, aionursery_loom))]
use crate::sync::LocalCell;
use crate::sync::thread_local;

thread_local! {
    // Nobody stands anywhere when a thread ends: no destructor is needed, which costs each access.
    static SCOPE: Cell<ManuallyDrop<Option<Arc<Scope>>>> =
        const { Cell::new(ManuallyDrop::new(None)) };
    static FRAME: Cell<Frame> = const { Cell::new(Frame { kind: Kind::Outside, stop: false }) };
}

/// Who is being polled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nobody of ours.
    Outside,
    /// A body or a child that cancellation reaches.
    Open,
    /// A child that it does not reach.
    Shielded,
}

#[derive(Clone, Copy)]
pub(crate) struct Frame {
    kind: Kind,
    stop: bool,
}

/// The scope that the running code stands in.
pub(crate) fn current() -> Option<Arc<Scope>> {
    let current = swap(None);
    swap(current.clone());
    current
}

fn swap(scope: Option<Arc<Scope>>) -> Option<Arc<Scope>> {
    ManuallyDrop::into_inner(SCOPE.replace(ManuallyDrop::new(scope)))
}

/// For its lifetime the thread stands in a scope. The scope is moved, not counted.
pub(crate) struct Standing {
    before: Option<Arc<Scope>>,
}

impl Standing {
    #[inline]
    pub(crate) fn in_scope(scope: Arc<Scope>) -> Self {
        Self { before: swap(Some(scope)) }
    }

    /// Gives the scope back.
    #[inline]
    pub(crate) fn leave(mut self) -> Arc<Scope> {
        let scope = swap(self.before.take());
        std::mem::forget(self);
        scope.expect("scopes are left in the order of entering")
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        drop(swap(self.before.take()));
    }
}

/// The frame before; it comes back also if what is polled panics out of us, as a waker may (R29).
#[must_use]
pub(crate) struct Entered(Frame);

impl Drop for Entered {
    fn drop(&mut self) {
        FRAME.with(|frame| frame.set(self.0));
    }
}

/// Somebody of ours is polled from here on, until [`leave`].
#[inline]
pub(crate) fn enter(kind: Kind) -> Entered {
    Entered(FRAME.with(|frame| frame.replace(Frame { kind, stop: false })))
}

/// Says whether it cannot go on.
#[inline]
pub(crate) fn leave(entered: Entered) -> bool {
    let stop = FRAME.with(Cell::get).stop;
    drop(entered);
    stop
}

/// Whether the one that was polled last in this frame cannot go on. Asked after each, so that the
/// next one is not taken for it.
#[inline]
pub(crate) fn take_stop() -> bool {
    FRAME.with(|frame| {
        let Frame { kind, stop } = frame.get();
        if stop {
            frame.set(Frame { kind, stop: false });
        }
        stop
    })
}

pub(crate) fn kind() -> Kind {
    FRAME.with(Cell::get).kind
}

/// Whoever is being polled cannot go on: it ends as cancelled. Says no if nobody of ours is.
pub(crate) fn stop() -> bool {
    FRAME.with(|frame| {
        let kind = frame.get().kind;
        frame.set(Frame { kind, stop: true });
        kind != Kind::Outside
    })
}
