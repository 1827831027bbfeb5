//! How a task ends, who is told, and its place in the tree. It must never decide what an end means
//! for others: the tree does.

use nursery_core::{Kind, MemberId, NurseryId, Outcome, Role};
use pyo3::ffi;

use crate::cpython::imports::names;
use crate::cpython::object::{
    Aside, Fallible, Owned, Raised, Raw, method0, optional, raise, set_error_text, type_name,
};
use crate::cpython::raised;
use crate::engine::state::{Failure, LoopState};
use crate::task::data::{TaskData, data, flag};
use crate::task::registry::unregister;
use crate::task::{call_graph as graph, callbacks as watch};
use crate::wait;

/// A step has raised.
#[cold]
pub(super) unsafe fn fail(state: &LoopState, task: Raw, ours: &TaskData) -> Fallible<()> {
    // SAFETY: attached; the task is kept alive by the caller.
    unsafe {
        let exception = Raised::seen().take();
        let this = exception.as_ptr();
        let kind = raised::kind(this);
        if kind == Kind::Cancellation {
            finish(state, task, ours, flag::DONE | flag::CANCELLED, Some(exception));
            return Ok(());
        }
        let leaves = kind == Kind::Exit;
        let child = ours.has(flag::CHILD);
        let again = (leaves && !child).then(|| exception.clone());
        let traceback = Owned::maybe(ffi::PyException_GetTraceback(this));
        drop(ours.with_rare(|rare| rare.exception_traceback.replace(traceback)));
        let mut how = flag::DONE | flag::FAILED;
        if !child {
            how |= flag::LOG_TRACEBACK;
        }
        finish(state, task, ours, how, Some(exception));
        match again {
            Some(exception) => Err(raise(exception)),
            None => Ok(()),
        }
    }
}

/// A task has ended. Its nursery is told directly, everybody else in the order of asking.
#[inline]
pub(super) unsafe fn finish(
    state: &LoopState,
    task: Raw,
    ours: &TaskData,
    how: u32,
    outcome: Option<Owned>,
) {
    // SAFETY: attached; the task is kept alive by the caller.
    unsafe {
        let child = ours.has(flag::CHILD);
        if child {
            graph::end_child(state, task, ours);
        }
        // What runs from here on finds a task that has ended and is no child any more, and may enter a
        // scope in it: that leaves the tree as any other host.
        let member = ours.member.take();
        ours.lower_flags(flag::CHILD);
        ours.raise_flags(how);
        drop(ours.outcome.replace(outcome));
        unregister(task);
        watch::tell(state, task);
        if let Some(member) = member {
            end_in_tree(state, task, ours, member, child);
        }
    }
}

/// Ends a child that can take no step any more, or not even its first: its coroutine is closed, and it
/// has been cancelled.
pub unsafe fn give_up(state: &LoopState, task: Raw) {
    // SAFETY: attached; the caller's task is alive, and its error is put aside.
    unsafe {
        let _aside = Aside::new();
        let ours = data(task);
        if let Some(coroutine) = ours.coroutine().cloned()
            && let Err(raised) = method0(coroutine.as_ptr(), names().close)
        {
            state.report_failure("A child has failed while it was closed", raised, task);
        }
        if !ours.has(flag::DONE) {
            finish(state, task, ours, flag::DONE | flag::CANCELLED, None);
        }
    }
}

#[inline]
unsafe fn end_in_tree(
    state: &LoopState,
    task: Raw,
    ours: &TaskData,
    member: MemberId,
    child: bool,
) {
    // SAFETY: attached. The tree's reference is let go after the tree is free again.
    unsafe {
        if !child {
            let ((), effects) = state.tree.change(|tree, out| tree.withdraw(member, out));
            drop(effects);
            return;
        }
        let returned = if ours.has(flag::CANCELLED | flag::FAILED) {
            None
        } else {
            state.tree.touch(|tree| tree.returned(member))
        };
        if let Some(nursery) = returned.unwrap_or_else(|| tell_tree(state, task, ours, member)) {
            wait::wake_joiner(state, nursery);
        }
        drop(Owned::maybe(task));
    }
}

/// Tells the tree how a child has ended. Returns the nursery that has closed by it.
unsafe fn tell_tree(
    state: &LoopState,
    task: Raw,
    ours: &TaskData,
    member: MemberId,
) -> Option<NurseryId> {
    // SAFETY: attached; the tree's reference keeps the task.
    unsafe {
        let unleft = state.tree.borrow().unleft(member);
        let orphans = !unleft.is_empty();
        for nursery in unleft {
            leave_unleft(state, task, nursery);
        }
        let outcome = outcome(task, ours);
        // Words and time are needed only if this failure cancels the siblings.
        let (now, words) = match outcome {
            Outcome::Done | Outcome::Cancelled if !orphans => (0.0, None),
            Outcome::Done | Outcome::Cancelled => (state.now_or_zero(), None),
            _ => (state.now_or_zero(), failure_text(task, ours)),
        };
        state.change(|tree, out| tree.ended(member, outcome, now, words, out))
    }
}

/// A child has ended without leaving a nursery: its own nursery joins that, and says so (R3).
#[cold]
unsafe fn leave_unleft(state: &LoopState, task: Raw, nursery: NurseryId) {
    // SAFETY: attached; the caller's task is alive.
    unsafe {
        let name = crate::task::name::name_text(task);
        let text = format!(
            "task {name} has ended without leaving a nursery that it had entered; write \
             'async with Nursery() as nursery:', and do not yield inside one in an async generator \
             (PEP 789)"
        );
        let error = set_error_text(ffi::PyExc_RuntimeError, &text).take();
        let failure = Failure { error, name: failure_name(task) };
        let words = optional(crate::cpython::object::string("this nursery was never left"));
        let now = state.now_or_zero();
        state.change(|tree, out| {
            if tree.has_nursery(nursery) {
                tree.adopt(nursery, failure, words, now, out);
            } else {
                out.errors.push(failure);
                out.reasons.extend(words);
            }
        });
    }
}

unsafe fn outcome(task: Raw, ours: &TaskData) -> Outcome<Failure> {
    if ours.has(flag::CANCELLED) {
        return Outcome::Cancelled;
    }
    if !ours.has(flag::FAILED) {
        return Outcome::Done;
    }
    let Some(error) = ours.outcome.cloned() else {
        return Outcome::Done;
    };
    // SAFETY: attached; the exception is alive.
    let kind = unsafe { raised::kind_of_end(error.as_ptr()) };
    // SAFETY: attached; the caller's task is alive.
    let name = unsafe { failure_name(task) };
    Outcome::raised(kind, Role::Child, Failure { error, name }).0
}

/// What a child that has failed is called.
unsafe fn failure_name(task: Raw) -> Option<Owned> {
    // SAFETY: attached; the caller's task is alive.
    unsafe { optional(crate::task::name::name(task)) }
}

/// The words with which siblings are cancelled: who failed, and with what.
unsafe fn failure_text(task: Raw, ours: &TaskData) -> Option<Owned> {
    // SAFETY: attached; a failure here leaves no words.
    unsafe {
        let error = ours.outcome.cloned()?;
        let name = crate::task::name::name_text(task);
        let text = format!("sibling {name} failed: {}", type_name(error.as_ptr()));
        optional(crate::cpython::object::string(&text))
    }
}
