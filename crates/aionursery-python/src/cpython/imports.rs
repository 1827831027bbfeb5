//! What the extension takes from asyncio and from its own Python part, looked up once at import.
//! It must never change what it finds there.

use std::sync::OnceLock;

use pyo3::ffi;
use pyo3::prelude::*;

use crate::cpython::function::{Attribute, Direct, DirectKeywords, DirectOne, slot_offset};
use crate::cpython::object::{Fallible, Owned, Raw, call1, method0};

macro_rules! names {
    ($($(#[$when:meta])* $field:ident = $text:literal),* $(,)?) => {
        /// Interned names of attributes and keywords.
        pub struct Names { $($(#[$when])* pub $field: Raw,)* }

        impl Names {
            fn new(py: Python<'_>) -> Self {
                Self { $($(#[$when])* $field: pyo3::types::PyString::intern(py, $text).into_ptr(),)* }
            }
        }
    };
}

names! {
    about = "about",
    add_done_callback = "add_done_callback",
    asyncio_future_blocking = "_asyncio_future_blocking",
    call_at = "call_at",
    call_exception_handler = "call_exception_handler",
    call_soon = "call_soon",
    cancel = "cancel",
    cancelled = "cancelled",
    cancelling = "cancelling",
    close = "close",
    closed = "_closed",
    context = "context",
    #[cfg(Py_3_14)]
    cr_frame = "cr_frame",
    cr_running = "cr_running",
    #[cfg(Py_3_14)]
    cr_suspended = "cr_suspended",
    create_any_task = "_create_any_task",
    debug = "_debug",
    done = "done",
    exception = "exception",
    func = "__func__",
    fut_waiter = "_fut_waiter",
    future = "future",
    get_coro = "get_coro",
    get_debug = "get_debug",
    get_loop = "get_loop",
    get_task_factory = "get_task_factory",
    is_closed = "is_closed",
    is_running = "is_running",
    loop_ = "_loop",
    make_group = "_make_group",
    message = "message",
    name = "name",
    must_cancel = "_must_cancel",
    ready = "_ready",
    run_once = "_run_once",
    reason = "reason",
    result = "result",
    self_ = "__self__",
    source = "source",
    source_traceback = "source_traceback",
    split = "split",
    exceptions = "exceptions",
    descriptor_get = "__get__",
    state = "_aionursery",
    task = "task",
    throw = "throw",
    thread_id = "_thread_id",
    time = "time",
    monotonic = "monotonic",
    uncancel = "uncancel",
    value = "value",
}

/// What is looked up once. The references are kept for the life of the process.
pub struct Imports {
    pub names: Names,
    /// `("context",)` and `("msg",)`.
    pub kw_context: Raw,
    pub kw_msg: Raw,
    pub future_type: *mut ffi::PyTypeObject,
    pub task_type: *mut ffi::PyTypeObject,
    pub cancelled_error: Raw,
    pub invalid_state_error: Raw,
    pub get_running_loop: Direct,
    /// As that, but None if no loop runs.
    pub peek_running_loop: Direct,
    /// How a future of asyncio's own types is awaited, where those types are what we know.
    pub futures: Option<FutureParts>,
    /// `asyncio.Task.cancelling`, for tasks of just that type.
    pub cancelling: Direct,
    /// `asyncio.Future.done`, for futures and tasks of just those types.
    pub done: Direct,
    pub current_task: Raw,
    pub register_task: Raw,
    /// Before 3.14: the dict from loops to current tasks. Null where the thread state has it.
    pub current_tasks: Raw,
    pub swap_current_task: Raw,
    /// From 3.14 on: how asyncio is told who awaits whom.
    #[cfg(Py_3_14)]
    pub add_awaited_by: Raw,
    #[cfg(Py_3_14)]
    pub discard_awaited_by: Raw,
    /// The set inside the `WeakSet` of scheduled tasks.
    pub scheduled: Raw,
    /// What that `WeakSet` has its references call.
    pub scheduled_remove: Raw,
    /// `BaseEventLoop.time`, for loops that have not replaced it.
    pub base_time: Raw,
    pub base_loop: Raw,
    /// How asyncio's own loops schedule and run handles, and what those are.
    pub base_call_soon: Raw,
    pub base_run_once: Raw,
    pub base_get_debug: Raw,
    pub handle_type: Raw,
    /// Where a handle says that it is cancelled.
    pub handle_cancelled: Option<isize>,
    /// A deque's.
    pub append: DirectOne,
    pub append_left: DirectOne,
    pub time_dict: Raw,
    pub time_monotonic: Direct,
    pub deque_type: *mut ffi::PyTypeObject,
    /// The package's own Python part.
    pub parts: Parts,
}

/// What a task needs of a future of asyncio's own type, without the way round through attributes.
pub struct FutureParts {
    pub blocking: Attribute,
    pub event_loop: Attribute,
    pub add_done_callback: DirectKeywords,
    pub result: Direct,
    types: [*mut ffi::PyTypeObject; 2],
}

impl FutureParts {
    fn of(future: &Bound<'_, PyAny>, task: &Bound<'_, PyAny>) -> Option<Self> {
        // SAFETY: attached; references are given away.
        let part = |name: &str| unsafe {
            future.getattr(name).ok().map(|part| Owned::share(part.as_ptr()))
        };
        // SAFETY: as above; asyncio's future is a type.
        unsafe {
            Some(Self {
                blocking: Attribute::of(part("_asyncio_future_blocking")?)?,
                event_loop: Attribute::of(part("_loop")?)?,
                add_done_callback: DirectKeywords::of(part("add_done_callback")?)?,
                result: Direct::method(part("result")?),
                types: [future.as_ptr().cast(), task.as_ptr().cast()],
            })
        }
    }

    /// Whether the object is of just these types; a subclass may have its own ways.
    #[inline]
    pub unsafe fn made(&self, object: Raw) -> bool {
        // SAFETY: the caller's object is alive.
        self.types.contains(&unsafe { ffi::Py_TYPE(object) })
    }
}

/// What is best in Python.
pub struct Parts {
    pub cancelled: Raw,
    pub closed: Raw,
    /// `BaseMultiError._of`.
    pub multi_error_of: Raw,
    pub wrap_awaitable: Raw,
    pub asked_from_inside: Raw,
    pub shielded: Raw,
    pub format_task: Raw,
    pub stack: Raw,
    pub print_stack: Raw,
    pub extract_stack: Raw,
    pub warn_stuck: Raw,
    pub cancel_and_wait: Raw,
    pub is_coroutine: Raw,
    pub is_awaitable: Raw,
    pub start: Raw,
    /// `_limit.Gate`, and how a child of a nursery that has one starts.
    pub gate: Raw,
    pub start_in_place: Raw,
}

// SAFETY: written once at import, read afterwards; the objects are only touched by attached
// threads, and the module declares that it needs the GIL.
unsafe impl Send for Imports {}
// SAFETY: as above.
unsafe impl Sync for Imports {}

static IMPORTS: OnceLock<Imports> = OnceLock::new();

/// What was looked up at import.
#[inline]
pub fn imports() -> &'static Imports {
    IMPORTS.get().expect("the module has been imported")
}

#[inline]
pub fn names() -> &'static Names {
    &imports().names
}

/// Looks everything up. A second import (a sub-interpreter, a reload) finds it done.
pub fn load(py: Python<'_>) -> PyResult<()> {
    // SAFETY: attached.
    if unsafe { ffi::PyInterpreterState_Get() != ffi::PyInterpreterState_Main() } {
        return Err(pyo3::exceptions::PyImportError::new_err(
            "aionursery cannot be used in a subinterpreter; use it in the main one",
        ));
    }
    if IMPORTS.get().is_some() {
        return Ok(());
    }
    // asyncio first: `_asyncio` on its own would import it half-way, and asyncio would make do with
    // its slow Python parts for the rest of the process.
    let tasks = py.import("asyncio.tasks")?;
    let accelerated = py.import("_asyncio")?;
    let exceptions = py.import("asyncio.exceptions")?;
    let base_loop = py.import("asyncio.base_events")?.getattr("BaseEventLoop")?;
    let time = py.import("time")?;
    let parts = py.import("aionursery._parts")?;
    let get = |module: &Bound<'_, PyModule>, name: &str| -> PyResult<Raw> {
        Ok(module.getattr(name)?.into_ptr())
    };
    let direct = |module: &Bound<'_, PyModule>, name: &str| -> PyResult<Direct> {
        // SAFETY: attached; a reference is given away.
        Ok(unsafe { Direct::function(Owned::share(module.getattr(name)?.as_ptr())) })
    };
    let method = |class: &Bound<'_, PyAny>, name: &str| -> PyResult<Direct> {
        // SAFETY: as above.
        Ok(unsafe { Direct::method(Owned::share(class.getattr(name)?.as_ptr())) })
    };
    let handle_type = py.import("asyncio.events")?.getattr("Handle")?;
    let deque_type = py.import("collections")?.getattr("deque")?;
    let deque = |name: &str| -> PyResult<DirectOne> {
        // SAFETY: as above.
        Ok(unsafe { DirectOne::of(Owned::share(deque_type.getattr(name)?.as_ptr())) })
    };
    let get_opt = |module: &Bound<'_, PyModule>, name: &str| -> Raw {
        module.getattr(name).map_or(std::ptr::null_mut(), Bound::into_ptr)
    };
    // From 3.14 on asyncio keeps its tasks, and tasks of subclasses, in a list of its own.
    let scheduled = if cfg!(Py_3_14) {
        Err(PyErr::new::<pyo3::exceptions::PyAttributeError, _>("_scheduled_tasks"))
    } else {
        tasks.getattr("_scheduled_tasks").or_else(|_| tasks.getattr("_all_tasks"))
    };
    let part = |name: &str| match &scheduled {
        Ok(set) => set.getattr(name).map_or(std::ptr::null_mut(), Bound::into_ptr),
        Err(_) => std::ptr::null_mut(),
    };
    let keyword = |name: &str| -> PyResult<Raw> {
        let name = pyo3::types::PyString::intern(py, name);
        Ok(pyo3::types::PyTuple::new(py, [name])?.into_ptr())
    };
    let imports = Imports {
        names: Names::new(py),
        kw_context: keyword("context")?,
        kw_msg: keyword("msg")?,
        future_type: get(&accelerated, "Future")?.cast(),
        task_type: get(&accelerated, "Task")?.cast(),
        cancelled_error: get(&exceptions, "CancelledError")?,
        invalid_state_error: get(&exceptions, "InvalidStateError")?,
        get_running_loop: direct(&accelerated, "get_running_loop")?,
        peek_running_loop: direct(&accelerated, "_get_running_loop")?,
        futures: FutureParts::of(&accelerated.getattr("Future")?, &accelerated.getattr("Task")?),
        cancelling: method(&accelerated.getattr("Task")?, "cancelling")?,
        done: method(&accelerated.getattr("Future")?, "done")?,
        current_task: get(&tasks, "current_task")?,
        register_task: get(&accelerated, "_register_task")?,
        current_tasks: get_opt(&accelerated, "_current_tasks"),
        swap_current_task: get_opt(&accelerated, "_swap_current_task"),
        #[cfg(Py_3_14)]
        add_awaited_by: get(&accelerated, "future_add_to_awaited_by")?,
        #[cfg(Py_3_14)]
        discard_awaited_by: get(&accelerated, "future_discard_from_awaited_by")?,
        scheduled: part("data"),
        scheduled_remove: part("_remove"),
        base_time: base_loop.getattr("time")?.into_ptr(),
        base_call_soon: base_loop.getattr("call_soon")?.into_ptr(),
        base_run_once: base_loop.getattr("_run_once")?.into_ptr(),
        base_get_debug: base_loop.getattr("get_debug")?.into_ptr(),
        // SAFETY: as above.
        handle_cancelled: unsafe {
            slot_offset(Owned::share(handle_type.getattr("_cancelled")?.as_ptr()))
        },
        append: deque("append")?,
        append_left: deque("appendleft")?,
        deque_type: deque_type.clone().into_ptr().cast(),
        handle_type: handle_type.into_ptr(),
        base_loop: base_loop.into_ptr(),
        time_dict: time.dict().into_ptr(),
        time_monotonic: direct(&time, "monotonic")?,
        parts: Parts {
            cancelled: get(&parts, "Cancelled")?,
            closed: get(&parts, "NurseryClosed")?,
            multi_error_of: parts.getattr("BaseMultiError")?.getattr("_of")?.into_ptr(),
            wrap_awaitable: get(&parts, "wrap_awaitable")?,
            asked_from_inside: get(&parts, "asked_from_inside")?,
            shielded: get(&parts, "shielded")?,
            format_task: get(&parts, "format_task")?,
            stack: get(&parts, "task_stack")?,
            print_stack: get(&parts, "print_task_stack")?,
            extract_stack: get(&parts, "extract_stack")?,
            warn_stuck: get(&parts, "warn_stuck")?,
            cancel_and_wait: get(&parts, "cancel_and_wait")?,
            is_coroutine: get(&parts, "iscoroutine")?,
            is_awaitable: get(&parts, "isawaitable")?,
            start: get(&parts, "start")?,
            gate: get(&parts, "Gate")?,
            start_in_place: get(&parts, "start_in_place")?,
        },
    };
    let _ = IMPORTS.set(imports);
    Ok(())
}

/// The loop that runs in this thread; raises if none does.
pub unsafe fn running_loop() -> Fallible<Owned> {
    // SAFETY: a function that takes nothing.
    unsafe { imports().get_running_loop.call() }
}

/// The loop's current task, or None.
pub unsafe fn current_task(event_loop: Raw) -> Fallible<Owned> {
    // SAFETY: the caller's loop is alive.
    unsafe {
        let imports = imports();
        if imports.current_tasks.is_null() {
            return call1(imports.current_task, event_loop);
        }
        let task = ffi::PyDict_GetItemWithError(imports.current_tasks, event_loop);
        if task.is_null() {
            if !ffi::PyErr_Occurred().is_null() {
                return Err(crate::cpython::object::Raised::seen());
            }
            return Ok(crate::cpython::object::none());
        }
        Ok(Owned::share(task))
    }
}

/// `loop.is_closed()`.
pub unsafe fn is_closed(event_loop: Raw) -> Fallible<bool> {
    // SAFETY: attached; the caller's loop is alive.
    unsafe { crate::cpython::object::truth(&method0(event_loop, names().is_closed)?) }
}

/// `loop.get_debug()`.
pub unsafe fn is_debug(event_loop: Raw) -> Fallible<bool> {
    // SAFETY: attached; the caller's loop is alive.
    unsafe { crate::cpython::object::truth(&method0(event_loop, names().get_debug)?) }
}
