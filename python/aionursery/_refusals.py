"""What is said of an argument of the wrong kind, before anything runs or in place of a result.

Each says what was given; of a function, what to write instead, too. Must never call the function.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Awaitable
from types import CoroutineType
from typing import Any, TypeVar

from . import _aionursery

R = TypeVar("R")


def check_plain_function(caller: str, fn: Any, advice: str) -> None:
    """Refuse what is no plain function; ``advice`` says what to do with an async one."""
    _aionursery.refuse_child(fn)
    if inspect.iscoroutinefunction(fn):
        raise TypeError(
            f"{caller}() takes a plain function and its arguments, not {fn!r}; {advice}"
        )
    if not callable(fn):
        raise TypeError(
            f"{caller}() takes a plain function and its arguments, not {fn!r}; pass the function "
            "itself"
        )


def check_async_function(caller: str, fn: Any) -> None:
    """Refuse what cannot be called, such as the coroutine that an async function has returned."""
    if not callable(fn):
        _aionursery.refuse_child(fn)
        raise TypeError(
            f"{caller}() takes an async function and its arguments, not {fn!r}; pass the function "
            "itself"
        )


def check_span(name: str, seconds: Any) -> None:
    """Refuse what is no time to wait for: no number, a NaN, a negative number."""
    try:
        is_nan = math.isnan(seconds)
    except TypeError:
        if hasattr(seconds, "__float__") or hasattr(seconds, "__index__"):
            raise  # a number's own error
        raise TypeError(f"{name} must be a number, not {seconds!r}") from None
    if is_nan:
        raise ValueError(f"{name} must not be NaN")
    if float(seconds) < 0:
        raise ValueError(f"{name} must not be negative, not {seconds}")


def awaitable(caller: str, fn: object, made: Awaitable[R]) -> Awaitable[R]:
    """Return what a function has made, which must be something to await."""
    if type(made) is not CoroutineType and not is_awaitable(made):
        raise not_awaitable(caller, fn, made)
    return made


def not_awaitable(caller: str, fn: object, made: object) -> TypeError:
    """Make the error that says that a function has made nothing to await."""
    return TypeError(
        f"{caller}() was given the function {fn!r}, which returned {made!r} instead of an "
        "awaitable; is it missing 'async'?"
    )


def is_awaitable(target: object) -> bool:
    """Whether a coroutine can await it; also what a generator-based coroutine makes."""
    return isinstance(target, Awaitable) or inspect.isawaitable(target)
