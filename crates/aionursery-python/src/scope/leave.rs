//! How a `CancelScope` is left: by its host, by another task, or never. The check of which it is must
//! come after everything that may run the program's code.

use nursery_core::{Flight, MemberId, ScopeId, Source};
use pyo3::ffi;

use super::CancelScope;
use crate::cpython::errors::misuse;
use crate::cpython::futures;
use crate::cpython::object::{
    Aside, Fallible, Owned, Raised, Raw, optional, raise, raise_in_context, string,
};
use crate::cpython::raised::{self, Group};
use crate::cpython::thread::thread_mark;
use crate::engine::state::LoopState;
use crate::hosts;
use crate::hosts::host;
use crate::task;

/// How a scope is left as it must not be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Misuse {
    /// Its host has ended.
    Ended,
    /// Another task leaves it.
    Task,
    /// Its host has entered another inside it, and not left that.
    Order,
}

impl Misuse {
    fn text(self) -> &'static str {
        match self {
            Self::Ended => {
                "the task that entered this CancelScope has ended without leaving it; enter and leave \
                 a scope in one task, and do not yield inside one in an async generator or a pytest \
                 fixture"
            }
            Self::Task => {
                "this CancelScope is left in another task than entered it; enter and leave a scope in \
                 one task, and do not yield inside one in an async generator (PEP 789)"
            }
            Self::Order => {
                "this CancelScope is left while a scope or nursery that was entered after it is still \
                 open; leave them in the reverse order, and do not yield inside one in an async \
                 generator (PEP 789)"
            }
        }
    }
}

impl CancelScope {
    /// Says whether the exception in flight is swallowed.
    pub(super) unsafe fn exit(&self, exception: Raw) -> Fallible<bool> {
        // SAFETY: attached.
        unsafe {
            self.check_own()?;
            let (Some(home), Some(id)) = (self.state(), self.id.get()) else {
                return Err(misuse("this CancelScope is left without having been entered"));
            };
            let state = &*home;
            if self.thread.get() != thread_mark() {
                return Err(misuse("a CancelScope is left in another thread than entered it"));
            }
            // To look into a group may run the program's code, so that is done first.
            let (flight, rest) = flight(exception)?;
            let Some(held) = self.host.cloned() else {
                return Ok(false);
            };
            let host = held.as_ptr();
            // These calls may run the program's code, so the checks come after them.
            let honoured = host::honoured(host)?;
            let shield = self.id.get().is_some_and(|id| state.tree.borrow().settings(id).shield);
            let now = if shield { state.now_or_zero() } else { 0.0 };
            if self.id.get() != Some(id) {
                return Err(misuse("this CancelScope was left meanwhile"));
            }
            let member = match self.leaver(state, id, host)? {
                Ok(member) => member,
                Err(wrong) => {
                    self.remove(state, id, host, wrong == Misuse::Order);
                    return Err(misuse(wrong.text()));
                }
            };
            let exit = state.change(|tree, out| {
                self.let_go();
                tree.exit(id, flight, honoured, now, out)
            });
            // Looked at before the host may leave the tree.
            let above = state.tree.borrow().is_cancelled(member);
            let cancelled_here = exit.cause.is_some();
            let timed_out = exit.cause.as_ref().map(|cause| cause.source) == Some(Source::Deadline);
            let caught = exit.caught;
            self.settle(exit.settings, exit.cause, caught);
            host::left_scope(state, host, member);
            host::take_back(host, exit.take_back)?;
            match flight {
                Flight::Group if caught => match rest {
                    // What is left of the group goes on.
                    Some(rest) => Err(raise(rest)),
                    None if self.fails && timed_out => Err(timeout(exception)),
                    None => Ok(true),
                },
                Flight::Cancelled if caught && self.fails && timed_out => Err(timeout(exception)),
                Flight::Cancelled if caught => Ok(true),
                Flight::Cancelled
                    if cancelled_here
                        && !above
                        && task::is_ours(host)
                        && host::is_a_scopes(exception) =>
                {
                    Err(raise_in_context(task::cancelled_error(host)))
                }
                _ => Ok(false),
            }
        }
    }

    /// The place of its host, if that leaves it as it must; or what is wrong.
    unsafe fn leaver(
        &self,
        state: &LoopState,
        id: ScopeId,
        host: Raw,
    ) -> Fallible<Result<MemberId, Misuse>> {
        // SAFETY: attached; the caller's task is alive.
        unsafe {
            if state.tree.borrow().is_abandoned(id) {
                return Ok(Err(Misuse::Ended));
            }
            let current = host::current(state, "a CancelScope")?;
            if current.as_ptr() != host {
                return Ok(Err(Misuse::Task));
            }
            let member = hosts::member_of(state, host);
            if state.tree.borrow().innermost(member) != Some(id) {
                return Ok(Err(Misuse::Order));
            }
            Ok(Ok(member))
        }
    }

    /// Takes it from its host and out of the tree. `early`: what its host has entered inside it is
    /// cancelled; no other scope is (R3).
    unsafe fn remove(&self, state: &LoopState, id: ScopeId, host: Raw, early: bool) {
        // SAFETY: attached; the caller's task is alive, its error is taken back.
        unsafe {
            let now = state.now_or_zero();
            if self.id.get() != Some(id) {
                // The clock was the program's, and has left it.
                return;
            }
            let settings = state.tree.borrow().settings(id);
            let reason = if early { optional(string("a scope around it was left")) } else { None };
            let (cause, owed) = state.change(|tree, out| {
                self.let_go();
                if early {
                    tree.cancel_inside(id, reason, now, out);
                }
                tree.remove(id, now, out)
            });
            self.settle(settings, cause, false);
            if let Err(raised) = host::take_back(host, owed) {
                state.forget(raised);
            }
            host::left_any_scope(state, host);
        }
    }
}

impl Drop for CancelScope {
    fn drop(&mut self) {
        let (Some(state), Some(id), Some(host)) = (self.state(), self.id.get(), self.host.cloned())
        else {
            return;
        };
        // SAFETY: CPython frees the object, so the thread is attached; an exception on its way is put
        // aside.
        unsafe {
            let _aside = Aside::new();
            // A task of asyncio's says nothing when it ends.
            let ended = optional(futures::is_done(host.as_ptr())).unwrap_or(false);
            if ended || state.tree.borrow().is_abandoned(id) {
                self.remove(&state, id, host.as_ptr(), false);
            } else {
                state.tree.touch(|tree| tree.release_scope(id));
            }
        }
    }
}

/// What is in flight when a block is left with `exception`, or None; and what is left of a group
/// without the cancellations in it.
unsafe fn flight(exception: Raw) -> Fallible<(Flight, Option<Owned>)> {
    // SAFETY: attached; the caller's object is alive.
    unsafe {
        if exception.is_null() || exception == ffi::Py_None() {
            return Ok((Flight::Nothing, None));
        }
        if raised::is_cancellation(exception) {
            return Ok((Flight::Cancelled, None));
        }
        Ok(match Group::of(exception)? {
            Group::Without => (Flight::Error, None),
            Group::With(rest) => (Flight::Group, rest),
        })
    }
}

/// Raises `TimeoutError` from the cancellation that the deadline caused.
unsafe fn timeout(cancelled: Raw) -> Raised {
    // SAFETY: attached; the caller's exception is alive.
    unsafe {
        match crate::cpython::object::call0(ffi::PyExc_TimeoutError) {
            Ok(error) => {
                let cause = Owned::share(cancelled);
                ffi::PyException_SetCause(error.as_ptr(), cause.into_ptr());
                raise(error)
            }
            Err(raised) => raised,
        }
    }
}
