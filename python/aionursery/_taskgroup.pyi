import asyncio
from collections.abc import Coroutine, Generator
from contextvars import Context
from types import TracebackType
from typing import Any, Self, TypeVar

from ._aionursery import Nursery, Task

T = TypeVar("T")

class TaskGroup(Nursery, asyncio.TaskGroup):
    """A drop-in for `asyncio.TaskGroup`, on top of the nursery."""

    # A subclass may have arguments of its own: its `__init__` says which.
    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...
    def __init__(self) -> None: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, et: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None: ...
    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: Context | None = None,
        eager_start: bool | None = None,
        **_: Any,
    ) -> Task[T]: ...
