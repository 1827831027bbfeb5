"""What the extension calls and what is best in Python: texts, and code that runs rarely."""

from __future__ import annotations

import asyncio
import inspect
import logging
import reprlib
import sys
import traceback
from asyncio import base_tasks, format_helpers
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any, Generic, TextIO, TypeVar, cast, overload

from . import _aionursery
from ._channel_parts import (
    BrokenResourceError,
    ChannelStatistics,
    ClosedResourceError,
    EndOfChannel,
    WouldBlock,
)
from ._errors import BaseMultiError, Cancelled, NurseryClosed, alone
from ._limit import Gate, start_in_place
from ._refusals import awaitable, check_async_function, is_awaitable
from ._shield_origin import asked_from_inside

if TYPE_CHECKING:
    from types import FrameType

    import typing_extensions

    from . import Nursery

    # With a default, which typing has from 3.13 on.
    V = typing_extensions.TypeVar("V", contravariant=True, default=Any)
else:
    V = TypeVar("V", contravariant=True)

__all__ = [
    "BaseMultiError",
    "BrokenResourceError",
    "Cancelled",
    "ChannelStatistics",
    "ClosedResourceError",
    "EndOfChannel",
    "Gate",
    "NurseryClosed",
    "TaskStatus",
    "WouldBlock",
    "asked_from_inside",
    "cancel_and_wait",
    "extract_stack",
    "format_task",
    "isawaitable",
    "iscoroutine",
    "iscoroutinefunction",
    "look_at_all_tasks",
    "print_task_stack",
    "sample_task",
    "shielded",
    "start",
    "start_in_place",
    "task_stack",
    "warn_stuck",
    "wrap_awaitable",
]

T = TypeVar("T")
logger = logging.getLogger("aionursery")

iscoroutine = asyncio.iscoroutine
isawaitable = is_awaitable


def iscoroutinefunction(target: object) -> bool:
    """Whether it is an async function, or a `functools.partial` of one."""
    return inspect.iscoroutinefunction(target)


async def wrap_awaitable(awaitable: Awaitable[T]) -> T:
    """Make a coroutine of anything that can be awaited."""
    return await awaitable


def shielded(future: Any) -> asyncio.Future[Any] | None:
    """Return x if the future is what ``asyncio.shield(x)`` has returned.

    The outer future knows the inner one only by its callback, a closure over it.
    """
    for callback, _ in getattr(future, "_callbacks", None) or ():
        if getattr(callback, "__qualname__", "") != "shield.<locals>._outer_done_callback":
            continue
        names = callback.__code__.co_freevars
        if "inner" in names:
            inner = callback.__closure__[names.index("inner")].cell_contents
            if asyncio.isfuture(inner):
                return inner
    return None


def format_task(task: asyncio.Task[Any]) -> str:
    """`repr(task)`, as asyncio writes it."""
    return _format_task(task)


@reprlib.recursive_repr()
def _format_task(task: asyncio.Task[Any]) -> str:
    info = " ".join(base_tasks._task_repr_info(task))
    return f"<{type(task).__name__} {info}>"


def task_stack(task: asyncio.Task[Any], limit: int | None) -> list[FrameType]:
    """`task.get_stack()`, as asyncio finds it."""
    return base_tasks._task_get_stack(task, limit)


def print_task_stack(task: asyncio.Task[Any], limit: int | None, file: TextIO | None) -> None:
    """`task.print_stack()`, as asyncio prints it."""
    base_tasks._task_print_stack(task, limit, file)  # type: ignore[arg-type]


def extract_stack() -> traceback.StackSummary:
    """Where a task is made, for debug mode."""
    return format_helpers.extract_stack(sys._getframe(1))


class _NoLoop:
    """As much of a loop as a task wants that is made and never run."""

    def get_debug(self) -> bool:
        return False

    def call_soon(self, *_: object, **__: object) -> None:
        pass

    call_exception_handler = call_soon


def sample_task() -> tuple[object, object, object, object, object]:
    """Return a task of asyncio's own with its coroutine, context and name, and a future."""

    async def nothing() -> None:
        pass

    coroutine, context, name = nothing(), Context(), "a task to look at"
    loop, make, make_future = _NoLoop(), cast("Any", asyncio.Task), cast("Any", asyncio.Future)
    task = make(coroutine, loop=loop, name=name, context=context)
    task._log_destroy_pending = False
    coroutine.close()
    return task, coroutine, context, task.get_name(), make_future(loop=loop)


def look_at_all_tasks() -> bool:
    """Go through asyncio's set of tasks; return whether that went as `all_tasks` expects."""
    tasks: Any = asyncio.tasks
    registry = getattr(tasks, "_scheduled_tasks", None)
    if registry is None:
        registry = tasks._all_tasks
    return all(isinstance(task, asyncio.Task) for task in list(registry))


