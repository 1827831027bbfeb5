//! How a task is made: by its class, by a loop's task factory, or eagerly with its first step taken
//! at once. It must never decide when a nursery's children start.

use nursery_core::Inbox;
use pyo3::prelude::*;

use crate::cpython::args::{Args, CallArgs, given};
use crate::cpython::call::{
    call0, call1, is_context, is_coroutine, method0, repr, truth, truth_of, type_name,
};
use crate::cpython::called::method;
use crate::cpython::errors::{Fallible, exc, misuse, set_error, set_error_text};
use crate::cpython::function::{Method, This};
use crate::cpython::imports::{imports, is_debug, names};
use crate::cpython::object::Object;
use crate::cpython::owned::Owned;
use crate::engine::ready;
use crate::engine::state::LoopState;
use crate::step::{start_eagerly, trace_source};
use crate::task::registry::register;
use crate::task::{Task, allocate, begin, flag, name};

/// `Task.__init__(coro, *, loop=None, name=None, context=None, eager_start=False)`.
pub(super) fn init(task: &Task, args: &CallArgs<'_>) -> Fallible<()> {
    let py = task.py();
    let names = ["coro", "loop", "name", "context", "eager_start"];
    let [coro, event_loop, name, context, eager] = args.parse(py, "Task", names, 1)?;
    let Some(coro) = coro else {
        let text = c"Task() needs the coroutine to run (argument 'coro')";
        return Err(set_error(exc::type_error(py), text));
    };
    let event_loop = match given(event_loop) {
        Some(event_loop) => Owned::share(event_loop),
        None => {
            // A future without a loop takes the one that asyncio would take.
            let future = call0(imports(py).future_type)?;
            method0(&future, imports(py).names.get_loop)?
        }
    };
    let eager = match eager {
        Some(eager) => truth(eager)?,
        None => false,
    };
    LoopState::of(&event_loop)?.debug.set(is_debug(&event_loop)?);
    fill(task, coro, &event_loop, How { name, context, eager })
}

/// How a task is to be made, as it was asked for.
struct How<'a> {
    name: Option<&'a Object>,
    context: Option<&'a Object>,
    eager: bool,
}

fn is_coroutine_like(coro: &Object) -> Fallible<bool> {
    Ok(is_coroutine(coro) || truth_of(call1(imports(coro.py()).parts.is_coroutine, coro))?)
}

fn fill(task: &Task, coro: &Object, event_loop: &Object, how: How<'_>) -> Fallible<()> {
    let py = task.py();
    if !is_coroutine_like(coro)? {
        let text = format!("a coroutine was expected, got {}", repr(coro));
        return Err(set_error_text(exc::type_error(py), &text));
    }
    let state = LoopState::of(event_loop)?;
    // What the program's own code may raise comes first, as with asyncio.
    let name = given(how.name).map(name::as_name).transpose()?;
    let context = given(how.context);
    if let Some(context) = context.filter(|context| !is_context(context)) {
        let text = format!("a contextvars.Context was expected, got {}", type_name(context));
        return Err(set_error_text(exc::type_error(py), &text));
    }
    let ours = task.data();
    if ours.home.is_some() {
        begin_again(task)?;
    }
    begin(task, &state, Owned::share(coro), context)?;
    ours.flags.set(flag::LOG_DESTROY);
    if let Some(name) = name {
        ours.name().set(name);
    }
    name::show_number(task);
    if state.debug.get() {
        trace_source(task)?;
    }
    if how.eager && is_running(event_loop)? {
        register(task);
        return start_eagerly(&state, task);
    }
    ours.raise_flags(flag::SCHEDULED);
    ready::push(&state, Owned::share(task).into_object())?;
    // One that the loop refuses is none of its tasks.
    register(task);
    Ok(())
}

/// Empties a task that was begun before, if that is allowed: one that has ended, before CPython 3.15.
/// The code that steps one that has not, and the tree that it stands in, count on what it is made of.
#[cold]
fn begin_again(task: &Task) -> Fallible<()> {
    let ours = task.data();
    if cfg!(not(Py_3_15)) && ours.has(flag::DONE) && !ours.has(flag::RUNNING) {
        // To let go of what it had may run Python code, which must not begin it meanwhile.
        ours.flags.set(flag::RUNNING);
        ours.clear();
        ours.inbox.set(Inbox::default());
        return Ok(());
    }
    let text = format!("{} is already initialized; make a new task", repr(task));
    Err(misuse(task.py(), &text))
}

fn is_running(event_loop: &Object) -> Fallible<bool> {
    truth_of(method0(event_loop, names(event_loop.py()).is_running))
}

/// `factory(loop, coro, /, *, name=None, context=None, eager_start=None)`.
#[inline]
fn make(py: Python<'_>, args: Args<'_>, eager: bool) -> Fallible<Owned> {
    let names = ["loop", "coro", "name", "context", "eager_start"];
    let function = if eager { "eager_task_factory" } else { "task_factory" };
    let [event_loop, coro, name, context, eager_start] = args.parse(py, function, names, 2)?;
    let (Some(event_loop), Some(coro)) = (event_loop, coro) else {
        let text = c"a task factory is called with a loop and a coroutine";
        return Err(set_error(exc::type_error(py), text));
    };
    let eager = match given(eager_start) {
        None => eager,
        Some(object) => truth(object)?,
    };
    let task = allocate(py)?;
    fill(&task, coro, event_loop, How { name, context, eager })?;
    Ok(task.into_object())
}

static LAZY: Method = method!(fast Object, c"task_factory", |this: &This<'_, Object>, args| {
    make(this.py(), args, false)
})
.documented(c"task_factory(loop, coro, /, *, name=None, context=None, eager_start=None)\n--\n\nMake a task of ours: give this to loop.set_task_factory().");

static EAGER: Method =
    method!(fast Object, c"eager_task_factory", |this: &This<'_, Object>, args| {
        make(this.py(), args, true)
    })
    .documented(c"eager_task_factory(loop, coro, /, *, name=None, context=None, eager_start=None)\n--\n\nMake a task of ours and take its first step at once: give this to loop.set_task_factory().");

/// Whether an object is `task_factory`.
pub(crate) fn is_lazy(factory: &Object) -> bool {
    LAZY.is(factory)
}

/// Whether an object is one of the two, or None.
#[inline]
pub(crate) fn is_ours(factory: &Object) -> bool {
    factory.is_none() || LAZY.is(factory) || EAGER.is(factory)
}

/// Adds the two factories to the module. They are plain C functions: every task of a program is
/// made by one of them.
pub(crate) fn add_functions(module: &Bound<'_, PyModule>) -> PyResult<()> {
    LAZY.add_to_module_as(module, "aionursery")?;
    EAGER.add_to_module_as(module, "aionursery")
}
