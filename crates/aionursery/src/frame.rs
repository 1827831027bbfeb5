//! What the code that is being polled stands in: its scope, for scopes and nurseries opened below
//! it, and marks with which it says that it cannot go on, or that a shield was opened in it. One
//! thread's own.

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
    static FRAME: Cell<Frame> = const { Cell::new(Frame { kind: Kind::Outside, marks: 0 }) };
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
    marks: u8,
}

/// Who was polled cannot go on: it ends as cancelled.
pub(crate) const STOP: u8 = 1;
/// A wall was raised in who was polled, or further down.
pub(crate) const WALL: u8 = 2;

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

    /// Whether nobody of ours is around.
    pub(crate) fn is_outermost(&self) -> bool {
        self.before.is_none()
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
    Entered(FRAME.with(|frame| frame.replace(Frame { kind, marks: 0 })))
}

/// Says what has been marked since.
#[inline]
pub(crate) fn leave(entered: Entered) -> u8 {
    let marks = FRAME.with(Cell::get).marks;
    drop(entered);
    marks
}

/// What the one that was polled last in this frame has marked. Asked after each, so that the next
/// one is not taken for it.
#[inline]
pub(crate) fn take_marks() -> u8 {
    FRAME.with(|frame| {
        let Frame { kind, marks } = frame.get();
        if marks != 0 {
            frame.set(Frame { kind, marks: 0 });
        }
        marks
    })
}

pub(crate) fn kind() -> Kind {
    FRAME.with(Cell::get).kind
}

/// Whoever is being polled cannot go on: it ends as cancelled. Says no if nobody of ours is.
pub(crate) fn stop() -> bool {
    mark(STOP) != Kind::Outside
}

/// A wall was raised in whoever is being polled.
pub(crate) fn mark_wall() {
    mark(WALL);
}

fn mark(mark: u8) -> Kind {
    FRAME.with(|frame| {
        let Frame { kind, marks } = frame.get();
        frame.set(Frame { kind, marks: marks | mark });
        kind
    })
}
