import asyncio
from collections.abc import Coroutine, Generator
from contextvars import Context
from typing import Any, TypeVar

from ._aionursery import Task

_T = TypeVar("_T")

def eager_task_factory(
    loop: asyncio.AbstractEventLoop,
    coro: Coroutine[Any, Any, _T] | Generator[Any, None, _T],
    /,
    *,
    name: object = ...,
    context: Context | None = ...,
    eager_start: bool | None = None,
) -> Task[_T]: ...
