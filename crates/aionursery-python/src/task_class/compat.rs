//! What other libraries reach for in a task: the attributes that asyncio's own tasks happen to
//! have. It shows what there is and must never be needed by our own code.

use std::ffi::{CStr, c_int, c_void};

use pyo3::ffi;

use crate::cpython::guard::guard;
use crate::cpython::object::{Fallible, Owned, Raw, checked, none, set_error, truth};
use crate::step::future;
use crate::task::Watcher;
use crate::task::data::{data, flag};
use crate::task_class::methods::event_loop;

unsafe fn boolean(value: bool) -> Raw {
    // SAFETY: True and False are always alive.
    unsafe { Owned::share(if value { ffi::Py_True() } else { ffi::Py_False() }).into_ptr() }
}

unsafe fn or_none(object: Option<Owned>) -> Raw {
    // SAFETY: None is always alive.
    unsafe { object.unwrap_or_else(|| none()).into_ptr() }
}

fn answer(answer: Fallible<Owned>) -> Raw {
    answer.map_or(std::ptr::null_mut(), Owned::into_ptr)
}

unsafe extern "C" fn state(task: Raw, _: *mut c_void) -> Raw {
    // SAFETY: CPython asks for an attribute of a task.
    unsafe {
        let ours = data(task);
        let text = match () {
            () if !ours.has(flag::DONE) => "PENDING",
            () if ours.has(flag::CANCELLED) => "CANCELLED",
            () => "FINISHED",
        };
        answer(crate::cpython::object::string(text))
    }
}

unsafe extern "C" fn blocking(task: Raw, _: *mut c_void) -> Raw {
    // SAFETY: as above.
    unsafe { boolean(data(task).has(flag::BLOCKING)) }
}

unsafe fn set_flag(task: Raw, value: Raw, bit: u32) -> c_int {
    // SAFETY: as above.
    unsafe {
        if value.is_null() {
            let text = c"cannot delete attribute";
            return set_error(ffi::PyExc_AttributeError, text).negative();
        }
        match truth(&Owned::share(value)) {
            Ok(true) => data(task).raise_flags(bit),
            Ok(false) => data(task).lower_flags(bit),
            Err(raised) => return raised.negative(),
        }
        0
    }
}

unsafe extern "C" fn set_blocking(task: Raw, value: Raw, _: *mut c_void) -> c_int {
    // SAFETY: as above.
    unsafe { set_flag(task, value, flag::BLOCKING) }
}

unsafe extern "C" fn get_loop(task: Raw, _: *mut c_void) -> Raw {
    // SAFETY: as above.
    unsafe {
        if data(task).state().is_none() {
            return none().into_ptr();
        }
        answer(event_loop(task))
    }
}

unsafe extern "C" fn callbacks(task: Raw, _: *mut c_void) -> Raw {
    // SAFETY: as above. The list is copied before anything is allocated.
    unsafe {
        guard(std::ptr::null_mut(), |_| {
            let watchers: Vec<(Owned, Option<Owned>)> =
                match data(task).watchers.borrow().as_deref() {
                    None => Vec::new(),
                    Some(watchers) => watchers
                        .list
                        .iter()
                        .map(|watcher| match watcher {
                            Watcher::Callback(function, context) => {
                                (function.clone(), Some(context.clone()))
                            }
                            Watcher::Joiner(joiner) => (joiner.clone(), None),
                        })
                        .collect(),
                };
            if watchers.is_empty() {
                return none().into_ptr();
            }
            let build = || -> Fallible<Owned> {
                let list = Owned::new(ffi::PyList_New(0))?;
                for (first, context) in watchers {
                    let (function, context) = match context {
                        Some(context) => (first, context),
                        None => {
                            let context = data(first.as_ptr()).context().cloned();
                            (
                                future::bound_wakeup(first.as_ptr())?,
                                context.unwrap_or_else(|| none()),
                            )
                        }
                    };
                    let pair = ffi::PyTuple_Pack(2, function.as_ptr(), context.as_ptr());
                    let pair = Owned::new(pair)?;
                    checked(ffi::PyList_Append(list.as_ptr(), pair.as_ptr()))?;
                }
                Ok(list)
            };
            answer(build())
        })
    }
}

unsafe extern "C" fn result(task: Raw, _: *mut c_void) -> Raw {
    // SAFETY: as above.
    unsafe {
        let ours = data(task);
        let has = ours.has(flag::DONE) && !ours.has(flag::FAILED | flag::CANCELLED);
        or_none(if has { ours.outcome.cloned() } else { None })
    }
}

