//! One step of a task: what is thrown into its coroutine or sent, and what comes out. It must never decide
//! which cancellation a step throws: the tree and the inbox do.

use nursery_core::{Inbox, Thrown, Waited};

use super::cancel::cancelled_for;
use super::end::{fail, finish};
use super::suspend::suspend;
use crate::cpython::call::{Sent, enter_context, exit_context, getattr, method1, send_none};
use crate::cpython::errors::{Aside, Fallible, Raised, exc};
use crate::cpython::imports::names;
use crate::cpython::object::Object;
use crate::cpython::owned::{Owned, none};
use crate::cpython::raised;
use crate::engine::current::{enter, leave, overwrite, restore};
use crate::engine::state::LoopState;
use crate::task::result::result_of;
use crate::task::{Task, call_graph, cancelled_error, flag, is_shielded};
use crate::wait::{self, WaitObject};

/// Steps a task that the ready queue has come to. Only what leaves the loop (KeyboardInterrupt,
/// SystemExit) is raised.
#[inline(always)]
pub(crate) fn run(state: &LoopState, task: &Task) -> Fallible<()> {
    let py = task.py();
    let ours = task.data();
    if ours.has(flag::DONE) || ours.has(flag::RUNNING) {
        ours.lower_flags(flag::SCHEDULED);
        return Ok(());
    }
    let context = ours.context().cloned().unwrap_or_else(|| none(py));
    if let Err(raised) = enter_context(&context) {
        // Other code runs in that context: the task cannot, and says so.
        ours.set_incoming(raised.take());
        return step(state, task, true);
    }
    let result = step(state, task, true);
    let aside = Aside::of(py, &result);
    exit_context(&context);
    drop(aside);
    result
}

/// Steps a task inside the step of another. The queue still has the task, and will find that it has
/// moved on.
pub(crate) fn run_nested(state: &LoopState, task: &Task) -> Fallible<()> {
    let _outside = state.ready.outside_batch();
    let outer = state.lingering.replace(false);
    let result = run(state, task);
    let aside = Aside::of(task.py(), &result);
    leave(state);
    drop(aside);
    state.lingering.set(outer);
    result
}

/// Takes one step in the context that is entered. In a drain, the current task lingers.
#[inline]
pub(super) fn step(state: &LoopState, task: &Task, drain: bool) -> Fallible<()> {
    let py = task.py();
    let ours = task.data();
    let throw = prepare(state, task);
    let entered = if drain && state.lingering.get() {
        overwrite(state, task).map(|()| None)
    } else {
        enter(state, task)
    };
    let before = match entered {
        Ok(before) => before,
        Err(raised) => {
            // No memory for it: the task fails, and is not left half-way.
            ours.lower_flags(flag::RUNNING);
            return fail(state, task, raised);
        }
    };
    let outer = state.running.replace(task.address());
    let coroutine = ours.coroutine().cloned().unwrap_or_else(|| none(py));
    let sent = match throw {
        None => send_none(&coroutine),
        Some(exception) => throw_into(&coroutine, &exception),
    };
    drop(coroutine);
    let result = match sent {
        Ok(Sent::Yielded(value)) => {
            suspend(state, task, value);
            Ok(())
        }
        Ok(Sent::Returned(value)) => {
            if ours.change_inbox(|inbox| inbox.returned(|| is_shielded(state, ours))) {
                finish(state, task, flag::DONE | flag::CANCELLED, None);
                drop(value);
            } else {
                finish(state, task, flag::DONE, Some(value));
            }
            Ok(())
        }
        Err(raised) => fail(state, task, raised),
    };
    state.running.set(outer);
    ours.lower_flags(flag::RUNNING);
    if drain && before.is_none() {
        state.lingering.set(true);
    } else {
        let aside = Aside::of(py, &result);
        restore(state, before);
        drop(aside);
    }
    result
}

/// What the step is to throw, if anything.
#[inline]
fn prepare(state: &LoopState, task: &Task) -> Option<Owned> {
    let ours = task.data();
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
        Some(waited) => match waited.object().cast::<WaitObject>() {
            None => {
                call_graph::end(waited, task);
                incoming.or_else(|| error_of(waited))
            }
            Some(wait) if wait.is_cancelled() => {
                incoming.or_else(|| Some(wait::cancelled_error(wait)))
            }
            Some(_) => incoming,
        },
        None => incoming,
    };
    if ours.inbox.get().is_quiet() {
        ours.change_inbox(Inbox::begin_quietly);
        return incoming;
    }
    prepare_cancellation(state, task, waited.is_some(), incoming)
}

/// The error of a task of ours that was awaited directly: it is thrown, as that of any future.
#[inline]
fn error_of(awaited: &Object) -> Option<Owned> {
    let awaited = awaited.cast::<Task>()?;
    if !awaited.data().has(flag::FAILED | flag::CANCELLED) {
        return None;
    }
    result_of(awaited).err().map(Raised::take)
}

/// What the step is to throw where a cancellation may have come. `incoming` is the error that the
/// wait has brought.
#[cold]
fn prepare_cancellation(
    state: &LoopState,
    task: &Task,
    waited: bool,
    incoming: Option<Owned>,
) -> Option<Owned> {
    let ours = task.data();
    let waited = match &incoming {
        Some(error) if raised::is_cancellation(error) => Waited::Cancelled,
        Some(_) => Waited::Got,
        None if waited => Waited::Got,
        None => Waited::Nothing,
    };
    let Some(member) = ours.member.get() else {
        let throws = ours.change_inbox(|inbox| inbox.begin_step(waited));
        return if throws { Some(cancelled_error(task)) } else { incoming };
    };
    let begin = |inbox: &mut _| state.tree.touch(|tree| tree.begin_step(member, inbox, waited));
    match ours.change_inbox(begin) {
        Thrown::Nothing => incoming,
        Thrown::Held => {
            let now = state.now_or_zero();
            if let Some(member) = ours.member.get() {
                state.change(|tree, _| tree.hears_from_now(member, now));
            }
            incoming
        }
        Thrown::Plain => Some(cancelled_error(task)),
        Thrown::Scoped(cause) => Some(cancelled_for(task.py(), &cause)),
    }
}

/// `coroutine.throw(exception)`, as `send` would answer.
fn throw_into(coroutine: &Object, exception: &Object) -> Fallible<Sent> {
    let py = coroutine.py();
    match method1(coroutine, names(py).throw, exception) {
        Ok(yielded) => Ok(Sent::Yielded(yielded)),
        Err(raised) if raised.is(exc::stop_iteration(py)) => {
            let stop = raised.take();
            getattr(&stop, names(py).value).map(Sent::Returned)
        }
        Err(raised) => Err(raised),
    }
}
