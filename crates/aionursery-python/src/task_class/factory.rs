//! How a task is made: by its class, by a loop's task factory, or eagerly with its first step taken
//! at once. It must never decide when a nursery's children start.

use std::ffi::CStr;

use pyo3::ffi;
use pyo3::prelude::*;

use crate::cpython::args::{given, parse, parse_call};
use crate::cpython::guard::guard;
use crate::cpython::imports::{imports, is_debug};
use crate::cpython::object::{
    Fallible, Owned, Raw, call0, call1, repr, set_error, set_error_text, truth, type_name,
};
use crate::engine::ready;
use crate::engine::state::LoopState;
use crate::step::start_eagerly;
use crate::step::trace_source;
use crate::task::data::{allocate, begin, data, flag};
use crate::task::name;
use crate::task::registry::register;

/// `Task.__init__(coro, *, loop=None, name=None, context=None, eager_start=False)`.
pub unsafe fn init(task: Raw, args: Raw, kwargs: Raw) -> Fallible<()> {
    // SAFETY: CPython's tuple and dict; the references last for the call.
    unsafe {
        let names = ["coro", "loop", "name", "context", "eager_start"];
        let [coro, event_loop, name, context, eager] = parse_call("Task", names, 1, args, kwargs)?;
        if coro.is_null() {
            let text = c"Task() needs the coroutine to run (argument 'coro')";
            return Err(set_error(ffi::PyExc_TypeError, text));
        }
        let event_loop = match given(event_loop) {
            Some(event_loop) => Owned::share(event_loop),
            None => {
                // A future without a loop takes the one that asyncio would take.
                let future = call0(imports().future_type.cast())?;
                crate::cpython::object::method0(
                    future.as_ptr(),
                    crate::cpython::imports::names().get_loop,
                )?
            }
        };
        let eager = !eager.is_null() && truth(&Owned::share(eager))?;
        LoopState::of(event_loop.as_ptr())?.debug.set(is_debug(event_loop.as_ptr())?);
        fill(task, coro, event_loop.as_ptr(), name, context, eager)
    }
}

unsafe fn is_coroutine(coro: Raw) -> Fallible<bool> {
    // SAFETY: the caller's object is alive.
    unsafe {
        if ffi::PyCoro_CheckExact(coro) != 0 {
            return Ok(true);
        }
        truth(&call1(imports().parts.is_coroutine, coro)?)
    }
}

unsafe fn fill(
    task: Raw,
    coro: Raw,
    event_loop: Raw,
    name: Raw,
    context: Raw,
    eager: bool,
) -> Fallible<()> {
    // SAFETY: attached; the caller's objects are alive.
    unsafe {
        if !is_coroutine(coro)? {
            let text = format!("a coroutine was expected, got {}", repr(coro));
            return Err(set_error_text(ffi::PyExc_TypeError, &text));
        }
        let state = LoopState::of(event_loop)?;
        // What the program's own code may raise comes first, as with asyncio.
        let name = given(name).map(|name| name::as_name(name)).transpose()?;
        let context = given(context).unwrap_or(std::ptr::null_mut());
        if !context.is_null() && ffi::PyContext_CheckExact(context) == 0 {
            let text = format!("a contextvars.Context was expected, got {}", type_name(context));
            return Err(set_error_text(ffi::PyExc_TypeError, &text));
        }
        if data(task).state().is_some() {
            begin_again(task)?;
        }
        begin(task, &state, Owned::share(coro), context)?;
        if let Some(name) = name {
            data(task).name().set(name);
        }
        name::show_number(data(task));
        if state.debug.get() {
            trace_source(data(task))?;
        }
        register(task);
        if eager && is_running(event_loop)? {
            return start_eagerly(&state, task);
        }
        data(task).raise_flags(flag::SCHEDULED);
        ready::push(&state, Owned::share(task))
    }
}

/// Empties a task that was begun before, if that is allowed: one that has ended, before CPython 3.15.
/// Whoever steps one that has not, and the tree that it stands in, count on what it is made of.
#[cold]
unsafe fn begin_again(task: Raw) -> Fallible<()> {
    // SAFETY: attached; the caller's task is alive.
    unsafe {
        let ours = data(task);
        if cfg!(not(Py_3_15)) && ours.has(flag::DONE) && !ours.has(flag::RUNNING) {
            // To let go of what it had may run Python code, which must not begin it meanwhile.
            ours.flags.set(flag::RUNNING);
            ours.clear();
            return Ok(());
        }
        let text = format!("{} is already initialized; make a new task", repr(task));
        Err(set_error_text(ffi::PyExc_RuntimeError, &text))
    }
}

