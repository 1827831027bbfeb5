"""Children of a task group whose tasks the program's own task factory makes.

Such a task is not the engine's to start or to step, and may be of any class. So a child of the
engine's stands for it: the group waits for that, is failed by it, and cancels it. Must never call a
factory where the engine's own tasks do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from contextvars import Context
from functools import partial
from typing import Any

from .. import _aionursery as engine
from ._events import Event
from ._scopes import CancelScope, cancel_message

#: asyncio's eager factories share their code. anyio asks none of them, either.
_EAGER: Any = getattr(getattr(asyncio, "eager_task_factory", None), "__code__", None)


def factory_of(group: Any) -> Any:
    """Return the factory that is to make a group's children, or None where the engine does."""
    factory = group.programs_factory
    if factory is not None and _EAGER is not None and getattr(factory, "__code__", None) is _EAGER:
        return None
    return factory


def make(factory: Any, handle: Any, context: Context | None = None) -> Coroutine[Any, Any, None]:
    """Have the factory make the task that runs what a handle is of; return what stands for it.

    Raises what the factory raises, and what it was given is closed then.
    """
    scope = CancelScope()
    run = _run(scope, handle)
    try:
        call: Any = factory if context is None else partial(context.run, factory)
        task = call(asyncio.get_running_loop(), run, name=handle.name)
    except BaseException:
        for coro in run, handle.coro:
            with suppress(BaseException):
                coro.close()
        raise
    ended = Event()
    task.add_done_callback(lambda _: ended.set())
    return _stand(task, scope, ended)


async def _run(scope: CancelScope, handle: Any) -> None:
    __tracebackhide__ = True
    with scope:
        await handle._run_coro()


async def _stand(task: asyncio.Task[None], scope: CancelScope, ended: Event) -> None:
    __tracebackhide__ = True
    try:
        try:
            await ended.wait()
        except BaseException:
            scope.cancel(cancel_message(scope, None))
            with engine.shield():
                await ended.wait()
            task.result()
            raise
        task.result()
    finally:
        del task
