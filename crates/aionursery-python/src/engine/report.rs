//! What has failed and has no caller to be raised to. It goes to the loop's exception handler; but
//! KeyboardInterrupt and SystemExit leave the loop, wherever they have come up: they wait until the
//! step or the callback that is under way has come to its end. It must never let one of them go.

use nursery_core::Kind;
use pyo3::ffi;

use super::state::LoopState;
use crate::cpython::function::Method;
use crate::cpython::guard::guard;
use crate::cpython::imports::names;
use crate::cpython::object::{
    Aside, Fallible, Owned, Raised, Raw, call_method, checked, method1, none, raise, string,
};
use crate::cpython::raised;
use crate::engine::home::Home;
use crate::engine::link::Link;

impl LoopState {
    /// A call has failed whose caller cannot be told.
    #[cold]
    pub unsafe fn report_failure(&self, message: &str, raised: Raised, task: Raw) {
        // SAFETY: attached. The exception is taken before anything else can run.
        unsafe { self.report_error(message, raised.take(), task) }
    }

    /// As [`Self::report_failure`], for an exception.
    #[cold]
    pub unsafe fn report_error(&self, message: &str, error: Owned, task: Raw) {
        // SAFETY: attached.
        unsafe {
            if let Some(error) = self.keep_interrupt(error) {
                self.report(message, Some(&error), task);
            }
        }
    }

    /// A call has failed, and it means no more than that there is no answer.
    #[cold]
    pub unsafe fn forget(&self, raised: Raised) {
        // SAFETY: attached.
        drop(unsafe { self.keep_interrupt(raised.take()) });
    }

    /// What not even the exception handler can be told is written to stderr.
    #[cold]
    pub unsafe fn report_unraisable(&self, raised: Raised) {
        // SAFETY: attached.
        unsafe {
            if let Some(error) = self.keep_interrupt(raised.take()) {
                let _ = raise(error);
                ffi::PyErr_WriteUnraisable(self.event_loop.get());
            }
        }
    }

    /// Sees to it that what ends the program leaves the loop; gives back anything else. One is enough.
    unsafe fn keep_interrupt(&self, error: Owned) -> Option<Owned> {
        // SAFETY: attached.
        unsafe {
            if raised::kind(error.as_ptr()) != Kind::Exit || !self.interrupt.is_empty() {
                return Some(error);
            }
            let _aside = Aside::new();
            self.interrupt.set(error);
            // Nothing of ours may be under way, or nothing that the loop has called.
            let later = || -> Fallible<Owned> {
                let leave = Link::bind(&self.address, &LEAVE)?;
                let mut args = [std::ptr::null_mut(), leave.as_ptr()];
                let nothing = std::ptr::null_mut();
                call_method(self.event_loop.get(), names().call_soon, &mut args, nothing)
            };
            if let Err(raised) = later() {
                // A loop that is closed; or there are two, and one is enough.
                raised.forget();
            }
            None
        }
    }

    /// Raises what is to leave the loop, at the end of something that the loop has called.
    #[inline]
    pub unsafe fn check_interrupt(&self) -> Fallible<()> {
        if self.interrupt.is_empty() {
            return Ok(());
        }
        // SAFETY: attached.
        unsafe { self.raise_interrupt() }
    }

    #[cold]
    unsafe fn raise_interrupt(&self) -> Fallible<()> {
        match self.interrupt.take() {
            // SAFETY: attached.
            Some(error) => Err(unsafe { raise(error) }),
            None => Ok(()),
        }
    }

    /// Reports what cannot be raised to the loop's exception handler.
    pub unsafe fn report(&self, message: &str, exception: Option<&Owned>, task: Raw) {
        let mut context = vec![];
        if let Some(exception) = exception {
            context.push((names().exception, exception.clone()));
        }
        if !task.is_null() {
            // Not under "task": from 3.12 on the loop would enter that task's context for its
            // handler, and most reports are made while the context is entered.
            // SAFETY: the caller's task is alive.
            context.push((names().about, unsafe { Owned::share(task) }));
        }
        // SAFETY: attached.
        unsafe { self.report_context(message, &context) };
    }

    /// `loop.call_exception_handler(context)`; what that raises is written to stderr.
    pub unsafe fn report_context(&self, message: &str, entries: &[(Raw, Owned)]) {
        // SAFETY: attached; the loop is alive.
        unsafe {
            let _aside = Aside::new();
            let report = || -> Fallible<Owned> {
                let context = Owned::new(ffi::PyDict_New())?;
                let message = string(message)?;
                let set = |name, value: &Owned| {
                    checked(ffi::PyDict_SetItem(context.as_ptr(), name, value.as_ptr()))
                };
                set(names().message, &message)?;
                for (name, value) in entries {
                    set(*name, value)?;
                }
                let handler = names().call_exception_handler;
                method1(self.event_loop.get(), handler, context.as_ptr())
            };
            if let Err(raised) = report() {
                self.report_unraisable(raised);
            }
        }
    }
}

static LEAVE: Method = Method::no_args(c"leave_loop", leave);

unsafe extern "C" fn leave(this: Raw, _: Raw) -> Raw {
    // SAFETY: bound to a link, which the call keeps alive; the loop calls it.
    unsafe {
        guard(std::ptr::null_mut(), |_| {
            let checked =
                Home::behind(Link::of(this)).map_or(Ok(()), |state| state.check_interrupt());
            checked.map_or_else(Raised::null, |()| none().into_ptr())
        })
    }
}
