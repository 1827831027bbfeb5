"""anyio's task groups: the engine's nursery, with anyio's names and anyio's words.

They say what anyio says; which errors are raised and which tasks are cancelled the engine decides.
"""

from __future__ import annotations

import asyncio
import functools
from abc import ABCMeta
from collections.abc import Callable, Coroutine
from contextvars import Context
from inspect import iscoroutine
from types import TracebackType
from typing import Any, Literal, cast

from anyio import abc
from anyio.abc import _tasks as naming
from anyio.abc._tasks import call_for_coroutine, get_callable_name

from .. import _aionursery as engine
from .._errors import NurseryClosed, alone, unhandled_in_group
from . import _by_factory, _elsewhere
from ._handles import TaskHandle, make_handle
from ._scopes import CancelScope

INACTIVE = "This task group is not active; no new tasks can be started."

#: Methods of both that are given out of the engine as they are have other signatures.
nursery: Any = engine.StrictNursery
group: Any = abc.TaskGroup

_leave = engine.Nursery.__aexit__
_start = engine.Nursery.start_soon
_new = object.__new__

engine.make_handles_of(TaskHandle)


class TaskGroup(nursery, group, metaclass=ABCMeta):  # type: ignore[misc]
    """anyio's `TaskGroup`."""

    _scope: CancelScope | None = None

    __aenter__ = nursery.__aenter__
    __aexit__ = nursery.__aexit__
    start_soon = nursery.start_soon
    cancel = group.cancel

    @staticmethod
    def _make_group(errors: list[BaseException]) -> BaseExceptionGroup[BaseException]:
        return unhandled_in_group(errors)

    @property
    def cancel_scope(self) -> CancelScope:
        scope = self._scope
        if scope is None:
            scope = self._scope = CancelScope()
            self.show_scope(scope)
        return scope

    async def _leave_empty(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> bool | None:
        """Leave the group once others have had their turn, as anyio promises it."""
        try:
            if exc_val is not None:
                self.cancel_scope.cancel()
            try:
                with engine.shield():
                    await engine.checkpoint()
            except BaseException as exc:
                # Cancelled by hand, or closed: the nursery is left all the same.
                try:
                    if await _leave(self, type(exc), exc, exc.__traceback__):
                        return True
                except BaseExceptionGroup as group:
                    # A coroutine that is closed must end by just that.
                    if not isinstance(exc, GeneratorExit) or group.exceptions != (exc,):
                        raise
                raise
            return await _leave(self, exc_type, exc_val, exc_tb)
        finally:
            del exc_val, exc_tb

    def create_task(
        self, coro: Coroutine[Any, Any, Any], *, name: object = None, context: Context | None = None
    ) -> Any:
        if not isinstance(coro, Coroutine):
            raise TypeError(f"expected a coroutine, got {coro.__class__.__qualname__}")
        if self.elsewhere:
            return self._start_elsewhere(coro, coro_name(coro, name), context)
        factory = _by_factory.factory_of(self)
        if factory is not None:
            return self._start_by_factory(factory, coro, coro_name(coro, name), context)
        handle = _new(TaskHandle)
        try:
            handle._task = _start(self, coro, name=coro_name(coro, name), context=context)
        except RuntimeError as exc:
            self._refused(exc)
            raise
        return handle

    @staticmethod
    def _coroutine_of(func: Any, made: object) -> Coroutine[Any, Any, Any]:
        """Return what a child's function has returned, or raise what anyio raises for it."""
        return call_for_coroutine(cast("Any", functools.wraps(func)(lambda: made)), ())

    def _start_elsewhere(
        self, coro: Coroutine[Any, Any, Any], name: object, context: Context | None = None
    ) -> Any:
        """Start a child in the running loop, which is not the group's."""
        child = _elsewhere.Child(self)
        child.said = True
        child.begin(coro, name, context)
        return child.handle

    def _start_by_factory(
        self,
        factory: Any,
        coro: Coroutine[Any, Any, Any],
        name: object,
        context: Context | None = None,
    ) -> Any:
        """Start a child whose task this factory makes, unless it is one of asyncio's eager ones."""
        if _by_factory.factory_of(self) is None:
            handle = _new(TaskHandle)
            handle._task = _start(self, coro, name=name, context=context)
            return handle
        if self.closed:
            coro.close()
            raise RuntimeError(INACTIVE)
        made = make_handle(coro, name)
        _start(self, _by_factory.make(factory, made, context), name=made.name)
        return made

    def _refused(self, exc: BaseException) -> None:
        """Raise what anyio raises where the engine has refused a child with this error."""
        if isinstance(exc, NurseryClosed) or not self.entered:
            raise RuntimeError(INACTIVE) from None

    async def start(
        self,
        func: Callable[..., Coroutine[Any, Any, Any]],
        *args: object,
        name: object = None,
        return_handle: Literal[False, True] = False,
    ) -> Any:
        if not self.entered or self.closed:
            raise RuntimeError(INACTIVE)
        if self.elsewhere:
            child = _elsewhere.Child(self)
            coro = call_for_coroutine(func, args, task_status=child)
            value = await child.start(coro, get_callable_name(func, name))
            if return_handle:
                child.handle._start_value = value
                return child.handle
            return value
        start = Start(self, get_callable_name(func, name))
        start.handle = make_handle(call_for_coroutine(func, args, task_status=start), start.name)
        handle, value = start.handle, await start.run()
        if return_handle:
            handle._start_value = value
            return handle
        return value


class Start:
    """A call of `TaskGroup.start`: the child is the caller's until it says that it is ready."""

    handle: Any
    reservation: engine.Reservation

    def __init__(self, group: TaskGroup, name: str) -> None:
        self.group = group
        self.name = name
        self.said = False
        self.value: Any = None
        self.caller: engine.Nursery | None = None
        self.child: asyncio.Task[Any] | None = None

    def started(self, value: Any = None) -> None:
        if self.said:
            raise RuntimeError("called 'started' twice on the same task status")
        self.said = True
        self.value = value
        if self.caller is not None and engine.move_child(self.child, self.caller, self.group):
            self.reservation.release()

    def _coro(self) -> Coroutine[Any, Any, None]:
        """Return what the engine's child runs."""
        factory = _by_factory.factory_of(self.group)
        coro: Coroutine[Any, Any, None] = (
            self.handle._run_coro() if factory is None else _by_factory.make(factory, self.handle)
        )
        return coro

    async def run(self) -> Any:
        if self.said:
            # By a plain function, before it returned the coroutine: the child is the group's.
            _start(self.group, self._coro(), name=self.name)
            return self.value
        self.reservation = engine.reserve(self.group)
        failed = None
        try:
            try:
                async with engine.Nursery(cleanup=0) as self.caller:
                    self.child = self.caller.start_soon(self._coro(), name=self.name)
                    self.child.add_done_callback(self.reservation.release)
            except BaseExceptionGroup as group:
                failed = alone(group)
            if failed is not None:
                try:
                    raise failed
                finally:
                    failed = None
            if not self.said and self.child is not None and self.child.cancelled():
                # By hand: anyio hands that on to the caller.
                raise asyncio.CancelledError
        finally:
            self.reservation.release()
            self.caller = self.child = None
        if not self.said:
            raise RuntimeError("Child exited without calling task_status.started()")
        return self.value


def coro_name(coro: Coroutine[Any, Any, Any], name: object) -> object:
    """Return what a task is called, as the installed anyio calls it."""
    named = getattr(naming, "get_coro_name", None)
    if named is not None:
        return named(coro, name)
    # Before 4.15 a handle found that out by itself.
    if name is not None:
        return name
    return coro.__qualname__ if iscoroutine(coro) else str(coro)
