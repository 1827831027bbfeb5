"""The backend: anyio's own class, with what decides about cancellation from the engine.

What is not here is inherited from the second copy of anyio's backend, in which the names of its
classes are ours.
"""

from __future__ import annotations

import asyncio
import math
from asyncio import current_task
from collections.abc import Callable, Sequence
from typing import Any

from .. import _aionursery as engine
from .._runner import Runner as EngineRunner
from . import _threads
from ._copy import copy
from ._events import Event, make_event
from ._groups import TaskGroup
from ._scopes import CancelScope


class Runner(EngineRunner):
    """The runner of `anyio.run` and of its test runner: a loop's own task factory is kept."""

    def _prepare(self) -> asyncio.AbstractEventLoop:
        # The stub of the class it extends shows what is public.
        this: Any = self
        loop: asyncio.AbstractEventLoop = asyncio.Runner.get_loop(this)
        if not this._prepared:
            this._prepared = True
            if loop.get_task_factory() is None:
                loop.set_task_factory(engine.task_factory)
        return loop


class TaskInfo(copy.AsyncIOTaskInfo):  # type: ignore[misc]
    """anyio's `TaskInfo`, which asks the task for its name only when it is asked.

    Each task that waits for an item of a memory stream makes one.
    """

    _task: Any

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self._task = task
        self.coro = task.get_coro()
        # The tree forgets it when the task ends.
        parent = engine.parent_task(task)
        self.parent_id = None if parent is None else id(parent)

    @property
    def id(self) -> int:
        return id(self._task)

    @property
    def name(self) -> str | None:
        name: str | None = self._task.get_name()
        return name

    def has_pending_cancellation(self) -> bool:
        task = self._task
        if task.done():
            return False
        waits_for = task._fut_waiter
        return (
            task._must_cancel
            or (waits_for is not None and waits_for.cancelled())
            or engine.is_cancelled(task)
        )


class Backend(copy.AsyncIOBackend):  # type: ignore[misc]
    """anyio's asyncio backend, on the engine."""

    checkpoint = staticmethod(engine.checkpoint)
    sleep = staticmethod(engine.sleep)
    create_cancel_scope = staticmethod(CancelScope)
    create_task_group = staticmethod(TaskGroup)
    create_event = staticmethod(make_event)
    check_cancelled = staticmethod(_threads.check_cancelled)
    run_async_from_thread = staticmethod(_threads.run_from_thread)

    @classmethod
    async def checkpoint_if_cancelled(cls) -> None:
        if asyncio.current_task() is not None:
            await engine.checkpoint_if_cancelled()

    @classmethod
    async def cancel_shielded_checkpoint(cls) -> None:
        # Not the engine's shield: anyio's lets a bare `Task.cancel()` in.
        with CancelScope(shield=True):
            await engine.checkpoint()

    @classmethod
    def current_effective_deadline(cls) -> float:
        if asyncio.current_task() is None:
            return math.inf
        return engine.current_effective_deadline()

    @classmethod
    async def run_sync_in_worker_thread(
        cls,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        abandon_on_cancel: bool = False,
        limiter: Any = None,
    ) -> Any:
        return await _threads.run_in_worker_thread(cls, func, args, abandon_on_cancel, limiter)

    @classmethod
    def get_current_task(cls) -> Any:
        task = current_task()
        if task is None:
            raise RuntimeError("There is no task currently running")
        return TaskInfo(task)

    @classmethod
    def get_running_tasks(cls) -> Sequence[Any]:
        return [TaskInfo(task) for task in asyncio.all_tasks() if not task.done()]

    @classmethod
    async def wait_all_tasks_blocked(cls) -> None:
        this = asyncio.current_task()
        await engine.checkpoint()
        while True:
            if all(_is_blocked(task) for task in asyncio.all_tasks() if task is not this):
                if not await _threads.wait_for_quick(cls):
                    return
            else:
                await engine.checkpoint()


def _is_blocked(task: asyncio.Task[Any]) -> bool:
    """Whether a task waits for something that is not there yet."""
    waits_for = task._fut_waiter  # type: ignore[attr-defined]
    return waits_for is not None and not waits_for.done()


copy.CancelScope = CancelScope
copy.TaskGroup = TaskGroup
copy.Event = Event
copy.AsyncIOTaskInfo = TaskInfo
copy.Runner = Runner
copy.sleep = engine.sleep
copy.AsyncIOBackend = copy.backend_class = Backend
