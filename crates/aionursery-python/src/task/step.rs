//! How a task moves: one step of its coroutine, what it waits for, how it is woken, cancelled and
//! ended. It decides nothing of scopes and nurseries: it asks the tree.

use nursery_core::{MemberId, Outcome, Source};
use pyo3::ffi;

use super::data::{TaskData, data, flag, is_ours, register, unregister};
use super::watch::{self, Watcher};
use super::{future, graph};
use crate::entry::guard;
use crate::function::Method;
use crate::imports::{imports, names};
use crate::object::{
    Aside, Fallible, Owned, Raised, Raw, call_method, method0, method1, raise, set_error_text,
    take_raised, truth, type_name,
};
use crate::ready;
use crate::state::{Failure, Key, LoopState};
use crate::wait;

// The current task, as asyncio sees it

/// Makes a task the current one of its loop; gives back the one that was.
#[inline]
unsafe fn enter(state: &LoopState, task: Raw) -> Fallible<Option<Owned>> {
    // SAFETY: attached; the loop and the task are alive.
    unsafe {
        let imports = imports();
        let event_loop = state.event_loop.get();
        if imports.current_tasks.is_null() {
            let before = swap_current(event_loop, task)?;
            return Ok((before.as_ptr() != ffi::Py_None()).then_some(before));
        }
        let before = ffi::PyDict_GetItemWithError(imports.current_tasks, event_loop);
        let before = (!before.is_null()).then(|| Owned::share(before));
        if ffi::PyDict_SetItem(imports.current_tasks, event_loop, task) < 0 {
            return Err(Raised);
        }
        Ok(before)
    }
}

/// Makes a task the current one in place of the last one of this drain.
#[inline]
unsafe fn overwrite(state: &LoopState, task: Raw) -> Fallible<()> {
    // SAFETY: as above.
    unsafe {
        let imports = imports();
        if imports.current_tasks.is_null() {
            return swap_current(state.event_loop.get(), task).map(drop);
        }
        match ffi::PyDict_SetItem(imports.current_tasks, state.event_loop.get(), task) {
            0 => Ok(()),
            _ => Err(Raised),
        }
    }
}

/// Makes the task that was current before the current one again.
unsafe fn restore(state: &LoopState, before: Option<Owned>) {
    // SAFETY: as above; a failure cannot be passed on from here.
    unsafe {
        let imports = imports();
        let event_loop = state.event_loop.get();
        let failed = match before {
            _ if imports.current_tasks.is_null() => {
                let before = before.as_ref().map_or(ffi::Py_None(), Owned::as_ptr);
                swap_current(event_loop, before).is_err()
            }
            Some(before) => {
                ffi::PyDict_SetItem(imports.current_tasks, event_loop, before.as_ptr()) < 0
            }
            None => ffi::PyDict_DelItem(imports.current_tasks, event_loop) < 0,
        };
        if failed {
            ffi::PyErr_Clear();
        }
    }
}

unsafe fn swap_current(event_loop: Raw, task: Raw) -> Fallible<Owned> {
    // SAFETY: as above.
    unsafe {
        let args = [std::ptr::null_mut(), event_loop, task];
        let function = imports().swap_current_task;
        let flags = 2 | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET;
        Owned::new(ffi::PyObject_Vectorcall(
            function,
            args.as_ptr().add(1),
            flags,
            std::ptr::null_mut(),
        ))
    }
}

/// The end of a drain: no task is current any more. Between the steps of one drain the last
/// task stays in place: the next step overwrites it, and nothing of the program's runs between.
#[inline]
pub unsafe fn leave(state: &LoopState) {
    // SAFETY: attached.
    unsafe {
        if state.lingering.take() {
            let _aside = Aside::new();
            restore(state, None);
        }
    }
}

