//! How a nursery is left: its host joins body and children, and raises what the tree decides. It
//! must never decide anything itself.

use nursery_core::{Cause, Close, NurseryId, Outcome, Phase, Role, Source, Verdict};
use pyo3::ffi;
use pyo3::prelude::*;

use super::Nursery;
use super::abandoned::{close_by_force, finish_now, part_from_host};
use super::raise::{plain_cancelled, raise_verdict, without_cancellations};
use crate::cpython::errors::misuse;
use crate::cpython::futures;
use crate::cpython::imports::imports;
use crate::cpython::object::{
    Aside, Fallible, Owned, Raised, Raw, optional, raise, raise_in_context, string, type_name,
};
use crate::cpython::raised;
use crate::cpython::thread::thread_mark;
use crate::engine::state::{Failure, Key, LoopState};
use crate::hosts::{self, foreign, host};
use crate::wait::{self, Ops, Phase as WaitPhase};
use crate::{step, task};

/// How the body has ended.
unsafe fn body_outcome(exception: Raw) -> Outcome<Failure> {
    // SAFETY: attached; the caller's exception is alive.
    unsafe {
        if exception.is_null() || exception == ffi::Py_None() {
            return Outcome::Done;
        }
        let failure = Failure::unnamed(Owned::share(exception));
        Outcome::raised(raised::kind_of_end(exception), Role::Body, failure).0
    }
}

/// A cancellation of the host came while it joined.
const HELD: u8 = 1;
/// ... and was thrown in, so that the join's value is that error and not the body's.
const THROWN: u8 = 1 << 1;

static OPS: Ops =
    Ops { begin: begin_join, again: check_leaver, finish: finish_join, throw, abandon, cancelled };

/// A nursery's join. `exception` is what the body has ended with, if anything.
pub unsafe fn create(nursery: Owned, exception: Option<Owned>) -> Fallible<Owned> {
    // SAFETY: attached; the new wait is alive.
    unsafe {
        let join = wait::create_join(&OPS, nursery)?;
        drop(wait::wait(join.as_ptr()).value().replace(exception));
        Ok(join)
    }
}

/// Whether a cancellation of the host came while it joined; asked once.
unsafe fn take_held(join: Raw) -> bool {
    // SAFETY: the caller's wait is alive.
    let notes = unsafe { wait::wait(join) }.notes();
    let held = notes.get() & HELD != 0;
    notes.set(notes.get() & !HELD);
    held
}

/// Whether what a join holds was thrown into it, and is not what the body ended with.
unsafe fn was_thrown(join: Raw) -> bool {
    // SAFETY: the caller's wait is alive.
    unsafe { wait::wait(join) }.notes().get() & THROWN != 0
}

/// The nursery that a join waits for.
unsafe fn nursery<'py>(py: Python<'py>, join: Raw) -> Fallible<Bound<'py, Nursery>> {
    // SAFETY: attached; a join's payload is its nursery.
    unsafe {
        let payload = wait::wait(join).payload().cloned();
        let payload = payload.ok_or_else(|| misuse("this nursery's exit was already awaited"))?;
        let object = Bound::from_owned_ptr(py, payload.into_ptr());
        Ok(object.cast_into_unchecked::<Nursery>())
    }
}

/// A join that has begun is awaited again: its own task may do that, any other would wait where no
/// cancellation reaches it.
unsafe fn check_leaver(join: Raw) -> Fallible<()> {
    // SAFETY: attached; called with the GIL by the wait.
    unsafe {
        let object = nursery(Python::assume_attached(), join)?;
        let Some((home, _)) = object.get().place() else {
            return Ok(());
        };
        let current = crate::cpython::imports::current_task(home.event_loop.get())?;
        if current.as_ptr() as usize == object.get().leaver.get() {
            return Ok(());
        }
        Err(misuse("this nursery's __aexit__ is being awaited already, by the task that leaves it"))
    }
}

