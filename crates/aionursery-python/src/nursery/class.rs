//! What a program sees of a `Nursery`, beside starting children: how it is made, entered and left,
//! asked and cancelled.

use nursery_core::Phase;
use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use super::{Nursery, Stage, join};
use crate::cpython::args::{given, parse, parse_call};
use crate::cpython::errors::{fetch, restore, text_object};
use crate::cpython::function::Method;
use crate::cpython::guard::guard;
use crate::cpython::imports::imports;
use crate::cpython::object::{
    Fallible, Owned, Raw, Slot, call1, repr, set_error_text, show, type_name, utf8,
};
use crate::engine::state::Key;
use crate::engine::threads;
use crate::scope::{relative_of, settings_of};
use crate::step;
use crate::wait::{self, Kind};

/// What a nursery is called with.
const ARGUMENTS: [&str; 6] =
    ["on_error", "deadline", "shield", "cleanup", "relative_deadline", "limit"];

/// A nursery as `Nursery(...)` and a subclass's `Sub(...)` make it.
unsafe fn make(arguments: [Raw; 6]) -> Fallible<Nursery> {
    let [on_error, deadline, shield, cleanup, relative, limit] = arguments;
    // SAFETY: attached; the caller's objects are alive.
    unsafe {
        let collect = if on_error.is_null() { false } else { collects(on_error)? };
        let settings = settings_of(deadline, shield, cleanup)?;
        let relative = relative_of(relative)?;
        let nursery = Nursery::make(settings, relative, collect);
        if let Some(limit) = given(limit) {
            nursery.gate.set(call1(imports().parts.gate, limit)?);
        }
        Ok(nursery)
    }
}

/// Whether a failure leaves the siblings alone, in the words of `on_error`.
unsafe fn collects(on_error: Raw) -> Fallible<bool> {
    // SAFETY: attached; the caller's object is alive.
    unsafe {
        if ffi::PyUnicode_Check(on_error) == 0 {
            let text = format!("on_error must be a str, not {}", type_name(on_error));
            return Err(set_error_text(ffi::PyExc_TypeError, &text));
        }
        match utf8(on_error) {
            Some("cancel") => Ok(false),
            Some("collect") => Ok(true),
            _ => {
                let given = repr(on_error);
                let text = format!("on_error must be \"cancel\" or \"collect\", not {given}");
                Err(set_error_text(ffi::PyExc_ValueError, &text))
            }
        }
    }
}

#[pymethods]
impl Nursery {
    #[new]
    #[pyo3(
        signature = (*args, **kwargs),
        text_signature = "(*, on_error='cancel', deadline=1e999, shield=False, cleanup=..., \
                          relative_deadline=None, limit=None)"
    )]
    fn new(args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let given = kwargs.map_or(std::ptr::null_mut(), Bound::as_ptr);
        // SAFETY: attached; PyO3's tuple and dict.
        let made = unsafe {
            parse_call("Nursery", ARGUMENTS, 0, args.as_ptr(), given).and_then(|given| make(given))
        };
        made.map_err(|raised| fetch(args.py(), raised))
    }

    /// Start a child and wait until it calls task_status.started(value); return that value.
    ///
    /// Calls fn(*args, task_status=...). What fails before that is raised here and not by the
    /// nursery; RuntimeError if the child ends without having said that it is ready.
    #[pyo3(signature = (fn_, /, *args, name = None, shield = false))]
    fn start<'py>(
        slf: &Bound<'py, Self>,
        fn_: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        name: Option<Bound<'py, PyAny>>,
        shield: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        // SAFETY: attached; borrowed from the imports, which keep it.
        let start = unsafe { Bound::from_borrowed_ptr(py, imports().parts.start) };
        start.call1((slf, fn_, args, name, shield))
    }

    /// Cancel the nursery: children, body and all below, up to shields.
    ///
    /// reason is shown by the Cancelled that they get. Raises RuntimeError from another thread.
    #[pyo3(signature = (reason = None))]
    fn cancel(&self, py: Python<'_>, reason: Option<Bound<'_, PyAny>>) -> PyResult<()> {
        // SAFETY: a reference of ours.
        let reason = reason.map(|reason| unsafe { Owned::share(reason.as_ptr()) });
        // SAFETY: attached.
        let scope = unsafe { self.scope() }.map_err(|raised| fetch(py, raised))?;
        scope.request(py, reason)
    }

    /// Cancel the children that have not ended; neither the body nor the caller.
    ///
    /// Raises RuntimeError before entry and from another thread.
    fn cancel_remaining(&self, py: Python<'_>) -> PyResult<()> {
        // SAFETY: attached; the children are kept alive while they are cancelled.
        unsafe {
            let Some((state, id)) = self.place() else {
                return if self.stage.get() == Stage::New { self.not_entered() } else { Ok(()) };
            };
            let what = "nursery.cancel_remaining";
            threads::check(&state, what, what).map_err(|raised| fetch(py, raised))?;
            let children: Vec<Owned> =
                state.tree.borrow().children(id).map(|Key(child)| Owned::share(*child)).collect();
            for child in children {
                if child.as_ptr() != state.running.get() {
                    step::cancel(child.as_ptr(), None).map_err(|raised| fetch(py, raised))?;
                }
            }
            Ok(())
        }
    }

    /// Whether body and children have ended.
    #[getter]
    fn closed(&self) -> bool {
        match (self.state(), self.id.get()) {
            (Some(state), Some(id)) => state.tree.borrow().phase(id) == Phase::Closed,
            _ => self.stage.get() == Stage::Closed,
        }
    }

    /// The children that have not ended, in the order of starting.
    #[getter]
    fn children<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let children: Vec<Bound<'py, PyAny>> = match (self.state(), self.id.get()) {
            (Some(state), Some(id)) => state
                .tree
                .borrow()
                .children(id)
                // SAFETY: the tree keeps its children alive.
                .map(|Key(child)| unsafe { Bound::from_borrowed_ptr(py, *child) })
                .collect(),
            _ => Vec::new(),
        };
        PyList::new(py, children)
    }

    /// The nursery's scope: its deadline, its shield, its budget for cleaning up.
    #[getter]
    fn cancel_scope<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        // SAFETY: attached; one more reference is handed out.
        unsafe {
            self.scope().map_err(|raised| fetch(py, raised))?;
            Ok(Bound::from_borrowed_ptr(py, self.scope.get()))
        }
    }

    fn __repr__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let text = match (self.stage.get(), self.state(), self.id.get()) {
            (_, Some(state), Some(id)) => {
                let tree = state.tree.borrow();
                let phase = match tree.phase(id) {
                    Phase::Open => "open",
                    Phase::Joining => "joining",
                    Phase::Closed => "closed",
                };
                format!("<Nursery {phase} children={}>", tree.running(id))
            }
            (Stage::New, ..) => "<Nursery not entered>".to_owned(),
            _ => "<Nursery closed>".to_owned(),
        };
        text_object(py, &text)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let mut held = self.slots().map(Slot::get).into_iter().chain([self.home.get()]);
        // SAFETY: what is visited is held.
        held.try_for_each(|object| unsafe { show(&visit, object) })
    }

    fn __clear__(&self) {
        if let (Some(_), Some(scope)) = (self.id.take(), self.scope_object()) {
            scope.let_go();
        }
        self.slots().into_iter().for_each(Slot::clear);
        self.home.clear();
    }
}

