//! A wait as a future, for tasks that are not ours and for asyncio's own code on locks and queues. It
//! must never do more than asyncio's futures promise.

use std::ffi::{c_int, c_void};

use pyo3::ffi;

use super::waiter::Waiter;
use super::waiters::{self, notify};
use super::{Kind, Phase, Wait, at_home, complete, host_cancelled, start, stop_waiting, wait};
use crate::cpython::args::{given, parse};
use crate::cpython::guard::guard;
use crate::cpython::imports::imports;
use crate::cpython::object::{Fallible, Owned, Raw, checked, none, set_error};
use crate::engine::threads;
use crate::task;

unsafe fn check_thread(this: &Wait, what: &str) -> Fallible<()> {
    // SAFETY: attached. One that knows no loop is nobody's yet.
    this.home.cloned().map_or(Ok(()), |state| unsafe { threads::check(&state, what, what) })
}

unsafe fn boolean(value: bool) -> Raw {
    // SAFETY: True and False are always alive.
    unsafe { Owned::share(if value { ffi::Py_True() } else { ffi::Py_False() }).into_ptr() }
}

pub(super) unsafe extern "C" fn method_done(object: Raw, _: Raw) -> Raw {
    // SAFETY: as above.
    unsafe { boolean(!matches!(wait(object).phase.get(), Phase::New | Phase::Waiting)) }
}

pub(super) unsafe extern "C" fn method_cancelled(object: Raw, _: Raw) -> Raw {
    // SAFETY: as above.
    unsafe { boolean(wait(object).phase.get() == Phase::Cancelled) }
}

pub(super) unsafe extern "C" fn method_result(object: Raw, _: Raw) -> Raw {
    // SAFETY: as above.
    unsafe {
        guard(std::ptr::null_mut(), |_| {
            let this = wait(object);
            match this.phase.get() {
                Phase::Done | Phase::Spent if this.kind.get() == Kind::Join => none().into_ptr(),
                Phase::Done | Phase::Spent => {
                    this.value.cloned().unwrap_or_else(|| none()).into_ptr()
                }
                Phase::Cancelled => this.raise_cancelled().null(),
                Phase::New | Phase::Waiting => {
                    set_error(imports().invalid_state_error, c"Result is not set.").null()
                }
            }
        })
    }
}

/// `set_result`, for what is parked.
pub(super) unsafe extern "C" fn method_set_result(object: Raw, value: Raw) -> Raw {
    // SAFETY: as above.
    unsafe {
        guard(std::ptr::null_mut(), |_| {
            let this = wait(object);
            let open = matches!(this.phase.get(), Phase::New | Phase::Waiting);
            if this.kind.get() != Kind::Parked || !open {
                return set_error(imports().invalid_state_error, c"invalid state").null();
            }
            if let Err(raised) = check_thread(this, "future.set_result") {
                return raised.null();
            }
            complete(object, Some(Owned::share(value)));
            none().into_ptr()
        })
    }
}

pub(super) unsafe extern "C" fn method_exception(object: Raw, none_given: Raw) -> Raw {
    // SAFETY: as above. A wait ends with a result or by a cancellation.
    unsafe {
        let result = method_result(object, none_given);
        if result.is_null() {
            return result;
        }
        drop(Owned::maybe(result));
        none().into_ptr()
    }
}

pub(super) unsafe extern "C" fn method_cancel(
    object: Raw,
    args: *const Raw,
    count: ffi::Py_ssize_t,
    kwnames: Raw,
) -> Raw {
    // SAFETY: as above; CPython's vector of arguments.
    unsafe {
        guard(std::ptr::null_mut(), |_| {
            let this = wait(object);
            let Ok([message]) = parse("cancel", ["msg"], 1, args, count, kwnames) else {
                return std::ptr::null_mut();
            };
            if !matches!(this.phase.get(), Phase::New | Phase::Waiting) {
                return boolean(false);
            }
            if let Err(raised) = check_thread(this, "future.cancel") {
                return raised.null();
            }
            let message = given(message).map(|message| Owned::share(message));
            drop(this.message.replace(message));
            if this.kind.get() == Kind::Join {
                if let Some(state) = this.state() {
                    host_cancelled(state, object);
                }
                return boolean(true);
            }
            this.phase.set(Phase::Cancelled);
            stop_waiting(object);
            notify(object);
            boolean(true)
        })
    }
}

