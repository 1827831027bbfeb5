"""`CancelScope.on_cancel`: a function that is called in the moment in which a scope is cancelled.

When that is, the scope decides; this only makes of a function and its arguments what is called.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from typing import Any, TypeVarTuple

from . import _aionursery
from ._aionursery import CancelScope
from ._refusals import check_plain_function

Ts = TypeVarTuple("Ts")


class _Watch:
    """A function, its arguments and its context."""

    __slots__ = ("_args", "_context", "_fn")

    def __init__(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._fn = fn
        self._args = args
        self._context: Context = copy_context()

    def __call__(self) -> None:
        value = self._context.run(self._fn, *self._args)
        if isinstance(value, Coroutine):
            value.close()
            raise TypeError(
                f"on_cancel() takes a plain function, and {self._fn!r} returned a coroutine; "
                f"{_ADVICE}"
            )


_ADVICE = "what is to await belongs in a child, or behind 'except asyncio.CancelledError'"


def on_cancel(self: CancelScope, fn: Callable[[*Ts], object], /, *args: *Ts) -> Callable[[], bool]:
    """Call ``fn(*args)`` in the moment in which a cancellation reaches the scope.

    For foreign code that must be stopped at once: an interrupt of a C library, the abort of a
    transfer. It is called once, synchronously, by whatever cancels: the scope's own `cancel`, its
    deadline, a failure, a scope around it up to shields; at once if that has happened before. A
    bare ``Task.cancel()`` cancels no scope, and neither does the end of the block. All tasks have
    been told before; it runs in a copy of the context in which it was registered. What it raises
    goes to the loop's exception handler.

    Returns a function that takes it off again and returns whether it would still have been called.
    Leaving the block does so, too. Raises TypeError for an async function, RuntimeError before
    entry, after the block and in a thread that is not the loop's.
    """
    check_plain_function("on_cancel", fn, _ADVICE)
    watch = _Watch(fn, args)
    _aionursery.watch(self, watch)
    # No closure: CPython 3.11 loses what a function's cells hold where memory is short.
    return functools.partial(_aionursery.unwatch, self, watch)
