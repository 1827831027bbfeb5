//! `StrictNursery`: a nursery by anyio's rules, for its face to build upon; and what that face needs
//! of a child. It must never start one in another way than a nursery does.

use std::cell::OnceCell;

use nursery_core::{Cause, Cleanup, Settings, Source};
use pyo3::prelude::*;

use super::start::{self, Order};
use super::target::refuse;
use super::{Nursery, class};
use crate::cpython::args::{Args, given};
use crate::cpython::call::{
    as_text, call_all, call_method, function_module, getattr_opt, is_coroutine, is_exact_text,
    method1, truth, utf8,
};
use crate::cpython::called::method;
use crate::cpython::errors::{Fallible, Raised, exc, fetch, raise, set_error_text, string};
use crate::cpython::for_pyo3::refusal;
use crate::cpython::function::{Method, This};
use crate::cpython::imports::{imports, names};
use crate::cpython::myself::Guarded;
use crate::cpython::object::{Object, none_ref, object};
use crate::cpython::owned::{Owned, none};
use crate::cpython::plain::PlainClass;
use crate::engine::state::LoopState;
use crate::engine::threads;
use crate::scope::CancelScope;
use crate::task::{Task, flag};
use crate::task_class;

/// A nursery in which each await of a cancelled task is cancelled, and which a child that is
/// cancelled by hand cancels.
#[pyclass(frozen, subclass, extends = Nursery, module = "aionursery", name = "StrictNursery")]
#[derive(Debug)]
pub(crate) struct StrictNursery;

#[pymethods]
impl StrictNursery {
    #[new]
    fn new() -> PyClassInitializer<Self> {
        let settings = Settings { cleanup: Cleanup::Limited(0.0), ..Settings::default() };
        let mut nursery = Nursery::make(settings, f64::INFINITY, false);
        nursery.strict = true;
        PyClassInitializer::from(nursery).add_subclass(Self)
    }

    /// Whether it was entered.
    #[getter]
    fn entered(slf: &Bound<'_, Self>) -> bool {
        !slf.as_super().get().block.is_new()
    }

    /// Whether no child is left that has not ended.
    #[getter]
    fn empty(slf: &Bound<'_, Self>) -> bool {
        is_empty(slf.as_super().get())
    }

    /// The loop that it was entered in; None before entry and after its block.
    #[getter]
    fn event_loop<'py>(slf: &Bound<'py, Self>) -> Option<Bound<'py, PyAny>> {
        let (state, _) = slf.as_super().get().place()?;
        Some(state.event_loop().into_bound(slf.py()))
    }

    /// Whether it is open, and the caller runs in another loop than it.
    #[getter]
    fn elsewhere(slf: &Bound<'_, Self>) -> PyResult<bool> {
        let py = slf.py();
        slf.as_super().get().is_elsewhere(py).map_err(|raised| fetch(py, raised))
    }

    /// The task factory that the program has given the loop; None for none, for one of ours, and where the
    /// nursery is not open.
    #[getter]
    fn programs_factory<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = slf.py();
        let found = programs_factory(slf.as_super().get()).map_err(|raised| fetch(py, raised))?;
        Ok(found.map(|factory| factory.into_bound(py)))
    }

    /// Have this new scope stand for the nursery's, unless one does already.
    fn show_scope(slf: &Bound<'_, Self>, scope: &Bound<'_, CancelScope>) -> PyResult<()> {
        let nursery = slf.as_super().get();
        if !nursery.scope.is_empty() {
            return Err(refusal::type_error("the nursery's scope was shown already"));
        }
        let scope = Owned::share(object(scope)).cast();
        scope.map(|scope| nursery.show(scope)).map_err(|_| refusal::type_error("it is no scope"))
    }
}

fn is_empty(nursery: &Nursery) -> bool {
    nursery.place().is_none_or(|(state, id)| state.tree.borrow().running(id) == 0)
}

