//! What a program calls on a task: asyncio's methods, with asyncio's meaning and messages. It must
//! never touch the tree.

use std::ffi::{CStr, c_int, c_void};

use nursery_core::Inbox;
use pyo3::ffi;

use super::{awaiting as joined, factory};
use crate::cpython::args::{given, parse};
use crate::cpython::guard::guard;
use crate::cpython::imports::{imports, names};
use crate::cpython::object::{Aside, Fallible, Owned, Raw, call, call1, checked, none, set_error};
use crate::engine::threads;
use crate::task::data::{data, flag};
use crate::task::name::{is_unnamed, name};
use crate::task::result::alive;
use crate::task::result::invalid_state;
use crate::task::result::raise_cancelled;
use crate::task::result::result_of;
use crate::task::set_name;
use crate::task::{Watcher, callbacks as watch};

type FastCall = unsafe extern "C" fn(Raw, *const Raw, ffi::Py_ssize_t, Raw) -> Raw;

/// Gives an answer back to CPython.
fn answer(answer: Fallible<Owned>) -> Raw {
    answer.map_or(std::ptr::null_mut(), Owned::into_ptr)
}

unsafe fn boolean(value: bool) -> Owned {
    // SAFETY: True and False are always alive.
    unsafe { Owned::share(if value { ffi::Py_True() } else { ffi::Py_False() }) }
}

unsafe extern "C" fn result(task: Raw, _: Raw) -> Raw {
    // SAFETY: CPython calls a method of a task.
    unsafe { guard(std::ptr::null_mut(), |_| answer(result_of(task))) }
}

unsafe extern "C" fn exception(task: Raw, _: Raw) -> Raw {
    // SAFETY: as above.
    unsafe {
        guard(std::ptr::null_mut(), |_| {
            let ours = data(task);
            answer(match alive(task) {
                Err(raised) => Err(raised),
                Ok(_) if ours.has(flag::CANCELLED) => Err(raise_cancelled(task)),
                Ok(_) if !ours.has(flag::DONE) => Err(invalid_state("Exception is not set.")),
                Ok(_) if ours.has(flag::FAILED) => {
                    ours.lower_flags(flag::LOG_TRACEBACK);
                    Ok(ours.outcome.cloned().unwrap_or_else(|| none()))
                }
                Ok(_) => Ok(none()),
            })
        })
    }
}

unsafe extern "C" fn done(task: Raw, _: Raw) -> Raw {
    // SAFETY: as above.
    unsafe { boolean(data(task).has(flag::DONE)).into_ptr() }
}

unsafe extern "C" fn cancelled(task: Raw, _: Raw) -> Raw {
    // SAFETY: as above.
    unsafe { boolean(data(task).has(flag::CANCELLED)).into_ptr() }
}

unsafe extern "C" fn cancel(
    task: Raw,
    args: *const Raw,
    count: ffi::Py_ssize_t,
    kwnames: Raw,
) -> Raw {
    // SAFETY: as above.
    unsafe {
        guard(std::ptr::null_mut(), |_| {
            let cancel = || {
                let [message] = parse("cancel", ["msg"], 1, args, count, kwnames)?;
                let message = given(message).map(|message| Owned::share(message));
                if let (false, Some(home)) = (data(task).has(flag::DONE), data(task).home.cloned())
                {
                    threads::check(&home, "task.cancel", "task.cancel")?;
                }
                Ok(boolean(crate::step::cancel(task, message)?))
            };
            answer(cancel())
        })
    }
}

unsafe extern "C" fn cancelling(task: Raw, _: Raw) -> Raw {
    // SAFETY: as above.
    unsafe { ffi::PyLong_FromUnsignedLong(data(task).inbox.get().requests.asked().into()) }
}

unsafe extern "C" fn uncancel(task: Raw, _: Raw) -> Raw {
    // SAFETY: as above.
    unsafe {
        let left = data(task).change_inbox(Inbox::take_back);
        ffi::PyLong_FromUnsignedLong(left.into())
    }
}