unsafe fn is_running(event_loop: Raw) -> Fallible<bool> {
    // SAFETY: the caller's loop is alive.
    unsafe {
        let answer = crate::cpython::object::method0(
            event_loop,
            crate::cpython::imports::names().is_running,
        )?;
        truth(&answer)
    }
}

type FastCall = unsafe extern "C" fn(Raw, *const Raw, ffi::Py_ssize_t, Raw) -> Raw;

/// `factory(loop, coro, /, *, name=None, context=None, eager_start=None)`.
#[inline]
unsafe fn make(args: *const Raw, count: ffi::Py_ssize_t, kwnames: Raw, eager: bool) -> Raw {
    // SAFETY: CPython's vector of arguments; the GIL is held.
    unsafe {
        guard(std::ptr::null_mut(), |_| {
            let made = || -> Fallible<Owned> {
                let names = ["loop", "coro", "name", "context", "eager_start"];
                let function = if eager { "eager_task_factory" } else { "task_factory" };
                let [event_loop, coro, name, context, eager_start] =
                    parse(function, names, 2, args, count, kwnames)?;
                if event_loop.is_null() || coro.is_null() {
                    let text = c"a task factory is called with a loop and a coroutine";
                    return Err(set_error(ffi::PyExc_TypeError, text));
                }
                let eager = match given(eager_start) {
                    None => eager,
                    Some(object) => truth(&Owned::share(object))?,
                };
                let task = allocate()?;
                fill(task.as_ptr(), coro, event_loop, name, context, eager)?;
                Ok(task)
            };
            made().map_or(std::ptr::null_mut(), Owned::into_ptr)
        })
    }
}

unsafe extern "C" fn task_factory(
    _: Raw,
    args: *const Raw,
    count: ffi::Py_ssize_t,
    kwnames: Raw,
) -> Raw {
    // SAFETY: as CPython calls it.
    unsafe { make(args, count, kwnames, false) }
}

unsafe extern "C" fn eager_task_factory(
    _: Raw,
    args: *const Raw,
    count: ffi::Py_ssize_t,
    kwnames: Raw,
) -> Raw {
    // SAFETY: as CPython calls it.
    unsafe { make(args, count, kwnames, true) }
}

struct Functions([ffi::PyMethodDef; 2]);

// SAFETY: constant; CPython reads it only.
unsafe impl Sync for Functions {}

const fn function(name: &'static CStr, function: FastCall, doc: &'static CStr) -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: function },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: doc.as_ptr(),
    }
}

static FUNCTIONS: Functions = Functions([
    function(c"task_factory", task_factory, c"task_factory(loop, coro, /, *, name=None, context=None, eager_start=None)\n--\n\nMake a task of ours: give this to loop.set_task_factory()."),
    function(c"eager_task_factory", eager_task_factory, c"eager_task_factory(loop, coro, /, *, name=None, context=None, eager_start=None)\n--\n\nMake a task of ours and take its first step at once: give this to loop.set_task_factory()."),
]);

/// Whether an object is `task_factory`.
pub unsafe fn is_lazy(factory: Raw) -> bool {
    // SAFETY: looked at according to its type.
    unsafe {
        ffi::PyCFunction_CheckExact(factory) != 0
            && std::ptr::eq((*factory.cast::<ffi::PyCFunctionObject>()).m_ml, &FUNCTIONS.0[0])
    }
}

/// Adds the two factories to the module. They are plain C functions: every task of a program is
/// made by one of them.
pub fn add_functions(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let home = pyo3::types::PyString::new(py, "aionursery");
    for definition in &FUNCTIONS.0 {
        // SAFETY: the table lives for ever.
        unsafe {
            let definition = std::ptr::from_ref(definition).cast_mut();
            let nothing = std::ptr::null_mut();
            let made = ffi::PyCMethod_New(definition, nothing, home.as_ptr(), nothing.cast());
            let made = Bound::from_owned_ptr_or_err(py, made)?;
            let name = CStr::from_ptr((*definition).ml_name).to_string_lossy();
            module.add(name.as_ref(), made)?;
        }
    }
    Ok(())
}