fn aenter(this: &This<'_, Nursery>, args: Args<'_>) -> Fallible<Owned> {
    if !this.block.is_new() {
        let text = "TaskGroup cannot be entered more than once";
        return Err(set_error_text(exc::runtime_error(this.py()), text));
    }
    class::aenter(this, args)
}

/// One without children is left as its class says.
fn aexit(this: &This<'_, Nursery>, args: Args<'_>) -> Fallible<Owned> {
    if !is_empty(this) {
        return class::aexit(this, args);
    }
    let py = this.py();
    let parts = args.parse(py, "__aexit__", ["exc_type", "exc_value", "traceback"], 3)?;
    let [kind, exception, traceback] = parts.map(|part| part.unwrap_or_else(|| none_ref(py)));
    call_method(this.object(), names(py).leave_empty, [kind, exception, traceback])
}

static AENTER: Method<Nursery> =
    method!(fast Nursery, c"__aenter__", aenter).documented(c"__aenter__($self)\n--\n\n");
static AEXIT: Method<Nursery> = method!(fast Nursery, c"__aexit__", aexit)
    .documented(c"__aexit__($self, exc_type, exc_value, traceback, /)\n--\n\n");

/// What the handles of children are made of.
static HANDLES: Guarded<OnceCell<PlainClass>> = Guarded::new(OnceCell::new());

/// Have the children of these nurseries get handles of this class: plain objects, in which nothing is
/// set but `_task`. For good: a second class is refused with a RuntimeError.
#[pyfunction]
fn make_handles_of(class: &Bound<'_, PyAny>) -> PyResult<()> {
    let found = PlainClass::of(class, "_task")?;
    match HANDLES.get(class.py()).get_or_init(|| found).is(class) {
        true => Ok(()),
        false => Err(refusal::runtime_error("handles are made of another class already")),
    }
}

/// A handle of a child.
#[inline]
fn handle_of(task: &Owned<Task>) -> Fallible<Owned> {
    match HANDLES.get(task.py()).get() {
        Some(handles) => handles.make(task),
        None => {
            let text = "make_handles_of() was not called";
            Err(set_error_text(exc::runtime_error(task.py()), text))
        }
    }
}

/// The task factory that the program has given the loop of an open nursery. It is looked for while no child
/// runs: to ask the loop for every child would be a fortieth of what one costs.
#[inline]
fn programs_factory(nursery: &Nursery) -> Fallible<Option<Owned>> {
    let Some((state, id)) = nursery.place() else { return Ok(None) };
    if !nursery.by_factory.get() && state.tree.borrow().running(id) != 0 {
        return Ok(None);
    }
    let factory = state.task_factory()?;
    let ours = task_class::is_ours(&factory);
    nursery.by_factory.set(!ours);
    Ok(if ours { None } else { Some(factory) })
}

/// The name of a child of a function: the function's module and its name there.
fn name_of(state: &LoopState, function: &Object) -> Fallible<Owned> {
    let py = function.py();
    let names = names(py);
    if let Some(attribute) = &imports(py).qualname
        && let Some(module) = function_module(function).filter(|module| is_exact_text(module))
    {
        return state.last_name.of(&module, &*attribute.get(function)?);
    }
    let part = |name| match getattr_opt(function, name)? {
        Some(part) if is_exact_text(&part) => Ok(part),
        Some(part) if truth(&part)? => as_text(&part),
        _ => string(py, ""),
    };
    state.last_name.of(&*part(names.module)?, &*part(names.qualname)?)
}

