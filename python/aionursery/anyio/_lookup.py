"""How anyio's functions find their backend, and its checkpoint: most of what runs calls these.

Must never do anything else than anyio's own do.
"""

from __future__ import annotations

from asyncio import _get_running_loop
from typing import Any

from anyio import lowlevel
from anyio._core import _eventloop

from .. import _aionursery as engine
from ._backend import Backend

_own = _eventloop.get_async_backend, lowlevel.checkpoint


def _make() -> tuple[Any, Any]:
    sniffio = _eventloop.sniffio
    sniffed: tuple[Any, ...] = ()
    if sniffio is not None:
        sniffed = sniffio.thread_local, sniffio.current_async_library_cvar
    backends: Any = _eventloop.loaded_backends
    return engine.make_anyio_functions(_own, Backend, backends, "asyncio", *sniffed)


get_async_backend, _checkpoint = _make()


def is_ours() -> bool:
    """Return whether the caller's backend is ours."""
    return _get_running_loop() is not None and get_async_backend() is Backend


async def checkpoint() -> None:
    # A plain function that returns what `_checkpoint` makes takes fewer instructions, but that is
    # no coroutine to `inspect`, which anyio asks.
    await _checkpoint()


checkpoint.__module__ = lowlevel.checkpoint.__module__
checkpoint.__doc__ = lowlevel.checkpoint.__doc__

#: Functions of anyio's, each with what takes its place.
FUNCTIONS: list[tuple[Any, Any]] = [
    (_eventloop.get_async_backend, get_async_backend),
    (lowlevel.checkpoint, checkpoint),
]
