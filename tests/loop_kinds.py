"""The loops that the tests run on: the platform's own, and uvloop where there is one.

Windows has no uvloop, and two loops of asyncio's instead; a wheel is tried where only pytest is.
"""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import Callable

#: Each kind of loop by its name: calling it makes one. The first is what `asyncio.run` takes.
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]]

if sys.platform == "win32":
    LOOPS = {"asyncio": asyncio.ProactorEventLoop, "selector": asyncio.SelectorEventLoop}
else:
    LOOPS = {"asyncio": asyncio.SelectorEventLoop}
if importlib.util.find_spec("uvloop"):
    import uvloop

    LOOPS["uvloop"] = uvloop.Loop

#: What tests are parametrised with that make a loop themselves.
KINDS = list(LOOPS.values())
