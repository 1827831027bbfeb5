//! The scopes that are made by a function: `fail_after` and its family. Plain C functions, for a
//! program enters many more deadlines than ever pass. They must never
//! differ from a scope in anything but their arguments.

use nursery_core::Settings;
use pyo3::prelude::*;

use super::settings::finite;
use super::{CancelScope, settings_of};
use crate::cpython::args::{Args, given, number};
use crate::cpython::called::method;
use crate::cpython::errors::{Fallible, exc, fetch, restore, set_error_text};
use crate::cpython::for_pyo3::number_object;
use crate::cpython::function::{Method, This};
use crate::cpython::object::Object;
use crate::cpython::owned::Owned;
use crate::engine::state::LoopState;
use crate::hosts;
use crate::hosts::host;

/// What a function of the family makes.
#[derive(Clone, Copy)]
struct Within {
    name: &'static str,
    /// The name of the one argument that may be passed by position.
    moment: &'static str,
    /// It counts from entry, and not on the loop's clock.
    relative: bool,
    /// It raises TimeoutError.
    fails: bool,
}

#[inline(always)]
fn make(py: Python<'_>, this: Within, args: Args<'_>) -> Fallible<Owned> {
    let names = [this.moment, "shield", "cleanup"];
    let [moment, shield, cleanup] = args.parse(py, this.name, names, 1)?;
    let Some(moment) = moment else {
        let (name, moment) = (this.name, this.moment);
        let text = format!("{name}() missing 1 required positional argument: '{moment}'");
        return Err(set_error_text(exc::type_error(py), &text));
    };
    let moment = match given(Some(moment)) {
        Some(moment) => {
            let moment = number(this.moment, moment)?;
            finite(this.moment, moment).map_err(|error| restore(py, error))?
        }
        None => f64::INFINITY,
    };
    if this.relative && moment < 0.0 {
        let text = format!("{} must not be negative, not {moment}", this.moment);
        return Err(set_error_text(exc::value_error(py), &text));
    }
    let (delay, deadline) =
        if this.relative { (moment, f64::INFINITY) } else { (f64::INFINITY, moment) };
    let settings = Settings { deadline, ..settings_of(py, None, shield, cleanup)? };
    CancelScope::create(py, settings, delay, this.fails).map(Owned::into_object)
}

const FAIL_AFTER_AS: Within =
    Within { name: "fail_after", moment: "delay", relative: true, fails: true };
const FAIL_AT_AS: Within =
    Within { name: "fail_at", moment: "deadline", relative: false, fails: true };
const MOVE_ON_AFTER_AS: Within =
    Within { name: "move_on_after", moment: "delay", relative: true, fails: false };
const MOVE_ON_AT_AS: Within =
    Within { name: "move_on_at", moment: "deadline", relative: false, fails: false };

/// The C function of a member of the family.
macro_rules! within {
    ($name:literal, $this:ident) => {
        method!(fast Object, $name, |module: &This<'_, Object>, args| {
            make(module.py(), $this, args)
        })
    };
}

static FAIL_AFTER: Method = within!(c"fail_after", FAIL_AFTER_AS).documented(
    c"fail_after(delay, *, shield=False, cleanup=...)\n--\n\nA scope that raises TimeoutError if it is not left within `delay` seconds; None for never.\n\nshield keeps out cancellation from outside; cleanup is how many seconds cancelled tasks may go\non awaiting (None is for ever, 0 not at all; not given, it is inherited, 10 if there is none).\nRaises ValueError if delay is negative or NaN.",
);

static FAIL_AT: Method = within!(c"fail_at", FAIL_AT_AS).documented(
    c"fail_at(deadline, *, shield=False, cleanup=...)\n--\n\nA scope that raises TimeoutError if it is not left by `deadline`, on the loop's clock.\n\nshield keeps out cancellation from outside; cleanup is how many seconds cancelled tasks may go\non awaiting (None is for ever, 0 not at all; not given, it is inherited, 10 if there is none).\nRaises ValueError if deadline is NaN.",
);

static MOVE_ON_AFTER: Method = within!(c"move_on_after", MOVE_ON_AFTER_AS).documented(
    c"move_on_after(delay, *, shield=False, cleanup=...)\n--\n\nA scope that is left quietly after `delay` seconds; None for never.\n\nshield keeps out cancellation from outside; cleanup is how many seconds cancelled tasks may go\non awaiting (None is for ever, 0 not at all; not given, it is inherited, 10 if there is none).\ncancelled_caught tells whether it was. Raises ValueError if delay is negative or NaN.",
);

static MOVE_ON_AT: Method = within!(c"move_on_at", MOVE_ON_AT_AS).documented(
    c"move_on_at(deadline, *, shield=False, cleanup=...)\n--\n\nA scope that is left quietly at `deadline`, on the loop's clock.\n\nshield keeps out cancellation from outside; cleanup is how many seconds cancelled tasks may go\non awaiting (None is for ever, 0 not at all; not given, it is inherited, 10 if there is none).\ncancelled_caught tells whether it was. Raises ValueError if deadline is NaN.",
);

fn shield(py: Python<'_>, args: Args<'_>) -> Fallible<Owned> {
    if !args.positional().is_empty() {
        let text = "shield() takes keyword arguments only; it is a block, 'with shield():'. To shield \
                    a child, write start_soon(fn, ..., shield=True)";
        return Err(set_error_text(exc::type_error(py), text));
    }
    let [deadline, cleanup] = args.parse(py, "shield", ["deadline", "cleanup"], 0)?;
    let settings = Settings { shield: true, ..settings_of(py, deadline, None, cleanup)? };
    CancelScope::create(py, settings, f64::INFINITY, false).map(Owned::into_object)
}

static SHIELD: Method = method!(fast Object, c"shield", |module: &This<'_, Object>, args| {
    shield(module.py(), args)
})
.documented(
    c"shield(*, deadline=1e999, cleanup=...)\n--\n\nA scope that keeps out cancellation from outside.\n\ndeadline and cleanup are its own, as CancelScope's (not given, cleanup is inherited). Against a\nbare Task.cancel() it holds where the task is one of ours.",
);

/// The time on the running loop's clock: seconds from an unknown moment on.
///
/// What deadlines are counted on. Raises RuntimeError if no loop runs.
#[pyfunction]
fn current_time(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    let now = LoopState::current(py).and_then(|state| state.now());
    number_object(py, now.map_err(|raised| fetch(py, raised))?)
}

/// The earliest deadline that can reach the caller; minus infinity if it is already cancelled.
///
/// Seconds on the loop's clock, infinity for none. Raises RuntimeError outside of a task.
#[pyfunction]
fn current_effective_deadline(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    let deadline = || -> Fallible<f64> {
        let state = LoopState::current(py)?;
        let task = host::current(&state, "current_effective_deadline()")?;
        let member = hosts::find_member(&state, &task);
        let tree = state.tree.borrow();
        Ok(member.map_or(f64::INFINITY, |member| tree.effective_deadline(member)))
    };
    number_object(py, deadline().map_err(|raised| fetch(py, raised))?)
}

pub(crate) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    for method in [&FAIL_AFTER, &FAIL_AT, &MOVE_ON_AFTER, &MOVE_ON_AT, &SHIELD] {
        method.add_to_module(module)?;
    }
    module.add_function(wrap_pyfunction!(current_time, module)?)?;
    module.add_function(wrap_pyfunction!(current_effective_deadline, module)?)
}
