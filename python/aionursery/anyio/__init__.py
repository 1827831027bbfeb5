"""anyio's asyncio backend on this library's engine.

`install` puts it in place of anyio's own, under the same name: ``anyio.run(main)`` and everything
that is written for anyio stay as they are. `uninstall` and `installed` take it out again. Owns what
stands in anyio's table of backends, and in place of five of its functions; must never change what
an object of anyio's own does, and must leave everything as it was where it does not fit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from .._aionursery import task_factory
from ._fit import AnyioMismatchError
from ._table import put, put_back

__all__ = [
    "AnyioMismatchError",
    "install",
    "installed",
    "is_installed",
    "new_event_loop",
    "uninstall",
]


def install() -> None:
    """Have anyio use this library's engine on asyncio's loops, from now on, in this process.

    Task groups, cancel scopes, events and threads that are made afterwards are the engine's. Those
    that are open already stay anyio's own; call it before they are made. Calling it again does
    nothing. Raises `AnyioMismatchError`, and changes nothing, if the installed anyio is not one
    that this fits.

        import aionursery.anyio

        aionursery.anyio.install()
        anyio.run(main)
    """
    put()


def uninstall() -> None:
    """Give anyio its own backend back. Does nothing if `install` was not called.

    What was made meanwhile stays the engine's until its block has ended.
    """
    put_back()


def is_installed() -> bool:
    """Return whether anyio uses this library's engine."""
    from ._table import is_put

    return is_put()


@contextmanager
def installed(on: bool = True) -> Iterator[None]:
    """Have the engine in place, or with ``on=False`` not, for a block: for tests.

    Afterwards it is as it was before. Raises `AnyioMismatchError` as `install` does.

        with aionursery.anyio.installed(False):
            anyio.run(main)
    """
    before = is_installed()
    (put if on else put_back)()
    try:
        yield
    finally:
        (put if before else put_back)()


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Install the engine, and return a new event loop that makes its tasks.

    A loop of uvloop's if that can be imported, otherwise asyncio's. For servers that are told by
    name how to make their loop: ``uvicorn --loop aionursery.anyio:new_event_loop app:app``, with
    uvicorn 0.36 or later. Raises `AnyioMismatchError` as `install` does.
    """
    put()
    try:
        import uvloop
    except ImportError:
        loop: asyncio.AbstractEventLoop = asyncio.new_event_loop()
    else:
        loop = uvloop.new_event_loop()
    loop.set_task_factory(task_factory)
    return loop
