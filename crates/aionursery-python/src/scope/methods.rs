//! What a program sees of a `CancelScope`, beside entering and leaving it. It must never hold the
//! tree while it calls back into Python.

use nursery_core::Cleanup;
use pyo3::exceptions::PyTypeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::settings::{finite, span};
use super::{Budget, CancelScope, Stage, relative_of, settings_of};
use crate::cpython::args::{given, parse_call};
use crate::cpython::errors::{fetch, text_object};
use crate::cpython::object::{Owned, Slot, show};
use crate::engine::state::CLEANUP;
use crate::engine::words::source_name;

#[pymethods]
impl CancelScope {
    #[new]
    #[pyo3(
        signature = (*args, **kwargs),
        text_signature = "(*, deadline=1e999, shield=False, cleanup=..., reason=None, \
                          relative_deadline=None)"
    )]
    fn new(args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let names = ["deadline", "shield", "cleanup", "reason", "relative_deadline"];
        let kwargs = kwargs.map_or(std::ptr::null_mut(), Bound::as_ptr);
        // SAFETY: attached; PyO3's tuple and dict.
        let made = unsafe {
            parse_call("CancelScope", names, 0, args.as_ptr(), kwargs).and_then(
                |[deadline, shield, cleanup, reason, relative]| {
                    let settings = settings_of(deadline, shield, cleanup)?;
                    let scope = Self::make(settings, relative_of(relative)?, false);
                    drop(scope.reason.replace(given(reason).map(|reason| Owned::share(reason))));
                    Ok(scope)
                },
            )
        };
        made.map_err(|raised| fetch(args.py(), raised))
    }

    /// Cancel everything in the scope, up to shields.
    ///
    /// The first cancellation counts; before entry it acts at the first await. Raises RuntimeError
    /// from another thread.
    #[pyo3(signature = (reason = None))]
    fn cancel(&self, py: Python<'_>, reason: Option<Bound<'_, PyAny>>) -> PyResult<()> {
        let reason = match reason {
            // SAFETY: a reference of ours.
            Some(reason) => Some(unsafe { Owned::share(reason.as_ptr()) }),
            None => self.reason.cloned(),
        };
        self.request(py, reason)
    }

    /// Cancel the scope `seconds` from now, or from its entry if it is not entered yet.
    ///
    /// It sets the deadline, and never puts it off: an earlier one stays. Raises ValueError if
    /// seconds is negative or NaN, RuntimeError from another thread.
    fn cancel_after(&self, py: Python<'_>, seconds: f64) -> PyResult<()> {
        let seconds = span("seconds", seconds)?;
        match self.place_now(py, "scope.cancel_after", "scope.cancel_after")? {
            Some((state, id, now)) => {
                let earliest = state.tree.borrow().settings(id).deadline.min(now + seconds);
                // SAFETY: attached.
                unsafe {
                    state.change(|tree, out| tree.set_deadline(id, earliest, now, out));
                }
            }
            None => self.relative.set(self.relative.get().min(seconds)),
        }
        Ok(())
    }

    /// Whether the scope was cancelled, by whatever means.
    #[getter]
    fn cancel_called(&self) -> bool {
        match (self.state(), self.id.get()) {
            (Some(state), Some(id)) => {
                self.look_at_deadline(&state, id);
                state.tree.borrow().cause(id).is_some()
            }
            _ => {
                self.look_at_deadline_before_entry();
                self.source.get().is_some()
            }
        }
    }

    /// Whether the scope has swallowed the cancellation that it caused.
    #[getter]
    fn cancelled_caught(&self) -> bool {
        self.caught.get()
    }

    /// Why the scope was cancelled, in the words of whoever did.
    #[getter]
    fn reason(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        let reason = match (self.state(), self.id.get()) {
            (Some(state), Some(id)) => {
                let tree = state.tree.borrow();
                tree.cause(id).map_or_else(|| self.reason.cloned(), |cause| cause.reason.clone())
            }
            _ => self.reason.cloned(),
        };
        // SAFETY: a reference of ours is given away.
        reason.map(|reason| unsafe { Bound::from_owned_ptr(py, reason.into_ptr()) }.unbind())
    }

    /// What cancelled the scope: "cancel", "failure", "deadline" or "host"; None if nothing has.
    #[getter]
    fn source(&self) -> Option<&'static str> {
        let source = match (self.state(), self.id.get()) {
            (Some(state), Some(id)) => state.tree.borrow().cause(id).map(|cause| cause.source),
            _ => self.source.get(),
        };
        source.map(source_name)
    }

    /// When the scope is cancelled by itself: seconds on the loop's clock, infinity for never.
    /// It can be set at any time.
    #[getter]
    fn deadline(&self) -> f64 {
        match (self.state(), self.id.get()) {
            (Some(state), Some(id)) => state.tree.borrow().settings(id).deadline,
            _ => self.settings.get().deadline,
        }
    }

    #[setter]
    fn set_deadline(&self, py: Python<'_>, deadline: f64) -> PyResult<()> {
        let deadline = finite("deadline", deadline)?;
        match self.place_now(py, "scope.deadline", "setattr, scope, 'deadline', ...")? {
            Some((state, id, now)) => {
                // SAFETY: attached.
                unsafe {
                    state.change(|tree, out| tree.set_deadline(id, deadline, now, out));
                }
            }
            None => {
                self.relative.set(f64::INFINITY);
                self.change_settings(|settings| settings.deadline = deadline);
            }
        }
        Ok(())
    }

    /// Whether the scope keeps out cancellation from outside. It can be set at any time.
    #[getter]
    fn shield(&self) -> bool {
        match (self.state(), self.id.get()) {
            (Some(state), Some(id)) => state.tree.borrow().settings(id).shield,
            _ => self.settings.get().shield,
        }
    }

    #[setter]
    fn set_shield(&self, py: Python<'_>, shield: &Bound<'_, PyAny>) -> PyResult<()> {
        if !shield.is_instance_of::<pyo3::types::PyBool>() {
            return Err(PyTypeError::new_err("shield must be True or False"));
        }
        let shield = shield.is_truthy()?;
        match self.place_now(py, "scope.shield", "setattr, scope, 'shield', ...")? {
            // SAFETY: attached.
            Some((state, id, now)) => unsafe {
                state.change(|tree, out| tree.set_shield(id, shield, now, out));
            },
            None => self.change_settings(|settings| settings.shield = shield),
        }
        Ok(())
    }

    /// For how many seconds a cancelled task in the scope may still await: None is for ever, 0 not
    /// at all. Where none was given, what is inherited. It can be set at any time.
    #[getter]
    fn cleanup(&self) -> Option<f64> {
        let cleanup = match (self.state(), self.id.get()) {
            (Some(state), Some(id)) => state.tree.borrow().cleanup_of(id),
            _ => self.settings.get().cleanup,
        };
        match cleanup {
            Cleanup::Seconds(seconds) | Cleanup::Guaranteed(seconds) => Some(seconds),
            Cleanup::Never => None,
            Cleanup::Inherited => Some(CLEANUP),
        }
    }

    #[setter]
    fn set_cleanup(&self, py: Python<'_>, cleanup: Budget) -> PyResult<()> {
        let cleanup = cleanup.0;
        match self.place_now(py, "scope.cleanup", "setattr, scope, 'cleanup', ...")? {
            // SAFETY: attached.
            Some((state, id, now)) => unsafe {
                state.change(|tree, out| tree.set_cleanup(id, cleanup, now, out));
            },
            None => self.change_settings(|settings| settings.cleanup = cleanup),
        }
        Ok(())
    }

    fn __repr__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let stage = match self.stage.get() {
            Stage::New => "not entered",
            Stage::Entered => "entered",
            Stage::Left => "left",
        };
        let mut text = format!("<CancelScope {stage}");
        if self.cancel_called() {
            text.push_str(" cancelled");
        }
        if self.shield() {
            text.push_str(" shielded");
        }
        let deadline = self.deadline();
        if deadline < f64::INFINITY {
            text.push_str(&format!(" deadline={deadline}"));
        }
        text.push('>');
        text_object(py, &text)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let mut held = self.slots().map(Slot::get).into_iter().chain([self.home.get()]);
        // SAFETY: what is visited is held.
        held.try_for_each(|object| unsafe { show(&visit, object) })
    }

    fn __clear__(&self) {
        self.id.set(None);
        self.slots().into_iter().for_each(Slot::clear);
        self.home.clear();
    }
}

impl CancelScope {
    /// What it holds beside its home.
    fn slots(&self) -> [&Slot; 2] {
        [&self.host, &self.reason]
    }
}
