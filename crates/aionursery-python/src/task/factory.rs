//! How a task is made: by its class, by a loop's task factory, or eagerly with its first step taken
//! at once. It must never decide when a nursery's children start.

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::args::{given, parse};
use super::data::{TaskData, allocate, begin, data, flag, register};
use super::{methods, step};
use crate::imports::{imports, is_debug};
use crate::object::{
    Fallible, Owned, Raised, Raw, call0, call1, repr, set_error, set_error_text, truth,
};
use crate::ready;
use crate::state::LoopState;

/// `Task.__init__(coro, *, loop=None, name=None, context=None, eager_start=False)`.
pub unsafe fn init(task: Raw, args: Raw, kwargs: Raw) -> Fallible<()> {
    // SAFETY: CPython's tuple and dict; the references last for the call.
    unsafe {
        let count = ffi::PyTuple_GET_SIZE(args);
        let mut vector: Vec<Raw> = (0..count).map(|at| ffi::PyTuple_GET_ITEM(args, at)).collect();
        let mut kwnames = None;
        if !kwargs.is_null() {
            let mut position = 0;
            let (mut key, mut value) = (std::ptr::null_mut(), std::ptr::null_mut());
            let keys = Owned::new(ffi::PyDict_Keys(kwargs))?;
            while ffi::PyDict_Next(kwargs, &mut position, &mut key, &mut value) != 0 {
                vector.push(value);
            }
            kwnames = Some(Owned::new(ffi::PyList_AsTuple(keys.as_ptr()))?);
        }
        let names = ["coro", "loop", "name", "context", "eager_start"];
        let kwnames = kwnames.as_ref().map_or(std::ptr::null_mut(), Owned::as_ptr);
        let [coro, event_loop, name, context, eager] =
            parse("Task", names, 1, vector.as_ptr(), count, kwnames)?;
        if coro.is_null() {
            let text = c"Task() needs the coroutine to run (argument 'coro')";
            return Err(set_error(ffi::PyExc_TypeError, text));
        }
        let event_loop = match given(event_loop) {
            Some(event_loop) => Owned::share(event_loop),
            None => {
                // A future without a loop takes the one that asyncio would take.
                let future = call0(imports().future_type.cast())?;
                crate::object::method0(future.as_ptr(), crate::imports::names().get_loop)?
            }
        };
        let eager = !eager.is_null() && truth(&Owned::share(eager))?;
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
        let context = given(context).unwrap_or(std::ptr::null_mut());
        begin(task, state, Owned::share(coro), context)?;
        if let Some(name) = given(name) {
            methods::set_name(task, name)?;
        }
        state.debug.set(is_debug(event_loop));
        if state.debug.get() {
            trace_source(data(task))?;
        }
        register(task);
        if eager && is_running(event_loop)? {
            return start_eagerly(state, task);
        }
        data(task).raise_flags(flag::SCHEDULED);
        ready::push(state, Owned::share(task))
    }
}

unsafe fn is_running(event_loop: Raw) -> Fallible<bool> {
    // SAFETY: the caller's loop is alive.
    unsafe {
        let answer = crate::object::method0(event_loop, crate::imports::names().is_running)?;
        truth(&answer)
    }
}

/// In debug mode a task remembers where it was made.
pub unsafe fn trace_source(ours: &TaskData) -> Fallible<()> {
    // SAFETY: attached.
    unsafe {
        let traceback = call0(imports().parts.extract_stack)?;
        ours.with_rare(|rare| rare.source_traceback.replace(Some(traceback)));
        Ok(())
    }
}

/// Takes a new task's first step at once, inside the step of whoever made it.
pub unsafe fn start_eagerly(state: &LoopState, task: Raw) -> Fallible<()> {
    // SAFETY: attached; the caller's task is alive.
    unsafe {
        let context = data(task).context.get();
        if ffi::PyContext_Enter(context) < 0 {
            return Err(Raised);
        }
        let result = step::step(state, &Owned::share(task), false);
        let aside = if result.is_err() { Some(crate::object::Aside::new()) } else { None };
        if ffi::PyContext_Exit(context) < 0 {
            ffi::PyErr_Clear();
        }
        drop(aside);
        result
    }
}

unsafe fn make(
    py: Python<'_>,
    event_loop: &Bound<'_, PyAny>,
    coro: &Bound<'_, PyAny>,
    options: Option<&Bound<'_, PyDict>>,
    eager: bool,
) -> PyResult<Py<PyAny>> {
    let option = |name: &str| -> PyResult<Raw> {
        let found = options.map(|options| options.get_item(name)).transpose()?.flatten();
        // Borrowed: the dict keeps it.
        Ok(found.map_or(std::ptr::null_mut(), |found| found.as_ptr()))
    };
    let known = ["name", "context", "eager_start"];
    if let Some(options) = options {
        for key in options.keys() {
            let key: String = key.extract()?;
            if !known.contains(&key.as_str()) {
                return Err(pyo3::exceptions::PyTypeError::new_err(format!(
                    "the task factory got an unexpected keyword argument '{key}'"
                )));
            }
        }
    }
    // SAFETY: attached; the arguments outlive the call.
    unsafe {
        let eager_start = option("eager_start")?;
        let eager = match given(eager_start) {
            None => eager,
            Some(object) => truth(&Owned::share(object)).map_err(|_| PyErr::fetch(py))?,
        };
        let made = || -> Fallible<Owned> {
            let task = allocate()?;
            let (name, context) = (option("name"), option("context"));
            let name = name.unwrap_or(std::ptr::null_mut());
            let context = context.unwrap_or(std::ptr::null_mut());
            fill(task.as_ptr(), coro.as_ptr(), event_loop.as_ptr(), name, context, eager)?;
            Ok(task)
        };
        match made() {
            Ok(task) => Ok(Bound::from_owned_ptr(py, task.into_ptr()).unbind()),
            Err(Raised) => Err(PyErr::take(py)
                .unwrap_or_else(|| PyRuntimeError::new_err("the task could not be made"))),
        }
    }
}

/// task_factory(loop, coro, /, **options)
/// --
///
/// Make a task of ours: give this to loop.set_task_factory.
#[pyfunction]
#[pyo3(signature = (r#loop, coro, /, **options), text_signature = "(loop, coro, /, **options)")]
fn task_factory(
    py: Python<'_>,
    r#loop: &Bound<'_, PyAny>,
    coro: &Bound<'_, PyAny>,
    options: Option<&Bound<'_, PyDict>>,
) -> PyResult<Py<PyAny>> {
    // SAFETY: attached.
    unsafe { make(py, r#loop, coro, options, false) }
}

/// eager_task_factory(loop, coro, /, **options)
/// --
///
/// Make a task of ours and take its first step at once: give this to loop.set_task_factory.
#[pyfunction]
#[pyo3(signature = (r#loop, coro, /, **options), text_signature = "(loop, coro, /, **options)")]
fn eager_task_factory(
    py: Python<'_>,
    r#loop: &Bound<'_, PyAny>,
    coro: &Bound<'_, PyAny>,
    options: Option<&Bound<'_, PyDict>>,
) -> PyResult<Py<PyAny>> {
    // SAFETY: attached.
    unsafe { make(py, r#loop, coro, options, true) }
}

pub fn add_functions(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(task_factory, module)?)?;
    module.add_function(wrap_pyfunction!(eager_task_factory, module)?)
}
