"""The methods of `Nursery` and `CancelScope` that are written in Python, put on the classes; and
what both say where they are entered by the wrong kind of `with`. Owns nothing else.
"""

from __future__ import annotations

import sys
from typing import Any

from ._aionursery import CancelScope, Nursery
from ._limit import start_when_free
from ._on_cancel import on_cancel
from ._processes import start_process
from ._services import start_service
from ._shutdown import shutdown, stopping
from ._threads import start_thread


def _put(owner: type, *methods: Any) -> None:
    for method in methods:
        method.__qualname__ = f"{owner.__name__}.{method.__name__}"
        setattr(owner, method.__name__, method)


class WrongWith(TypeError, AttributeError):
    """A nursery in a plain `with`, a scope in an `async with`; a missing method to `hasattr`."""


class _Instead:
    """Stands where `with` looks first, and says what to write.

    It raises when it is looked up, and so is no method: neither `hasattr` nor the abstract classes
    of contextlib take the class for what it is not.
    """

    def __init__(self, text: str) -> None:
        self.text = text

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        raise WrongWith(self.text)


WrongWith.__module__ = "aionursery"
_WAYS: list[tuple[type, str, str]] = [
    (Nursery, "__enter__", "a nursery is entered by 'async with', not by 'with'"),
    (CancelScope, "__aenter__", "a CancelScope is entered by 'with', not by 'async with'"),
]
# From 3.14 on CPython itself names the other kind of with.
if sys.version_info < (3, 14):
    for _class, _name, _text in _WAYS:
        setattr(_class, _name, _Instead(_text))
_put(CancelScope, on_cancel)
_put(Nursery, start_when_free, start_thread, start_process, start_service, shutdown)
setattr(Nursery, stopping.__name__, property(stopping))