/// How a nursery is left as it must not be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Misuse {
    /// Another task leaves it.
    Task,
    /// Its host has entered another block inside it, and not left that.
    Order,
}

impl Misuse {
    fn text(self) -> &'static str {
        match self {
            Self::Task => {
                "this nursery is left in another task than entered it; enter and leave a nursery in \
                 one task, and do not yield inside one in an async generator (PEP 789)"
            }
            Self::Order => {
                "this nursery is left while a scope or nursery that was entered after it is still \
                 open; leave them in the reverse order"
            }
        }
    }
}

/// The task that leaves a nursery.
enum Leaver {
    /// Its host, as it must be.
    Host(Owned),
    /// Another task, after the host has ended, as asyncio allows it for its groups (R3).
    Successor,
    /// Another task, or the host in the wrong order.
    Stranger(Misuse),
    /// The host's coroutine is being closed, and must not await any more.
    Force,
}

/// The body has ended and the host begins to join. Returns whether there is nothing to wait for.
unsafe fn begin_join(join: Raw) -> Fallible<bool> {
    // SAFETY: attached; called with the GIL by the wait.
    unsafe {
        let py = Python::assume_attached();
        let object = nursery(py, join)?;
        let this = object.get();
        let Some((home, id)) = this.place() else {
            return Err(misuse("this nursery is left without having been entered"));
        };
        let state = &*home;
        if this.thread.get() != thread_mark() {
            return Err(misuse(
                "this nursery is left in another thread than entered it; enter and leave a \
                 nursery in one task",
            ));
        }
        if this.left.replace(true) {
            return Err(misuse(
                "this nursery is already being left: its __aexit__ was called before",
            ));
        }
        wait::settle_in(join, state);
        let exception = wait::wait(join).value().get();
        let closes = !exception.is_null()
            && ffi::PyErr_GivenExceptionMatches(exception, ffi::PyExc_GeneratorExit) != 0;
        // The clock may be the program's code, so it is read before the checks.
        let now = if exception.is_null() { 0.0 } else { state.now_or_zero() };
        let leaver = this.leaver(state, id, closes).inspect_err(|_| this.left.set(false))?;
        let outcome = body_outcome(exception);
        let adopted = state.tree.borrow().is_adopted(id);
        match &leaver {
            Leaver::Force => {
                close_by_force(this, state, id);
                return Err(raise(Owned::share(exception)));
            }
            // The nursery that has joined it says that it was not left; the body's error goes on.
            Leaver::Stranger(_)
                if adopted && matches!(outcome, Outcome::Failed(_) | Outcome::Bare(_)) => {}
            Leaver::Stranger(how) => this.disown(state, id, *how)?,
            Leaver::Successor => part_from_host(state, id, state.now_or_zero()).1?,
            Leaver::Host(_) => {}
        }
        let outcome = match outcome {
            // The task that closes a generator from outside gets the misuse error instead.
            Outcome::Alone(_) if matches!(leaver, Leaver::Stranger(_)) => Outcome::Cancelled,
            outcome => outcome,
        };
        let words = match &outcome {
            Outcome::Failed(Failure { error, .. })
            | Outcome::Group(Failure { error, .. })
            | Outcome::Bare(Failure { error, .. })
            | Outcome::Alone(Failure { error, .. }) => {
                let text = format!("the nursery's body failed: {}", type_name(error.as_ptr()));
                optional(string(&text))
            }
            Outcome::Done | Outcome::Cancelled => None,
        };
        let closed = state.change(|tree, out| {
            // What was disowned may have been told of its end by what ran since.
            if tree.phase(id) == Phase::Open {
                tree.body_ended(id, outcome, now, words, out);
            } else {
                tree.add_late(id, outcome, now, out);
                out.reasons.extend(words);
            }
            tree.phase(id) == Phase::Closed
        });
        if closed || (closes && finish_now(state, id)) {
            return Ok(true);
        }
        state.tree.touch(|tree| tree.set_joiner(id, Some(Key(join))));
        if let Leaver::Host(host) = leaver
            && !task::is_ours(host.as_ptr())
        {
            foreign::set_joining(state, host.as_ptr(), true);
        }
        Ok(false)
    }
}

