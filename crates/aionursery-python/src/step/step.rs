//! How a task moves: one step of its coroutine, what it waits for, how it is woken. It decides nothing
//! of scopes and nurseries: it asks the tree.

use nursery_core::{Inbox, Throw, Told, Waited};
use pyo3::ffi;

use super::cancel::cancelled_by_scope;
use super::end::{fail, finish};
use super::suspend::suspend;
use crate::cpython::imports::names;
use crate::cpython::object::{Aside, Fallible, Owned, Raw, checked, method1};
use crate::cpython::raised;
use crate::engine::current::{enter, leave, overwrite, restore};
use crate::engine::state::LoopState;
use crate::task::call_graph as graph;
use crate::task::cancelled_error;
use crate::task::data::{TaskData, data, flag, is_ours};
use crate::task::is_shielded;
use crate::wait;

/// Steps a task that the ready queue has come to. Only what leaves the loop (KeyboardInterrupt,
/// SystemExit) is raised.
#[inline]
pub unsafe fn run(state: &LoopState, task: Owned) -> Fallible<()> {
    // SAFETY: attached.
    unsafe {
        let ours = data(task.as_ptr());
        if ours.has(flag::DONE) || ours.has(flag::RUNNING) {
            ours.lower_flags(flag::SCHEDULED);
            return Ok(());
        }
        let context = ours.context().get();
        if let Err(raised) = checked(ffi::PyContext_Enter(context)) {
            // Somebody runs in that context: the task cannot, and says so.
            ours.set_incoming(raised.take());
            return step(state, &task, true);
        }
        let result = step(state, &task, true);
        let aside = if result.is_err() { Some(Aside::new()) } else { None };
        if ffi::PyContext_Exit(context) < 0 {
            ffi::PyErr_Clear();
        }
        drop(aside);
        result
    }
}

/// Steps a task inside the step of another.
pub unsafe fn run_nested(state: &LoopState, task: Owned) -> Fallible<()> {
    // SAFETY: attached. The queue still has the task and will find that it has moved on.
    unsafe {
        let _outside = state.ready.outside_batch();
        let outer = state.lingering.replace(false);
        let result = run(state, task);
        let aside = if result.is_err() { Some(Aside::new()) } else { None };
        leave(state);
        drop(aside);
        state.lingering.set(outer);
        result
    }
}

/// Takes one step in the context that is entered. In a drain, the current task lingers.
#[inline]
pub unsafe fn step(state: &LoopState, task: &Owned, drain: bool) -> Fallible<()> {
    // SAFETY: attached; the task is kept alive by the caller.
    unsafe {
        let this = task.as_ptr();
        let ours = data(this);
        let throw = prepare(state, this, ours);
        let entered = if drain && state.lingering.get() {
            overwrite(state, this).map(|()| None)
        } else {
            enter(state, this)
        };
        let Ok(before) = entered else {
            // No memory for it: the task fails, and is not left half-way.
            ours.lower_flags(flag::RUNNING);
            return fail(state, this, ours);
        };
        let outer = state.running.replace(this);
        let mut value = std::ptr::null_mut();
        let coroutine = ours.coroutine().get();
        let sent = match throw {
            None => ffi::PyIter_Send(coroutine, ffi::Py_None(), &mut value),
            Some(exception) => throw_into(coroutine, &exception, &mut value),
        };
        let result = match sent {
            ffi::PySendResult::PYGEN_NEXT => {
                suspend(state, task, ours, Owned::new(value)?);
                Ok(())
            }
            ffi::PySendResult::PYGEN_RETURN => {
                let value = Owned::maybe(value);
                if ours.change_inbox(|inbox| inbox.returned(|| is_shielded(state, ours))) {
                    finish(state, this, ours, flag::DONE | flag::CANCELLED, None);
                } else {
                    finish(state, this, ours, flag::DONE, value);
                }
                Ok(())
            }
            ffi::PySendResult::PYGEN_ERROR => fail(state, this, ours),
        };
        state.running.set(outer);
        ours.lower_flags(flag::RUNNING);
        if drain && before.is_none() {
            state.lingering.set(true);
        } else {
            let aside = if result.is_err() { Some(Aside::new()) } else { None };
            restore(state, before);
            drop(aside);
        }
        result
    }
}

