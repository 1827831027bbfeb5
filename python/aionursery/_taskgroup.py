"""`TaskGroup`: asyncio's class in every respect, on top of the nursery."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from contextvars import Context
from typing import Any, TypeVar

from ._aionursery import Nursery, Task, act_as_task_group, create_task, is_to_hear
from ._errors import unhandled_in_group
from ._factory import eager_task_factory

T = TypeVar("T")

# Called by these names, because super() is most of what an empty group costs.
_enter, _leave = Nursery.__aenter__, Nursery.__aexit__
_EAGER = {eager_task_factory, getattr(asyncio, "eager_task_factory", eager_task_factory)}


class TaskGroup(Nursery, asyncio.TaskGroup):  # type: ignore[misc]
    """A drop-in for `asyncio.TaskGroup`, with `cancel()` and what 3.15 mends on every version.

    It is a nursery, too: `start_soon`, `cancel_scope` and the rest are there for use.
    """

    @staticmethod
    def _make_group(errors: list[BaseException]) -> BaseExceptionGroup[BaseException]:
        return unhandled_in_group(errors)

    _entered = False
    _exiting = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.__new__ is Nursery.__new__:
            # A subclass may have arguments of its own, which are no nursery's.
            cls.__new__ = _make  # type: ignore[assignment]

    def __init__(self) -> None:
        """Take nothing; a nursery's arguments are not asyncio's."""
        act_as_task_group(self)

    def __repr__(self) -> str:
        info = [""]
        if running := len(self.children):
            info.append(f"tasks={running}")
        if self._is_aborting():
            info.append("cancelling")
        elif self._entered:
            info.append("entered")
        return f"<TaskGroup{' '.join(info)}>"

    @property
    def _tasks(self) -> set[Task[Any]]:
        return set(self.children)

    def _is_aborting(self) -> bool:
        return bool(self.cancel_scope.cancel_called)

    async def __aenter__(self) -> TaskGroup:
        if self._entered:
            raise RuntimeError(f"TaskGroup {self!r} has already been entered")
        try:
            await _enter(self)
        except RuntimeError:
            if asyncio.current_task() is not None:
                raise
            message = f"TaskGroup {self!r} cannot determine the parent task"
            raise RuntimeError(message) from None
        self._entered = True
        return self

    def __aexit__(self, et: Any, exc: Any, tb: Any) -> Any:
        self._exiting = True
        return _leave(self, et, exc, tb)

    create_task = create_task

    def _create_any_task(
        self,
        coro: Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: Context | None = None,
        eager_start: bool | None = None,
        **_: Any,
    ) -> Task[T]:
        """Do what `create_task` leaves to us: whatever is not the usual call."""
        if not asyncio.iscoroutine(coro):
            raise TypeError(f"a coroutine was expected, got {coro!r}")
        if problem := self._refusal():
            _refuse(coro)
            raise RuntimeError(f"TaskGroup {self!r} {problem}")
        if eager_start is None:
            eager_start = asyncio.get_running_loop().get_task_factory() in _EAGER
        start = self.start_now if eager_start else self.start_soon
        return start(coro, name=name, context=context)

    def _refusal(self) -> str | None:
        if not self._entered:
            return "has not been entered"
        if self.closed or (self._exiting and not self.children):
            return "is finished"
        if self._is_aborting() and not is_to_hear():
            # asyncio's group aborts a turn later, when what could still go on has done so.
            return "is shutting down"
        return None


def _make(cls: type[TaskGroup], *_arguments: Any, **_options: Any) -> TaskGroup:
    return Nursery.__new__(cls)


def _refuse(coro: Coroutine[Any, Any, Any]) -> None:
    """Close a refused coroutine, as asyncio does from 3.13 on.

    Before, it stays the caller's, which may still await it. If by the next turn of the loop no
    reference to it is left, it is closed then, without the warning that it was never awaited.
    """
    if sys.version_info >= (3, 13):
        coro.close()
    elif (loop := asyncio._get_running_loop()) is not None:
        loop.call_soon(_close_if_unused, [coro])


def _close_if_unused(box: list[Coroutine[Any, Any, Any]]) -> None:
    coro = box.pop()
    unused = 2  # this variable, and the argument below
    if sys.getrefcount(coro) == unused:
        coro.close()