// Steps

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
        let context = ours.context.get();
        if ffi::PyContext_Enter(context) < 0 {
            // Somebody runs in that context: the task cannot, and says so.
            let error = take_raised();
            ours.with_rare(|rare| rare.incoming.set(error));
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
        let before = if drain && state.lingering.get() {
            overwrite(state, this)?;
            None
        } else {
            enter(state, this)?
        };
        let outer = state.running.replace(this);
        let mut value = std::ptr::null_mut();
        let coroutine = ours.coroutine.get();
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
                if ours.requests.get().is_waiting() && !is_shielded(state, ours) {
                    // As asyncio has it: a cancellation that came in the last step still counts.
                    ours.change_requests(|requests| requests.deliver());
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
        let handed_on = ours.has(flag::HANDED_ON);
        let flags = ours.flags.get() & !(flag::SCHEDULED | flag::JOINING | flag::HANDED_ON);
        ours.flags.set(flags | flag::RUNNING | flag::STARTED);
        let waited = ours.waiting.take();
        if joining {
            // The nursery that it joins decides what becomes of a cancellation.
            return None;
        }
        if let Some(waited) = &waited
            && !wait::is_wait(waited.as_ptr())
        {
            graph::end(waited.as_ptr(), task);
        }
        let incoming = if ours.rare.borrow().is_some() { ours.take_incoming() } else { None };
        if !ours.requests.get().is_waiting() && !ours.has(flag::TOLD) {
            return incoming;
        }
        ours.lower_flags(flag::TOLD);
        let brought = handed_on && waited.is_some_and(|waited| is_cancelled(&waited));
        prepare_cancellation(state, task, ours, brought).or(incoming)
    }
}

/// Whether a future brings a `CancelledError`.
#[cold]
unsafe fn is_cancelled(future: &Owned) -> bool {
    // SAFETY: attached; an error is taken back.
    unsafe {
        let answer = method0(future.as_ptr(), names().cancelled);
        answer.and_then(|answer| truth(&answer)).unwrap_or_else(|Raised| {
            ffi::PyErr_Clear();
            false
        })
    }
}

/// `brought`: what the task has waited for brings the `CancelledError` of a bare cancellation. Where
/// a scope's comes at the same moment, it is the bare one that is thrown: whoever asked for it knows
/// it by its plain type (asyncio.timeout on 3.11 does), and no scope takes it back.
unsafe fn prepare_cancellation(
    state: &LoopState,
    task: Raw,
    ours: &TaskData,
    brought: bool,
) -> Option<Owned> {
    // SAFETY: attached; the task is alive.
    unsafe {
        let (pending, held) = match ours.member.get() {
            None => (false, false),
            Some(member) => {
                let tree = state.tree.borrow();
                let asked = ours.requests.get().is_waiting();
                (tree.is_pending(member), asked && tree.is_shielded(member))
            }
        };
        let inside = ours.has(flag::INSIDE);
        ours.lower_flags(flag::INSIDE);
        let asked = ours.requests.get().is_waiting() && (!held || inside);
        if asked {
            ours.change_requests(
                |requests| {
                    if held { requests.deliver_one() } else { requests.deliver() }
                },
            );
        }
        let from_scope = if pending {
            let member = ours.member.get()?;
            let plain = asked || brought;
            let exception = if plain { None } else { Some(cancelled_by_scope(state, member)) };
            state.tree.borrow_mut().thrown(member);
            exception
        } else {
            None
        };
        if asked { Some(cancelled_error(task)) } else { from_scope }
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
            Err(Raised) => {
                if ffi::PyErr_ExceptionMatches(ffi::PyExc_StopIteration) == 0 {
                    return ffi::PySendResult::PYGEN_ERROR;
                }
                let stop = take_raised();
                match crate::object::getattr(stop.as_ptr(), names().value) {
                    Ok(result) => {
                        *value = result.into_ptr();
                        ffi::PySendResult::PYGEN_RETURN
                    }
                    Err(Raised) => ffi::PySendResult::PYGEN_ERROR,
                }
            }
        }
    }
}

