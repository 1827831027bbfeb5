//! How a nursery is left: its host joins body and children, and raises what the tree decides. It
//! must never decide anything itself.

use nursery_core::{Cause, Close, NurseryId, Outcome, Source, Verdict};
use pyo3::ffi;
use pyo3::prelude::*;

use super::Nursery;
use super::force::{close_by_force, finish_now};
use crate::imports::{imports, names};
use crate::object::{
    Fallible, Owned, Raised, Raw, call1, getattr_opt, none, raise, raise_in_context, take_raised,
    type_name,
};
use crate::state::{Failure, LoopState, thread_mark};
use crate::{foreign, host, task, wait};

/// How the body has ended.
unsafe fn body_outcome(exception: Raw) -> Outcome<Failure> {
    // SAFETY: attached; the caller's exception is alive.
    unsafe {
        if exception.is_null() || exception == ffi::Py_None() {
            return Outcome::Done;
        }
        let is = |kind: Raw| ffi::PyErr_GivenExceptionMatches(exception, kind) != 0;
        if is(imports().cancelled_error) {
            return Outcome::Cancelled;
        }
        let failure = Failure(Owned::share(exception));
        let leaves =
            [ffi::PyExc_KeyboardInterrupt, ffi::PyExc_SystemExit, ffi::PyExc_GeneratorExit];
        if leaves.into_iter().any(is) { Outcome::Bare(failure) } else { Outcome::Failed(failure) }
    }
}

/// The nursery that a join waits for.
pub unsafe fn nursery<'py>(py: Python<'py>, join: Raw) -> Fallible<Bound<'py, Nursery>> {
    // SAFETY: attached; a join's payload is its nursery.
    unsafe {
        let payload = wait::wait(join).payload().cloned();
        let payload =
            payload.ok_or_else(|| host::misuse("this nursery's exit was already awaited"))?;
        let object = Bound::from_owned_ptr(py, payload.into_ptr());
        Ok(object.cast_into_unchecked::<Nursery>())
    }
}

/// The body has ended and the host begins to join. Says whether there is nobody to wait for.
pub unsafe fn begin_join(join: Raw) -> Fallible<bool> {
    // SAFETY: attached; called with the GIL by the wait.
    unsafe {
        let py = Python::assume_attached();
        let object = nursery(py, join)?;
        let this = object.get();
        let Some((home, id)) = this.place() else {
            return Err(host::misuse("this nursery is left without having been entered"));
        };
        let state = &*home;
        wait::settle_in(join, state);
        let exception = wait::wait(join).value().get();
        let generator_exit = !exception.is_null()
            && ffi::PyErr_GivenExceptionMatches(exception, ffi::PyExc_GeneratorExit) != 0;
        let host = match this.check_leaving(state, id) {
            Ok(host) => host,
            Err(Raised) if generator_exit => {
                // Not the host closes the coroutine but a collector, or whoever holds it.
                ffi::PyErr_Clear();
                close_by_force(this, state, id);
                return Err(raise(Owned::share(exception)));
            }
            Err(Raised) => return Err(Raised),
        };
        let outcome = body_outcome(exception);
        let failed = !matches!(outcome, Outcome::Done);
        let (now, words) = if failed {
            let words = match &outcome {
                Outcome::Failed(Failure(error)) | Outcome::Bare(Failure(error)) => {
                    let text = format!("the nursery's body failed: {}", type_name(error.as_ptr()));
                    crate::object::string(&text).ok()
                }
                _ => None,
            };
            (state.now_or_zero(), words)
        } else {
            (0.0, None)
        };
        let spare = words.clone();
        let closed = state.change(|tree, out| tree.body_ended(id, outcome, now, || words, out));
        drop(spare);
        if closed {
            return Ok(true);
        }
        if generator_exit && finish_now(state, id) {
            return Ok(true);
        }
        if !task::is_ours(host.as_ptr()) {
            foreign::set_join(state, host.as_ptr(), Some(Owned::share(join)));
        }
        Ok(false)
    }
}

impl Nursery {
    /// The host of a nursery that is left, if it is left as it must be.
    unsafe fn check_leaving(&self, state: &LoopState, id: NurseryId) -> Fallible<Owned> {
        // SAFETY: attached.
        unsafe {
            let text = {
                let current = if self.thread.get() == thread_mark() {
                    crate::imports::current_task(state.event_loop.get())?
                } else {
                    none()
                };
                let tree = state.tree.borrow();
                let host = self.host.cloned();
                match (host, tree.host(id)) {
                    (Some(host), Some(_)) if host.as_ptr() == current.as_ptr() => {
                        drop(tree);
                        let member = state.member_of(host.as_ptr());
                        let tree = state.tree.borrow();
                        if tree.innermost(member) == Some(tree.scope(id)) {
                            return Ok(host);
                        }
                        "this nursery is left while a scope or nursery that was entered after it \
                         is still open; leave them in the reverse order"
                    }
                    _ => {
                        "this nursery is left in another task than entered it; enter and leave a \
                         nursery in one task, and do not yield inside one in an async generator \
                         (PEP 789)"
                    }
                }
            };
            // Nothing may outlive the block, so what it started is at least cancelled.
            let reason = crate::object::string(text).ok();
            let scope = state.tree.borrow().scope(id);
            let now = state.now_or_zero();
            let cause = Cause { source: Source::Failure, reason };
            state.change(|tree, out| tree.cancel(scope, cause, now, out));
            Err(host::misuse(text))
        }
    }
}

