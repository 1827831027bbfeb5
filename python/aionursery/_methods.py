"""The methods of `Nursery` that are written in Python, put on the class. Owns nothing else."""

from __future__ import annotations

from typing import Any

from ._aionursery import Nursery
from ._limit import start_when_free
from ._processes import start_process
from ._shutdown import shutdown, stopping
from ._threads import start_thread


def _put(*methods: Any) -> None:
    for method in methods:
        method.__qualname__ = f"Nursery.{method.__name__}"
        setattr(Nursery, method.__name__, method)


_put(start_when_free, start_thread, start_process, shutdown)
setattr(Nursery, stopping.__name__, property(stopping))
