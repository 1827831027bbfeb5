"""Types of the extension module. What is public is imported by `aionursery`."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import Context
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, TypeVarTuple, final, overload

from typing_extensions import disjoint_base

from ._capacity import CapacityLimiter
from ._sync import Event

_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)
_R = TypeVar("_R")
_Ts = TypeVarTuple("_Ts")

@disjoint_base
class Task(asyncio.Task[_T_co]):
    """A coroutine that runs on an event loop: `asyncio.Task` in every respect."""

    def __init__(
        self,
        coro: Generator[Any, None, _T_co] | Coroutine[Any, Any, _T_co],
        *,
        loop: asyncio.AbstractEventLoop | None = ...,
        name: object = ...,
        context: Context | None = ...,
        eager_start: bool = ...,
    ) -> None: ...
    def cancel(self, msg: object = None) -> bool: ...
    def get_context(self) -> Context: ...
    def cancel_and_wait(self, msg: object = None) -> Coroutine[Any, Any, None]: ...

@final
class CancelScope:
    """A part of a program that can be cancelled as one, may have a deadline, may be shielded."""

    def __new__(
        cls,
        *,
        deadline: float = ...,
        shield: bool = False,
        cleanup: float | None = ...,
        reason: object = None,
        relative_deadline: float | None = None,
    ) -> CancelScope: ...
    def __enter__(self) -> CancelScope: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> bool: ...
    def cancel(self, reason: object = None) -> None: ...
    def cancel_after(self, seconds: float) -> None: ...
    @property
    def cancel_called(self) -> bool: ...
    @property
    def cancelled_caught(self) -> bool: ...
    @property
    def reason(self) -> Any: ...
    @property
    def source(self) -> Literal["cancel", "failure", "deadline", "host"] | None: ...
    @property
    def deadline(self) -> float: ...
    @deadline.setter
    def deadline(self, value: float) -> None: ...
    @property
    def shield(self) -> bool: ...
    @shield.setter
    def shield(self, value: bool) -> None: ...
    @property
    def cleanup(self) -> float | None: ...
    @cleanup.setter
    def cleanup(self, value: float | None) -> None: ...

@disjoint_base
class Nursery:
    """A block that owns the tasks started in it."""

    def __new__(
        cls,
        *,
        on_error: Literal["cancel", "collect"] = "cancel",
        deadline: float = ...,
        shield: bool = False,
        cleanup: float | None = ...,
        relative_deadline: float | None = None,
        limit: int | None = None,
    ) -> Self: ...
    def __aenter__(self) -> Coroutine[Any, Any, Self]: ...
    def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> Coroutine[Any, Any, bool | None]: ...
    @overload
    def start_soon(
        self,
        target: Awaitable[_R],
        /,
        *,
        name: object = None,
        context: Context | None = None,
        shield: bool = False,
    ) -> Task[_R]: ...
    @overload
    def start_soon(
        self,
        target: Callable[[*_Ts], Awaitable[_R]],
        /,
        *args: *_Ts,
        name: object = None,
        context: Context | None = None,
        shield: bool = False,
    ) -> Task[_R]: ...
    @overload
    def start_now(
        self,
        target: Awaitable[_R],
        /,
        *,
        name: object = None,
        context: Context | None = None,
        shield: bool = False,
    ) -> Task[_R]: ...
    @overload
    def start_now(
        self,
        target: Callable[[*_Ts], Awaitable[_R]],
        /,
        *args: *_Ts,
        name: object = None,
        context: Context | None = None,
        shield: bool = False,
    ) -> Task[_R]: ...
    def start(
        self,
        fn_: Callable[..., Awaitable[Any]],
        /,
        *args: Any,
        name: object = None,
        shield: bool = False,
    ) -> Coroutine[Any, Any, Any]: ...
    # Put on the class by `_methods`.
    @overload
    async def start_when_free(
        self,
        target: Awaitable[_R],
        /,
        *,
        name: object = None,
        context: Context | None = None,
        shield: bool = False,
    ) -> Task[_R]: ...
    @overload
    async def start_when_free(
        self,
        target: Callable[[*_Ts], Awaitable[_R]],
        /,
        *args: *_Ts,
        name: object = None,
        context: Context | None = None,
        shield: bool = False,
    ) -> Task[_R]: ...
    def start_thread(
        self,
        fn: Callable[[*_Ts], _R],
        /,
        *args: *_Ts,
        limiter: CapacityLimiter | None = None,
        abandon: bool = False,
        name: object = None,
        shield: bool = False,
    ) -> Task[_R]: ...
    def start_process(
        self,
        fn: Callable[[*_Ts], _R],
        /,
        *args: *_Ts,
        limiter: CapacityLimiter | None = None,
        grace: float = 5.0,
        name: object = None,
        shield: bool = False,
    ) -> Task[_R]: ...
    def cancel(self, reason: object = None) -> None: ...
    def shutdown(self, grace: float = 5.0) -> None: ...
    def cancel_remaining(self) -> None: ...
    @property
    def stopping(self) -> Event: ...
    @property
    def closed(self) -> bool: ...
    @property
    def children(self) -> list[Task[Any]]: ...
    @property
    def cancel_scope(self) -> CancelScope: ...

@final
class Wait:
    """What our own waits return: a coroutine to `create_task`, a future to whoever yields it."""

    def __await__(self) -> Generator[Any, Any, Any]: ...
    def __iter__(self) -> Generator[Any, Any, Any]: ...
    def __next__(self) -> Any: ...
    def send(self, value: Any, /) -> Any: ...
    def throw(self, typ: Any, val: Any = ..., tb: Any = ..., /) -> Any: ...
    def close(self) -> None: ...
    def done(self) -> bool: ...
    def cancelled(self) -> bool: ...
    def result(self) -> Any: ...
    def exception(self) -> BaseException | None: ...
    def set_result(self, result: Any, /) -> None: ...
    def cancel(self, msg: object = ...) -> bool: ...
    def add_done_callback(
        self, fn: Callable[[Any], object], /, *, context: Context | None = ...
    ) -> None: ...
    def remove_done_callback(self, fn: Callable[[Any], object], /) -> int: ...
    def get_loop(self) -> asyncio.AbstractEventLoop: ...

@final
class LoopState:
    """What the extension keeps for one event loop."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...
    def size(self) -> tuple[int, int, int]: ...
    def create_future(self) -> asyncio.Future[Any]: ...

