//! How a child starts: `start_soon` and `start_now`. The hottest way into the extension, so these two
//! are plain C methods added to `Nursery`'s type. It must never run a child before `start_soon`
//! returns (R4).

use nursery_core::{Inbox, NurseryId};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::cpython::args::{Args, given};
use crate::cpython::call::{call, is_context, is_coroutine, truth, utf8};
use crate::cpython::called::method;
use crate::cpython::containers::{items, tuple};
use crate::cpython::errors::{Fallible, Raised, exc, fetch, misuse, set_error, set_error_text};
use crate::cpython::function::{Method, This};
use crate::cpython::imports::{imports, running_loop};
use crate::cpython::object::{Object, boolean_ref, none_ref, object};
use crate::cpython::owned::Owned;
use crate::engine::home::Home;
use crate::engine::ready;
use crate::engine::state::{Key, LoopState};
use crate::nursery::Nursery;
use crate::nursery::target::{Target, refuse};
use crate::step;
use crate::task::{self, Task, flag};

/// How a child is to be started.
#[derive(Default)]
pub(crate) struct Order<'a> {
    pub name: Option<&'a Object>,
    pub context: Option<&'a Object>,
    pub shield: bool,
    pub at_once: bool,
    /// It is to be a service (R19a).
    pub service: bool,
}

impl Nursery {
    /// Errors of this child go to the nursery's function, if it has one.
    #[inline(always)]
    pub(crate) fn hand_errors_on(&self, child: &Task) {
        if let Some(handler) = self.handler.cloned() {
            drop(child.data().with_rare(|rare| rare.handler.replace(Some(handler))));
        }
    }

    /// Sees to it that children may be started here and now.
    #[inline(always)]
    pub(crate) fn admit(&self, py: Python<'_>) -> Fallible<(Home, NurseryId)> {
        if let Some((state, id)) = self.place() {
            if self.is_here() {
                // In a step of ours the loop runs. That something is queued says nothing: any loop's code may
                // have cancelled a task here.
                if state.running.get() != 0 {
                    return Ok((state, id));
                }
                let running = running_loop(py)?;
                if state.is_loop(&running) {
                    return Ok((state, id));
                }
            }
            return Err(elsewhere(py));
        }
        if self.is_over() {
            return Err(closed(
                py,
                "this nursery is closed: its block has ended, and no child can be started in it \
                 any more",
            ));
        }
        Err(misuse(
            py,
            "this nursery has not been entered; write 'async with Nursery() as nursery:' and start \
             children inside the block",
        ))
    }
}

/// A child was to be started from another thread or another loop than the nursery's.
#[cold]
pub(super) fn elsewhere(py: Python<'_>) -> Raised {
    misuse(
        py,
        "start_soon() was called from another thread or another event loop than the \
         nursery's; use loop.call_soon_threadsafe(nursery.start_soon, fn, ...), or \
         asyncio.run_coroutine_threadsafe",
    )
}

#[cold]
fn closed(py: Python<'_>, text: &str) -> Raised {
    set_error_text(imports(py).parts.closed, text)
}

/// Starts a child; a target that is refused is closed.
#[inline(always)]
pub(crate) fn begin(
    py: Python<'_>,
    nursery: &Nursery,
    target: &Object,
    args: &[&Object],
    order: &Order<'_>,
) -> Fallible<Owned<Task>> {
    let (state, id) = match nursery.admit(py) {
        Ok(place) => place,
        Err(raised) => {
            refuse(target);
            return Err(raised);
        }
    };
    let found = Target::of(&state, target, args)?;
    // Finding the target may have run the program's code, and naming the child does.
    begin_or_refuse(nursery, &state, id, found, order)
}

/// Starts a child that runs what a function has returned, where the nursery has admitted it. A coroutine is
/// not asked whether it is new: one that is not says so in the child's first step.
#[inline]
pub(crate) fn begin_made(
    nursery: &Nursery,
    (state, id): (Home, NurseryId),
    made: &Object,
    order: &Order<'_>,
) -> Fallible<Owned<Task>> {
    if !is_coroutine(made) {
        return begin(state.py(), nursery, made, &[], order);
    }
    let found = Target { coroutine: Owned::share(made), shield: false };
    begin_or_refuse(nursery, &state, id, found, order)
}

