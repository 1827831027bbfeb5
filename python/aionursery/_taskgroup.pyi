import asyncio
from collections.abc import Coroutine, Generator
from contextvars import Context
from typing import Any, TypeVar

from ._aionursery import Nursery, Task

T = TypeVar("T")

class TaskGroup(Nursery, asyncio.TaskGroup):  # type: ignore[misc]
    """A drop-in for `asyncio.TaskGroup`, on top of the nursery."""

    def __new__(cls) -> TaskGroup: ...  # type: ignore[misc]
    def __init__(self) -> None: ...
    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: Context | None = None,
        eager_start: bool | None = None,
        **_: Any,
    ) -> Task[T]: ...
