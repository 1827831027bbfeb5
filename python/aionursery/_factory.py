"""The eager task factory, in the form that other libraries recognise.

anyio looks at a factory's code to see that a loop starts its tasks eagerly, and takes the class
out of its closure: from 3.12 on, ours shows both as `asyncio.create_eager_task_factory` has them.
It is not that function itself, which on 3.13.0 refuses what uvloop passes.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from . import _aionursery
from ._aionursery import Task


class _EagerFactory:
    """Make a task of ours and take its first step at once: for ``loop.set_task_factory()``."""

    def __init__(self) -> None:
        if sys.version_info >= (3, 12):
            model: Any = asyncio.create_eager_task_factory(Task)
            self.__code__ = model.__code__
            self.__closure__ = model.__closure__

    def __call__(self, loop: Any, coro: Any, /, **options: Any) -> Any:
        return _aionursery.eager_task_factory(loop, coro, **options)


eager_task_factory: Any = _EagerFactory()