impl Nursery {
    /// Which task leaves it. `closes`: a GeneratorExit is on its way.
    unsafe fn leaver(&self, state: &LoopState, id: NurseryId, closes: bool) -> Fallible<Leaver> {
        // SAFETY: attached.
        unsafe {
            let current = crate::cpython::imports::current_task(state.event_loop.get())?;
            self.leaver.set(current.as_ptr() as usize);
            let host = self.host.cloned();
            // A task of asyncio's says nothing when it ends.
            let ended = match &host {
                Some(host) => futures::is_done(host.as_ptr())?,
                None => true,
            };
            let alive = !ended && state.tree.borrow().host(id).is_some();
            if let Some(host) = &host
                && alive
                && host.as_ptr() == current.as_ptr()
            {
                let member = hosts::member_of(state, host.as_ptr());
                let tree = state.tree.borrow();
                if tree.innermost(member) == Some(tree.scope(id)) {
                    return Ok(Leaver::Host(host.clone()));
                }
                return Ok(Leaver::Stranger(Misuse::Order));
            }
            let runs = match &host {
                Some(host) if alive => futures::is_running(host.as_ptr())?,
                _ => false,
            };
            if closes && (runs || current.as_ptr() == ffi::Py_None()) {
                return Ok(Leaver::Force);
            }
            let tree = state.tree.borrow();
            let scope = tree.scope(id);
            if !alive && tree.settings(scope).abrupt && tree.cause(scope).is_none() {
                return Ok(Leaver::Successor);
            }
            Ok(Leaver::Stranger(Misuse::Task))
        }
    }

    /// Takes it from its host, and cancels its children: it is left as it must not be (R3).
    unsafe fn disown(&self, state: &LoopState, id: NurseryId, how: Misuse) -> Fallible<()> {
        // SAFETY: attached.
        unsafe {
            let now = state.now_or_zero();
            if how == Misuse::Order {
                let early = optional(string("a nursery around it was left"));
                state.change(|tree, out| tree.cancel_inside(tree.scope(id), early, now, out));
            }
            part_from_host(state, id, now).1?;
            self.misuse.set(misuse(how.text()).take());
            let reason = optional(string(how.text()));
            state.change(|tree, out| {
                let cause = Cause { source: Source::Failure, reason };
                tree.cancel(tree.scope(id), cause, now, out)
            });
            Ok(())
        }
    }
}

/// The host was cancelled from outside while it joins (R15).
unsafe fn tell_of_cancellation(state: &LoopState, nursery: &Owned, reason: Option<Owned>) {
    // SAFETY: attached; the payload of a join is a nursery.
    unsafe {
        let py = Python::assume_attached();
        let object = Bound::from_borrowed_ptr(py, nursery.as_ptr());
        let Some(id) = object.cast_unchecked::<Nursery>().get().id.get() else {
            return;
        };
        let now = state.now_or_zero();
        state.change(|tree, out| tree.host_cancelled(id, reason, now, out));
    }
}

/// The host was cancelled from outside while it joins (R15).
unsafe fn cancelled(state: &LoopState, object: Raw) {
    // SAFETY: attached; the caller's wait is alive.
    unsafe {
        let this = wait::wait(object);
        this.notes().set(this.notes().get() | HELD);
        if let Some(nursery) = this.payload().cloned() {
            let host = this.task().get();
            let message = if host.is_null() {
                wait::message(object)
            } else {
                task::data(host).cancel_message.cloned()
            };
            tell_of_cancellation(state, &nursery, message);
        }
    }
}

