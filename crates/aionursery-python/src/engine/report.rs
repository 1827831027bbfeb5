//! What has failed and has no caller to be raised to. It goes to the loop's exception handler; but
//! KeyboardInterrupt and SystemExit leave the loop, wherever they have come up: they wait until the
//! step or the callback that is under way has come to its end. It must never let one of them go.

use nursery_core::ErrorKind;

use super::state::LoopState;
use crate::cpython::call::method1;
use crate::cpython::called::method;
use crate::cpython::containers::{dict, dict_set};
use crate::cpython::errors::{Aside, Fallible, Raised, raise, string, write_unraisable};
use crate::cpython::function::{Method, This};
use crate::cpython::imports::names;
use crate::cpython::object::Object;
use crate::cpython::owned::{Owned, none};
use crate::cpython::raised;
use crate::engine::home::Home;
use crate::engine::link::Link;

pub(crate) const BESIDE_EXIT: &str =
    "A block was left by KeyboardInterrupt or SystemExit; this error was beside it";

/// What has failed is reported to the loop that runs here; if none does, it is written to stderr.
fn report_where_it_runs(message: &str, error: Owned) {
    match LoopState::current(error.py()) {
        Ok(state) => state.report_error(message, error, None),
        Err(no_loop) => {
            no_loop.forget();
            write_unraisable(raise(error), None);
        }
    }
}

/// An exception that ends the program has come up where a failure means no more than that there is no
/// answer: it leaves the loop that runs here.
pub(crate) fn keep_exit(exit: Owned) {
    report_where_it_runs("An interrupt came up where nothing could be told of it", exit);
}

/// An exit of ours raises while `exception` is on its way. Where that ends the program it goes on, and
/// what the exit raises is reported beside it (R9).
#[cold]
pub(crate) fn beside_exit(exception: Option<&Object>, raised: Raised) -> Result<(), Raised> {
    if exception.is_none_or(|it| raised::kind(it) != ErrorKind::Exit) {
        return Err(raised);
    }
    report_where_it_runs(BESIDE_EXIT, raised.take());
    Ok(())
}

impl LoopState {
    /// A call has failed whose caller cannot be told.
    #[cold]
    pub(crate) fn report_failure(&self, message: &str, raised: Raised, task: Option<&Object>) {
        // The exception is taken before anything else can run.
        self.report_error(message, raised.take(), task);
    }

    /// As [`Self::report_failure`], for an exception.
    #[cold]
    pub(crate) fn report_error(&self, message: &str, error: Owned, task: Option<&Object>) {
        if let Some(error) = self.keep_interrupt(error) {
            self.report(message, Some(&error), task);
        }
    }

    /// A call has failed, and it means no more than that there is no answer.
    #[cold]
    pub(crate) fn forget(&self, raised: Raised) {
        self.forget_error(raised.take());
    }

    /// An error will never be thrown where it was to be: what ends the program leaves the loop instead.
    #[cold]
    pub(crate) fn forget_error(&self, error: Owned) {
        drop(self.keep_interrupt(error));
    }

    /// What not even the exception handler can be told is written to stderr.
    #[cold]
    pub(crate) fn report_unraisable(&self, raised: Raised) {
        if let Some(error) = self.keep_interrupt(raised.take()) {
            write_unraisable(raise(error), Some(&self.event_loop()));
        }
    }

    /// Sees to it that what ends the program leaves the loop; gives back anything else. One is enough.
    fn keep_interrupt(&self, error: Owned) -> Option<Owned> {
        let py = self.py();
        if raised::kind(&error) != ErrorKind::Exit || !self.interrupt.is_empty() {
            return Some(error);
        }
        let _aside = Aside::new(py);
        self.interrupt.set(error);
        // Nothing of ours may be under way, or nothing that the loop has called.
        let leave = Link::bind(py, self.this.weakly(), &LEAVE);
        let later =
            leave.and_then(|leave| method1(&self.event_loop(), names(py).call_soon, &leave));
        if let Err(raised) = later {
            // A loop that is closed, or refuses: a step that is under way raises it at its end, or it is
            // reported when the loop goes.
            raised.forget();
        }
        None
    }

    /// The loop goes, and has not been left by what should have ended the program.
    pub(crate) fn report_last_interrupt(&self) {
        let _aside = Aside::new(self.py());
        if let Some(exit) = self.interrupt.take() {
            write_unraisable(raise(exit), None);
        }
    }

    /// Raises what is to leave the loop, at the end of something that the loop has called.
    #[inline]
    pub(crate) fn check_interrupt(&self) -> Fallible<()> {
        if self.interrupt.is_empty() {
            return Ok(());
        }
        self.raise_interrupt()
    }

    #[cold]
    fn raise_interrupt(&self) -> Fallible<()> {
        match self.interrupt.take() {
            Some(error) => Err(raise(error)),
            None => Ok(()),
        }
    }

    /// Reports what cannot be raised to the loop's exception handler.
    pub(crate) fn report(&self, message: &str, exception: Option<&Owned>, task: Option<&Object>) {
        let names = names(self.py());
        let mut context = vec![];
        if let Some(exception) = exception {
            context.push((names.exception, exception.clone()));
        }
        if let Some(task) = task {
            // Not under "task": from 3.12 on the loop would enter that task's context for its
            // handler, and most reports are made while the context is entered.
            context.push((names.about, Owned::share(task)));
        }
        self.report_context(message, &context);
    }

    /// `loop.call_exception_handler(context)`; what that raises is written to stderr.
    pub(crate) fn report_context(&self, message: &str, entries: &[(&Object, Owned)]) {
        let py = self.py();
        let _aside = Aside::new(py);
        let report = || -> Fallible<Owned> {
            let context = dict(py)?;
            let message = string(py, message)?;
            dict_set(&context, names(py).message, &message)?;
            for (name, value) in entries {
                dict_set(&context, name, value)?;
            }
            method1(&self.event_loop(), names(py).call_exception_handler, &context)
        };
        if let Err(raised) = report() {
            self.report_unraisable(raised);
        }
    }
}

static LEAVE: Method<Link> = method!(no_args Link, c"leave_loop", leave);

fn leave(this: &This<'_, Link>) -> Fallible<Owned> {
    Home::behind(this).map_or(Ok(()), |state| state.check_interrupt())?;
    Ok(none(this.py()))
}
