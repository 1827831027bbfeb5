"""The eager task factory, in the form that other libraries recognise.

From 3.12 on it is what `asyncio.create_eager_task_factory` makes of our class: anyio looks at a
factory's code to see that a loop starts its tasks eagerly, and takes the class out of it.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from . import _aionursery
from ._aionursery import Task

eager_task_factory: Any
if sys.version_info >= (3, 12):
    eager_task_factory = asyncio.create_eager_task_factory(Task)
else:
    eager_task_factory = _aionursery.eager_task_factory
