//! How a `CancelScope` is left: by its host, by another task, or never. The check of which it is must
//! come after everything that may run the program's code.

use nursery_core::{Flight, MemberId, ScopeId, Source};

use super::CancelScope;
use crate::cpython::args::given;
use crate::cpython::call::{call0, method0};
use crate::cpython::errors::{
    Aside, Fallible, Raised, exc, is_of, misuse, optional, raise, raise_in_context, set_cause,
    string,
};
use crate::cpython::futures;
use crate::cpython::imports::{current_task, names};
use crate::cpython::object::Object;
use crate::cpython::owned::Owned;
use crate::cpython::raised;
use crate::cpython::raised::Group;
use crate::engine::armed::ROUNDING;
use crate::engine::report::beside_exit;
use crate::engine::state::LoopState;
use crate::hosts;
use crate::hosts::foreign;
use crate::hosts::host;
use crate::task::{self, Task};

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
    fn text(self, strict: bool) -> &'static str {
        match self {
            Self::Task if strict => {
                "Attempted to exit cancel scope in a different task than it was entered in"
            }
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
    /// Returns whether the exception in flight is swallowed. `this` is the scope itself.
    #[inline(always)]
    pub(super) fn exit(&self, this: &Object, exception: Option<&Object>) -> Fallible<bool> {
        let exception = given(exception);
        self.leave(this, exception).or_else(|raised| beside_exit(exception, raised).map(|()| false))
    }

    #[inline(always)]
    fn leave(&self, this: &Object, exception: Option<&Object>) -> Fallible<bool> {
        let py = this.py();
        self.check_own(py)?;
        let (Some(home), Some(id)) = (self.state(), self.id.get()) else {
            return Err(misuse(py, "this CancelScope is left without having been entered"));
        };
        let state = &*home;
        if !self.block.is_here() {
            return Err(misuse(py, "a CancelScope is left in another thread than entered it"));
        }
        // To look into a group may run the program's code, so that is done first.
        let passing = Passing::of(exception)?;
        let Some(host) = self.block.host.cloned() else {
            return Ok(false);
        };
        // These calls may run the program's code, so the checks come after them.
        let honoured = host::honoured(&host)?;
        let forced = exception.is_some_and(is_generator_exit) && is_closed_by_force(state, &host)?;
        let shield = self.id.get().is_some_and(|id| state.tree.borrow().settings(id).shield);
        let now = if shield { state.now_or_zero() } else { 0.0 };
        if self.id.get() != Some(id) {
            return Err(misuse(py, "this CancelScope was left meanwhile"));
        }
        if forced {
            self.remove(state, id, &host, false);
            return Ok(false);
        }
        let member = match self.leaver(state, id, &host)? {
            Ok(member) => member,
            Err(wrong) => return Err(self.refuse(state, id, &host, wrong)),
        };
        let flight = passing.flight;
        let replaced = flight == Flight::Error
            && exception.is_some_and(|exception| !raised::is_group(exception));
        let exit = state.change(|tree, out| {
            self.let_go();
            if replaced {
                tree.error_was_replaced(id);
            }
            tree.exit(id, flight, honoured, now, out)
        });
        let timed_out = exit.cause.as_ref().map(|cause| cause.source) == Some(Source::Deadline);
        let caught = exit.caught;
        let deadline = exit.settings.deadline;
        self.keep_end(exit.settings, exit.cause, caught);
        host::left_scope(state, &host, member);
        let taken = host::take_back(&host, exit.take_back);
        if exit.watched {
            state.drop_uncalled();
        }
        taken?;
        // anyio asks the clock, whatever has cancelled the scope.
        let timeout = self.fails
            && if self.strict { caught && deadline - state.now()? < ROUNDING } else { timed_out };
        self.raise(this, &host, passing, Way { caught, bare: exit.bare, timeout })
    }

    /// Raises what goes on after the block. Returns whether the exception in flight is swallowed.
    #[inline(always)]
    fn raise(
        &self,
        this: &Object,
        host: &Object,
        passing: Passing<'_>,
        way: Way,
    ) -> Fallible<bool> {
        let Way { caught, bare, timeout } = way;
        let Passing { flight, exception: Some(exception), rest } = passing else {
            return Ok(false);
        };
        match flight {
            Flight::Group if caught => match rest {
                // What is left of the group goes on.
                Some(rest) => Err(raise(rest)),
                None if timeout => Err(self.raise_timeout(this, exception)),
                None => Ok(true),
            },
            Flight::Cancelled if caught && timeout => Err(self.raise_timeout(this, exception)),
            Flight::Cancelled if caught => Ok(true),
            Flight::Cancelled if bare && host::is_a_scopes(exception) => {
                match host.cast::<Task>() {
                    Some(host) => Err(raise_in_context(task::cancelled_error(host))),
                    None => Ok(false),
                }
            }
            _ => Ok(false),
        }
    }

    /// It is left as it must not be: it goes, or stays for its host to leave if it is anyio's.
    #[cold]
    fn refuse(&self, state: &LoopState, id: ScopeId, host: &Object, wrong: Misuse) -> Raised {
        if !(self.strict && wrong == Misuse::Task) {
            self.remove(state, id, host, wrong == Misuse::Order);
        }
        misuse(state.py(), wrong.text(self.strict))
    }

    /// Raises `TimeoutError` in place of the cancellation that the deadline caused.
    #[cold]
    fn raise_timeout(&self, this: &Object, cancelled: &Object) -> Raised {
        let py = this.py();
        let error = match self.strict {
            true => method0(this, names(py).timeout_error),
            false => call0(exc::timeout_error(py)),
        };
        match error {
            Ok(error) if self.strict => raise_in_context(error),
            Ok(error) => {
                set_cause(&error, Some(Owned::share(cancelled)));
                raise(error)
            }
            Err(raised) => raised,
        }
    }

    /// The place of its host, if that leaves it as it must; or what is wrong.
    fn leaver(
        &self,
        state: &LoopState,
        id: ScopeId,
        host: &Object,
    ) -> Fallible<Result<MemberId, Misuse>> {
        if current_task(&state.event_loop())?.is(host)
            && let Some(member) = hosts::find_member(state, host)
            && state.tree.borrow().innermost(member) == Some(id)
        {
            return Ok(Ok(member));
        }
        let wrong = if state.tree.borrow().is_abandoned(id) {
            Misuse::Ended
        } else if host::current(state, "a CancelScope")?.is(host) {
            Misuse::Order
        } else {
            Misuse::Task
        };
        Ok(Err(wrong))
    }

    /// Takes it from its host and out of the tree. `early`: what its host has entered inside it is
    /// cancelled; no other scope is (R3).
    fn remove(&self, state: &LoopState, id: ScopeId, host: &Object, early: bool) {
        let now = state.now_or_zero();
        if self.id.get() != Some(id) {
            // The clock was the program's, and has left it.
            return;
        }
        let settings = state.tree.borrow().settings(id);
        let words = || optional(string(state.py(), "a scope around it was left"));
        let reason = if early { words() } else { None };
        let (cause, owed) = state.change(|tree, out| {
            self.let_go();
            if early {
                tree.cancel_inside(id, reason, now, out);
            }
            tree.remove(id, now, out)
        });
        self.keep_end(settings, cause, false);
        if let Err(raised) = host::take_back(host, owed) {
            state.forget(raised);
        }
        host::left_any_scope(state, host);
        state.drop_uncalled();
    }
}