unsafe extern "C" fn add_done_callback(
    task: Raw,
    args: *const Raw,
    count: ffi::Py_ssize_t,
    kwnames: Raw,
) -> Raw {
    // SAFETY: as above.
    unsafe {
        guard(std::ptr::null_mut(), |_| {
            let add = || {
                let names = ["fn", "context"];
                let [function, context] =
                    parse("add_done_callback", names, 1, args, count, kwnames)?;
                if function.is_null() {
                    let text = c"add_done_callback() needs the function to call";
                    return Err(set_error(ffi::PyExc_TypeError, text));
                }
                let state = alive(task)?;
                let context = match given(context) {
                    Some(context) => Owned::share(context),
                    None => Owned::new(ffi::PyContext_CopyCurrent())?,
                };
                let function = Owned::share(function);
                if data(task).has(flag::DONE) {
                    watch::call_soon(state, &function, task, &context)?;
                } else {
                    watch::add(data(task), Watcher::Callback(function, context));
                }
                Ok(none())
            };
            answer(add())
        })
    }
}

unsafe extern "C" fn remove_done_callback(task: Raw, function: Raw) -> Raw {
    // SAFETY: as above.
    unsafe {
        guard(std::ptr::null_mut(), |_| {
            let removed = watch::remove(data(task), |callback| {
                let same = ffi::PyObject_RichCompareBool(callback, function, ffi::Py_EQ);
                checked(same).map(|same| same != 0)
            });
            match removed {
                Ok(removed) => ffi::PyLong_FromSize_t(removed),
                Err(raised) => raised.null(),
            }
        })
    }
}

unsafe extern "C" fn get_name(task: Raw, _: Raw) -> Raw {
    // SAFETY: as above.
    unsafe { guard(std::ptr::null_mut(), |_| answer(name(task))) }
}

unsafe extern "C" fn put_name(task: Raw, name: Raw) -> Raw {
    // SAFETY: as above.
    // 3.13.0's create_task sets the name None on every task of a factory that was given none.
    unsafe {
        if name == ffi::Py_None() && is_unnamed(data(task)) {
            return none().into_ptr();
        }
        guard(std::ptr::null_mut(), |_| answer(set_name(task, name).map(|()| none())))
    }
}

unsafe extern "C" fn get_coro(task: Raw, _: Raw) -> Raw {
    // SAFETY: as above.
    unsafe { data(task).coroutine().cloned().unwrap_or_else(|| none()).into_ptr() }
}

unsafe extern "C" fn get_context(task: Raw, _: Raw) -> Raw {
    // SAFETY: as above.
    unsafe { data(task).context().cloned().unwrap_or_else(|| none()).into_ptr() }
}

unsafe extern "C" fn get_loop(task: Raw, _: Raw) -> Raw {
    // SAFETY: as above.
    unsafe { guard(std::ptr::null_mut(), |_| answer(event_loop(task))) }
}

pub unsafe fn event_loop(task: Raw) -> Fallible<Owned> {
    // SAFETY: as above.
    unsafe { Ok(alive(task)?.event_loop.cloned().unwrap_or_else(|| none())) }
}

unsafe extern "C" fn get_stack(
    task: Raw,
    args: *const Raw,
    count: ffi::Py_ssize_t,
    kwnames: Raw,
) -> Raw {
    // SAFETY: as above.
    unsafe {
        guard(std::ptr::null_mut(), |_| {
            let get = || {
                let [limit] = parse("get_stack", ["limit"], 0, args, count, kwnames)?;
                let limit = given(limit).unwrap_or(ffi::Py_None());
                let mut args = [std::ptr::null_mut(), task, limit];
                call(imports().parts.stack, &mut args)
            };
            answer(get())
        })
    }
}

unsafe extern "C" fn print_stack(
    task: Raw,
    args: *const Raw,
    count: ffi::Py_ssize_t,
    kwnames: Raw,
) -> Raw {
    // SAFETY: as above.
    unsafe {
        guard(std::ptr::null_mut(), |_| {
            let print = || {
                let names = ["limit", "file"];
                let [limit, file] = parse("print_stack", names, 0, args, count, kwnames)?;
                let limit = given(limit).unwrap_or(ffi::Py_None());
                let file = given(file).unwrap_or(ffi::Py_None());
                let mut args = [std::ptr::null_mut(), task, limit, file];
                call(imports().parts.print_stack, &mut args)
            };
            answer(print())
        })
    }
}

unsafe extern "C" fn set_result(_: Raw, _: Raw) -> Raw {
    // SAFETY: as above.
    unsafe {
        set_error(ffi::PyExc_RuntimeError, c"Task does not support set_result operation").null()
    }
}