unsafe extern "C" fn exception(task: Raw, _: *mut c_void) -> Raw {
    // SAFETY: as above.
    unsafe {
        let ours = data(task);
        or_none(if ours.has(flag::FAILED) { ours.outcome.cloned() } else { None })
    }
}

unsafe extern "C" fn log_traceback(task: Raw, _: *mut c_void) -> Raw {
    // SAFETY: as above.
    unsafe { boolean(data(task).has(flag::LOG_TRACEBACK)) }
}

unsafe extern "C" fn set_log_traceback(task: Raw, value: Raw, _: *mut c_void) -> c_int {
    // SAFETY: as above.
    unsafe {
        if value.is_null() {
            return set_flag(task, value, flag::LOG_TRACEBACK);
        }
        match truth(&Owned::share(value)) {
            Ok(true) => {
                let text = c"_log_traceback can only be set to False";
                set_error(ffi::PyExc_ValueError, text).negative()
            }
            Ok(false) => {
                data(task).lower_flags(flag::LOG_TRACEBACK);
                0
            }
            Err(raised) => raised.negative(),
        }
    }
}

unsafe extern "C" fn log_destroy(task: Raw, _: *mut c_void) -> Raw {
    // SAFETY: as above.
    unsafe { boolean(data(task).has(flag::LOG_DESTROY)) }
}

unsafe extern "C" fn set_log_destroy(task: Raw, value: Raw, _: *mut c_void) -> c_int {
    // SAFETY: as above.
    unsafe { set_flag(task, value, flag::LOG_DESTROY) }
}

unsafe extern "C" fn must_cancel(task: Raw, _: *mut c_void) -> Raw {
    // SAFETY: as above.
    unsafe {
        let ours = data(task);
        let pending = match (ours.member.get(), ours.state()) {
            (Some(member), Some(state)) => state.tree.borrow().is_pending(member),
            _ => false,
        };
        boolean(ours.inbox.get().requests.is_waiting() || pending)
    }
}

unsafe extern "C" fn cancel_message(task: Raw, _: *mut c_void) -> Raw {
    // SAFETY: as above.
    unsafe { or_none(data(task).cancel_message.cloned()) }
}

unsafe extern "C" fn set_cancel_message(task: Raw, value: Raw, _: *mut c_void) -> c_int {
    // SAFETY: as above.
    unsafe {
        let value = (!value.is_null()).then(|| Owned::share(value));
        drop(data(task).cancel_message.replace(value));
        0
    }
}

unsafe extern "C" fn coroutine(task: Raw, _: *mut c_void) -> Raw {
    // SAFETY: as above.
    unsafe { or_none(data(task).coroutine().cloned()) }
}

unsafe extern "C" fn waiter(task: Raw, _: *mut c_void) -> Raw {
    // SAFETY: as above.
    unsafe { or_none(data(task).waiting.cloned()) }
}

unsafe extern "C" fn source_traceback(task: Raw, _: *mut c_void) -> Raw {
    // SAFETY: as above.
    unsafe { or_none(data(task).source_traceback()) }
}

const fn entry(
    name: &'static CStr,
    get: ffi::getter,
    set: Option<ffi::setter>,
) -> ffi::PyGetSetDef {
    ffi::PyGetSetDef {
        name: name.as_ptr(),
        get: Some(get),
        set,
        doc: std::ptr::null(),
        closure: std::ptr::null_mut(),
    }
}

struct Table([ffi::PyGetSetDef; 14]);

// SAFETY: constant; CPython reads it only.
unsafe impl Sync for Table {}

static TABLE: Table = Table([
    entry(c"_state", state, None),
    entry(c"_asyncio_future_blocking", blocking, Some(set_blocking)),
    entry(c"_loop", get_loop, None),
    entry(c"_callbacks", callbacks, None),
    entry(c"_result", result, None),
    entry(c"_exception", exception, None),
    entry(c"_log_traceback", log_traceback, Some(set_log_traceback)),
    entry(c"_log_destroy_pending", log_destroy, Some(set_log_destroy)),
    entry(c"_must_cancel", must_cancel, None),
    entry(c"_cancel_message", cancel_message, Some(set_cancel_message)),
    entry(c"_coro", coroutine, None),
    entry(c"_fut_waiter", waiter, None),
    entry(c"_source_traceback", source_traceback, None),
    // SAFETY: a table ends with an entry of zeros.
    unsafe { std::mem::zeroed() },
]);

pub fn table() -> *mut ffi::PyGetSetDef {
    TABLE.0.as_ptr().cast_mut()
}
