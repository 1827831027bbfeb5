//! What the code that is being polled stands in: its scope, for scopes and nurseries opened below
//! it, and marks with which it says that it cannot go on, or that a shield was opened in it. One
//! thread's own.

use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::time::Instant;

use crate::cancel_scope::Shared;
use crate::clock;
use crate::scope::{Cause, Scope};
#[cfg(all(test, aionursery_loom))]
use crate::sync::LocalCell;
use crate::sync::thread_local;

thread_local! {
    // Nobody stands anywhere when a thread ends: no destructor is needed, which costs each access.
    static AROUND: Cell<ManuallyDrop<Around>> =
        const { Cell::new(ManuallyDrop::new(Around::Nothing)) };
    static FRAME: Cell<Frame> = const { Cell::new(Frame { kind: Kind::Outside, marks: 0 }) };
    static HEEDED: Cell<u16> = const { Cell::new(0) };
}

/// What is around the running code.
#[derive(Clone, Default)]
pub(crate) enum Around {
    #[default]
    Nothing,
    Scope(Arc<Scope>),
    /// A scope that opens when somebody asks for it: most end before anybody does.
    Later(Arc<Shared>),
}

impl Around {
    pub(crate) fn scope(&self) -> Option<Arc<Scope>> {
        match self {
            Self::Nothing => None,
            Self::Scope(scope) => Some(scope.clone()),
            Self::Later(shared) => Some(shared.open()),
        }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        match self {
            Self::Nothing => false,
            Self::Scope(scope) => scope.is_soft(),
            Self::Later(shared) => shared.is_cancelled(),
        }
    }

    pub(crate) fn cause(&self) -> Option<Cause> {
        match self {
            Self::Nothing => None,
            Self::Scope(scope) => scope.cause(),
            Self::Later(shared) => shared.cause(),
        }
    }

    /// Whether it is `scope`, or below it.
    pub(crate) fn is_below(&self, scope: &Arc<Scope>) -> bool {
        match self {
            Self::Nothing => false,
            Self::Scope(own) => own.is_below(scope),
            Self::Later(shared) => shared.is_below(scope),
        }
    }

    pub(crate) fn now(&self) -> Instant {
        match self {
            Self::Nothing => clock::here(),
            Self::Scope(scope) => scope.clock().instant(),
            Self::Later(shared) => shared.now(),
        }
    }
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
    look(Around::scope)
}

/// Looks at what is around.
pub(crate) fn look<R>(ask: impl FnOnce(&Around) -> R) -> R {
    let standing = Standing::amid(Around::Nothing);
    ask(&standing.before)
}

/// For its lifetime the thread stands in a scope. The scope is moved, not counted.
pub(crate) struct Standing {
    before: Around,
}

impl Standing {
    #[inline]
    pub(crate) fn in_scope(scope: Arc<Scope>) -> Self {
        Self::amid(Around::Scope(scope))
    }

    #[inline]
    fn amid(around: Around) -> Self {
        Self { before: swap(around) }
    }

    /// Whether nobody of ours is around.
    pub(crate) fn is_outermost(&self) -> bool {
        matches!(self.before, Around::Nothing)
    }

    /// Gives the scope back.
    #[inline]
    pub(crate) fn leave(mut self) -> Arc<Scope> {
        let around = swap(std::mem::take(&mut self.before));
        std::mem::forget(self);
        let Around::Scope(scope) = around else {
            unreachable!("scopes are left in the order of entering")
        };
        scope
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        drop(swap(std::mem::take(&mut self.before)));
    }
}

/// Sets what is around; gives back what was.
#[inline]
pub(crate) fn swap(around: Around) -> Around {
    ManuallyDrop::into_inner(AROUND.replace(ManuallyDrop::new(around)))
}

/// The frame before; it comes back also if what is polled panics out of us, as a waker may (R29).
#[must_use]
pub(crate) struct Entered(Frame);

impl Drop for Entered {
    /// What was polled has panicked out of us. The walls that it raised are still to be heard of.
    fn drop(&mut self) {
        FRAME.with(|frame| {
            let walls = frame.get().marks & WALL;
            frame.set(Frame { marks: self.0.marks | walls, ..self.0 });
        });
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
    let before = entered.0;
    std::mem::forget(entered);
    FRAME.with(|frame| frame.replace(before)).marks
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

/// The owner of who was polled has seen the mark that it cannot go on.
#[cold]
pub(crate) fn heed() {
    HEEDED.set(HEEDED.get().wrapping_add(1));
}

/// How often that has happened on this thread.
pub(crate) fn heeded() -> u16 {
    HEEDED.get()
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
