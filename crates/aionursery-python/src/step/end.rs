//! How a task ends, what is told of it, and its place in the tree. It must never decide what an end means
//! for others: the tree does.

use nursery_core::{ErrorKind, MemberId, NurseryId, Outcome, Role};

use crate::channel::TransferObject;
use crate::cpython::call::{call1, is_coroutine, method0, type_name};
use crate::cpython::errors::{
    Aside, Fallible, Raised, exc, handling, is_of, misuse, optional, raise, set_error_text, string,
    traceback,
};
use crate::cpython::imports::names;
use crate::cpython::owned::Owned;
use crate::cpython::raised;
use crate::engine::state::{Failure, LoopState};
use crate::task::name::{name, name_text};
use crate::task::registry::unregister;
use crate::task::{Task, call_graph, callbacks, flag};
use crate::wait;

/// A step has raised.
#[cold]
pub(super) fn fail(state: &LoopState, task: &Task, raised: Raised) -> Fallible<()> {
    let ours = task.data();
    let exception = raised.take();
    let kind = raised::kind(&exception);
    if kind == ErrorKind::Cancellation {
        finish(state, task, flag::DONE | flag::CANCELLED, Some(exception));
        return Ok(());
    }
    let leaves = kind == ErrorKind::Exit;
    let child = ours.has(flag::CHILD);
    let again = (leaves && !child).then(|| exception.clone());
    let traceback = traceback(&exception);
    drop(ours.with_rare(|rare| rare.exception_traceback.replace(traceback)));
    let mut how = flag::DONE | flag::FAILED;
    if !child {
        how |= flag::LOG_TRACEBACK;
    }
    finish(state, task, how, Some(exception));
    match again {
        Some(exception) => Err(raise(exception)),
        None => Ok(()),
    }
}

/// A task has ended. Its nursery is told directly, everything else in the order of asking.
#[inline]
pub(super) fn finish(state: &LoopState, task: &Task, how: u32, outcome: Option<Owned>) {
    let ours = task.data();
    let child = ours.has(flag::CHILD);
    if child {
        call_graph::end_child(state, task);
    }
    // What runs from here on finds a task that has ended and is no child any more, and may enter a
    // scope in it: that leaves the tree as any other host. The tree's reference goes with the place that
    // it stood for, or the collector would be shown it for the new place, too.
    let (member, held) = (ours.member.take(), task.release());
    ours.lower_flags(flag::CHILD);
    ours.raise_flags(how);
    drop(ours.outcome.replace(outcome));
    unregister(task);
    // What a nursery is told of a child's end may wake more.
    callbacks::notify(state, task, member.filter(|_| child));
    if let Some(member) = member {
        end_in_tree(state, task, member, child);
    }
    // It is let go after the tree is free again.
    drop(held);
}

/// Ends a child that can take no step any more, or not even its first: its coroutine is closed, and it
/// has been cancelled.
pub(crate) fn give_up(state: &LoopState, task: &Task) {
    let _aside = Aside::new(task.py());
    let ours = task.data();
    if let Some(coroutine) = ours.coroutine().cloned()
        && let Err(raised) = method0(&coroutine, names(task.py()).close)
    {
        state.report_failure("A child has failed while it was closed", raised, Some(task));
    }
    if !ours.has(flag::DONE) {
        finish(state, task, flag::DONE | flag::CANCELLED, None);
    }
}

#[inline]
fn end_in_tree(state: &LoopState, task: &Task, member: MemberId, child: bool) {
    if !child {
        wait::host_ended(state, member);
        return;
    }
    let returned = if task.data().has(flag::CANCELLED | flag::FAILED) {
        None
    } else {
        state.tree.touch(|tree| tree.returned(member))
    };
    if let Some(nursery) = returned.unwrap_or_else(|| tell_tree(state, task, member)) {
        wait::wake_joiner(state, nursery);
    }
}

/// Tells the tree how a child has ended. Returns the nursery that has closed by it.
fn tell_tree(state: &LoopState, task: &Task, member: MemberId) -> Option<NurseryId> {
    let unleft = state.tree.borrow().unleft(member);
    let orphans = !unleft.is_empty();
    for nursery in unleft {
        leave_unleft(state, task, nursery);
    }
    let outcome = outcome(task);
    // Words and time are needed only if this end may cancel something.
    let cancelled = matches!(outcome, Outcome::Cancelled);
    let failed = !cancelled && !matches!(outcome, Outcome::Done);
    let timed = failed || orphans || state.tree.borrow().may_cancel(member, cancelled);
    let now = if timed { state.now_or_zero() } else { 0.0 };
    let words = if failed { failure_text(task) } else { None };
    state.change(|tree, out| tree.ended(member, outcome, now, words, out))
}

/// A child has ended without leaving a nursery: its own nursery joins that, and says so (R3).
#[cold]
fn leave_unleft(state: &LoopState, task: &Task, nursery: NurseryId) {
    let py = task.py();
    let name = name_text(task);
    let text = format!(
        "task {name} has ended without leaving a nursery that it had entered; write \
         'async with Nursery() as nursery:', and do not yield inside one in an async generator \
         (PEP 789)"
    );
    let error = misuse(py, &text).take();
    let failure = Failure { error, name: failure_name(task) };
    let words = optional(string(py, "this nursery was never left"));
    let now = state.now_or_zero();
    state.change(|tree, out| tree.adopt(nursery, failure, words, now, out));
}

fn outcome(task: &Task) -> Outcome<Failure> {
    let ours = task.data();
    if ours.has(flag::CANCELLED) {
        return Outcome::Cancelled;
    }
    if !ours.has(flag::FAILED) {
        return Outcome::Done;
    }
    let Some(error) = ours.outcome.cloned().and_then(|error| handled(task, error)) else {
        return Outcome::Done;
    };
    let kind = raised::kind_of_end(&error);
    Outcome::raised(kind, Role::Child, Failure { error, name: failure_name(task) }).0
}

/// Hands an error to the function that its nursery has for that. Returns what is still a failure: what
/// the function raises, or an error that it is not called with.
fn handled(task: &Task, error: Owned) -> Option<Owned> {
    let py = task.py();
    let handler = task.data().rare.borrow().as_ref().and_then(|rare| rare.handler.take());
    let Some(handler) = handler.filter(|_| is_of(&error, exc::exception(py))) else {
        return Some(error);
    };
    let _aside = Aside::new(py);
    let call = || -> Fallible<()> {
        let answer = call1(&handler, &error)?;
        if is_coroutine(&answer) || answer.object().cast::<TransferObject>().is_some() {
            method0(&answer, names(py).close)?;
            let text = "on_error was given an async function; it must be a plain one";
            return Err(set_error_text(exc::type_error(py), text));
        }
        Ok(())
    };
    handling(&error, call).err().map(Raised::take)
}

/// What a child that has failed is called.
fn failure_name(task: &Task) -> Option<Owned> {
    optional(name(task))
}

/// The words with which siblings are cancelled: which child failed, and with what. A failure here leaves none.
fn failure_text(task: &Task) -> Option<Owned> {
    let error = task.data().outcome.cloned()?;
    let text = format!("sibling {} failed: {}", name_text(task), type_name(&error));
    optional(string(task.py(), &text))
}
