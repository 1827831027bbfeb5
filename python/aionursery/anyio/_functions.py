"""The functions of anyio's that ours take the place of, by their names in anyio's modules.

What was imported from anyio by name before that keeps anyio's own, which does the same. Must never
change a function, or a module that is not anyio's, or one of anyio's own backends.
"""

from __future__ import annotations

import sys
from typing import Any

from . import _lookup, _streams, _timeouts

_PAIRS = [*_lookup.FUNCTIONS, *_streams.FUNCTIONS, *_timeouts.FUNCTIONS]


def put() -> None:
    """Put ours in place of anyio's."""
    for own, ours in _PAIRS:
        _exchange(own, ours)


def put_back() -> None:
    """Put anyio's own back."""
    for own, ours in _PAIRS:
        _exchange(ours, own)


def _exchange(old: Any, new: Any) -> None:
    name = old.__name__
    for title, module in list(sys.modules.items()):
        if title.partition(".")[0] != "anyio" or title.startswith("anyio._backends."):
            continue
        if getattr(module, "__dict__", {}).get(name) is old:
            setattr(module, name, new)
