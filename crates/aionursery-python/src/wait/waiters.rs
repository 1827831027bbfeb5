//! Who waits for a wait: one task of ours, which is nearly always all there is; behind it, in the order
//! in which they came, further tasks of ours and callbacks. Each stands for itself, so that what
//! becomes of one does not end the wait for the others. It must never leave anybody waiting for what
//! has ended.

use super::waiter::Waiter;
use super::{Kind, Phase, Wait, host_cancelled, stop_waiting, wait};
use crate::cpython::futures;
use crate::cpython::imports::{current_task, names};
use crate::cpython::object::{Aside, Owned, Raw, getattr_opt, optional};
use crate::engine::state::LoopState;
use crate::task;

/// One of our tasks has yielded a wait: it waits for it from now on. Says no if it must be treated
/// as any future instead (a join that another awaits, another loop's wait).
#[inline]
pub unsafe fn park(state: &LoopState, object: Raw, task: Raw) -> bool {
    // SAFETY: attached; the caller's objects are alive.
    unsafe {
        let this = wait(object);
        let same = this.state().is_some_and(|its| std::ptr::eq(its, state));
        if !same || !this.blocking.get() || this.phase.get() != Phase::Waiting {
            return false;
        }
        if !this.task.is_empty() {
            if this.kind.get() == Kind::Join {
                return false;
            }
            this.shared.set(true);
            this.others.borrow_mut().push(Waiter::Task(Owned::share(task)));
            this.blocking.set(false);
            return true;
        }
        this.blocking.set(false);
        this.task.set(Owned::share(task));
        if this.kind.get() == Kind::Join {
            let ours = task::data(task);
            ours.raise_flags(task::flag::JOINING);
            if task::is_asked(state, task) {
                host_cancelled(state, object);
            }
        }
        true
    }
}

/// Adds a callback to a wait that is not over.
pub fn add(this: &Wait, function: Owned, context: Owned) {
    if has_any(this) {
        this.shared.set(true);
    }
    this.others.borrow_mut().push(Waiter::Callback(function, context));
}

fn has_any(this: &Wait) -> bool {
    !this.task.is_empty() || !this.others.borrow().is_empty()
}

/// Wakes every waiter.
pub unsafe fn notify(object: Raw) {
    // SAFETY: attached; the caller's wait is alive.
    unsafe {
        let this = wait(object);
        let Some(state) = this.state() else { return };
        if let Some(task) = this.task.take() {
            task::wake(state, task);
        }
        for waiter in this.others.take() {
            wake(state, object, waiter);
        }
    }
}

/// Wakes one waiter.
unsafe fn wake(state: &LoopState, object: Raw, waiter: Waiter) {
    // SAFETY: attached; the caller's wait is alive.
    unsafe {
        match waiter {
            Waiter::Task(task) => task::wake(state, task),
            Waiter::Callback(function, context) => {
                if let Err(raised) = task::call_soon(state, &function, object, &context) {
                    let text = "A callback of a wait that is over could not be scheduled";
                    state.report_failure(text, raised, std::ptr::null_mut());
                }
            }
        }
    }
}

/// Takes out the waiters whose objects are in `gone`.
fn remove(this: &Wait, gone: &[Raw]) {
    let first = if gone.contains(&this.task.get()) { this.task.take() } else { None };
    let others: Vec<Waiter> = this
        .others
        .borrow_mut()
        .extract_if(.., |waiter| gone.contains(&waiter.subject().as_ptr()))
        .collect();
    drop((first, others));
}

/// A task that waits is cancelled: the wait ends, or goes on for the others. Says whether the task is
/// to be woken, for nothing else will do it.
pub unsafe fn withdraw(object: Raw, task: Raw) -> bool {
    // SAFETY: attached; the caller's objects are alive.
    unsafe {
        let this = wait(object);
        if this.kind.get() == Kind::Join || this.phase.get() == Phase::Done {
            return false;
        }
        if this.phase.get() != Phase::Waiting {
            // Somebody else has thrown into the task's coroutine, and it is here no more.
            return true;
        }
        remove(this, &[task]);
        if has_any(this) {
            // The wait brings nothing to this one, which will throw into it.
            task::data(task).set_incoming(this.raise_cancelled().take());
            this.leaving.set(this.leaving.get() + 1);
        } else {
            this.phase.set(Phase::Cancelled);
            stop_waiting(object);
        }
        true
    }
}

/// Something was thrown into a wait that is not over, or it was closed: it is `after` that then. Where
/// a task that waits does that, with its coroutine, the wait goes on for the others; anybody else ends
/// it for all.
pub unsafe fn interrupt(object: Raw, after: Phase) {
    // SAFETY: attached; an exception on its way is put aside.
    unsafe {
        let _aside = Aside::new();
        let this = wait(object);
        if this.leaving.get() > 0 && has_any(this) {
            this.leaving.set(this.leaving.get() - 1);
            return;
        }
        // To find out which waiter runs may run Python code, so a copy is looked at.
        let first = this.task.cloned().map(Waiter::Task);
        let waiters: Vec<Waiter> = first.into_iter().chain(this.others.borrow().clone()).collect();
        let (mut gone, mut stranded) = (Vec::new(), Vec::new());
        for waiter in &waiters {
            if !runs(waiter) {
                continue;
            }
            gone.push(waiter.subject().as_ptr());
            if !steps(this, waiter) {
                // Another closes or drives its coroutine: it has to be woken to find that out.
                stranded.push(waiter);
            }
        }
        if this.phase.get() != Phase::Waiting {
            return;
        }
        remove(this, &gone);
        if gone.is_empty() || !has_any(this) {
            this.phase.set(after);
            stop_waiting(object);
            notify(object);
        }
        let Some(state) = this.home.cloned() else { return };
        for waiter in stranded {
            wake(&state, object, waiter.clone());
        }
    }
}

/// Whether a task that waits takes a step just now.
unsafe fn steps(this: &Wait, waiter: &Waiter) -> bool {
    // SAFETY: attached; a failure means that it is no task.
    unsafe {
        match waiter {
            Waiter::Task(task) => task::data(task.as_ptr()).has(task::flag::RUNNING),
            Waiter::Callback(function, _) => {
                let Some(state) = this.home.cloned() else { return false };
                let task = optional(getattr_opt(function.as_ptr(), names().self_)).flatten();
                let current = optional(current_task(state.event_loop.get()));
                task.map(|task| task.as_ptr()) == current.map(|task| task.as_ptr())
            }
        }
    }
}

/// Whether the coroutine of a task that waits runs just now.
unsafe fn runs(waiter: &Waiter) -> bool {
    // SAFETY: attached; a failure means that it is no task.
    unsafe {
        let running = match waiter {
            Waiter::Task(task) => futures::is_running(task.as_ptr()),
            Waiter::Callback(function, _) => match getattr_opt(function.as_ptr(), names().self_) {
                Ok(Some(task)) => futures::is_running(task.as_ptr()),
                Ok(None) => Ok(false),
                Err(raised) => Err(raised),
            },
        };
        optional(running).unwrap_or(false)
    }
}