unsafe extern "C" fn set_exception(_: Raw, _: Raw) -> Raw {
    // SAFETY: as above.
    unsafe {
        set_error(ffi::PyExc_RuntimeError, c"Task does not support set_exception operation").null()
    }
}

unsafe extern "C" fn make_cancelled_error(task: Raw, _: Raw) -> Raw {
    // SAFETY: as above.
    unsafe {
        guard(std::ptr::null_mut(), |_| {
            let ours = data(task);
            let kept = if ours.has(flag::CANCELLED) { ours.outcome.take() } else { None };
            kept.unwrap_or_else(|| crate::task::cancelled_error(task)).into_ptr()
        })
    }
}

unsafe extern "C" fn cancel_and_wait(
    task: Raw,
    args: *const Raw,
    count: ffi::Py_ssize_t,
    kwnames: Raw,
) -> Raw {
    // SAFETY: as above.
    unsafe {
        guard(std::ptr::null_mut(), |_| {
            let begin = || {
                let [message] = parse("cancel_and_wait", ["msg"], 1, args, count, kwnames)?;
                let message = given(message).unwrap_or(ffi::Py_None());
                let mut args = [std::ptr::null_mut(), task, message];
                call(imports().parts.cancel_and_wait, &mut args)
            };
            answer(begin())
        })
    }
}

unsafe extern "C" fn init(task: Raw, args: Raw, kwargs: Raw) -> c_int {
    // SAFETY: CPython calls `__init__` with a tuple and a dict or null.
    unsafe { guard(-1, |_| if factory::init(task, args, kwargs).is_ok() { 0 } else { -1 }) }
}

unsafe extern "C" fn task_repr(task: Raw) -> Raw {
    // SAFETY: as above.
    unsafe { guard(std::ptr::null_mut(), |_| answer(call1(imports().parts.format_task, task))) }
}

/// Says what must not go unnoticed when a task goes: it had not ended, or nobody has asked for its
/// exception.
unsafe extern "C" fn finalize(task: Raw) {
    // SAFETY: CPython calls it once, with the task alive for its length.
    unsafe {
        guard((), |_| {
            let ours = data(task);
            let Some(state) = ours.state() else { return };
            let _aside = Aside::new();
            let source = ours.source_traceback();
            let names = names();
            let mut context = vec![];
            let message = if !ours.has(flag::DONE) {
                if !ours.has(flag::LOG_DESTROY) {
                    return;
                }
                context.push((names.task, Owned::share(task)));
                "Task was destroyed but it is pending!"
            } else if ours.has(flag::LOG_TRACEBACK) {
                ours.lower_flags(flag::LOG_TRACEBACK);
                if let Some(exception) = ours.outcome.cloned() {
                    context.push((names.exception, exception));
                }
                context.push((names.future, Owned::share(task)));
                "Task exception was never retrieved"
            } else {
                return;
            };
            if let Some(source) = source {
                context.push((names.source_traceback, source));
            }
            state.report_context(message, &context);
        });
    }
}

struct Table<T, const N: usize>([T; N]);

// SAFETY: constant; CPython reads it only.
unsafe impl<T, const N: usize> Sync for Table<T, N> {}

const fn method(
    name: &'static CStr,
    function: ffi::PyMethodDefPointer,
    flags: c_int,
    doc: &'static CStr,
) -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: function,
        ml_flags: flags,
        ml_doc: doc.as_ptr(),
    }
}

const fn none_of(
    name: &'static CStr,
    function: ffi::PyCFunction,
    doc: &'static CStr,
) -> ffi::PyMethodDef {
    method(name, ffi::PyMethodDefPointer { PyCFunction: function }, ffi::METH_NOARGS, doc)
}

const fn one(
    name: &'static CStr,
    function: ffi::PyCFunction,
    doc: &'static CStr,
) -> ffi::PyMethodDef {
    method(name, ffi::PyMethodDefPointer { PyCFunction: function }, ffi::METH_O, doc)
}

const fn fast(name: &'static CStr, function: FastCall, doc: &'static CStr) -> ffi::PyMethodDef {
    let function = ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: function };
    method(name, function, ffi::METH_FASTCALL | ffi::METH_KEYWORDS, doc)
}