/// A cancellation of the host goes on to the children and waits for the end of the join (R15);
/// the coroutine's own end cannot wait.
unsafe fn throw(object: Raw, raised: Raised) -> Raw {
    // SAFETY: attached.
    unsafe {
        let this = wait::wait(object);
        let is_cancel = ffi::PyErr_ExceptionMatches(imports().cancelled_error) != 0;
        if !is_cancel || matches!(this.phase().get(), WaitPhase::New | WaitPhase::Spent) {
            let _aside = Aside::new();
            if this.phase().get() == WaitPhase::Waiting {
                wait::interrupt(object, WaitPhase::Spent);
            }
            this.phase().set(WaitPhase::Spent);
            this.task().clear();
            abandon(object);
            return raised.null();
        }
        let cancelled = raised.take();
        this.notes().set(HELD | THROWN);
        if this.phase().get() == WaitPhase::Waiting {
            if let (Some(nursery), Some(state)) = (this.payload().cloned(), this.state()) {
                drop(this.value().replace(Some(cancelled)));
                tell_of_cancellation(state, &nursery, None);
            }
        } else {
            drop(this.value().replace(Some(cancelled)));
        }
        wait::go_on(object)
    }
}

/// The host's coroutine is thrown out of its join: it must not await any more.
unsafe fn abandon(join: Raw) {
    // SAFETY: attached; an exception on its way is put aside.
    unsafe {
        let py = Python::assume_attached();
        let _aside = Aside::new();
        match nursery(py, join) {
            Ok(object) => {
                if let Some((state, id)) = object.get().place() {
                    close_by_force(object.get(), &state, id);
                }
            }
            Err(raised) => raised.forget(),
        }
    }
}

/// Body and children have ended: the block is left. Returns whether the body's exception is
/// swallowed, or raises what the nursery raises.
unsafe fn finish_join(join: Raw, joined: bool) -> Fallible<Owned> {
    // SAFETY: attached; called with the GIL by the wait.
    unsafe {
        let py = Python::assume_attached();
        let object = nursery(py, join)?;
        wait::wait(join).payload().clear();
        let Some((home, id)) = object.get().place() else {
            return Err(misuse("this nursery is left without having been entered"));
        };
        let misuse = object.get().misuse.take();
        match object.get().host.cloned() {
            Some(host) if misuse.is_none() && home.tree.borrow().host(id).is_some() => {
                leave(&object, &home, id, join, &host, joined)
            }
            _ => leave_without_host(&object, &home, id, join, misuse),
        }
    }
}