/// What the step is to throw, if anything.
#[inline]
unsafe fn prepare(state: &LoopState, task: Raw, ours: &TaskData) -> Option<Owned> {
    // SAFETY: attached; the task is alive.
    unsafe {
        let joining = ours.has(flag::JOINING);
        let flags = ours.flags.get() & !(flag::SCHEDULED | flag::JOINING);
        ours.flags.set(flags | flag::RUNNING);
        let waited = ours.waiting.take();
        if joining {
            // The nursery that it joins decides what becomes of a cancellation.
            return None;
        }
        let incoming = if ours.rare.borrow().is_some() {
            ours.end_await();
            ours.take_incoming()
        } else {
            None
        };
        let incoming = match &waited {
            Some(waited) if !wait::is_wait(waited.as_ptr()) => {
                graph::end(waited.as_ptr(), task);
                incoming.or_else(|| error_of(waited))
            }
            Some(waited) if wait::is_cancelled(waited.as_ptr()) => {
                incoming.or_else(|| Some(wait::cancelled_error(waited.as_ptr())))
            }
            _ => incoming,
        };
        if ours.inbox.get().is_quiet() {
            ours.change_inbox(Inbox::begin_quietly);
            return incoming;
        }
        prepare_cancellation(state, task, ours, waited.is_some(), incoming)
    }
}

/// The error of a task of ours that was awaited directly: it is thrown, as that of any future.
#[inline]
unsafe fn error_of(awaited: &Owned) -> Option<Owned> {
    // SAFETY: attached; the object is alive.
    unsafe {
        let this = awaited.as_ptr();
        if !is_ours(this) || !data(this).has(flag::FAILED | flag::CANCELLED) {
            return None;
        }
        crate::task::result::result_of(this).err().map(|raised| raised.take())
    }
}

/// What the step is to throw where a cancellation may have come. `incoming` is the error that the
/// wait has brought.
#[cold]
unsafe fn prepare_cancellation(
    state: &LoopState,
    task: Raw,
    ours: &TaskData,
    waited: bool,
    incoming: Option<Owned>,
) -> Option<Owned> {
    // SAFETY: attached; the task is alive.
    unsafe {
        let member = ours.member.get();
        let told = member.map_or_else(Told::default, |member| {
            let tree = state.tree.borrow();
            let pending = tree.is_pending(member);
            Told {
                pending,
                abrupt: pending && tree.is_abrupt(member),
                shielded: tree.is_shielded(member),
            }
        });
        let waited = match &incoming {
            Some(error) if raised::is_cancellation(error.as_ptr()) => Waited::Cancelled,
            Some(_) => Waited::Got,
            None if waited => Waited::Got,
            None => Waited::Nothing,
        };
        let first = !ours.inbox.get().has_started();
        let step = ours.change_inbox(|inbox| inbox.before_step(told, waited));
        let Some(member) = member else {
            return if step.throw == Throw::Plain { Some(cancelled_error(task)) } else { incoming };
        };
        let thrown = match step.throw {
            Throw::Plain => Some(cancelled_error(task)),
            Throw::Scoped => Some(cancelled_by_scope(state, member)),
            Throw::Nothing => incoming,
        };
        if step.heard {
            state.tree.touch(|tree| tree.thrown(member));
        } else if step.throw == Throw::Scoped {
            state.tree.touch(|tree| tree.thrown_late(member));
        } else if first && told.pending {
            let now = state.now_or_zero();
            state.change(|tree, _| tree.hears_from_now(member, now));
        }
        thrown
    }
}

/// `coroutine.throw(exception)`, as `PyIter_Send` would answer.
unsafe fn throw_into(coroutine: Raw, exception: &Owned, value: &mut Raw) -> ffi::PySendResult {
    // SAFETY: attached; the coroutine is alive.
    unsafe {
        match method1(coroutine, names().throw, exception.as_ptr()) {
            Ok(yielded) => {
                *value = yielded.into_ptr();
                ffi::PySendResult::PYGEN_NEXT
            }
            Err(raised) => {
                if ffi::PyErr_ExceptionMatches(ffi::PyExc_StopIteration) == 0 {
                    return ffi::PySendResult::PYGEN_ERROR;
                }
                let stop = raised.take();
                match crate::cpython::object::getattr(stop.as_ptr(), names().value) {
                    Ok(result) => {
                        *value = result.into_ptr();
                        ffi::PySendResult::PYGEN_RETURN
                    }
                    Err(_) => ffi::PySendResult::PYGEN_ERROR,
                }
            }
        }
    }
}