/// Starts a child of a function, named after it, and returns its handle. What is called in another
/// loop is the business of the nursery's class.
fn start_of(
    this: &This<'_, Nursery>,
    function: &Object,
    args: &[&Object],
    name: Option<&Object>,
) -> Fallible<Owned> {
    let py = this.py();
    let names = names(py);
    let mut made = call_all(function, args)?;
    if !is_coroutine(&made) {
        made = call_method(this.object(), names.coroutine_of, [function, &made])?;
    }
    let named = match (name, this.state()) {
        (Some(name), _) => Owned::share(name),
        (None, Some(state)) => name_of(&state, function)?,
        // It is refused.
        (None, None) => none(py),
    };
    let place = match this.admit(py) {
        Ok(place) => place,
        Err(raised) => {
            let error = raised.take();
            if this.is_elsewhere(py)? {
                return call_method(this.object(), names.start_elsewhere, [&*made, &*named]);
            }
            refuse(&made);
            return Err(refused(this, error));
        }
    };
    if let Some(factory) = programs_factory(this)? {
        return call_method(this.object(), names.start_by_factory, [&*factory, &*made, &*named]);
    }
    let order = Order { name: Some(&named), ..Order::default() };
    match start::begin_made(this, place, &made, &order) {
        Ok(task) => handle_of(&task),
        Err(raised) => Err(refused(this, raised.take())),
    }
}

/// The nursery's class is told of the error that a start ends with; the error, or what it raises instead.
#[cold]
fn refused(this: &This<'_, Nursery>, error: Owned) -> Raised {
    match method1(this.object(), names(this.py()).refused, &error) {
        Ok(_) => raise(error),
        Err(raised) => raised,
    }
}

fn start_soon(this: &This<'_, Nursery>, args: Args<'_>) -> Fallible<Owned> {
    let py = this.py();
    let Some((function, positional)) = args.positional().split_first() else {
        let text = "start_soon() missing 1 required positional argument: 'func'";
        return Err(set_error_text(exc::type_error(py), text));
    };
    let mut name = None;
    for (keyword, value) in args.keywords() {
        let keyword = utf8(keyword).unwrap_or_default();
        if keyword != "name" {
            let text = format!("start_soon() got an unexpected keyword argument '{keyword}'");
            return Err(set_error_text(exc::type_error(py), &text));
        }
        name = given(Some(value));
    }
    start_of(this, function, positional, name)
}

static START_SOON: Method<Nursery> = method!(fast Nursery, c"start_soon", start_soon).documented(
    c"start_soon($self, func, /, *args, name=None)\n--\n\nStart a child of a function, named after it if name is None, and return its handle.",
);

/// Cancel one child, as a scope around all of it: each of its awaits from now on, up to shields.
///
/// Does nothing once it has ended. Raises RuntimeError from another thread.
#[pyfunction]
fn cancel_child(child: &Bound<'_, PyAny>, reason: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = child.py();
    // The child is kept alive while what it awaits is told.
    let Ok(kept) = Owned::share(object(child)).cast::<Task>() else {
        return Err(refusal::type_error("cancel_child() needs a child of a nursery"));
    };
    let ours = kept.data();
    let Some(state) = ours.home.cloned().filter(|state| !state.is_gone()) else {
        return Ok(());
    };
    let what = "handle.cancel";
    threads::check(&state, what, what).map_err(|raised| fetch(py, raised))?;
    // The clock may be the program's, so the child's place is asked for after it.
    let now = state.now().map_err(|raised| fetch(py, raised))?;
    let Some(member) = ours.member.get().filter(|_| ours.has(flag::CHILD)) else {
        return Ok(());
    };
    let reason = Owned::share(object(reason));
    let cause = Cause { source: Source::Explicit, reason: Some(reason.clone()) };
    state.change(|tree, out| {
        let scope = tree.enclose(member);
        tree.cancel(scope, cause, now, out)
    });
    drop(reason);
    Ok(())
}

/// Puts the class and the function into the module.
pub(crate) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<StrictNursery>()?;
    AENTER.add_to_subclass::<StrictNursery>(module.py())?;
    AEXIT.add_to_subclass::<StrictNursery>(module.py())?;
    START_SOON.add_to_subclass::<StrictNursery>(module.py())?;
    module.add_function(wrap_pyfunction!(make_handles_of, module)?)?;
    module.add_function(wrap_pyfunction!(cancel_child, module)?)
}
