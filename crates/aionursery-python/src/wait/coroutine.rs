//! A wait as a coroutine and an iterator: what `await` and `send` do with it, and what is thrown into
//! it. It must never wake anybody.

use pyo3::ffi;

use super::waiters;
use super::{Kind, Phase, Wait, start, wait};
use crate::cpython::generator::{raise_thrown, sent, stop};
use crate::cpython::guard::guard;
use crate::cpython::object::{Fallible, Owned, Raw, none, set_error};
use crate::engine::state::LoopState;
use crate::wait::clock;

pub(super) unsafe extern "C" fn send(object: Raw, _: Raw, value: *mut Raw) -> ffi::PySendResult {
    // SAFETY: CPython calls it on one of our waits.
    unsafe {
        *value = std::ptr::null_mut();
        guard(ffi::PySendResult::PYGEN_ERROR, |_| match advance(object) {
            Ok(Advance::Yield(yielded)) => {
                *value = yielded.into_ptr();
                ffi::PySendResult::PYGEN_NEXT
            }
            Ok(Advance::Return(result)) => {
                *value = result.into_ptr();
                ffi::PySendResult::PYGEN_RETURN
            }
            Err(_) => ffi::PySendResult::PYGEN_ERROR,
        })
    }
}

enum Advance {
    Yield(Owned),
    Return(Owned),
}

unsafe fn advance(object: Raw) -> Fallible<Advance> {
    // SAFETY: attached; the caller's wait is alive.
    unsafe {
        let this = wait(object);
        match (this.kind.get(), this.phase.get()) {
            (_, Phase::Spent) => Err(set_error(
                ffi::PyExc_RuntimeError,
                c"cannot reuse already awaited aionursery wait; make a new one",
            )),
            (Kind::Ready, _) => {
                this.phase.set(Phase::Spent);
                Ok(Advance::Return(this.payload.take().unwrap_or_else(|| none())))
            }
            (Kind::Turn, Phase::New) => {
                look_at_clock(this)?;
                this.phase.set(Phase::Done);
                Ok(Advance::Yield(none()))
            }
            (Kind::Join, Phase::New) => {
                let ops = this.join_ops();
                if (ops.begin)(object)? {
                    this.phase.set(Phase::Spent);
                    return (ops.finish)(object, false).map(Advance::Return);
                }
                this.phase.set(Phase::Waiting);
                this.blocking.set(true);
                Ok(Advance::Yield(Owned::share(object)))
            }
            (Kind::Join, Phase::Done) => {
                this.phase.set(Phase::Spent);
                (this.join_ops().finish)(object, true).map(Advance::Return)
            }
            (Kind::Join, Phase::Waiting) => {
                (this.join_ops().again)(object)?;
                this.blocking.set(true);
                Ok(Advance::Yield(Owned::share(object)))
            }
            (_, Phase::New | Phase::Waiting) => {
                start(object)?;
                this.blocking.set(true);
                Ok(Advance::Yield(Owned::share(object)))
            }
            (_, Phase::Done) if this.shared.get() => {
                Ok(Advance::Return(this.value.cloned().unwrap_or_else(|| none())))
            }
            (_, Phase::Done) => {
                this.phase.set(Phase::Spent);
                Ok(Advance::Return(this.value.take().unwrap_or_else(|| none())))
            }
            (_, Phase::Cancelled) => {
                if !this.shared.get() {
                    this.phase.set(Phase::Spent);
                }
                Err(this.raise_cancelled())
            }
        }
    }
}

/// A checkpoint of a task that is not ours looks at the clock (R21); for ours, each turn does.
unsafe fn look_at_clock(this: &Wait) -> Fallible<()> {
    // SAFETY: attached.
    unsafe {
        let home = match this.home.cloned() {
            Some(home) => home,
            None => match LoopState::current() {
                Ok(home) => home,
                Err(raised) => {
                    // Outside of a loop there is no deadline.
                    raised.forget();
                    return Ok(());
                }
            },
        };
        if home.running.get().is_null() {
            clock::look_if_armed(&home);
        }
        Ok(())
    }
}

pub(super) unsafe extern "C" fn next(object: Raw) -> Raw {
    // SAFETY: as above.
    unsafe {
        let mut value = std::ptr::null_mut();
        match send(object, ffi::Py_None(), &mut value) {
            ffi::PySendResult::PYGEN_NEXT => value,
            ffi::PySendResult::PYGEN_ERROR => std::ptr::null_mut(),
            ffi::PySendResult::PYGEN_RETURN => stop(Owned::maybe(value)),
        }
    }
}

pub(super) unsafe extern "C" fn method_send(object: Raw, _: Raw) -> Raw {
    // SAFETY: as above.
    unsafe { go_on(object) }
}

/// What `send(None)` answers.
pub unsafe fn go_on(object: Raw) -> Raw {
    // SAFETY: attached; the caller's wait is alive.
    unsafe { sent(next(object)) }
}

pub(super) unsafe extern "C" fn method_throw(
    object: Raw,
    args: *mut Raw,
    count: ffi::Py_ssize_t,
) -> Raw {
    // SAFETY: as above; CPython's vector of arguments.
    unsafe {
        guard(std::ptr::null_mut(), |_| {
            let raised = raise_thrown(args, count);
            let this = wait(object);
            if let Some(ops) = this.ops.get() {
                return (ops.throw)(object, raised);
            }
            match this.phase.get() {
                Phase::Waiting => waiters::interrupt(object, Phase::Cancelled),
                // Whoever set or cancelled it can still see that.
                Phase::Cancelled => {}
                Phase::Done if this.shared.get() => {}
                _ => this.phase.set(Phase::Spent),
            }
            raised.null()
        })
    }
}

pub(super) unsafe extern "C" fn method_close(object: Raw, _: Raw) -> Raw {
    // SAFETY: as above.
    unsafe {
        guard(std::ptr::null_mut(), |_| {
            let this = wait(object);
            match this.phase.get() {
                Phase::Waiting => {
                    waiters::interrupt(object, Phase::Spent);
                    if let Some(ops) = this.ops.get() {
                        this.phase.set(Phase::Spent);
                        (ops.abandon)(object);
                    }
                }
                // Others may still come for its outcome.
                Phase::Done | Phase::Cancelled if this.shared.get() => {}
                _ => this.phase.set(Phase::Spent),
            }
            none().into_ptr()
        })
    }
}