/// A coroutine has yielded: the task waits for what it yielded.
#[inline]
unsafe fn suspend(state: &LoopState, task: &Owned, ours: &TaskData, yielded: Owned) {
    // SAFETY: attached; all is alive.
    unsafe {
        let this = task.as_ptr();
        ours.lower_flags(flag::RUNNING);
        if register(this) {
            graph::begin_child(state, this, ours);
        }
        let what = yielded.as_ptr();
        if what == ffi::Py_None() {
            ours.raise_flags(flag::SCHEDULED);
            if ours.member.get().is_some_and(|member| insist(state, member)) {
                ours.raise_flags(flag::TOLD);
            }
            ready::push_or_report(state, task.clone());
            return;
        }
        if wait::is_wait(what) {
            if wait::park(state, what, this) {
                return settle(state, this, ours, yielded);
            }
        } else if is_ours(what) && data(what).has(flag::BLOCKING) {
            data(what).lower_flags(flag::BLOCKING);
            if what == this {
                return refuse(
                    state,
                    task,
                    &format!("Task cannot await on itself: {}", text(what)),
                );
            }
            let here = data(what).state().is_some_and(|its| std::ptr::eq(its, state));
            if here && !data(what).has(flag::DONE) {
                watch::add(data(what), Watcher::Joiner(task.clone()));
                return settle(state, this, ours, yielded);
            }
            data(what).raise_flags(flag::BLOCKING);
        }
        future::wait_for(state, task, ours, yielded);
    }
}

/// The task waits for `what`. If a cancellation came while it ran, that is cancelled at once.
#[inline]
pub(super) unsafe fn settle(state: &LoopState, task: Raw, ours: &TaskData, what: Owned) {
    // SAFETY: attached; all is alive.
    unsafe {
        if !wait::is_wait(what.as_ptr()) {
            graph::begin(what.as_ptr(), task);
        }
        ours.waiting.set(what);
        if ours.has(flag::JOINING) {
            return;
        }
        let requests = ours.requests.get();
        let member = ours.member.get();
        let asked = requests.is_waiting() && is_asked(state, task);
        if asked && cancel_wait(state, task, true) {
            let inside = ours.has(flag::INSIDE);
            ours.lower_flags(flag::INSIDE);
            ours.change_requests(
                |requests| {
                    if inside { requests.deliver_one() } else { requests.deliver() }
                },
            );
            ours.raise_flags(flag::HANDED_ON);
            return;
        }
        if member.is_some_and(|member| insist(state, member)) {
            ours.raise_flags(flag::TOLD);
            cancel_wait(state, task, false);
        }
    }
}

/// Whether the wait that begins is to be cancelled at once (R18).
#[inline]
unsafe fn insist(state: &LoopState, member: MemberId) -> bool {
    // SAFETY: attached. The clock may run Python code, so it is read outside the tree.
    unsafe {
        let (now, pending) = {
            let mut tree = state.tree.borrow_mut();
            let mut asked = false;
            let pending = tree.suspended(member, || {
                asked = true;
                f64::NEG_INFINITY
            });
            (asked, pending)
        };
        if !now || pending {
            return pending;
        }
        let now = state.now_or_zero();
        state.tree.borrow_mut().suspended(member, || now)
    }
}

pub(super) unsafe fn text(object: Raw) -> String {
    // SAFETY: as the caller's.
    unsafe { crate::object::repr(object) }
}

/// The task yielded something it must not: its next step throws a RuntimeError.
pub(super) unsafe fn refuse(state: &LoopState, task: &Owned, text: &str) {
    // SAFETY: attached.
    unsafe {
        set_error_text(ffi::PyExc_RuntimeError, text);
        let error = take_raised();
        refuse_with(state, task, error);
    }
}

pub(super) unsafe fn refuse_with(state: &LoopState, task: &Owned, error: Owned) {
    // SAFETY: attached.
    unsafe {
        let ours = data(task.as_ptr());
        ours.with_rare(|rare| rare.incoming.replace(Some(error)));
        ours.raise_flags(flag::SCHEDULED);
        ready::push_or_report(state, task.clone());
    }
}

