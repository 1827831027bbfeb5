"""anyio's table of backends: what is put into it and beside it, and what stood there before.

Must never leave it half changed.
"""

from __future__ import annotations

from typing import Any

from ._fit import check

_NAME = "asyncio"
_made: Any = None


def is_put() -> bool:
    """Return whether ours stands in the table."""
    from anyio._core._eventloop import loaded_backends

    return _made is not None and loaded_backends.get(_NAME) is _made


def put() -> None:
    """Put ours into the table, once everything is there."""
    global _made
    if is_put():
        return
    check()
    from anyio._core._eventloop import loaded_backends

    from . import _functions
    from ._backend import Backend

    _made = Backend
    _functions.put()
    loaded_backends[_NAME] = _made


def put_back() -> None:
    """Put anyio's own back."""
    if not is_put():
        return
    from anyio._backends._asyncio import backend_class
    from anyio._core._eventloop import loaded_backends

    from . import _functions

    loaded_backends[_NAME] = backend_class
    _functions.put_back()