impl Nursery {
    /// What it holds beside its home.
    fn slots(&self) -> [&Slot; 5] {
        [&self.host, &self.misuse, &self.scope, &self.reason, &self.gate]
    }

    fn not_entered(&self) -> PyResult<()> {
        Err(PyRuntimeError::new_err(
            "this nursery has not been entered; write 'async with Nursery() as nursery:'",
        ))
    }
}

unsafe extern "C" fn aenter(
    this: Raw,
    args: *const Raw,
    count: ffi::Py_ssize_t,
    kwnames: Raw,
) -> Raw {
    // SAFETY: CPython calls a method of a nursery with a vector of arguments.
    unsafe {
        guard(std::ptr::null_mut(), |py| {
            let object = Bound::from_borrowed_ptr(py, this);
            let enter = || -> Fallible<Owned> {
                let [] = parse("__aenter__", [], 0, args, count, kwnames)?;
                object.cast_unchecked::<Nursery>().get().enter()?;
                wait::create(Kind::Ready, 0.0, Some(Owned::share(this)))
            };
            enter().map_or(std::ptr::null_mut(), Owned::into_ptr)
        })
    }
}

unsafe extern "C" fn aexit(
    this: Raw,
    args: *const Raw,
    count: ffi::Py_ssize_t,
    kwnames: Raw,
) -> Raw {
    // SAFETY: as above.
    unsafe {
        guard(std::ptr::null_mut(), |_| {
            let exit = || -> Fallible<Owned> {
                let names = ["exc_type", "exc_value", "traceback"];
                let [_, exception, _] = parse("__aexit__", names, 3, args, count, kwnames)?;
                let exception = given(exception).map(|exception| Owned::share(exception));
                join::create(Owned::share(this), exception)
            };
            exit().map_or(std::ptr::null_mut(), Owned::into_ptr)
        })
    }
}

/// `Nursery(...)`, for just that class.
unsafe extern "C" fn call(_: Raw, args: *const Raw, count: usize, kwnames: Raw) -> Raw {
    // SAFETY: CPython calls the class with a vector of arguments.
    unsafe {
        guard(std::ptr::null_mut(), |py| {
            let create = || -> Fallible<Owned> {
                let count = ffi::PyVectorcall_NARGS(count);
                let made = make(parse("Nursery", ARGUMENTS, 0, args, count, kwnames)?)?;
                match Py::new(py, made) {
                    Ok(nursery) => Owned::new(nursery.into_ptr()),
                    Err(error) => Err(restore(error)),
                }
            };
            create().map_or(std::ptr::null_mut(), Owned::into_ptr)
        })
    }
}

static AENTER: Method =
    Method::fast(c"__aenter__", aenter).documented(c"__aenter__($self)\n--\n\n");
static AEXIT: Method = Method::fast(c"__aexit__", aexit)
    .documented(c"__aexit__($self, exc_type, exc_value, traceback, /)\n--\n\n");

/// Puts the class into the module.
pub fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add_class::<Nursery>()?;
    AENTER.add_to_class::<Nursery>(py)?;
    AEXIT.add_to_class::<Nursery>(py)?;
    // SAFETY: a class is called through this slot if it has one; subclasses do not inherit it.
    unsafe {
        let class = py.get_type::<Nursery>().as_ptr().cast::<ffi::PyTypeObject>();
        (*class).tp_vectorcall = Some(call);
    }
    Ok(())
}