static STEP: Method = Method::no_args(c"step", bound_step_call);

/// A task's step as a function, for a loop to call in the task's context.
pub unsafe fn bound_step(task: Raw) -> Fallible<Owned> {
    // SAFETY: the caller's task is alive.
    unsafe { STEP.bind(task) }
}

unsafe extern "C" fn bound_step_call(task: Raw, _: Raw) -> Raw {
    // SAFETY: bound to a task, which the call keeps alive; the loop has entered its context.
    unsafe { step_from_loop(task) }
}

/// A step that the loop asks for, in the task's context.
pub(super) unsafe fn step_from_loop(task: Raw) -> Raw {
    // SAFETY: as above.
    unsafe {
        guard(std::ptr::null_mut(), |_| {
            let ours = data(task);
            let Some(state) = ours.state() else {
                return crate::object::none().into_ptr();
            };
            if ours.has(flag::DONE | flag::RUNNING) {
                return crate::object::none().into_ptr();
            }
            let _inside = crate::exit::Inside::enter();
            match step(state, &Owned::share(task), false) {
                Ok(()) => crate::object::none().into_ptr(),
                Err(Raised) => std::ptr::null_mut(),
            }
        })
    }
}

// Waking

/// What a task of ours has waited for is there.
#[inline]
pub unsafe fn wake(state: &LoopState, task: Owned) {
    // SAFETY: attached.
    unsafe {
        let ours = data(task.as_ptr());
        if ours.has(flag::DONE | flag::SCHEDULED | flag::RUNNING) {
            return;
        }
        ours.raise_flags(flag::SCHEDULED);
        ready::push_or_report(state, task);
    }
}

/// The nursery that a host joins has closed.
pub unsafe fn wake_from_join(state: &LoopState, host: Raw) {
    // SAFETY: attached; the caller's task is alive.
    unsafe {
        if data(host).has(flag::JOINING)
            && let Some(join) = data(host).waiting.cloned()
        {
            wait::join_is_over(state, join.as_ptr());
        }
    }
}

/// Steps a task at once that [`wake`] would have queued.
pub unsafe fn resume(state: &LoopState, task: Owned) -> Fallible<()> {
    // SAFETY: attached; called between two steps.
    unsafe {
        let ours = data(task.as_ptr());
        if ours.has(flag::DONE | flag::SCHEDULED | flag::RUNNING) {
            return Ok(());
        }
        ours.raise_flags(flag::SCHEDULED);
        run(state, task)
    }
}

// Cancelling

/// Whether a bare cancellation waits to be thrown and no shield holds it back.
pub unsafe fn is_asked(state: &LoopState, task: Raw) -> bool {
    // SAFETY: the caller's task is alive.
    let ours = unsafe { data(task) };
    ours.requests.get().is_waiting() && (ours.has(flag::INSIDE) || !is_shielded(state, ours))
}

/// Whether a bare cancellation is held back (R20).
fn is_shielded(state: &LoopState, ours: &TaskData) -> bool {
    ours.member.get().is_some_and(|member| state.tree.borrow().is_shielded(member))
}

/// The tree has cancelled a task: its count of cancellations rises.
pub unsafe fn charge(task: Raw, charges: u32) {
    // SAFETY: the caller's task is alive.
    unsafe {
        data(task).change_requests(|requests| {
            for _ in 0..charges {
                requests.ask();
            }
        });
    }
}

/// The tree has cancelled a task: what it waits for is cancelled, its next step throws.
pub unsafe fn reach(state: &LoopState, task: Raw) {
    // SAFETY: attached; the caller's task is alive.
    unsafe {
        let ours = data(task);
        ours.raise_flags(flag::TOLD);
        let idle = !ours.has(flag::DONE | flag::RUNNING | flag::SCHEDULED | flag::JOINING);
        let pending =
            ours.member.get().is_some_and(|member| state.tree.borrow().is_pending(member));
        if idle && pending && !ours.waiting.is_empty() {
            cancel_wait(state, task, false);
        }
    }
}

