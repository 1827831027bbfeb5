//! What a program sees of a `CancelScope`, beside entering and leaving it. It must never hold the
//! tree while it calls back into Python.

use nursery_core::{Cleanup, ScopeId, Settings};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};

use super::block::Stage;
use super::settings::{cleanup_of, finite, span};
use super::{CancelScope, relative_of, settings_of, warn_if_meant_as_seconds};
use crate::cpython::args::{CallArgs, given, number};
use crate::cpython::errors::{Fallible, fetch};
use crate::cpython::for_pyo3::{number_object, refusal, text_object};
use crate::cpython::object::{Object, object};
use crate::cpython::owned::Owned;
use crate::cpython::slot::show;
use crate::engine::state::{CLEANUP, LoopState};
use crate::engine::timers;
use crate::engine::words::source_name;
use crate::task;

#[pymethods]
impl CancelScope {
    /// What a class of the program's overrides would not be asked for everywhere.
    #[classmethod]
    #[pyo3(signature = (**_kwargs))]
    fn __init_subclass__(
        _class: &Bound<'_, PyType>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        Err(refusal::type_error("CancelScope cannot be a base class; keep a scope as an attribute"))
    }

    #[new]
    #[pyo3(
        signature = (*args, **kwargs),
        text_signature = "(*, deadline=1e999, shield=False, cleanup=..., reason=None, \
                          relative_deadline=None)"
    )]
    fn new(args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        if !args.is_empty() {
            return Err(refusal::type_error(
                "CancelScope() takes keyword arguments only; for a number of seconds write \
                 CancelScope(relative_deadline=...), fail_after(...) or move_on_after(...)",
            ));
        }
        let py = args.py();
        let names = ["deadline", "shield", "cleanup", "reason", "relative_deadline"];
        let args = CallArgs::new(object(args), kwargs.map(object));
        let make = || -> Fallible<Self> {
            let [deadline, shield, cleanup, reason, relative] =
                args.parse(py, "CancelScope", names, 0)?;
            let settings = settings_of(py, deadline, shield, cleanup)?;
            let scope = Self::make(settings, relative_of(relative)?, false);
            drop(scope.block.reason.replace(given(reason).map(Owned::share)));
            Ok(scope)
        };
        make().map_err(|raised| fetch(py, raised))
    }

    /// Cancel everything in the scope, up to shields.
    ///
    /// The first cancellation counts; before entry it acts at the first await. Raises RuntimeError
    /// from another thread.
    #[pyo3(signature = (reason = None))]
    fn cancel(&self, py: Python<'_>, reason: Option<Bound<'_, PyAny>>) -> PyResult<()> {
        let reason = match reason {
            Some(reason) => Some(Owned::share(object(&reason))),
            None => self.block.reason.cloned(),
        };
        self.request(py, reason)
    }

    /// Cancel the scope `seconds` from now, or from its entry if it is not entered yet.
    ///
    /// It sets the deadline, and never puts it off: an earlier one stays. Raises ValueError if
    /// seconds is negative or NaN, RuntimeError from another thread.
    fn cancel_after(&self, py: Python<'_>, seconds: &Bound<'_, PyAny>) -> PyResult<()> {
        let seconds = number("seconds", object(seconds)).map_err(|raised| fetch(py, raised))?;
        let seconds = span("seconds", seconds)?;
        match self.place_now(py, "scope.cancel_after", "scope.cancel_after")? {
            Some((state, id, now)) => {
                self.move_deadline(&state, id, now, |deadline| deadline.min(now + seconds))
                    .map_err(|raised| fetch(py, raised))?;
            }
            None => self.block.relative.set(self.block.relative.get().min(seconds)),
        }
        Ok(())
    }

    /// Whether the scope was cancelled, by whatever means.
    #[getter]
    fn cancel_called(&self, py: Python<'_>) -> bool {
        match (self.state(), self.id.get()) {
            (Some(state), Some(id)) => self.look_at_deadline(&state, id),
            _ => self.look_at_deadline_before_entry(py),
        }
        // The clock may be the program's code, and leave the scope or enter it.
        match (self.state(), self.id.get()) {
            (Some(state), Some(id)) => state.tree.borrow().cause(id).is_some(),
            _ => self.block.source.get().is_some(),
        }
    }

    /// Whether the scope has swallowed the cancellation that it caused.
    #[getter]
    fn cancelled_caught(&self) -> bool {
        self.block.caught.get()
    }

    /// Why the scope was cancelled, in the words of its canceller.
    #[getter]
    fn reason(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        let reason = match (self.state(), self.id.get()) {
            (Some(state), Some(id)) => {
                let tree = state.tree.borrow();
                tree.cause(id)
                    .map_or_else(|| self.block.reason.cloned(), |cause| cause.reason.clone())
            }
            _ => self.block.reason.cloned(),
        };
        reason.map(|reason| reason.into_bound(py).unbind())
    }

    /// What cancelled the scope: "cancel", "failure", "deadline" or "host"; None if nothing has.
    #[getter]
    fn source<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let source = match (self.state(), self.id.get()) {
            (Some(state), Some(id)) => state.tree.borrow().cause(id).map(|cause| cause.source),
            _ => self.block.source.get(),
        };
        source.map(|source| text_object(py, source_name(source))).transpose()
    }

    /// When the scope is cancelled by itself: seconds on the loop's clock, infinity for never.
    /// It can be set at any time.
    #[getter]
    fn deadline<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        number_object(py, self.present_settings().deadline)
    }

    #[setter]
    fn set_deadline(&self, py: Python<'_>, deadline: &Bound<'_, PyAny>) -> PyResult<()> {
        let deadline = number("deadline", object(deadline)).map_err(|raised| fetch(py, raised))?;
        let deadline = finite("deadline", deadline)?;
        match self.place_now(py, "scope.deadline", "setattr, scope, 'deadline', ...")? {
            Some((state, id, now)) => {
                if deadline <= now {
                    warn_if_meant_as_seconds(&state, deadline)
                        .map_err(|raised| fetch(py, raised))?;
                }
                self.move_deadline(&state, id, now, |_| deadline)
                    .map_err(|raised| fetch(py, raised))?;
            }
            None => {
                self.block.relative.set(f64::INFINITY);
                self.block.change_settings(|settings| settings.deadline = deadline);
            }
        }
        Ok(())
    }

    /// Whether the scope keeps out cancellation from outside. It can be set at any time.
    #[getter]
    fn shield(&self) -> bool {
        self.present_settings().shield
    }

    #[setter]
    fn set_shield(&self, py: Python<'_>, shield: &Bound<'_, PyAny>) -> PyResult<()> {
        if !shield.is_instance_of::<pyo3::types::PyBool>() {
            return Err(refusal::type_error("shield must be True or False"));
        }
        let shield = shield.is_truthy()?;
        match self.place_now(py, "scope.shield", "setattr, scope, 'shield', ...")? {
            Some((state, id, now)) => {
                state.change(|tree, out| tree.set_shield(id, shield, now, out))
            }
            None => self.block.change_settings(|settings| settings.shield = shield),
        }
        Ok(())
    }

    /// For how many seconds a cancelled task in the scope may still await: None is for ever, 0 not
    /// at all. Where none was given, what is inherited. It can be set at any time.
    #[getter]
    fn cleanup<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let cleanup = match (self.state(), self.id.get()) {
            (Some(state), Some(id)) => state.tree.borrow().cleanup_of(id),
            _ => self.block.settings.get().cleanup,
        };
        let seconds = match cleanup {
            Cleanup::Limited(seconds) | Cleanup::Guaranteed(seconds) => seconds,
            Cleanup::Never => return Ok(None),
            Cleanup::Inherited => CLEANUP,
        };
        number_object(py, seconds).map(Some)
    }

    #[setter]
    fn set_cleanup(&self, py: Python<'_>, cleanup: &Bound<'_, PyAny>) -> PyResult<()> {
        let cleanup = cleanup_of(object(cleanup)).map_err(|raised| fetch(py, raised))?;
        match self.place_now(py, "scope.cleanup", "setattr, scope, 'cleanup', ...")? {
            Some((state, id, now)) => {
                state.change(|tree, out| tree.set_cleanup(id, cleanup, now, out))
            }
            None => self.block.change_settings(|settings| settings.cleanup = cleanup),
        }
        Ok(())
    }

    fn __repr__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let stage = match self.block.stage.get() {
            Stage::New => "not entered",
            Stage::Entered => "entered",
            Stage::Left => "left",
        };
        let mut text = format!("<CancelScope {stage}");
        if self.cancel_called(py) {
            text.push_str(" cancelled");
        }
        if self.shield() {
            text.push_str(" shielded");
        }
        let deadline = self.present_settings().deadline;
        if deadline < f64::INFINITY {
            text.push_str(&format!(" deadline={deadline}"));
        }
        text.push('>');
        text_object(py, &text)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.block.traverse(|object: &Object| show(&visit, object))
    }

    fn __clear__(&self) {
        self.give_up();
        self.id.set(None);
        self.block.clear();
    }
}

impl CancelScope {
    /// Its settings as they are by now.
    fn present_settings(&self) -> Settings {
        match (self.state(), self.id.get()) {
            (Some(state), Some(id)) => state.tree.borrow().settings(id),
            _ => self.block.settings.get(),
        }
    }

    /// Moves the deadline, once the loop has agreed to call back by then.
    fn move_deadline(
        &self,
        state: &LoopState,
        id: ScopeId,
        now: f64,
        move_it: impl Fn(f64) -> f64,
    ) -> Fallible<()> {
        let deadline = move_it(self.present_settings().deadline);
        timers::arm_by(state, deadline)?;
        // What the loop and a warning run may have left the scope.
        if self.id.get() == Some(id) {
            let deadline = move_it(self.present_settings().deadline);
            if let Some(host) = self.block.host.cloned().filter(|_| deadline < f64::INFINITY) {
                task::keep(&host);
            }
            state.change(|tree, out| tree.set_deadline(id, deadline, now, out));
        }
        Ok(())
    }
}
