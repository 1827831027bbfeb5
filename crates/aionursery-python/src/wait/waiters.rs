//! The tasks that wait for a wait: nearly always one task of ours alone; behind it, in the order
//! in which they came, further tasks of ours and callbacks. Each stands for itself, so that what
//! becomes of one does not end the wait for the others. It must never leave a task waiting for what
//! has ended.

use nursery_core::Inbox;

use super::{Wait, WaitKind, WaitObject, WaitPhase, host_cancelled};
use crate::cpython::call::getattr_opt;
use crate::cpython::errors::{Aside, optional};
use crate::cpython::futures;
use crate::cpython::imports::{current_task, names};
use crate::cpython::object::Object;
use crate::cpython::owned::Owned;
use crate::engine::state::LoopState;
use crate::task::{self, Task, Waiter};

/// One of our tasks has yielded a wait: it waits for it from now on. Returns `false` if it must be treated
/// as any future instead (a join that another awaits, another loop's wait).
#[inline]
pub(crate) fn park(state: &LoopState, this: &WaitObject, task: &Task) -> bool {
    if !this.home.is_at(state) || !this.blocking.get() || this.phase.get() != WaitPhase::Waiting {
        return false;
    }
    if !this.task.is_empty() {
        if this.kind.get() == WaitKind::Join {
            return false;
        }
        this.shared.set(true);
        this.others.borrow_mut().push(Waiter::Task(Owned::share(task)));
        this.blocking.set(false);
        return true;
    }
    this.blocking.set(false);
    this.task.set(Owned::share(task));
    if this.kind.get() == WaitKind::Join {
        task.data().raise_flags(task::flag::JOINING);
        if task::is_asked(state, task) {
            task.data().change_inbox(Inbox::answered);
            host_cancelled(state, this);
        }
    }
    true
}

/// Adds a callback to a wait that is not over.
pub(super) fn add(this: &Wait, function: Owned, context: Owned) {
    if has_any(this) {
        this.shared.set(true);
    }
    this.others.borrow_mut().push(Waiter::Callback(function, context));
}

pub(super) fn has_any(this: &Wait) -> bool {
    !this.task.is_empty() || !this.others.borrow().is_empty()
}

/// Wakes every waiter.
pub(crate) fn notify(this: &WaitObject) {
    let Some(state) = this.state() else { return };
    if let Some(task) = this.task.take() {
        task::wake(&state, task);
    }
    for waiter in this.others.take() {
        wake(&state, this, waiter);
    }
}

/// Wakes one waiter.
fn wake(state: &LoopState, this: &WaitObject, waiter: Waiter<Task>) {
    match waiter {
        Waiter::Task(task) => task::wake(state, task),
        Waiter::Callback(function, context) => {
            if let Err(raised) = task::call_soon(state, &function, this.object(), &context) {
                let text = "A callback of a wait that is over could not be scheduled";
                state.report_failure(text, raised, None);
            }
        }
    }
}

/// Takes out the waiters whose objects are at these addresses.
fn remove(this: &Wait, gone: &[usize]) {
    let first = if gone.contains(&this.task.address()) { this.task.take() } else { None };
    let others: Vec<Waiter<Task>> = this
        .others
        .borrow_mut()
        .extract_if(.., |waiter| gone.contains(&waiter.subject().address()))
        .collect();
    drop((first, others));
}

/// A task that waits is cancelled: the wait ends, or goes on for the others. Returns whether the task is
/// to be woken, for nothing else will do it.
pub(crate) fn withdraw(this: &WaitObject, task: &Task) -> bool {
    if this.kind.get() == WaitKind::Join || this.phase.get() == WaitPhase::Done {
        return false;
    }
    if this.phase.get() != WaitPhase::Waiting {
        // Other code has thrown into the task's coroutine, and it is here no more.
        return true;
    }
    remove(this, &[task.address()]);
    if has_any(this) {
        // The wait brings nothing to this one, which will throw into it.
        task.data().set_incoming(this.raise_cancelled(this.py()).take());
        this.leaving.set(this.leaving.get() + 1);
    } else {
        this.phase.set(WaitPhase::Cancelled);
        this.stop_waiting();
    }
    true
}

/// Something was thrown into a wait that is not over, or it was closed: it is `after` that then. Where
/// a task that waits does that, with its coroutine, the wait goes on for the others; any other caller ends
/// it for all.
pub(crate) fn interrupt(this: &WaitObject, after: WaitPhase) {
    let _aside = Aside::new(this.py());
    if this.leaving.get() > 0 && has_any(this) {
        this.leaving.set(this.leaving.get() - 1);
        return;
    }
    // To find out which waiter runs may run Python code, so a copy is looked at.
    let first = this.task.cloned().map(Waiter::Task);
    let waiters: Vec<Waiter<Task>> =
        first.into_iter().chain(this.others.borrow().clone()).collect();
    let (mut gone, mut stranded) = (Vec::new(), Vec::new());
    for waiter in &waiters {
        if !runs(waiter) {
            continue;
        }
        gone.push(waiter.subject().address());
        if !steps(this, waiter) {
            // Another closes or drives its coroutine: it has to be woken to find that out.
            stranded.push(waiter);
        }
    }
    if this.phase.get() != WaitPhase::Waiting {
        return;
    }
    remove(this, &gone);
    if gone.is_empty() || !has_any(this) {
        this.phase.set(after);
        this.stop_waiting();
        notify(this);
    }
    let Some(state) = this.state() else { return };
    for waiter in stranded {
        wake(&state, this, waiter.clone());
    }
}

/// What a callback is a method of, if it is one. A failure means that it is none.
fn method_of(function: &Object) -> Option<Owned> {
    optional(getattr_opt(function, names(function.py()).self_)).flatten()
}

/// Whether a task that waits takes a step just now.
fn steps(this: &Wait, waiter: &Waiter<Task>) -> bool {
    match waiter {
        Waiter::Task(task) => task.data().has(task::flag::RUNNING),
        Waiter::Callback(function, _) => {
            let Some(state) = this.state() else { return false };
            let task = method_of(function).map(|task| task.address());
            let current = optional(current_task(&state.event_loop()));
            task == current.map(|current| current.address())
        }
    }
}

/// Whether the coroutine of a task that waits runs just now. A failure means that it is no task.
fn runs(waiter: &Waiter<Task>) -> bool {
    let running = match waiter {
        Waiter::Task(task) => futures::is_running(task),
        Waiter::Callback(function, _) => match method_of(function) {
            Some(task) => futures::is_running(&task),
            None => return false,
        },
    };
    optional(running).unwrap_or(false)
}
