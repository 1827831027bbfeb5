//! What the code that is being polled stands in: its scope, for scopes and nurseries opened below
//! it, and a mark with which an await says that whoever awaits cannot go on. One thread's own.

use std::cell::Cell;
use std::sync::Arc;

use crate::scope::Scope;
use crate::sync::thread_local;

thread_local! {
    static SCOPE: Cell<Option<Arc<Scope>>> = const { Cell::new(None) };
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
    SCOPE.with(|scope| {
        let current = scope.take();
        scope.set(current.clone());
        current
    })
}

/// For its lifetime the thread stands in a scope. The scope is moved, not counted.
pub(crate) struct Standing {
    before: Option<Arc<Scope>>,
}

impl Standing {
    pub(crate) fn in_scope(scope: Arc<Scope>) -> Self {
        Self { before: SCOPE.with(|current| current.replace(Some(scope))) }
    }

    /// Gives the scope back.
    pub(crate) fn leave(mut self) -> Arc<Scope> {
        let before = self.before.take();
        let scope = SCOPE.with(|current| current.replace(before));
        std::mem::forget(self);
        scope.expect("scopes are left in the order of entering")
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        let before = self.before.take();
        drop(SCOPE.with(|current| current.replace(before)));
    }
}

/// Somebody of ours is polled from here on, until [`leave`].
#[inline]
pub(crate) fn enter(kind: Kind) -> Frame {
    FRAME.with(|frame| frame.replace(Frame { kind, stop: false }))
}

/// Says whether it cannot go on.
#[inline]
pub(crate) fn leave(before: Frame) -> bool {
    FRAME.with(|frame| frame.replace(before)).stop
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
