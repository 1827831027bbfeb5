"""What the collector is shown of our objects: never more references than there are.

CPython takes each reference that it is shown from an object's count, and frees what then has none
left. Runs no code of a program.
"""

from __future__ import annotations

import gc
import sys
import threading
import types
from collections import Counter

RUNNING = (
    types.AsyncGeneratorType,
    types.CoroutineType,
    types.FrameType,
    types.GeneratorType,
)


def shown_too_often(kinds: tuple[type, ...]) -> list[str]:
    """Name each object of these kinds that is shown more often than it is referred to.

    Looks only where nothing runs in between: no hook of a trace, and no other thread.
    """
    hooked = sys.gettrace() or sys.getprofile() or threading.active_count() > 1
    if hooked or (sys.version_info >= (3, 12) and sys.monitoring.get_tool(3) is not None):
        return []
    enabled = gc.isenabled()
    gc.disable()
    try:
        # From 3.14 on, what runs shows what it has only borrowed.
        objects = [item for item in gc.get_objects() if type(item) not in RUNNING]
        shown: Counter[int] = Counter()
        for item in objects:
            shown.update(id(it) for it in gc.get_referents(item) if issubclass(type(it), kinds))
        ours = [item for item in objects if issubclass(type(item), kinds)]
        del objects, item
        held = _counts([object()])[0]
        return [
            f"{type(item).__name__} is shown {shown[id(item)]} times and has {count - held}"
            for item, count in zip(ours, _counts(ours), strict=True)
            if shown[id(item)] > count - held
        ]
    finally:
        if enabled:
            gc.enable()


def _counts(items: list[object]) -> list[int]:
    return [sys.getrefcount(item) for item in items]
