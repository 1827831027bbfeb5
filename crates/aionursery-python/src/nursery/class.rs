//! What a program sees of a `Nursery`, beside starting children: how it is made, entered and left,
//! asked and cancelled. It must never hold the tree while it calls back into Python.

use nursery_core::Phase;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::start::unexpected;
use super::{Nursery, join};
use crate::cpython::args::{Args, CallArgs, given};
use crate::cpython::call::{
    call1, is_callable, is_context, is_text, repr, truth_of, type_name, utf8,
};
use crate::cpython::called::{class_call, method};
use crate::cpython::containers::list;
use crate::cpython::errors::{Fallible, Raised, exc, fetch, set_error, set_error_text};
use crate::cpython::for_pyo3::{refusal, text_object};
use crate::cpython::function::{Method, This};
use crate::cpython::imports::imports;
use crate::cpython::object::{Object, object};
use crate::cpython::owned::Owned;
use crate::cpython::slot::{Slot, show};
use crate::engine::threads;
use crate::scope::block::Stage;
use crate::scope::{relative_of, settings_of};
use crate::step;
use crate::task::Task;
use crate::wait::{self, WaitKind};

/// What a nursery is called with.
const ARGUMENTS: [&str; 7] =
    ["on_error", "deadline", "shield", "cleanup", "relative_deadline", "limit", "context"];

/// A nursery as `Nursery(...)` and a subclass's `Sub(...)` make it.
fn make(py: Python<'_>, arguments: [Option<&Object>; 7]) -> Fallible<Nursery> {
    let [on_error, deadline, shield, cleanup, relative, limit, context] = arguments;
    let handler = on_error.filter(|it| !is_text(it) && is_callable(it));
    if let Some(handler) = handler
        && truth_of(call1(imports(py).parts.is_coroutine_function, handler))?
    {
        let text = format!("on_error must be a plain function, not the async {}", repr(handler));
        return Err(set_error_text(exc::type_error(py), &text));
    }
    let collect = match on_error {
        Some(on_error) if handler.is_none() => collects(on_error)?,
        _ => false,
    };
    let settings = settings_of(py, deadline, shield, cleanup)?;
    let nursery = Nursery::make(settings, relative_of(relative)?, collect);
    if let Some(limit) = given(limit) {
        nursery.gate.set(call1(imports(py).parts.gate, limit)?);
    }
    drop(nursery.handler.replace(handler.map(Owned::share)));
    if let Some(context) = given(context) {
        if !is_context(context) {
            let text = c"context must be a contextvars.Context or None";
            return Err(set_error(exc::type_error(py), text));
        }
        nursery.context.set(Owned::share(context));
    }
    Ok(nursery)
}

/// The refusal of arguments that were passed by position says what they may have been meant for.
#[cold]
fn advised(py: Python<'_>, positional: usize, raised: Raised) -> Raised {
    if positional == 0 {
        return raised;
    }
    raised.forget();
    let text = "Nursery() takes keyword arguments only; for a number of seconds write \
                Nursery(relative_deadline=...), for a number of children Nursery(limit=...)";
    set_error_text(exc::type_error(py), text)
}

/// Whether a failure leaves the siblings alone, in the words of `on_error`.
fn collects(on_error: &Object) -> Fallible<bool> {
    let py = on_error.py();
    if !is_text(on_error) {
        let text = format!("on_error must be a str or a function, not {}", type_name(on_error));
        return Err(set_error_text(exc::type_error(py), &text));
    }
    match utf8(on_error) {
        Some("cancel") => Ok(false),
        Some("collect") => Ok(true),
        _ => {
            let given = repr(on_error);
            let text =
                format!("on_error must be \"cancel\", \"collect\" or a function, not {given}");
            Err(set_error_text(exc::value_error(py), &text))
        }
    }
}

