//! A wait as a coroutine and an iterator: what `await` and `send` do with it, and what is thrown into
//! it. It must never wake a task.

use super::waiters;
use super::{Wait, WaitKind, WaitObject, WaitPhase, start};
use crate::cpython::args::Args;
use crate::cpython::call::Sent;
use crate::cpython::errors::{Fallible, exc, optional, set_error};
use crate::cpython::function::This;
use crate::cpython::generator::raise_thrown;
use crate::cpython::object::Object;
use crate::cpython::owned::{Owned, none};
use crate::cpython::slots::{Sends, yielded};
use crate::engine::state::LoopState;
use crate::wait::clock;
use pyo3::prelude::*;

impl Sends<WaitObject> for Wait {
    #[inline]
    fn send(this: &This<'_, WaitObject>) -> Fallible<Sent> {
        advance(this)
    }
}

/// What a step of what awaits it comes to.
pub(crate) fn advance(this: &WaitObject) -> Fallible<Sent> {
    let py = this.py();
    let myself = || Sent::Yielded(Owned::share(this.object()));
    match (this.kind.get(), this.phase.get()) {
        (_, WaitPhase::Taken) => Err(set_error(
            exc::runtime_error(py),
            c"cannot reuse already awaited aionursery wait; make a new one",
        )),
        (WaitKind::Ready, _) => {
            this.phase.set(WaitPhase::Taken);
            Ok(Sent::Returned(this.payload.take().unwrap_or_else(|| none(py))))
        }
        (WaitKind::Turn, WaitPhase::New) => {
            look_at_clock(py, this);
            this.phase.set(WaitPhase::Done);
            Ok(Sent::Yielded(none(py)))
        }
        (WaitKind::Join, WaitPhase::New) => {
            let ops = this.join_ops();
            if (ops.begin)(this)? {
                this.phase.set(WaitPhase::Taken);
                return (ops.finish)(this, false).map(Sent::Returned);
            }
            this.phase.set(WaitPhase::Waiting);
            this.blocking.set(true);
            Ok(myself())
        }
        (WaitKind::Join, WaitPhase::Done) => {
            this.phase.set(WaitPhase::Taken);
            (this.join_ops().finish)(this, true).map(Sent::Returned)
        }
        (WaitKind::Join, WaitPhase::Waiting) => {
            (this.join_ops().again)(this)?;
            this.blocking.set(true);
            Ok(myself())
        }
        (_, WaitPhase::New | WaitPhase::Waiting) => {
            start(this)?;
            this.blocking.set(true);
            Ok(myself())
        }
        (_, WaitPhase::Done) if this.shared.get() => {
            Ok(Sent::Returned(this.value.cloned().unwrap_or_else(|| none(py))))
        }
        (_, WaitPhase::Done) => {
            this.phase.set(WaitPhase::Taken);
            Ok(Sent::Returned(this.value.take().unwrap_or_else(|| none(py))))
        }
        (_, WaitPhase::Cancelled) => {
            if !this.shared.get() {
                this.phase.set(WaitPhase::Taken);
            }
            Err(this.raise_cancelled(py))
        }
    }
}

/// A checkpoint of a task that is not ours looks at the clock (R21); for ours, each turn does.
fn look_at_clock(py: Python<'_>, this: &Wait) {
    // Outside of a loop there is no deadline.
    let home = this.home.cloned().or_else(|| optional(LoopState::current(py)));
    if let Some(home) = home.filter(|home| home.running.get() == 0) {
        clock::look_if_armed(&home);
    }
}

pub(super) fn send_value(this: &WaitObject, _: &Object) -> Fallible<Owned> {
    go_on(this)
}

/// What `send(None)` answers.
pub(crate) fn go_on(this: &WaitObject) -> Fallible<Owned> {
    yielded(advance(this))
}

pub(super) fn throw(this: &WaitObject, args: Args<'_>) -> Fallible<Owned> {
    let raised = raise_thrown(this.py(), args.positional());
    if let Some(ops) = this.ops.get() {
        return (ops.throw)(this, raised);
    }
    match this.phase.get() {
        WaitPhase::Waiting => waiters::interrupt(this, WaitPhase::Cancelled),
        // The code that set or cancelled it can still see that.
        WaitPhase::Cancelled => {}
        WaitPhase::Done if this.shared.get() => {}
        _ => this.phase.set(WaitPhase::Taken),
    }
    Err(raised)
}

pub(super) fn close(this: &WaitObject) -> Fallible<Owned> {
    let phase = this.phase.get();
    if phase == WaitPhase::Waiting {
        waiters::interrupt(this, WaitPhase::Taken);
    }
    match phase {
        WaitPhase::Waiting | WaitPhase::Done if this.ops.get().is_some() => {
            this.abandon(this.py());
        }
        WaitPhase::Waiting => {}
        // Others may still come for its outcome.
        WaitPhase::Done | WaitPhase::Cancelled if this.shared.get() => {}
        _ => this.phase.set(WaitPhase::Taken),
    }
    Ok(none(this.py()))
}