/// Cancels what a task waits for. `handed_on` is asyncio's way: what it waits for brings the
/// `CancelledError`. Says whether it will.
unsafe fn cancel_wait(state: &LoopState, task: Raw, handed_on: bool) -> bool {
    // SAFETY: attached; all is kept alive here.
    unsafe {
        let ours = data(task);
        let Some(what) = ours.waiting.cloned() else {
            return false;
        };
        if wait::is_wait(what.as_ptr()) {
            // Nothing of the program's has to hear of it: the step throws.
            if wait::withdraw(what.as_ptr()) {
                wake(state, Owned::share(task));
            }
            return false;
        }
        let message = if handed_on { ours.cancel_message.cloned() } else { reason(state, ours) };
        let message = message.as_ref().map_or(ffi::Py_None(), Owned::as_ptr);
        let mut args = [std::ptr::null_mut(), message];
        let answer = call_method(what.as_ptr(), names().cancel, &mut args, imports().kw_msg);
        match answer.and_then(|answer| truth(&answer)) {
            Ok(answer) => answer,
            Err(Raised) => {
                let error = take_raised();
                state.report("Cancelling what a task waits for has failed", Some(&error), task);
                false
            }
        }
    }
}

/// The words for a scope's cancellation of a task.
unsafe fn reason(state: &LoopState, ours: &TaskData) -> Option<Owned> {
    let member = ours.member.get()?;
    let tree = state.tree.borrow();
    tree.catcher(member)?.1.reason.clone()
}

/// `Task.cancel(msg)`.
pub unsafe fn cancel(task: Raw, message: Option<Owned>) -> Fallible<bool> {
    // SAFETY: attached; the caller's task is alive.
    unsafe {
        let ours = data(task);
        ours.lower_flags(flag::LOG_TRACEBACK);
        let (false, Some(state)) = (ours.has(flag::DONE), ours.state()) else {
            return Ok(false);
        };
        ours.change_requests(|requests| requests.ask());
        drop(ours.cancel_message.replace(message));
        if is_shielded(state, ours) {
            if !is_asked_from_inside(task) {
                ours.change_requests(|requests| requests.wait());
                return Ok(true);
            }
            ours.raise_flags(flag::INSIDE);
        }
        if ours.has(flag::JOINING) {
            ours.change_requests(|requests| requests.wait());
            if let Some(join) = ours.waiting.cloned() {
                wait::host_cancelled(state, join.as_ptr());
            }
            return Ok(true);
        }
        let waiting = ours.waiting.cloned();
        if let Some(what) = waiting {
            if wait::is_wait(what.as_ptr()) {
                ours.change_requests(|requests| requests.wait());
                if !ours.has(flag::SCHEDULED) {
                    cancel_wait(state, task, true);
                }
                return Ok(true);
            }
            if !ours.has(flag::SCHEDULED) {
                let message = ours.cancel_message.cloned();
                let message = message.as_ref().map_or(ffi::Py_None(), Owned::as_ptr);
                let mut args = [std::ptr::null_mut(), message];
                let answer =
                    call_method(what.as_ptr(), names().cancel, &mut args, imports().kw_msg)?;
                if truth(&answer)? {
                    ours.lower_flags(flag::INSIDE);
                    ours.raise_flags(flag::HANDED_ON);
                    return Ok(true);
                }
            }
        }
        ours.change_requests(|requests| requests.wait());
        Ok(true)
    }
}

/// Whether a block that a shielded task has entered inside the shield asks it to cancel.
#[cold]
unsafe fn is_asked_from_inside(task: Raw) -> bool {
    // SAFETY: attached; an error is taken back.
    unsafe {
        let _aside = Aside::new();
        let answer = crate::object::call1(imports().parts.asked_from_inside, task);
        answer.and_then(|answer| truth(&answer)).unwrap_or_else(|Raised| {
            ffi::PyErr_Clear();
            false
        })
    }
}