#[inline(always)]
fn begin_or_refuse(
    nursery: &Nursery,
    state: &LoopState,
    id: NurseryId,
    found: Target,
    order: &Order<'_>,
) -> Fallible<Owned<Task>> {
    let coroutine = found.coroutine.clone();
    let task = begin_child(nursery, state, id, found, order);
    if task.is_err() {
        refuse(&coroutine);
    }
    task
}

#[inline]
fn begin_child(
    nursery: &Nursery,
    state: &LoopState,
    id: NurseryId,
    target: Target,
    order: &Order<'_>,
) -> Fallible<Owned<Task>> {
    const TOO_LATE: &str = "this nursery has closed meanwhile; no child can be started in it";
    let py = state.py();
    let task = task::allocate(py)?;
    let own = nursery.context.cloned();
    task::begin(&task, state, target.coroutine, order.context.or(own.as_deref()))?;
    if let Some(name) = order.name {
        task::set_name(&task, name)?;
    }
    if state.debug.get() {
        step::trace_source(&task)?;
    }
    nursery.hand_errors_on(&task);
    let shield = target.shield || order.shield;
    let key = Key::of(&task);
    let started = state.tree.touch(|tree| match order.service {
        false => tree.start(id, key, shield),
        true => tree.start_service(id, key),
    });
    let Ok(start) = started else {
        return Err(closed(py, TOO_LATE));
    };
    let ours = task.data();
    task.hold();
    if start.first {
        task::keep_host(state, id);
    }
    ours.raise_flags(flag::CHILD | flag::LOG_DESTROY);
    task::register_child(&task);
    ours.member.set(Some(start.member));
    if start.charges > 0 {
        task::charge(&task, start.charges);
        ours.change_inbox(Inbox::tell);
    }
    let begun = if order.at_once {
        step::start_eagerly(state, &task)
    } else {
        ours.raise_flags(flag::SCHEDULED);
        ready::push(state, task.clone().into_object())
    };
    if let Err(raised) = begun {
        step::give_up(state, &task);
        return Err(raised);
    }
    Ok(task)
}

/// Starts a child of a nursery with a limit: the Python part gives it a place, or has it wait.
#[cold]
fn begin_in_place(
    this: &This<'_, Nursery>,
    gate: &Object,
    target: &Object,
    args: &[&Object],
    order: &Order<'_>,
) -> Fallible<Owned> {
    let py = this.py();
    if let Err(raised) = this.admit(py) {
        refuse(target);
        return Err(raised);
    }
    let or_none = |argument: Option<_>| argument.unwrap_or_else(|| none_ref(py));
    let rest = tuple(py, args)?;
    let all = [
        this.object(),
        gate,
        target,
        &*rest,
        or_none(order.name),
        or_none(order.context),
        boolean_ref(py, order.shield),
        boolean_ref(py, order.at_once),
    ];
    call(imports(py).parts.start_in_place, all)
}

/// Start a child without asking for a place: for the part that has just given it one.
#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "it is called by one place of ours")]
#[pyo3(signature = (nursery, target, args, name, context, shield, at_once, service = false))]
fn start_child<'py>(
    nursery: &Bound<'py, Nursery>,
    target: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    name: Option<Bound<'py, PyAny>>,
    context: Option<Bound<'py, PyAny>>,
    shield: bool,
    at_once: bool,
    service: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let py = nursery.py();
    let (name, context) = (name.as_ref().map(object), context.as_ref().map(object));
    let order = Order { name, context, shield, at_once, service };
    let task = begin(py, nursery.get(), object(target), items(object(args)), &order);
    Ok(task.map_err(|raised| fetch(py, raised))?.into_bound(py))
}

/// What counts a nursery's places; None where it has no limit.
#[pyfunction]
fn gate_of<'py>(nursery: &Bound<'py, Nursery>) -> Option<Bound<'py, PyAny>> {
    nursery.get().gate.cloned().map(|gate| gate.into_bound(nursery.py()))
}

/// The event that says that a nursery is to come to an end; `make` makes it where there is none yet.
#[pyfunction]
fn stopping_of<'py>(
    nursery: &Bound<'py, Nursery>,
    make: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let (py, stopping) = (nursery.py(), &nursery.get().stopping);
    if let Some(kept) = stopping.cloned() {
        return Ok(kept.into_bound(py));
    }
    let made = make.call0()?;
    // To make it may have run anything.
    if let Some(kept) = stopping.cloned() {
        return Ok(kept.into_bound(py));
    }
    stopping.set(Owned::share(object(&made)));
    Ok(made)
}

