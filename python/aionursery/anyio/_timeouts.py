"""anyio's `fail_after` and `fail_at`, as scopes: anyio's own are generators around a scope.

Where the caller's backend is not ours, they are anyio's own. Must never decide by itself whether
time has run out: the engine asks the clock.
"""

from __future__ import annotations

from functools import wraps
from math import inf
from typing import Any

from anyio._core import _tasks as own

from ._lookup import is_ours
from ._scopes import CancelScope

_fail_after: Any = own.fail_after
#: Before 4.15 there is none.
_fail_at: Any = getattr(own, "fail_at", None)


class Timeout(CancelScope):
    """A scope that is left by a TimeoutError if it has cancelled its block and its time is up."""

    __slots__ = ("_words",)

    #: What the error says; nothing if it is not set.
    _words: str

    def _timeout_error(self) -> TimeoutError:
        words = getattr(self, "_words", None)
        return TimeoutError(words) if words else TimeoutError()


@wraps(_fail_after)
def fail_after(delay: float | None, shield: bool = False, reason: str | None = None) -> Any:
    if not is_ours():
        return _fail_after(delay, shield, *(() if reason is None else (reason,)))
    scope = Timeout(delay=inf if delay is None else delay, shield=shield, fails=True)
    if reason:
        scope._words = reason
    return scope


def _make_fail_at() -> Any:
    @wraps(_fail_at)
    def fail_at(deadline: float | None, shield: bool = False, reason: str | None = None) -> Any:
        if not is_ours():
            return _fail_at(deadline, shield, reason)
        scope = Timeout(deadline=inf if deadline is None else deadline, shield=shield, fails=True)
        if reason:
            scope._words = reason
        return scope

    return fail_at


#: Functions of anyio's, each with what takes its place.
FUNCTIONS: list[tuple[Any, Any]] = [(_fail_after, fail_after)]
if _fail_at is not None:
    FUNCTIONS.append((_fail_at, _make_fail_at()))
