"""A second copy of anyio's asyncio backend, executed from the installed file.

In it the classes that decide about cancellation are replaced by ours, so that what anyio builds
upon them (sockets, processes, signals, its test runner) uses ours, too. anyio's own module is not
touched. Must never contain anything of anyio's.
"""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Any

from anyio._backends import _asyncio as own

#: Relative imports in it are anyio's own.
NAME = "anyio._backends._aionursery"


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location(NAME, own.__file__)
    if spec is None or spec.loader is None:
        raise ImportError(f"{own.__file__} cannot be loaded a second time", name=NAME)
    module = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[NAME]
        raise
    return module


copy: Any = _load()
