"""Small things that many tests need."""

from __future__ import annotations

import asyncio
import os
import weakref
from typing import Any

import aionursery


class Trace(list[Any]):
    """What has happened, in order."""

    async def value(self, value: Any) -> Any:
        self.append(value)
        return value


def outside_dev_mode() -> dict[str, str]:
    """The environment of a process outside of development mode, where loops debug."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDEVMODE"}


async def turns(count: int) -> None:
    """Let the loop go round."""
    for _ in range(count):
        await asyncio.sleep(0)


async def fail(error: BaseException, *, after: int = 0) -> None:
    """Raise, after some turns of the loop."""
    await turns(after)
    raise error


async def forever() -> None:
    """Wait for what never comes."""
    await asyncio.get_running_loop().create_future()


async def note_cancellation(trace: list[Any], name: Any) -> None:
    """Wait until cancelled; say so."""
    try:
        await forever()
    except asyncio.CancelledError:
        trace.append(name)
        raise


async def value(result: Any, *, after: int = 0) -> Any:
    """Return, after some turns of the loop."""
    await turns(after)
    return result


class Noted(Exception):
    """An error that takes a weak reference."""


def raise_noted(references: list[weakref.ref[Noted]]) -> None:
    """Raise an error that nothing but the raising holds."""
    error = Noted()
    references.append(weakref.ref(error))
    try:
        raise error
    finally:
        del error


async def fail_noted(references: list[weakref.ref[Noted]]) -> None:
    """Raise an error that nothing but the raising holds."""
    raise_noted(references)


def abandoned(loop: asyncio.AbstractEventLoop, main: Any) -> weakref.ref[Any]:
    """Run a coroutine for one turn of a loop, which is closed then, and let go of both."""
    loop.set_task_factory(aionursery.task_factory)
    loop.set_exception_handler(lambda *_: None)
    task: Any = loop.create_task(main)
    task._log_destroy_pending = False
    loop.stop()
    loop.run_forever()
    loop.close()
    return weakref.ref(loop)
