//! What a program calls on a task: asyncio's methods, with asyncio's meaning and messages. It must
//! never touch the tree.

use nursery_core::Inbox;

use super::{awaiting as joined, factory};
use crate::cpython::args::{Args, CallArgs, given};
use crate::cpython::call::{call, call1, copy_context, int};
use crate::cpython::called::{finalize, init, method, unary};
use crate::cpython::errors::{Aside, Fallible, exc, set_error};
use crate::cpython::function::Method;
use crate::cpython::imports::{imports, names};
use crate::cpython::object::{Object, none_ref};
use crate::cpython::owned::{Owned, boolean, none};
use crate::cpython::slots::Slots;
use crate::engine::threads;
use crate::task::name::{is_unnamed, name, set_name};
use crate::task::result::{alive, invalid_state, raise_cancelled, result_of};
use crate::task::{Task, Waiter, call_soon, callbacks, cancelled_error, flag};

fn result(task: &Task) -> Fallible<Owned> {
    result_of(task)
}

fn exception(task: &Task) -> Fallible<Owned> {
    let py = task.py();
    let ours = task.data();
    drop(alive(task)?);
    if ours.has(flag::CANCELLED) {
        return Err(raise_cancelled(task));
    }
    if !ours.has(flag::DONE) {
        return Err(invalid_state(py, "Exception is not set."));
    }
    if !ours.has(flag::FAILED) {
        return Ok(none(py));
    }
    ours.lower_flags(flag::LOG_TRACEBACK);
    Ok(ours.outcome.cloned().unwrap_or_else(|| none(py)))
}

fn done(task: &Task) -> Fallible<Owned> {
    Ok(boolean(task.py(), task.data().has(flag::DONE)))
}

fn cancelled(task: &Task) -> Fallible<Owned> {
    Ok(boolean(task.py(), task.data().has(flag::CANCELLED)))
}

fn cancel(task: &Task, args: Args<'_>) -> Fallible<Owned> {
    let py = task.py();
    let [message] = args.parse(py, "cancel", ["msg"], 1)?;
    let message = given(message).map(Owned::share);
    if let (false, Some(home)) = (task.data().has(flag::DONE), task.data().home.cloned()) {
        threads::check(&home, "task.cancel", "task.cancel")?;
    }
    Ok(boolean(py, crate::step::cancel(task, message)?))
}

fn cancelling(task: &Task) -> Fallible<Owned> {
    int(task.py(), task.data().inbox.get().requests.asked().into())
}

fn uncancel(task: &Task) -> Fallible<Owned> {
    int(task.py(), task.data().change_inbox(Inbox::take_back).into())
}

fn add_done_callback(task: &Task, args: Args<'_>) -> Fallible<Owned> {
    let py = task.py();
    let [function, context] = args.parse(py, "add_done_callback", ["fn", "context"], 1)?;
    let Some(function) = function else {
        let text = c"add_done_callback() needs the function to call";
        return Err(set_error(exc::type_error(py), text));
    };
    let state = alive(task)?;
    let context = match given(context) {
        Some(context) => Owned::share(context),
        None => copy_context(py)?,
    };
    if task.data().has(flag::DONE) {
        call_soon(&state, function, task, &context)?;
    } else {
        callbacks::add(task.data(), Waiter::Callback(Owned::share(function), context));
    }
    Ok(none(py))
}

fn remove_done_callback(task: &Task, function: &Object) -> Fallible<Owned> {
    let removed = callbacks::remove(task.data(), function)?;
    int(task.py(), removed as u64)
}

fn get_name(task: &Task) -> Fallible<Owned> {
    name(task)
}

/// 3.13.0's create_task sets the name None on every task of a factory that was given none.
fn put_name(task: &Task, name: &Object) -> Fallible<Owned> {
    if !(name.is_none() && is_unnamed(task.data())) {
        set_name(task, name)?;
    }
    Ok(none(task.py()))
}

fn get_coro(task: &Task) -> Fallible<Owned> {
    Ok(task.data().coroutine().cloned().unwrap_or_else(|| none(task.py())))
}

fn get_context(task: &Task) -> Fallible<Owned> {
    Ok(task.data().context().cloned().unwrap_or_else(|| none(task.py())))
}

pub(super) fn event_loop(task: &Task) -> Fallible<Owned> {
    Ok(alive(task)?.event_loop())
}

fn get_stack(task: &Task, args: Args<'_>) -> Fallible<Owned> {
    let py = task.py();
    let [limit] = args.parse(py, "get_stack", ["limit"], 0)?;
    call(imports(py).parts.stack, [task, limit.unwrap_or_else(|| none_ref(py))])
}

fn print_stack(task: &Task, args: Args<'_>) -> Fallible<Owned> {
    let py = task.py();
    let [limit, file] = args.parse(py, "print_stack", ["limit", "file"], 0)?;
    let or_none = |given: Option<_>| given.unwrap_or_else(|| none_ref(py));
    call(imports(py).parts.print_stack, [task, or_none(limit), or_none(file)])
}

fn set_result(task: &Task, _: &Object) -> Fallible<Owned> {
    let text = c"Task does not support set_result operation";
    Err(set_error(exc::runtime_error(task.py()), text))
}

fn set_exception(task: &Task, _: &Object) -> Fallible<Owned> {
    let text = c"Task does not support set_exception operation";
    Err(set_error(exc::runtime_error(task.py()), text))
}

fn make_cancelled_error(task: &Task) -> Fallible<Owned> {
    let ours = task.data();
    let kept = if ours.has(flag::CANCELLED) { ours.outcome.take() } else { None };
    Ok(kept.unwrap_or_else(|| cancelled_error(task)))
}

