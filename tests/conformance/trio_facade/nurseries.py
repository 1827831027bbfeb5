"""Nurseries: trio's words for ours, with every await cancelled once a nursery is.

Owns which nursery and which task belong together, as trio tells it. Decides nothing of when a child
runs, is cancelled or is waited for.
"""

from __future__ import annotations

import contextvars
import functools
import weakref
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from . import under
from .scopes import CancelScope
from .tasks import Task, current_task, shown
from .words import translated

T = TypeVar("T")

#: Whether a nursery that does not say leaves one error in a group.
strict: contextvars.ContextVar[bool] = contextvars.ContextVar("strict", default=True)


class Nursery:
    """One of our nurseries, in a block that is open."""

    def __init__(self, nursery: Any, parent: Task) -> None:
        self._nursery = nursery
        self.parent_task = parent
        self.cancel_scope = CancelScope(scope=nursery.cancel_scope)
        self.cancel_scope._entered = True

    @property
    def closed(self) -> bool:
        return self._nursery.closed

    _closed = closed

    @property
    def child_tasks(self) -> frozenset[Task]:
        return frozenset(shown(task) for task in self._nursery.children)

    def start_soon(
        self, async_fn: Callable[..., Awaitable[Any]], *args: Any, name: object = None
    ) -> None:
        name = name_of(async_fn if name is None else name)
        task = self._nursery.start_soon(async_fn, *args, name=name)
        shown(task).parent_nursery = self

    async def start(
        self, async_fn: Callable[..., Awaitable[Any]], *args: Any, name: object = None
    ) -> Any:
        starting = Starting(current_task())

        @functools.wraps(async_fn)
        def call(*args: Any, task_status: Any) -> Awaitable[Any]:
            return async_fn(*args, task_status=TaskStatus(task_status, starting, self))

        name = name_of(async_fn if name is None else name)
        return await translated(self._nursery.start(call, *args, name=name))


class Starting:
    """What a child stands in until it is ready: nothing of ours, a nursery of `start`'s to trio."""

    def __init__(self, parent: Task) -> None:
        self.parent_task = parent


class TaskStatus(Generic[T]):
    """What a child says that it is ready with."""

    def __init__(self, status: Any, starting: Starting, nursery: Nursery) -> None:
        self._status = status
        self._nursery = nursery
        child = current_task()
        child.parent_nursery, child.eventual_parent_nursery = starting, nursery

    def started(self, value: Any = None) -> None:
        self._status.started(value)
        child = current_task()
        child.parent_nursery, child.eventual_parent_nursery = self._nursery, None


class _Ignored(TaskStatus[Any]):
    def __init__(self) -> None:
        """It stands for the status where no task waits for one."""

    def started(self, value: Any = None) -> None:
        """Do nothing."""


TASK_STATUS_IGNORED = _Ignored()


class open_nursery:
    """The block: `async with open_nursery() as nursery`."""

    def __init__(self, strict_exception_groups: bool | None = None) -> None:
        if strict_exception_groups is None:
            strict_exception_groups = strict.get()
        self._strict = strict_exception_groups
        self._nursery = under.library.Nursery(cleanup=0)

    def __enter__(self) -> None:
        raise RuntimeError("use 'async with open_nursery(...)', not 'with open_nursery(...)'")

    def __exit__(self, *error: object) -> None:
        """Is here so that `with` comes as far as the error."""

    async def __aenter__(self) -> Nursery:
        await self._nursery.__aenter__()
        nursery = Nursery(self._nursery, current_task())
        nursery.parent_task.entered.append(weakref.ref(nursery))
        return nursery

    def __aexit__(self, *error: Any) -> Awaitable[bool | None]:
        # No coroutine of its own: its frame would stand in the traceback and hold the error.
        leave = translated(self._nursery.__aexit__(*error))
        return leave if self._strict else loosely(leave)


async def loosely(leave: Awaitable[bool | None]) -> bool | None:
    """Leave a block so that one error is not grouped."""
    try:
        return await leave
    except BaseExceptionGroup as group:
        if len(group.exceptions) > 1 or group.message != "unhandled errors in a nursery":
            raise
        error = group.exceptions[0]
    try:
        raise error
    finally:
        del error


def name_of(thing: object) -> str:
    while isinstance(thing, functools.partial):
        thing = thing.func
    if isinstance(thing, str):
        return thing
    return getattr(thing, "__qualname__", None) or repr(thing)
