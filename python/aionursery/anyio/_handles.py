"""anyio's task handles: of a child of a task group, by its task.

What a handle says is anyio's own code; what that asks for is taken from the child's task here. Must
never hold what the task holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, final

from anyio._core import _tasks

from .. import _aionursery as engine
from ._scopes import CancelScope, cancel_message

#: Its class is final to a program, and what it keeps is private.
tasks: Any = _tasks


@final
class TaskHandle(tasks.TaskHandle):  # type: ignore[misc]
    """The handle of a child: no more is kept than its task, until something is asked."""

    __slots__ = ("_cancel_called", "_task")

    #: The child's task.
    _task: asyncio.Task[Any]
    #: Set once `cancel` was called.
    _cancel_called: bool

    @property
    def _coro(self) -> Any:
        return self._task.get_coro()

    @property
    def _name(self) -> str:
        return self._task.get_name()

    @property
    def _return_value(self) -> Any:
        return self._task.result()

    @property
    def _exception(self) -> BaseException | None:
        try:
            return self._task.exception()
        except asyncio.CancelledError as exc:
            return exc

    @property
    def _finished_event(self) -> End:
        return End(self._task)

    @property
    def _cancel_scope(self) -> ChildScope:
        return ChildScope(self)


class End:
    """The end of a child, where anyio asks for an event."""

    __slots__ = ("_task",)

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self._task = task

    def is_set(self) -> bool:
        return self._task.done()

    async def wait(self) -> None:
        if self._task.done():
            await engine.checkpoint()
            return
        ending = Ending(self._task)
        try:
            await ending
        finally:
            ending.forget()


class Ending(asyncio.Future[None]):
    """What waits for the end of a child, and has ended with it.

    The loop tells of an end a turn later than a failure cancels what waits: asked in between, this
    says that it has ended, so the failure does not take it (R12a).
    """

    def __init__(self, task: asyncio.Task[Any]) -> None:
        super().__init__(loop=task.get_loop())
        self._task = task
        task.add_done_callback(self._hear)

    def forget(self) -> None:
        """Be told no more."""
        self._task.remove_done_callback(self._hear)

    def done(self) -> bool:
        self._hear()
        return super().done()

    def cancel(self, msg: Any = None) -> bool:
        self._hear()
        return super().cancel(msg)

    def _hear(self, _: object = None) -> None:
        if self._task.done() and not super().done():
            self.set_result(None)


class ChildScope:
    """What cancels one child, where anyio asks for a scope."""

    __slots__ = ("_handle",)

    def __init__(self, handle: TaskHandle) -> None:
        self._handle = handle

    def cancel(self, reason: str | None = None) -> None:
        if not self.cancel_called:
            engine.cancel_child(self._handle._task, cancel_message(self, reason))
            self._handle._cancel_called = True

    @property
    def cancel_called(self) -> bool:
        return getattr(self._handle, "_cancel_called", False)


def make_handle(coro: Coroutine[Any, Any, Any], name: object) -> Any:
    """Make a handle by itself, with a scope of ours even where anyio has its own backend back."""
    handle = tasks.TaskHandle(coro, name)
    if type(handle._cancel_scope) is not CancelScope:
        handle._cancel_scope = CancelScope()
    return handle