fn cancel_and_wait(task: &Task, args: Args<'_>) -> Fallible<Owned> {
    let py = task.py();
    let [message] = args.parse(py, "cancel_and_wait", ["msg"], 1)?;
    call(imports(py).parts.cancel_and_wait, [task, message.unwrap_or_else(|| none_ref(py))])
}

fn task_repr(task: &Task) -> Fallible<Owned> {
    call1(imports(task.py()).parts.format_task, task)
}

/// Says what must not go unnoticed when a task goes: it had not ended, or it was not asked for its
/// exception.
fn warn_of_loss(task: &Task) {
    let ours = task.data();
    let Some(state) = ours.state() else { return };
    let _aside = Aside::new(task.py());
    let source = ours.source_traceback();
    let names = names(task.py());
    let mut context = vec![];
    let message = if !ours.has(flag::DONE) {
        if !ours.has(flag::LOG_DESTROY) {
            return;
        }
        context.push((names.task, Owned::share(task).into_object()));
        "Task was destroyed but it is pending!"
    } else if ours.has(flag::LOG_TRACEBACK) {
        ours.lower_flags(flag::LOG_TRACEBACK);
        if let Some(exception) = ours.outcome.cloned() {
            context.push((names.exception, exception));
        }
        context.push((names.future, Owned::share(task).into_object()));
        "Task exception was never retrieved"
    } else {
        return;
    };
    if let Some(source) = source {
        context.push((names.source_traceback, source));
    }
    state.report_context(message, &context);
}

static METHODS: [Method<Task>; 22] = [
    method!(no_args Task, c"result", result)
        .documented(c"result($self, /)\n--\n\nReturn the result, or raise what ended the task.\n\nRaises InvalidStateError if it has not ended."),
    method!(no_args Task, c"exception", exception)
        .documented(c"exception($self, /)\n--\n\nReturn the exception that ended the task, or None."),
    method!(no_args Task, c"done", done)
        .documented(c"done($self, /)\n--\n\nReturn whether the task has ended."),
    method!(no_args Task, c"cancelled", cancelled)
        .documented(c"cancelled($self, /)\n--\n\nReturn whether a cancellation ended the task."),
    method!(fast Task, c"cancel", cancel)
        .documented(c"cancel($self, /, msg=None)\n--\n\nAsk the task to cancel itself; return False if it has ended.\n\nRaises RuntimeError from another thread than the one that runs the loop, RecursionError if tasks\nthat await each other in a circle would be asked without end."),
    method!(no_args Task, c"cancelling", cancelling)
        .documented(c"cancelling($self, /)\n--\n\nReturn how many cancellations are still to be honoured."),
    method!(no_args Task, c"uncancel", uncancel)
        .documented(c"uncancel($self, /)\n--\n\nTake one cancellation back; return how many are left."),
    method!(fast Task, c"add_done_callback", add_done_callback)
        .documented(c"add_done_callback($self, fn, /, *, context=<unrepresentable>)\n--\n\nHave the loop call fn(task) once the task has ended."),
    method!(one_arg Task, c"remove_done_callback", remove_done_callback)
        .documented(c"remove_done_callback($self, fn, /)\n--\n\nRemove a callback; return how often it was there."),
    method!(no_args Task, c"get_name", get_name)
        .documented(c"get_name($self, /)\n--\n\nReturn the task's name."),
    method!(one_arg Task, c"set_name", put_name)
        .documented(c"set_name($self, value, /)\n--\n\nName the task str(value)."),
    method!(no_args Task, c"get_coro", get_coro)
        .documented(c"get_coro($self, /)\n--\n\nReturn the coroutine that the task runs."),
    method!(no_args Task, c"get_context", get_context)
        .documented(c"get_context($self, /)\n--\n\nReturn the context that the task runs in."),
    method!(no_args Task, c"get_loop", event_loop)
        .documented(c"get_loop($self, /)\n--\n\nReturn the loop that the task runs on."),
    method!(fast Task, c"get_stack", get_stack)
        .documented(c"get_stack($self, /, *, limit=None)\n--\n\nReturn the frames in which the task is suspended."),
    method!(fast Task, c"print_stack", print_stack)
        .documented(c"print_stack($self, /, *, limit=None, file=None)\n--\n\nPrint where the task is suspended."),
    method!(one_arg Task, c"set_result", set_result)
        .documented(c"set_result($self, result, /)\n--\n\nRaises RuntimeError: a task's result is what it returns."),
    method!(one_arg Task, c"set_exception", set_exception)
        .documented(c"set_exception($self, exception, /)\n--\n\nRaises RuntimeError: a task's exception is what it raises."),
    method!(no_args Task, c"_make_cancelled_error", make_cancelled_error)
        .documented(c"_make_cancelled_error($self, /)\n--\n\nMake the CancelledError that result() raises."),
    method!(fast Task, c"cancel_and_wait", cancel_and_wait)
        .documented(c"cancel_and_wait($self, /, msg=None)\n--\n\nCancel the task and wait until it has ended.\n\nReturns when it has, whatever it ended with. If the caller is cancelled meanwhile,\nit stops waiting and the CancelledError goes on."),
    Method::class_getitem().documented(c"See PEP 585."),
    Method::end(),
];

/// What the type is made of, beside its memory.
pub(super) fn add_to(slots: Slots<Task>) -> Slots<Task> {
    slots
        .init(init!(Task, |task: &Task, args: CallArgs<'_>| factory::init(task, &args)))
        .finalize(finalize!(Task, warn_of_loss))
        .repr(unary!(Task, task_repr))
        .iter(unary!(Task, joined::iterate))
        .methods(&METHODS)
        .doc(DOC)
}

const DOC: &std::ffi::CStr = c"A coroutine that runs on an event loop: asyncio.Task in every respect, on a ready queue of its own.";
