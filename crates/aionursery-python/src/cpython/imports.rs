//! What the extension takes from asyncio and from its own Python part, looked up once at import.
//! It must never change what it finds there.

#![expect(clippy::disallowed_methods, reason = "at import, which ends without memory")]

use std::cell::OnceCell;

use pyo3::ffi;
use pyo3::prelude::*;

use super::call::{Keyword, call1, getattr, has_class, method0, truth_of};
use super::containers::dict_get;
use super::direct::{
    Attribute, Direct, DirectKeywords, DirectMethod, DirectOne, DirectWith, Member,
};
use super::errors::{Fallible, fetch, optional};
use super::myself::Guarded;
use super::object::{Object, object};
use super::owned::{Owned, forever, none};
use super::safe_calls::safe_calls;

macro_rules! names {
    ($($(#[$when:meta])* $field:ident = $text:literal),* $(,)?) => {
        /// Interned names of attributes and keywords.
        pub(crate) struct Names { $($(#[$when])* pub $field: &'static Object,)* }

        impl Names {
            fn new(py: Python<'_>) -> Self {
                Self { $($(#[$when])* $field: kept(pyo3::types::PyString::intern(py, $text)),)* }
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
    call_soon_threadsafe = "call_soon_threadsafe",
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
    coroutine_of = "_coroutine_of",
    create_any_task = "_create_any_task",
    debug = "_debug",
    done = "done",
    exception = "exception",
    func = "__func__",
    fut_waiter = "_fut_waiter",
    future = "future",
    get_coro = "get_coro",
    refused = "_refused",
    start_by_factory = "_start_by_factory",
    start_elsewhere = "_start_elsewhere",
    stopping = "_stopping",
    get_debug = "get_debug",
    get_loop = "get_loop",
    get_task_factory = "get_task_factory",
    is_closed = "is_closed",
    is_running = "is_running",
    leave_empty = "_leave_empty",
    loop_ = "_loop",
    loop_class = "Loop",
    make_group = "_make_group",
    message = "message",
    module = "__module__",
    msg = "msg",
    name = "name",
    must_cancel = "_must_cancel",
    qualname = "__qualname__",
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
    task_factory = "_task_factory",
    throw = "throw",
    thread_id = "_thread_id",
    time = "time",
    timeout_error = "_timeout_error",
    monotonic = "monotonic",
    uncancel = "uncancel",
    uvloop_loop = "uvloop.loop",
    value = "value",
}

/// What is looked up once. The references are kept for the life of the process.
pub(crate) struct Imports {
    pub names: Names,
    /// `("context",)` and `("msg",)`.
    pub kw_context: Keyword,
    pub kw_msg: Keyword,
    pub future_type: &'static Object,
    pub task_type: &'static Object,
    pub cancelled_error: &'static Object,
    pub invalid_state_error: &'static Object,
    pub get_running_loop: Direct,
    /// As that, but None if no loop runs.
    pub peek_running_loop: Direct,
    /// How a future of asyncio's own types is awaited, where those types are what we know.
    pub futures: Option<FutureParts>,
    /// `asyncio.Task.cancelling`, for tasks of just that type.
    pub cancelling: DirectMethod,
    /// `asyncio.Future.done`, for futures and tasks of just those types.
    pub done: DirectMethod,
    pub current_task: &'static Object,
    pub register_task: DirectWith,
    /// Before 3.14: the dict from loops to current tasks. None where the thread state has it.
    pub current_tasks: Option<&'static Object>,
    /// Where the thread state has it.
    pub(crate) swap_current_task: Option<DirectWith>,
    /// From 3.14 on: how asyncio is told which task awaits which.
    #[cfg(Py_3_14)]
    pub add_awaited_by: DirectWith,
    #[cfg(Py_3_14)]
    pub discard_awaited_by: DirectWith,
    /// `__qualname__` of functions that are written in Python.
    pub qualname: Option<Attribute>,
    /// By what a coroutine says where it stands.
    #[cfg(Py_3_14)]
    pub coroutines: CoroutineParts,
    /// The set inside the `WeakSet` of scheduled tasks.
    pub scheduled: Option<&'static Object>,
    /// What that `WeakSet` has its references call.
    pub scheduled_remove: Option<&'static Object>,
    /// `BaseEventLoop.time`, for loops that have not replaced it.
    pub base_time: &'static Object,
    pub base_loop: &'static Object,
    /// How asyncio's own loops schedule and run handles, and what those are.
    pub base_call_soon: &'static Object,
    pub base_run_once: &'static Object,
    pub base_get_debug: &'static Object,
    pub base_get_task_factory: &'static Object,
    pub handle_type: &'static Object,
    /// Where a handle says that it is cancelled.
    pub handle_cancelled: Option<Member>,
    /// A deque's.
    pub append: DirectOne,
    pub append_left: DirectOne,
    /// `sys.modules`.
    pub modules: &'static Object,
    /// `gc.get_referents`.
    pub get_referents: &'static Object,
    pub time_dict: &'static Object,
    pub time_monotonic: Direct,
    pub deque_type: &'static Object,
    /// The package's own Python part.
    pub parts: Parts,
}

/// What a task needs of a future of asyncio's own type, without the way round through attributes.
pub(crate) struct FutureParts {
    pub blocking: Attribute,
    pub event_loop: Attribute,
    pub add_done_callback: DirectKeywords,
    pub result: DirectMethod,
    types: [&'static Object; 2],
}

impl FutureParts {
    fn of(names: &Names, future: &Bound<'_, PyAny>, task: &Bound<'_, PyAny>) -> Option<Self> {
        let part = |name: &Object| optional(getattr(object(future), name));
        Some(Self {
            blocking: Attribute::of(
                part(names.asyncio_future_blocking)?,
                names.asyncio_future_blocking,
            )?,
            event_loop: Attribute::of(part(names.loop_)?, names.loop_)?,
            add_done_callback: DirectKeywords::of(
                part(names.add_done_callback)?,
                names.add_done_callback,
            )?,
            result: DirectMethod::of(part(names.result)?),
            types: [kept(future.clone()), kept(task.clone())],
        })
    }

    /// Whether the object is of just these types; a subclass may have its own ways.
    #[inline]
    pub(crate) fn made(&self, object: &Object) -> bool {
        self.types.iter().any(|class| has_class(object, class))
    }
}

/// By what a coroutine says where it stands, where its frame's state cannot be read.
#[cfg(Py_3_14)]
pub(crate) struct CoroutineParts {
    pub frame: Attribute,
    pub running: Attribute,
    pub suspended: Attribute,
}

#[cfg(Py_3_14)]
impl CoroutineParts {
    fn of(py: Python<'_>, names: &Names) -> PyResult<Self> {
        let class = py.import("types")?.getattr("CoroutineType")?;
        let part = |name: &'static Object| {
            let found = optional(getattr(object(&class), name));
            found.and_then(|found| Attribute::of(found, name)).ok_or_else(|| {
                let text = "a coroutine's attributes are not CPython's";
                pyo3::exceptions::PyAttributeError::new_err(text)
            })
        };
        Ok(Self {
            frame: part(names.cr_frame)?,
            running: part(names.cr_running)?,
            suspended: part(names.cr_suspended)?,
        })
    }
}

/// What is best in Python.
pub(crate) struct Parts {
    pub cancelled: &'static Object,
    pub closed: &'static Object,
    /// `BaseMultiError._of`.
    pub multi_error_of: &'static Object,
    pub wrap_awaitable: &'static Object,
    pub asked_from_inside: &'static Object,
    pub shielded: &'static Object,
    pub format_task: &'static Object,
    pub stack: &'static Object,
    pub print_stack: &'static Object,
    pub extract_stack: &'static Object,
    pub warn_stuck: &'static Object,
    pub cancel_and_wait: &'static Object,
    pub is_coroutine: &'static Object,
    pub is_coroutine_function: &'static Object,
    pub is_awaitable: &'static Object,
    pub start: &'static Object,
    /// `_limit.Gate`, and how a child of a nursery that has one starts.
    pub gate: &'static Object,
    pub start_in_place: &'static Object,
    /// What channels raise, and what `statistics()` makes.
    pub would_block: &'static Object,
    pub end_of_channel: &'static Object,
    pub broken_resource: &'static Object,
    pub closed_resource: &'static Object,
    pub channel_statistics: &'static Object,
}

static IMPORTS: Guarded<OnceCell<Imports>> = Guarded::new(OnceCell::new());

/// What was looked up at import.
#[inline]
pub(crate) fn imports(py: Python<'_>) -> &'static Imports {
    IMPORTS.get(py).get().expect("the module has been imported")
}

#[inline]
pub(crate) fn names(py: Python<'_>) -> &'static Names {
    &imports(py).names
}

/// What is kept for the life of the process.
fn kept<T>(found: Bound<'_, T>) -> &'static Object {
    forever(Owned::share(object(&found)))
}

safe_calls! {
    fn interpreter(py: Python<'_>) -> *mut ffi::PyInterpreterState = PyInterpreterState_Get;
    fn main_interpreter(py: Python<'_>) -> *mut ffi::PyInterpreterState = PyInterpreterState_Main;
}

/// Looks everything up. A second import (a sub-interpreter, a reload) finds it done.
pub(crate) fn load(py: Python<'_>) -> PyResult<()> {
    if interpreter(py) != main_interpreter(py) {
        return Err(pyo3::exceptions::PyImportError::new_err(
            "aionursery cannot be used in a subinterpreter; use it in the main one",
        ));
    }
    if IMPORTS.get(py).get().is_some() {
        return Ok(());
    }
    // asyncio first: `_asyncio` on its own would import it half-way, and asyncio would make do with
    // its slow Python parts for the rest of the process.
    let tasks = py.import("asyncio.tasks")?;
    let accelerated = py.import("_asyncio")?;
    let exceptions = py.import("asyncio.exceptions")?;
    let base_loop = py.import("asyncio.base_events")?.getattr("BaseEventLoop")?;
    let time = py.import("time")?;
    let parts = py.import("aionursery._called")?;
    let get = |module: &Bound<'_, PyModule>, name: &str| -> PyResult<&'static Object> {
        Ok(kept(module.getattr(name)?))
    };
    let part_of = |class: &Bound<'_, PyAny>, name: &str| -> PyResult<Owned> {
        Ok(Owned::share(object(&class.getattr(name)?)))
    };
    let direct = |module: &Bound<'_, PyModule>, name: &str| -> PyResult<Direct> {
        Ok(Direct::of(part_of(module, name)?))
    };
    let with = |module: &Bound<'_, PyModule>, name: &str| -> PyResult<DirectWith> {
        Ok(DirectWith::of(part_of(module, name)?))
    };
    let method = |class: &Bound<'_, PyAny>, name: &str| -> PyResult<DirectMethod> {
        Ok(DirectMethod::of(part_of(class, name)?))
    };
    let handle_type = py.import("asyncio.events")?.getattr("Handle")?;
    let deque_type = py.import("collections")?.getattr("deque")?;
    let deque =
        |name: &str| -> PyResult<DirectOne> { Ok(DirectOne::of(part_of(&deque_type, name)?)) };
    let get_opt = |module: &Bound<'_, PyModule>, name: &str| module.getattr(name).map(kept).ok();
    // From 3.14 on asyncio keeps its tasks, and tasks of subclasses, in a list of its own.
    let scheduled = if cfg!(Py_3_14) {
        Err(PyErr::new::<pyo3::exceptions::PyAttributeError, _>("_scheduled_tasks"))
    } else {
        tasks.getattr("_scheduled_tasks").or_else(|_| tasks.getattr("_all_tasks"))
    };
    let part = |name: &str| scheduled.as_ref().ok()?.getattr(name).map(kept).ok();
    let names = Names::new(py);
    let imports = Imports {
        kw_context: Keyword::of(names.context).map_err(|raised| fetch(py, raised))?,
        kw_msg: Keyword::of(names.msg).map_err(|raised| fetch(py, raised))?,
        future_type: get(&accelerated, "Future")?,
        task_type: get(&accelerated, "Task")?,
        cancelled_error: get(&exceptions, "CancelledError")?,
        invalid_state_error: get(&exceptions, "InvalidStateError")?,
        get_running_loop: direct(&accelerated, "get_running_loop")?,
        peek_running_loop: direct(&accelerated, "_get_running_loop")?,
        futures: FutureParts::of(
            &names,
            &accelerated.getattr("Future")?,
            &accelerated.getattr("Task")?,
        ),
        cancelling: method(&accelerated.getattr("Task")?, "cancelling")?,
        done: method(&accelerated.getattr("Future")?, "done")?,
        current_task: get(&tasks, "current_task")?,
        register_task: with(&accelerated, "_register_task")?,
        current_tasks: get_opt(&accelerated, "_current_tasks"),
        swap_current_task: with(&accelerated, "_swap_current_task").ok(),
        #[cfg(Py_3_14)]
        add_awaited_by: with(&accelerated, "future_add_to_awaited_by")?,
        #[cfg(Py_3_14)]
        discard_awaited_by: with(&accelerated, "future_discard_from_awaited_by")?,
        qualname: {
            // As an attribute, the class would give its own.
            let class = py.import("types")?.getattr("FunctionType")?;
            let found = class.getattr("__dict__")?.get_item("__qualname__")?;
            Attribute::of(Owned::share(object(&found)), names.qualname)
        },
        #[cfg(Py_3_14)]
        coroutines: CoroutineParts::of(py, &names)?,
        scheduled: part("data"),
        scheduled_remove: part("_remove"),
        base_time: kept(base_loop.getattr("time")?),
        base_call_soon: kept(base_loop.getattr("call_soon")?),
        base_run_once: kept(base_loop.getattr("_run_once")?),
        base_get_debug: kept(base_loop.getattr("get_debug")?),
        base_get_task_factory: kept(base_loop.getattr("get_task_factory")?),
        handle_cancelled: Member::of(part_of(&handle_type, "_cancelled")?),
        append: deque("append")?,
        append_left: deque("appendleft")?,
        deque_type: kept(deque_type.clone()),
        handle_type: kept(handle_type),
        base_loop: kept(base_loop),
        modules: kept(py.import("sys")?.getattr("modules")?),
        get_referents: kept(py.import("gc")?.getattr("get_referents")?),
        time_dict: kept(time.dict()),
        time_monotonic: direct(&time, "monotonic")?,
        parts: Parts {
            cancelled: get(&parts, "Cancelled")?,
            closed: get(&parts, "NurseryClosed")?,
            multi_error_of: kept(parts.getattr("BaseMultiError")?.getattr("_of")?),
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
            is_coroutine_function: get(&parts, "iscoroutinefunction")?,
            is_awaitable: get(&parts, "isawaitable")?,
            start: get(&parts, "start")?,
            gate: get(&parts, "Gate")?,
            start_in_place: get(&parts, "start_in_place")?,
            would_block: get(&parts, "WouldBlock")?,
            end_of_channel: get(&parts, "EndOfChannel")?,
            broken_resource: get(&parts, "BrokenResourceError")?,
            closed_resource: get(&parts, "ClosedResourceError")?,
            channel_statistics: get(&parts, "ChannelStatistics")?,
        },
        names,
    };
    let _ = IMPORTS.get(py).set(imports);
    Ok(())
}

/// The loop that runs in this thread; raises if none does.
pub(crate) fn running_loop(py: Python<'_>) -> Fallible<Owned> {
    imports(py).get_running_loop.call()
}

/// The loop's current task, or None.
pub(crate) fn current_task(event_loop: &Object) -> Fallible<Owned> {
    let py = event_loop.py();
    match imports(py).current_tasks {
        Some(tasks) => Ok(dict_get(tasks, event_loop)?.unwrap_or_else(|| none(py))),
        None => call1(imports(py).current_task, event_loop),
    }
}

/// `loop.is_closed()`.
pub(crate) fn is_closed(event_loop: &Object) -> Fallible<bool> {
    truth_of(method0(event_loop, names(event_loop.py()).is_closed))
}

/// Whether a loop is closed; one that cannot say counts as open.
pub(crate) fn is_known_closed(event_loop: &Object) -> bool {
    optional(is_closed(event_loop)).unwrap_or(false)
}

/// `loop.get_debug()`.
pub(crate) fn is_debug(event_loop: &Object) -> Fallible<bool> {
    truth_of(method0(event_loop, names(event_loop.py()).get_debug))
}