#[pymethods]
impl Nursery {
    #[new]
    #[pyo3(
        signature = (*args, **kwargs),
        text_signature = "(*, on_error='cancel', deadline=1e999, shield=False, cleanup=..., \
                          relative_deadline=None, limit=None, context=None)"
    )]
    fn new(args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let py = args.py();
        let positional = args.len();
        let args = CallArgs::new(object(args), kwargs.map(object));
        let made = args.parse(py, "Nursery", ARGUMENTS, 0);
        let made = made.map_err(|raised| advised(py, positional, raised));
        made.and_then(|given| make(py, given)).map_err(|raised| fetch(py, raised))
    }

    /// Start a child and wait until it calls task_status.started(value); return that value.
    ///
    /// Calls fn(*args, task_status=...). What fails before that is raised here and not by the
    /// nursery; RuntimeError if the child ends without having said that it is ready.
    #[pyo3(
        signature = (fn_, /, *args, name = None, shield = false, **others),
        text_signature = "($self, fn_, /, *args, name=None, shield=False)"
    )]
    fn start<'py>(
        slf: &Bound<'py, Self>,
        fn_: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        name: Option<Bound<'py, PyAny>>,
        shield: bool,
        others: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        if let Some((other, _)) = others.and_then(|others| others.iter().next()) {
            let other = utf8(object(&other)).unwrap_or_default();
            return Err(refusal::type_error(&unexpected("start", other)));
        }
        let start = imports(py).parts.start.to_bound(py);
        start.call1((slf, fn_, args, name, shield))
    }

    /// Cancel the nursery: children, body and all below, up to shields.
    ///
    /// reason is shown by the Cancelled that they get. Raises RuntimeError from another thread.
    #[pyo3(signature = (reason = None))]
    fn cancel(&self, py: Python<'_>, reason: Option<Bound<'_, PyAny>>) -> PyResult<()> {
        let reason = reason.map(|reason| Owned::share(object(&reason)));
        let scope = self.scope(py).map_err(|raised| fetch(py, raised))?;
        scope.request(py, reason)
    }

    /// Cancel the children that have not ended; neither the body nor the caller.
    ///
    /// Raises RuntimeError before entry and from another thread.
    fn cancel_remaining(&self, py: Python<'_>) -> PyResult<()> {
        let Some((state, id)) = self.place() else {
            return if self.block.is_new() { self.not_entered() } else { Ok(()) };
        };
        let what = "nursery.cancel_remaining";
        threads::check(&state, what, what).map_err(|raised| fetch(py, raised))?;
        // The children are kept alive while they are cancelled.
        let children: Vec<Owned> =
            state.tree.borrow().children(id).map(|key| key.share(py)).collect();
        for child in children.iter().filter_map(|child| child.object().cast::<Task>()) {
            if child.address() != state.running.get() {
                step::cancel(child, None).map_err(|raised| fetch(py, raised))?;
            }
        }
        Ok(())
    }

    /// Whether body and children have ended.
    #[getter]
    fn closed(&self) -> bool {
        match (self.state(), self.id.get()) {
            (Some(state), Some(id)) => state.tree.borrow().phase(id) == Phase::Closed,
            _ => self.block.is_left(),
        }
    }

    /// The children that have not ended, in the order of starting.
    #[getter]
    fn children<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let children: Vec<Owned> = match (self.state(), self.id.get()) {
            (Some(state), Some(id)) => {
                state.tree.borrow().children(id).map(|key| key.share(py)).collect()
            }
            _ => Vec::new(),
        };
        let children = list(py, children.iter().map(|child| &**child));
        children.map(|list| list.into_bound(py)).map_err(|raised| fetch(py, raised))
    }

    /// The nursery's scope: its deadline, its shield, its budget for cleaning up.
    #[getter]
    fn cancel_scope<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let scope = self.scope(py).map_err(|raised| fetch(py, raised))?;
        Ok(scope.into_bound(py))
    }

    fn __repr__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let text = match (self.block.stage.get(), self.state(), self.id.get()) {
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
        let visit = |object: &Object| show(&visit, object);
        self.slots().into_iter().try_for_each(|slot| slot.show(visit))?;
        self.scope.show(visit)?;
        self.block.traverse(visit)
    }

    fn __clear__(&self) {
        // A join that goes with it, and after it, does not find it any more: the tree would wake that.
        if let Some((state, id)) = self.place()
            && state.tree.borrow().has_nursery(id)
        {
            state.tree.touch(|tree| tree.set_joiner(id, None, None));
        }
        // It can be left no more, as where it goes alone.
        self.give_up();
        if let (Some(_), Some(scope)) = (self.id.take(), self.scope.cloned()) {
            scope.let_go();
        }
        self.slots().into_iter().for_each(Slot::clear);
        self.scope.clear();
        self.block.clear();
    }
}

impl Nursery {
    /// What it holds beside its scope and what that knows.
    fn slots(&self) -> [&Slot; 5] {
        let Self { misuse, gate, stopping, handler, context, .. } = self;
        [misuse, gate, stopping, handler, context]
    }

    fn not_entered(&self) -> PyResult<()> {
        Err(refusal::runtime_error(
            "this nursery has not been entered; write 'async with Nursery() as nursery:'",
        ))
    }
}

pub(super) fn aenter(this: &This<'_, Nursery>, args: Args<'_>) -> Fallible<Owned> {
    let py = this.py();
    let [] = args.parse(py, "__aenter__", [], 0)?;
    // Made first: what is entered must not fail any more.
    let entered = wait::create(py, WaitKind::Ready, 0.0, Some(Owned::share(this.object())))?;
    this.enter(py)?;
    Ok(entered.into_object())
}

pub(super) fn aexit(this: &This<'_, Nursery>, args: Args<'_>) -> Fallible<Owned> {
    let py = this.py();
    let names = ["exc_type", "exc_value", "traceback"];
    let [_, exception, _] = args.parse(py, "__aexit__", names, 3)?;
    let exception = given(exception).map(Owned::share);
    join::create(this, exception)
}

/// `Nursery(...)`, for just that class.
fn create(py: Python<'_>, args: Args<'_>) -> Fallible<Owned> {
    let given = args.parse(py, "Nursery", ARGUMENTS, 0);
    let given = given.map_err(|raised| advised(py, args.positional().len(), raised));
    let made = make(py, given?)?;
    Owned::make(py, made).map(Owned::into_object)
}

static AENTER: Method<Nursery> =
    method!(fast Nursery, c"__aenter__", aenter).documented(c"__aenter__($self)\n--\n\n");
static AEXIT: Method<Nursery> = method!(fast Nursery, c"__aexit__", aexit)
    .documented(c"__aexit__($self, exc_type, exc_value, traceback, /)\n--\n\n");

/// Puts the class into the module.
pub(crate) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add_class::<Nursery>()?;
    AENTER.add_to_class(py)?;
    AEXIT.add_to_class(py)?;
    class_call!(Nursery, py, create);
    Ok(())
}