/// The `CancelledError` for a cancellation from outside, with its message.
pub unsafe fn cancelled_error(task: Raw) -> Owned {
    // SAFETY: attached; the caller's task is alive.
    unsafe {
        let message = data(task).cancel_message.cloned();
        let kind = imports().cancelled_error;
        let error = match message {
            Some(message) if message.as_ptr() != ffi::Py_None() => {
                crate::object::call1(kind, message.as_ptr())
            }
            _ => crate::object::call0(kind),
        };
        error.unwrap_or_else(|Raised| take_raised())
    }
}

/// The `CancelledError` for a scope's cancellation: it says which, and why (R11).
pub unsafe fn cancelled_by_scope(state: &LoopState, member: MemberId) -> Owned {
    // SAFETY: attached; nothing of the tree is borrowed while Python runs.
    unsafe {
        let (source, reason) = {
            let tree = state.tree.borrow();
            match tree.catcher(member) {
                Some((_, cause)) => (cause.source, cause.reason.clone()),
                None => (Source::Explicit, None),
            }
        };
        make_cancelled(source, reason.as_ref()).unwrap_or_else(|Raised| take_raised())
    }
}

/// `Cancelled(reason, source)`, for as many tasks as there are: the class is not called, and what it
/// says by itself is not set.
unsafe fn make_cancelled(source: Source, reason: Option<&Owned>) -> Fallible<Owned> {
    // SAFETY: attached; the class is an exception's, whose `__new__` takes the arguments.
    unsafe {
        let class: *mut ffi::PyTypeObject = imports().parts.cancelled.cast();
        let reason = reason.filter(|reason| reason.as_ptr() != ffi::Py_None());
        let words = match (reason, source) {
            (Some(reason), _) => Some(reason.clone()),
            (None, Source::Deadline) => Some(crate::object::string("deadline passed")?),
            (None, _) => None,
        };
        let args = match words {
            Some(words) => ffi::PyTuple_Pack(1, words.as_ptr()),
            None => ffi::PyTuple_New(0),
        };
        let args = Owned::new(args)?;
        let new = (*class).tp_new.ok_or(Raised)?;
        let error = Owned::new(new(class, args.as_ptr(), std::ptr::null_mut()))?;
        let set = |name: Raw, value: Raw| {
            if ffi::PyObject_SetAttr(error.as_ptr(), name, value) < 0 {
                Err(Raised)
            } else {
                Ok(())
            }
        };
        if let Some(reason) = reason {
            set(names().reason, reason.as_ptr())?;
        }
        if source != Source::Explicit {
            let text = crate::object::string(crate::scope::source_name(source))?;
            set(names().source, text.as_ptr())?;
        }
        Ok(error)
    }
}

// The end