pub(super) unsafe extern "C" fn method_add_done_callback(
    object: Raw,
    args: *const Raw,
    count: ffi::Py_ssize_t,
    kwnames: Raw,
) -> Raw {
    // SAFETY: as above; CPython's vector of arguments.
    unsafe {
        guard(std::ptr::null_mut(), |_| {
            let add = || -> Fallible<Owned> {
                let names = ["fn", "context"];
                let [function, context] =
                    parse("add_done_callback", names, 1, args, count, kwnames)?;
                if function.is_null() {
                    let text = c"add_done_callback() needs the function to call";
                    return Err(set_error(ffi::PyExc_TypeError, text));
                }
                start(object)?;
                let state = at_home(object)?;
                let this = wait(object);
                let context = match given(context) {
                    Some(context) => Owned::share(context),
                    None => Owned::new(ffi::PyContext_CopyCurrent())?,
                };
                let function = Owned::share(function);
                match this.phase.get() {
                    Phase::New | Phase::Waiting => {
                        waiters::add(this, function, context);
                    }
                    _ => task::call_soon(&state, &function, object, &context)?,
                }
                Ok(none())
            };
            add().map_or(std::ptr::null_mut(), Owned::into_ptr)
        })
    }
}

pub(super) unsafe extern "C" fn method_remove_done_callback(object: Raw, function: Raw) -> Raw {
    // SAFETY: as above. Comparing may run Python code, so it runs on a copy.
    unsafe {
        guard(std::ptr::null_mut(), |_| {
            let this = wait(object);
            let held: Vec<Owned> = this
                .others
                .borrow()
                .iter()
                .filter_map(|waiter| match waiter {
                    Waiter::Callback(function, _) => Some(function.clone()),
                    Waiter::Task(_) => None,
                })
                .collect();
            let mut gone = Vec::new();
            for callback in &held {
                let same = ffi::PyObject_RichCompareBool(callback.as_ptr(), function, ffi::Py_EQ);
                match checked(same) {
                    Err(raised) => return raised.null(),
                    Ok(0) => {}
                    Ok(_) => gone.push(callback.as_ptr()),
                }
            }
            let removed: Vec<_> = this
                .others
                .borrow_mut()
                .extract_if(.., |waiter| match waiter {
                    Waiter::Callback(function, _) => gone.contains(&function.as_ptr()),
                    Waiter::Task(_) => false,
                })
                .collect();
            ffi::PyLong_FromSize_t(removed.len())
        })
    }
}

pub(super) unsafe extern "C" fn method_get_loop(object: Raw, _: Raw) -> Raw {
    // SAFETY: as above.
    unsafe { get_loop(object, std::ptr::null_mut()) }
}

pub(super) unsafe extern "C" fn get_loop(object: Raw, _: *mut c_void) -> Raw {
    // SAFETY: as above.
    unsafe {
        guard(std::ptr::null_mut(), |_| match at_home(object) {
            Ok(state) => state.event_loop.cloned().unwrap_or_else(|| none()).into_ptr(),
            Err(raised) => raised.null(),
        })
    }
}

pub(super) unsafe extern "C" fn get_blocking(object: Raw, _: *mut c_void) -> Raw {
    // SAFETY: as above.
    unsafe { boolean(wait(object).blocking.get()) }
}

pub(super) unsafe extern "C" fn set_blocking(object: Raw, value: Raw, _: *mut c_void) -> c_int {
    // SAFETY: as above.
    unsafe {
        let blocking = if value.is_null() { Ok(0) } else { checked(ffi::PyObject_IsTrue(value)) };
        match blocking {
            Ok(blocking) => {
                wait(object).blocking.set(blocking != 0);
                0
            }
            Err(raised) => raised.negative(),
        }
    }
}
