"""Tasks as trio shows them: names, and which nursery each stands in.

Owns what is told of a task. Never keeps a task alive.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from typing import Any

from .under import current_run


class Task:
    """What trio shows of a task."""

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self._task = weakref.ref(task)
        self.name = task.get_name()
        self.coro = task.get_coro()
        self.parent_nursery: Any = None
        self.eventual_parent_nursery: Any = None
        #: The nurseries that it has entered, in order; one that nothing refers to any more is gone.
        self.entered: list[weakref.ref[Any]] = []
        #: What the task waits for, if other code is to wake it.
        self.parked: asyncio.Future[Any] | None = None
        self._turns = 0

    def add_done_callback(self, callback: Callable[[Task], None]) -> None:
        task = self._task()
        assert task is not None
        task.add_done_callback(lambda _: callback(self))

    def __repr__(self) -> str:
        return f"<Task {self.name!r} at {id(self):#x}>"

    @property
    def context(self) -> Any:
        task = self._task()
        return None if task is None else task.get_context()

    @property
    def child_nurseries(self) -> list[Any]:
        nurseries = [reference() for reference in self.entered]
        return [nursery for nursery in nurseries if nursery is not None and not nursery.closed]

    _child_nurseries = child_nurseries

    @property
    def _schedule_points(self) -> int:
        """Grows if others could run since it was last asked: then the loop has gone round."""
        asyncio.get_running_loop().call_soon(self._count_turn)
        return self._turns

    _cancel_points = _schedule_points

    def _count_turn(self) -> None:
        self._turns += 1


_shown: weakref.WeakKeyDictionary[asyncio.Task[Any], Task] = weakref.WeakKeyDictionary()


def shown(task: asyncio.Task[Any]) -> Task:
    """What trio shows of this task: the same object each time."""
    found = _shown.get(task)
    if found is None:
        found = _shown[task] = Task(task)
        current_run().names[found.name] = repr(found)
    return found


def current_task() -> Task:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("must be called from async context")
    return shown(task)


def current_root_task() -> Task:
    return current_run().root


def in_task() -> bool:
    return in_run() and asyncio.current_task() is not None


def in_run() -> bool:
    return asyncio._get_running_loop() is not None