/// What a nursery's children run in; None where it was given nothing.
#[pyfunction]
fn context_of<'py>(nursery: &Bound<'py, Nursery>) -> Option<Bound<'py, PyAny>> {
    nursery.get().context.cloned().map(|context| context.into_bound(nursery.py()))
}

/// Close what a refused child would have run, so that Python does not warn of it (R2).
#[pyfunction]
fn refuse_child(target: &Bound<'_, PyAny>) {
    refuse(object(target));
}

/// What is to be started, with its arguments, and how.
type Parsed<'a> = (&'a Object, &'a [&'a Object], Order<'a>);

#[inline(always)]
fn parse<'a>(py: Python<'_>, args: &Args<'a>, at_once: bool) -> Fallible<Parsed<'a>> {
    let function = if at_once { "start_now" } else { "start_soon" };
    let Some((target, rest)) = args.positional().split_first() else {
        return Err(without_target(py, function));
    };
    let mut order = Order { at_once, ..Order::default() };
    if args.has_keywords() {
        parse_keywords(py, args, function, &mut order)?;
    }
    Ok((target, rest, order))
}

#[cold]
fn without_target(py: Python<'_>, function: &str) -> Raised {
    let text = format!(
        "{function}() needs a coroutine, an awaitable, or an async function and its arguments"
    );
    set_error_text(exc::type_error(py), &text)
}

/// What a start says of a keyword argument that it does not know.
pub(super) fn unexpected(function: &str, name: &str) -> String {
    format!(
        "{function}() got an unexpected keyword argument '{name}'; arguments of the child itself are \
         passed by position, or with functools.partial"
    )
}

#[inline(never)]
fn parse_keywords<'a>(
    py: Python<'_>,
    args: &Args<'a>,
    function: &str,
    order: &mut Order<'a>,
) -> Fallible<()> {
    for (name, value) in args.keywords() {
        match utf8(name).unwrap_or_default() {
            "name" => order.name = given(Some(value)),
            "context" => {
                order.context = given(Some(value));
                if order.context.is_some_and(|context| !is_context(context)) {
                    let text = c"context must be a contextvars.Context or None";
                    return Err(set_error(exc::type_error(py), text));
                }
            }
            "shield" => order.shield = truth(value)?,
            other => {
                return Err(set_error_text(exc::type_error(py), &unexpected(function, other)));
            }
        }
    }
    Ok(())
}

#[inline(always)]
fn start(this: &This<'_, Nursery>, args: Args<'_>, at_once: bool) -> Fallible<Owned> {
    let py = this.py();
    match parse(py, &args, at_once) {
        Ok((target, args, order)) => match this.gate.cloned() {
            None => begin(py, this, target, args, &order).map(Owned::into_object),
            Some(gate) => begin_in_place(this, &gate, target, args, &order),
        },
        Err(raised) => {
            if let Some(target) = args.positional().first() {
                refuse(target);
            }
            Err(raised)
        }
    }
}

static START_SOON: Method<Nursery> =
    method!(fast Nursery, c"start_soon", |this: &This<'_, Nursery>, args| start(this, args, false))
        .documented(c"start_soon($self, target, /, *args, name=None, context=None, shield=False)\n--\n\nStart a child and return its task; its first step runs after this returns.\n\ntarget is a coroutine, any awaitable, or an async function that is called with args.\nWith shield=True, cancellation from outside does not reach the child; the nursery still\nwaits for it. Raises NurseryClosed once the block has ended.");

static START_NOW: Method<Nursery> =
    method!(fast Nursery, c"start_now", |this: &This<'_, Nursery>, args| start(this, args, true))
        .documented(c"start_now($self, target, /, *args, name=None, context=None, shield=False)\n--\n\nAs start_soon, but the child's first step runs before this returns.");

/// Adds the two methods to `Nursery`.
pub(crate) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    START_SOON.add_to_class(module.py())?;
    START_NOW.add_to_class(module.py())?;
    module.add_function(wrap_pyfunction!(start_child, module)?)?;
    module.add_function(wrap_pyfunction!(gate_of, module)?)?;
    module.add_function(wrap_pyfunction!(stopping_of, module)?)?;
    module.add_function(wrap_pyfunction!(context_of, module)?)?;
    module.add_function(wrap_pyfunction!(refuse_child, module)?)
}