/// The host was cancelled from outside while it joins (R15).
pub unsafe fn host_cancelled(state: &LoopState, nursery: &Owned, reason: Option<Owned>) {
    // SAFETY: attached; the payload of a join is a nursery.
    unsafe {
        let py = Python::assume_attached();
        let object = Bound::from_borrowed_ptr(py, nursery.as_ptr());
        let Some(id) = object.cast_unchecked::<Nursery>().get().id.get() else {
            return;
        };
        let now = state.now_or_zero();
        let kept = reason.clone();
        state.change(|tree, out| tree.host_cancelled(id, reason, now, out));
        drop(kept);
    }
}

/// Body and children have ended: the host leaves. Says whether the body's exception is swallowed,
/// or raises what the nursery raises.
pub unsafe fn finish_join(join: Raw, joined: bool) -> Fallible<Owned> {
    // SAFETY: attached; called with the GIL by the wait.
    unsafe {
        let py = Python::assume_attached();
        let object = nursery(py, join)?;
        wait::wait(join).payload().clear();
        let this = object.get();
        let Some((home, id)) = this.place() else {
            return Err(host::misuse("this nursery is left without having been entered"));
        };
        let state = &*home;
        let Some(task) = this.host.cloned() else {
            return Err(Raised);
        };
        let own = task::is_ours(task.as_ptr());
        let mut held = wait::wait(join).take_held();
        if !own {
            foreign::set_join(state, task.as_ptr(), None);
        } else if joined && task::is_asked(state, task.as_ptr()) {
            task::data(task.as_ptr()).change_requests(|requests| requests.deliver());
            held = true;
        }
        let member = state.member_of(task.as_ptr());
        // Where nothing was cancelled, the host's count decides nothing.
        let matters = held
            || !wait::wait(join).value().is_empty()
            || state.tree.borrow().is_cancelled(member);
        let honoured = if matters { host::honoured(task.as_ptr())? } else { 0 };
        let cancelled = if own && !held && state.tree.borrow().is_pending(member) {
            Some(task::cancelled_by_scope(state, member))
        } else {
            None
        };
        let Close { verdict, cancelled: goes_on, rearm, exit } =
            state.change(|tree, out| tree.close(id, honoured, held, joined, out));
        // What was cancelled above a foreign host while it joined has not reached it yet.
        let behind = !own && state.tree.borrow().is_pending(member);
        let cancelled_here = exit.cause.is_some();
        // Looked at before the host may leave the tree.
        let above = state.tree.borrow().is_cancelled(member);
        this.leave(exit.settings, exit.cause, exit.caught);
        host::left_scope(state, task.as_ptr(), member);
        host::take_back(task.as_ptr(), exit.take_back)?;
        if rearm {
            host::rearm(task.as_ptr())?;
        }
        if behind {
            foreign::reach(state, task.as_ptr());
        }
        let thrown = wait::wait(join).value().take();
        match verdict {
            Verdict::Clean if !goes_on => {
                let swallow = thrown.is_some() && exit.caught;
                Ok(Owned::share(if swallow { ffi::Py_True() } else { ffi::Py_False() }))
            }
            Verdict::Clean => {
                if let Some(body) = thrown.as_ref()
                    && !wait::was_thrown(join)
                {
                    if own && cancelled_here && !above && host::is_a_scopes(body.as_ptr()) {
                        return Err(raise_in_context(task::cancelled_error(task.as_ptr())));
                    }
                    // The body's own goes on.
                    return Ok(Owned::share(ffi::Py_False()));
                }
                let error = thrown.or(cancelled);
                Err(raise(error.unwrap_or_else(|| {
                    if own { task::cancelled_error(task.as_ptr()) } else { plain_cancelled(join) }
                })))
            }
            Verdict::Errors(errors) => Err(raise_together(&object, errors)),
            Verdict::Bare { error: Failure(error), beside } => {
                for Failure(other) in beside {
                    let text = "A nursery was left by KeyboardInterrupt or SystemExit; \
                                this error was beside it";
                    state.report(text, Some(&other), task.as_ptr());
                }
                if thrown.is_some_and(|thrown| thrown.as_ptr() == error.as_ptr()) {
                    return Ok(Owned::share(ffi::Py_False()));
                }
                Err(raise(error))
            }
        }
    }
}

/// The `CancelledError` of a foreign host, with the message it was cancelled with.
unsafe fn plain_cancelled(join: Raw) -> Owned {
    // SAFETY: attached.
    unsafe {
        let kind = imports().cancelled_error;
        let error = match wait::message(join) {
            Some(message) => call1(kind, message.as_ptr()),
            None => crate::object::call0(kind),
        };
        error.unwrap_or_else(|Raised| take_raised())
    }
}

/// Raises the errors as a `MultiError` (R8). A subclass may have a group of its own.
unsafe fn raise_together(nursery: &Bound<'_, Nursery>, errors: Vec<Failure>) -> Raised {
    // SAFETY: attached.
    unsafe {
        let make = || -> Fallible<Owned> {
            let list = Owned::new(ffi::PyList_New(0))?;
            for Failure(error) in errors {
                if ffi::PyList_Append(list.as_ptr(), error.as_ptr()) < 0 {
                    return Err(Raised);
                }
            }
            match getattr_opt(nursery.as_ptr(), names().make_group)? {
                None => call1(imports().parts.multi_error, list.as_ptr()),
                Some(make) => call1(make.as_ptr(), list.as_ptr()),
            }
        };
        match make() {
            Ok(error) => {
                ffi::PyException_SetCause(error.as_ptr(), std::ptr::null_mut());
                raise(error)
            }
            Err(raised) => raised,
        }
    }
}