def warn_stuck_after(seconds: float) -> None:
    """Set after how many seconds a cancelled task that has not ended is named in a warning.

    For the running loop, and for cancellations from now on. 10 unless set; ``math.inf`` for
    never. Raises RuntimeError if no loop runs, ValueError if ``seconds`` is negative.
    """

def loop_state(loop: asyncio.AbstractEventLoop) -> LoopState: ...
def task_factory(
    loop: asyncio.AbstractEventLoop,
    coro: Coroutine[Any, Any, _T] | Generator[Any, None, _T],
    /,
    *,
    name: object = ...,
    context: Context | None = ...,
    eager_start: bool | None = None,
) -> Task[_T]: ...
def eager_task_factory(
    loop: asyncio.AbstractEventLoop,
    coro: Coroutine[Any, Any, _T] | Generator[Any, None, _T],
    /,
    *,
    name: object = ...,
    context: Context | None = ...,
    eager_start: bool | None = None,
) -> Task[_T]: ...
def fail_after(
    delay: float | None, *, shield: bool = False, cleanup: float | None = ...
) -> CancelScope: ...
def fail_at(
    deadline: float | None, *, shield: bool = False, cleanup: float | None = ...
) -> CancelScope: ...
def move_on_after(
    delay: float | None, *, shield: bool = False, cleanup: float | None = ...
) -> CancelScope: ...
def move_on_at(
    deadline: float | None, *, shield: bool = False, cleanup: float | None = ...
) -> CancelScope: ...
def shield(*, deadline: float = ..., cleanup: float | None = ...) -> CancelScope: ...
def current_time() -> float: ...
def current_effective_deadline() -> float: ...
@overload
def sleep(delay: float) -> Coroutine[Any, Any, None]: ...
@overload
def sleep(delay: float, result: _T) -> Coroutine[Any, Any, _T]: ...
def sleep_until(deadline: float) -> Coroutine[Any, Any, None]: ...
def sleep_forever() -> Coroutine[Any, Any, None]: ...
def checkpoint() -> Coroutine[Any, Any, None]: ...
def checkpoint_if_cancelled() -> Coroutine[Any, Any, None]: ...
def reserve(nursery: Nursery) -> None: ...
def unreserve(nursery: Nursery) -> None: ...
def move_child(child: object, from_: Nursery, to: Nursery) -> bool: ...
def start_child(
    nursery: Nursery,
    target: object,
    args: tuple[Any, ...],
    name: object,
    context: Context | None,
    shield: bool,
    at_once: bool,
) -> Task[Any]: ...
def gate_of(nursery: Nursery) -> Any: ...
def refuse_child(target: object) -> None: ...
def act_as_task_group(nursery: Nursery) -> None: ...
def create_task(
    self: Nursery,
    /,
    coro: Coroutine[Any, Any, _T],
    *,
    name: str | None = None,
    context: Context | None = None,
    eager_start: bool | None = None,
    **_: Any,
) -> Task[_T]: ...