/// The host leaves its nursery.
unsafe fn leave(
    object: &Bound<'_, Nursery>,
    state: &LoopState,
    id: NurseryId,
    join: Raw,
    host: &Owned,
    joined: bool,
) -> Fallible<Owned> {
    // SAFETY: attached.
    unsafe {
        let host = host.as_ptr();
        let own = task::is_ours(host);
        let mut held = take_held(join);
        if !own {
            foreign::set_joining(state, host, false);
        } else if joined && task::is_asked(state, host) {
            task::data(host).change_inbox(|inbox| inbox.requests.deliver());
            held = true;
        }
        let member = hosts::member_of(state, host);
        // Where nothing was cancelled, the host's count decides nothing.
        let matters = held
            || !wait::wait(join).value().is_empty()
            || state.tree.borrow().is_cancelled(member);
        let honoured = if matters { host::honoured(host)? } else { 0 };
        let cancelled = if own && !held && state.tree.borrow().is_pending(member) {
            Some(step::cancelled_by_scope(state, member))
        } else {
            None
        };
        let shield = {
            let tree = state.tree.borrow();
            tree.settings(tree.scope(id)).shield
        };
        let now = if shield { state.now_or_zero() } else { 0.0 };
        let misplaced = {
            let tree = state.tree.borrow();
            tree.innermost(member) != Some(tree.scope(id))
        };
        if misplaced {
            // What ran since the join began has entered something.
            object.get().disown(state, id, Misuse::Order)?;
            let misuse = object.get().misuse.take();
            return leave_without_host(object, state, id, join, misuse);
        }
        let Close { verdict, cancelled: goes_on, rearm, exit } = state.change(|tree, out| {
            object.get().retire();
            tree.close(id, honoured, held, now, out)
        });
        // What was cancelled above a foreign host while it joined has not reached it yet.
        let behind = !own && state.tree.borrow().is_pending(member);
        let cancelled_here = exit.cause.is_some();
        // Looked at before the host may leave the tree.
        let above = state.tree.borrow().is_cancelled(member);
        host::left_scope(state, host, member);
        object.get().leave(exit.settings, exit.cause, exit.caught);
        host::take_back(host, exit.take_back)?;
        let (verdict, found) = without_cancellations(verdict);
        let absorbed = found && exit.absorbs;
        let caught = absorbed || exit.caught;
        if absorbed {
            object.get().has_caught();
        }
        if rearm {
            host::rearm(host)?;
        }
        if behind {
            foreign::reach(state, host);
        }
        let thrown = wait::wait(join).value().take();
        match verdict {
            Verdict::Clean if !goes_on => {
                let swallow = thrown.is_some() && caught;
                Ok(Owned::share(if swallow { ffi::Py_True() } else { ffi::Py_False() }))
            }
            Verdict::Clean => {
                if let Some(body) = thrown.as_ref()
                    && !was_thrown(join)
                {
                    let bare = raised::innermost(body);
                    if own && cancelled_here && !above && host::is_a_scopes(bare.as_ptr()) {
                        return Err(raise_in_context(task::cancelled_error(host)));
                    }
                    if bare.as_ptr() != body.as_ptr() {
                        // It was in a group of nothing but cancellations.
                        return Err(raise(bare));
                    }
                    // The body's own goes on.
                    return Ok(Owned::share(ffi::Py_False()));
                }
                let error = thrown.or(cancelled);
                Err(raise(error.unwrap_or_else(|| {
                    if own { task::cancelled_error(host) } else { plain_cancelled(join) }
                })))
            }
            verdict => raise_verdict(object, state, host, verdict, thrown),
        }
    }
}

/// A task that is not the host leaves a nursery, or the host does in the wrong order.
unsafe fn leave_without_host(
    object: &Bound<'_, Nursery>,
    state: &LoopState,
    id: NurseryId,
    join: Raw,
    misuse: Option<Owned>,
) -> Fallible<Owned> {
    // SAFETY: attached.
    unsafe {
        let settings = {
            let tree = state.tree.borrow();
            tree.settings(tree.scope(id))
        };
        let (verdict, cause) = state.change(|tree, out| {
            object.get().retire();
            tree.discard(id, out)
        });
        object.get().leave(settings, cause, false);
        let (verdict, _) = without_cancellations(verdict);
        let held = take_held(join);
        let thrown = wait::wait(join).value().take();
        let was_thrown = was_thrown(join);
        let current = crate::cpython::imports::current_task(state.event_loop.get())?;
        let verdict = match (misuse, verdict) {
            (None, verdict) => verdict,
            (Some(misuse), Verdict::Clean) => {
                Verdict::Bare { error: Failure::unnamed(misuse), beside: Vec::new() }
            }
            (Some(misuse), Verdict::Errors(mut errors)) => {
                errors.insert(0, Failure::unnamed(misuse));
                Verdict::Errors(errors)
            }
            (Some(misuse), Verdict::Bare { error, mut beside }) => {
                beside.insert(0, Failure::unnamed(misuse));
                Verdict::Bare { error, beside }
            }
        };
        match verdict {
            Verdict::Clean if was_thrown => match thrown {
                Some(cancelled) => Err(raise(cancelled)),
                None => Ok(Owned::share(ffi::Py_False())),
            },
            Verdict::Clean => Ok(Owned::share(ffi::Py_False())),
            verdict => {
                if held && was_thrown && !task::is_ours(current.as_ptr()) {
                    // The leaving task was cancelled: that acts after the error.
                    host::rearm(current.as_ptr())?;
                }
                raise_verdict(object, state, current.as_ptr(), verdict, thrown)
            }
        }
    }
}