impl CancelScope {
    /// It goes, alone or with a cycle, and its host has not left it.
    pub(super) fn give_up(&self) {
        let (Some(state), Some(id), Some(host)) =
            (self.state(), self.id.get(), self.block.host.cloned())
        else {
            return;
        };
        if self.is_nurserys.get() {
            return;
        }
        let _aside = Aside::new(state.py());
        // A task of asyncio's says nothing when it ends.
        let ended = optional(host::has_ended(&host)).unwrap_or(false);
        if ended || state.tree.borrow().is_abandoned(id) {
            self.remove(&state, id, &host, false);
        } else {
            state.tree.touch(|tree| tree.release_scope(id));
            foreign::leave_at_end(&state, &host);
        }
    }
}

impl Drop for CancelScope {
    fn drop(&mut self) {
        self.give_up();
    }
}

fn is_generator_exit(exception: &Object) -> bool {
    is_of(exception, exc::generator_exit(exception.py()))
}

/// Whether the coroutine that stands in a scope is closed while its task takes no step: by the program, or by
/// the collector, as when the loop has gone.
#[cold]
fn is_closed_by_force(state: &LoopState, host: &Object) -> Fallible<bool> {
    let current = current_task(&state.event_loop())?;
    Ok(current.is_none() || (!current.is(host) && futures::is_running(host)?))
}

/// How a block was left, as far as that decides what goes on after it.
struct Way {
    /// The cancellation in flight was its own.
    caught: bool,
    /// No scope asks for it any more.
    bare: bool,
    /// A `TimeoutError` is raised in its place.
    timeout: bool,
}

/// What is in flight when a block is left.
struct Passing<'a> {
    flight: Flight,
    exception: Option<&'a Object>,
    /// What is left of a group without the cancellations in it.
    rest: Option<Owned>,
}

impl<'a> Passing<'a> {
    fn of(exception: Option<&'a Object>) -> Fallible<Self> {
        let (flight, rest) = match exception {
            None => (Flight::Nothing, None),
            Some(exception) if raised::is_cancellation(exception) => (Flight::Cancelled, None),
            Some(exception) => match Group::of(exception)? {
                Group::Without => (Flight::Error, None),
                Group::With(rest) => (Flight::Group, rest),
            },
        };
        Ok(Self { flight, exception, rest })
    }
}