/// A step has raised.
#[cold]
unsafe fn fail(state: &LoopState, task: Raw, ours: &TaskData) -> Fallible<()> {
    // SAFETY: attached; the task is kept alive by the caller.
    unsafe {
        let exception = take_raised();
        let this = exception.as_ptr();
        let is = |kind: Raw| ffi::PyErr_GivenExceptionMatches(this, kind) != 0;
        if is(imports().cancelled_error) {
            finish(state, task, ours, flag::DONE | flag::CANCELLED, Some(exception));
            return Ok(());
        }
        let leaves = is(ffi::PyExc_KeyboardInterrupt) || is(ffi::PyExc_SystemExit);
        let child = ours.has(flag::CHILD);
        let again = (leaves && !child).then(|| exception.clone());
        let traceback = Owned::maybe(ffi::PyException_GetTraceback(this));
        ours.with_rare(|rare| rare.exception_traceback.replace(traceback));
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
unsafe fn finish(state: &LoopState, task: Raw, ours: &TaskData, how: u32, outcome: Option<Owned>) {
    // SAFETY: attached; the task is kept alive by the caller.
    unsafe {
        if !ours.registration.is_empty() && ours.has(flag::CHILD) {
            graph::end_child(state, task, ours);
        }
        let member = ours.member.take();
        ours.raise_flags(how);
        drop(ours.outcome.replace(outcome));
        unregister(task);
        watch::tell(state, task);
        if let Some(member) = member {
            end_in_tree(state, task, ours, member);
        }
    }
}

/// A child that could not take its first step ends as if it had been cancelled before.
pub unsafe fn give_up(state: &LoopState, task: Raw) {
    // SAFETY: attached; the caller's task is alive, and its error is put aside.
    unsafe {
        let _aside = Aside::new();
        let ours = data(task);
        if let Some(coroutine) = ours.coroutine.cloned()
            && method0(coroutine.as_ptr(), names().close).is_err()
        {
            ffi::PyErr_Clear();
        }
        if !ours.has(flag::DONE) {
            finish(state, task, ours, flag::DONE | flag::CANCELLED, None);
        }
    }
}

#[inline]
unsafe fn end_in_tree(state: &LoopState, task: Raw, ours: &TaskData, member: MemberId) {
    // SAFETY: attached. The tree's reference is let go after the tree is free again.
    unsafe {
        if ours.has(flag::CHILD) {
            let outcome = outcome(ours);
            let failed = matches!(outcome, Outcome::Failed(_) | Outcome::Bare(_));
            // Words and time are needed only if this failure cancels the siblings.
            let (now, words) =
                if failed { (state.now_or_zero(), failure_text(task, ours)) } else { (0.0, None) };
            let spare = words.clone();
            let closed = state.change(|tree, out| tree.ended(member, outcome, now, || words, out));
            drop(spare);
            if let Some(nursery) = closed {
                state.wake_joiner(nursery);
            }
            // The tree's reference.
            drop(Owned::maybe(task));
        } else {
            state.tree.borrow_mut().withdraw(member);
        }
    }
}

fn outcome(ours: &TaskData) -> Outcome<Failure> {
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
    let leaves = unsafe {
        ffi::PyErr_GivenExceptionMatches(error.as_ptr(), ffi::PyExc_KeyboardInterrupt) != 0
            || ffi::PyErr_GivenExceptionMatches(error.as_ptr(), ffi::PyExc_SystemExit) != 0
    };
    if leaves { Outcome::Bare(Failure(error)) } else { Outcome::Failed(Failure(error)) }
}

/// The words with which siblings are cancelled: who failed, and with what.
unsafe fn failure_text(task: Raw, ours: &TaskData) -> Option<Owned> {
    // SAFETY: attached; a failure here leaves no words.
    unsafe {
        let error = ours.outcome.cloned()?;
        let name = super::methods::name_text(task);
        let text = format!("sibling {name} failed: {}", type_name(error.as_ptr()));
        let text = crate::object::string(&text);
        if text.is_err() {
            ffi::PyErr_Clear();
        }
        text.ok()
    }
}

/// Whether the tree holds a reference to a task: to children and to foreign hosts. A task of ours
/// that only hosts scopes leaves the tree when it goes, so that it can be collected.
pub unsafe fn is_held(task: Raw) -> bool {
    // SAFETY: what stands in the tree is alive.
    unsafe { !is_ours(task) || data(task).has(flag::CHILD) }
}

/// The place of a task of ours in the tree, made if it has none.
pub unsafe fn member(state: &LoopState, task: Raw) -> MemberId {
    // SAFETY: the caller's task is alive.
    unsafe {
        let ours = data(task);
        if let Some(member) = ours.member.get() {
            return member;
        }
        let member = state.tree.borrow_mut().enroll(Key(task), false);
        ours.member.set(Some(member));
        member
    }
}

/// The loop's state goes: the task has no place in a tree any more.
pub unsafe fn leave_tree(task: Raw) {
    // SAFETY: the caller's task is alive.
    unsafe {
        data(task).member.set(None);
    }
}