static METHODS: Table<ffi::PyMethodDef, 22> = Table([
    none_of(c"result", result, c"result($self, /)\n--\n\nReturn the result, or raise what ended the task.\n\nRaises InvalidStateError if it has not ended."),
    none_of(c"exception", exception, c"exception($self, /)\n--\n\nReturn the exception that ended the task, or None."),
    none_of(c"done", done, c"done($self, /)\n--\n\nReturn whether the task has ended."),
    none_of(c"cancelled", cancelled, c"cancelled($self, /)\n--\n\nReturn whether a cancellation ended the task."),
    fast(c"cancel", cancel, c"cancel($self, /, msg=None)\n--\n\nAsk the task to cancel itself; return False if it has ended.\n\nRaises RuntimeError from another thread than the one that runs the loop."),
    none_of(c"cancelling", cancelling, c"cancelling($self, /)\n--\n\nReturn how many cancellations are still to be honoured."),
    none_of(c"uncancel", uncancel, c"uncancel($self, /)\n--\n\nTake one cancellation back; return how many are left."),
    fast(c"add_done_callback", add_done_callback, c"add_done_callback($self, fn, /, *, context=<unrepresentable>)\n--\n\nHave the loop call fn(task) once the task has ended."),
    one(c"remove_done_callback", remove_done_callback, c"remove_done_callback($self, fn, /)\n--\n\nRemove a callback; return how often it was there."),
    none_of(c"get_name", get_name, c"get_name($self, /)\n--\n\nReturn the task's name."),
    one(c"set_name", put_name, c"set_name($self, value, /)\n--\n\nName the task str(value)."),
    none_of(c"get_coro", get_coro, c"get_coro($self, /)\n--\n\nReturn the coroutine that the task runs."),
    none_of(c"get_context", get_context, c"get_context($self, /)\n--\n\nReturn the context that the task runs in."),
    none_of(c"get_loop", get_loop, c"get_loop($self, /)\n--\n\nReturn the loop that the task runs on."),
    fast(c"get_stack", get_stack, c"get_stack($self, /, *, limit=None)\n--\n\nReturn the frames in which the task is suspended."),
    fast(c"print_stack", print_stack, c"print_stack($self, /, *, limit=None, file=None)\n--\n\nPrint where the task is suspended."),
    one(c"set_result", set_result, c"set_result($self, result, /)\n--\n\nRaises RuntimeError: a task's result is what it returns."),
    one(c"set_exception", set_exception, c"set_exception($self, exception, /)\n--\n\nRaises RuntimeError: a task's exception is what it raises."),
    none_of(c"_make_cancelled_error", make_cancelled_error, c"_make_cancelled_error($self, /)\n--\n\nMake the CancelledError that result() raises."),
    fast(c"cancel_and_wait", cancel_and_wait, c"cancel_and_wait($self, /, msg=None)\n--\n\nCancel the task and wait until it has ended.\n\nReturns when it has, whatever it ended with. If the caller is cancelled meanwhile,\nit stops waiting and the CancelledError goes on."),
    method(c"__class_getitem__", ffi::PyMethodDefPointer { PyCFunction: ffi::Py_GenericAlias }, ffi::METH_O | ffi::METH_CLASS, c"See PEP 585."),
    ffi::PyMethodDef::zeroed(),
]);

/// What the type is made of, beside its memory.
pub fn slots() -> Vec<ffi::PyType_Slot> {
    let slot = |slot: c_int, pfunc: *mut c_void| ffi::PyType_Slot { slot, pfunc };
    vec![
        slot(ffi::Py_tp_init, init as *mut c_void),
        slot(ffi::Py_tp_repr, task_repr as *mut c_void),
        slot(ffi::Py_tp_finalize, finalize as *mut c_void),
        slot(ffi::Py_tp_iter, joined::iterate as *mut c_void),
        slot(ffi::Py_am_await, joined::iterate as *mut c_void),
        slot(ffi::Py_tp_methods, METHODS.0.as_ptr().cast_mut().cast()),
        slot(ffi::Py_tp_doc, DOC.as_ptr().cast_mut().cast()),
    ]
}

const DOC: &CStr = c"A coroutine that runs on an event loop: asyncio.Task in every respect, on a ready queue of its own.";