async def cancel_and_wait(task: asyncio.Task[Any], msg: object = None) -> None:
    """Cancel a task and wait until it has ended."""
    if task is asyncio.current_task():
        raise RuntimeError("a task cannot cancel itself and wait for its own end")
    if not task.done():
        task.cancel(msg=msg)
        await asyncio.wait([task])
    if not task.cancelled():
        task.exception()


class TaskStatus(Generic[V]):
    """What a child started with `Nursery.start` calls once it is ready."""

    __slots__ = ("_caller", "_child", "_nursery", "_reservation", "_said", "_value")

    _caller: Nursery
    #: Until it has started or ended: its error has a frame that has this.
    _child: asyncio.Task[Any] | None
    _reservation: _aionursery.Reservation

    def __init__(self, nursery: Nursery) -> None:
        self._nursery = nursery
        self._said = False
        self._child = None

    @overload
    def started(self: TaskStatus[None], value: None = None) -> None: ...
    @overload
    def started(self, value: V) -> None: ...
    def started(self, value: Any = None) -> None:
        """Hand `value` to the caller of `start`; the child goes on in the nursery.

        If the caller is cancelled already, the child stays the caller's. Raises RuntimeError if it
        is called twice.
        """
        if self._said:
            raise RuntimeError("task_status.started() was called twice; a child is ready once")
        self._said = True
        self._value = value
        child, self._child = self._child, None
        if child is not None and _aionursery.move_child(child, self._caller, self._nursery):
            self._reservation.release()


async def start(
    nursery: Nursery,
    fn: Callable[..., Awaitable[Any]],
    args: tuple[Any, ...],
    name: object,
    shield: bool,
) -> Any:
    """Start a child and wait until it says that it is ready (R24).

    Until then it is the caller's child: it ends with what cancels the caller, and what it fails
    with is raised here. Then it moves to the nursery, which stays open for it.
    """
    check_async_function("start", fn)
    status: TaskStatus[Any] = TaskStatus(nursery)

    async def child() -> Any:
        try:
            # Nothing here keeps what is awaited: a failed task would be in a cycle with its error.
            return await awaitable("start", fn, _with_status(fn, args, status))
        finally:
            status._child = None

    failed = None
    try:
        with _aionursery.reserve(nursery) as status._reservation:
            async with _aionursery.Nursery() as caller:
                status._caller = caller
                status._child = task = caller.start_soon(
                    child(),
                    name=name or getattr(fn, "__qualname__", None),
                    context=_aionursery.context_of(nursery),
                    shield=shield,
                )
                # This call may hang, in a coroutine that is never resumed.
                task.add_done_callback(status._reservation.release)
                del task
    except BaseMultiError as group:
        failed = alone(group)
    if failed is not None:
        try:
            raise failed
        finally:
            # Its frames lead here, and the status leads to the child, which has it: a cycle.
            del failed, status
    if not status._said:
        raise RuntimeError(
            f"{fn!r} ended without calling task_status.started(); call it once the child is ready"
        )
    return status._value


def _with_status(
    fn: Callable[..., Awaitable[Any]], args: tuple[Any, ...], status: TaskStatus[Any]
) -> Awaitable[Any]:
    """Call a function that is to say that it is ready."""
    try:
        return fn(*args, task_status=status)
    except TypeError as exc:
        # It is the call that was refused where no frame of the function's is in the traceback.
        refused = exc.__traceback__ is not None and exc.__traceback__.tb_next is None
        if refused and "'task_status'" in str(exc):
            raise TypeError(
                f"start() calls {fn!r} with task_status=..., which it does not take; give it that "
                "parameter and have it call task_status.started(), or use start_soon()"
            ) from None
        raise


def warn_stuck(
    loop: asyncio.AbstractEventLoop,
    tasks: list[asyncio.Task[Any]],
    source: str,
    reason: object,
    seconds: float,
) -> None:
    """Name the tasks that were cancelled a while ago and have not ended (R18)."""
    why = f"{source}: {reason}" if reason is not None else source
    for task in tasks:
        if task.done():
            continue
        stack = task.get_stack(limit=1)
        where = "an unknown place"
        if stack:
            code = stack[-1].f_code
            where = f"{code.co_filename}:{stack[-1].f_lineno} in {code.co_qualname}"
        waiter = getattr(task, "_fut_waiter", None)
        logger.warning(
            "task %r was cancelled %g seconds ago (%s) and has not ended; it waits at %s for %r",
            task.get_name(),
            seconds,
            why,
            where,
            waiter,
        )
